//! AWS:InstanceInformation: what the node is.
//! Never invents: what a root does not tell stays empty.

use std::path::Path;

use super::Inventory;
use super::network;
use super::os_release::OsRelease;
use crate::package_manager::file::{self, Warnings};

const COLUMNS: [&str; 9] = [
    "InstanceId",
    "AgentType",
    "AgentVersion",
    "ComputerName",
    "IpAddress",
    "PlatformName",
    "PlatformType",
    "PlatformVersion",
    "ResourceType",
];

/// Describes the node of `root`; `node_id` is empty before registration.
#[must_use]
pub fn gather(root: &Path, node_id: &str) -> Inventory {
    let release = OsRelease::read(root);
    let host_name = ["proc/sys/kernel/hostname", "etc/hostname"]
        .iter()
        .find_map(|path| file::first_line(&root.join(path)));
    let row = vec![
        node_id.to_owned(),
        "holdfast-agent".to_owned(),
        env!("CARGO_PKG_VERSION").to_owned(),
        host_name.unwrap_or_default(),
        network::primary_address(root).unwrap_or_default(),
        release.name,
        "Linux".to_owned(),
        release.version_id,
        "ManagedInstance".to_owned(),
    ];
    let warnings = Warnings::default();
    Inventory::new("AWS:InstanceInformation", 1, &COLUMNS, vec![row], warnings)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn describes_the_root_it_is_given() {
        let root = tempfile::tempdir().unwrap();
        std::fs::create_dir(root.path().join("etc")).unwrap();
        std::fs::write(root.path().join("etc/hostname"), "box\n").unwrap();
        let release = "NAME=\"Debian GNU/Linux\"\nVERSION_ID=\"12\"\n";
        std::fs::write(root.path().join("etc/os-release"), release).unwrap();
        let item = &gather(root.path(), "mi-0123456789abcdef0").to_json()["Content"][0];
        assert_eq!(item["InstanceId"], "mi-0123456789abcdef0");
        assert_eq!(item["ComputerName"], "box");
        assert_eq!(item["PlatformName"], "Debian GNU/Linux");
        assert_eq!(item["PlatformVersion"], "12");
        assert_eq!(item.get("IpAddress"), None);
    }
}
