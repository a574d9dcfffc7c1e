//! Reads os-release(5): which system this is.
//! Never asks the running kernel, so it tells of any root.

use std::path::Path;

use crate::package_manager::file;

/// The longest os-release file read.
const FILE_BYTES_MAX: u64 = 64 * 1024;

/// The fields that inventory and baselines go by; absent ones are empty.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct OsRelease {
    /// `debian`
    pub id: String,
    /// `Debian GNU/Linux`
    pub name: String,
    /// `12`
    pub version_id: String,
}

impl OsRelease {
    /// Reads `etc/os-release`, else `usr/lib/os-release`, below `root`.
    #[must_use]
    pub fn read(root: &Path) -> Self {
        let content = ["etc/os-release", "usr/lib/os-release"]
            .iter()
            .find_map(|path| file::read(&root.join(path), FILE_BYTES_MAX).ok())
            .unwrap_or_default();
        Self::parse(&String::from_utf8_lossy(&content))
    }

    fn parse(text: &str) -> Self {
        let mut release = Self::default();
        for line in text.lines() {
            let Some((name, value)) = line.trim().split_once('=') else {
                continue;
            };
            let value = value.trim_matches(['"', '\'']).to_owned();
            match name {
                "ID" => release.id = value,
                "NAME" => release.name = value,
                "VERSION_ID" => release.version_id = value,
                _ => {}
            }
        }
        release
    }

    /// The product that baselines name: `Debian12`, `Ubuntu22.04`; of Debian's testing just `Debian`.
    #[must_use]
    pub fn product(&self) -> String {
        let family = match self.id.as_str() {
            "debian" => "Debian",
            "ubuntu" => "Ubuntu",
            "raspbian" => "Raspbian",
            other => other,
        };
        format!("{family}{}", self.version_id)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_product_is_named_as_baselines_name_it() {
        let release =
            OsRelease::parse("NAME=\"Debian GNU/Linux\"\n# x\nVERSION_ID='12'\nID=debian\n");
        assert_eq!(release.product(), "Debian12");
        assert_eq!(release.name, "Debian GNU/Linux");
        assert_eq!(OsRelease::parse("ID=debian").product(), "Debian");
    }
}
