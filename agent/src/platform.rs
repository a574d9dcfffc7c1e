//! What this machine is: its operating system by `os-release`, its name and architecture by the kernel.
//! Never fails: what cannot be found out is left empty.

use holdfast_protocol::bounded::Text;
use holdfast_protocol::up::Platform;
use std::fs::File;
use std::io::Read;
use std::net::IpAddr;

/// More of an `os-release` file than this is not read.
const OS_RELEASE_BYTES_MAX: u64 = 64 * 1024;

/// What this machine is; `address` is that of its end of the link, where there is one.
#[must_use]
pub fn detect(address: Option<IpAddr>) -> Platform {
    let release = ["/etc/os-release", "/usr/lib/os-release"]
        .into_iter()
        .find_map(read)
        .unwrap_or_default();
    let uname = rustix::system::uname();
    let name = value(&release, "NAME").unwrap_or_else(|| uname.sysname().to_string_lossy().into());
    let version =
        value(&release, "VERSION_ID").unwrap_or_else(|| uname.release().to_string_lossy().into());
    Platform {
        name: Text::cut(&name),
        version: Text::cut(&version),
        computer_name: Text::cut(&uname.nodename().to_string_lossy()),
        ip_address: Text::cut(&address.map(|ip| ip.to_string()).unwrap_or_default()),
        architecture: Text::cut(&uname.machine().to_string_lossy()),
    }
}

fn read(path: &str) -> Option<String> {
    let mut text = String::new();
    File::open(path)
        .ok()?
        .take(OS_RELEASE_BYTES_MAX)
        .read_to_string(&mut text)
        .ok()?;
    Some(text)
}

/// A value of an `os-release` file, unquoted as far as os-release(5) asks for.
fn value(release: &str, name: &str) -> Option<String> {
    let assigned = |line: &str| {
        let value = line.trim().strip_prefix(name)?.strip_prefix('=')?;
        Some(value.to_owned())
    };
    let value = release.lines().find_map(assigned)?;
    let inner = ['"', '\'']
        .into_iter()
        .find_map(|quote| value.strip_prefix(quote)?.strip_suffix(quote));
    let unescaped = inner.unwrap_or(&value).replace('\\', "");
    (!unescaped.is_empty()).then_some(unescaped)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn os_release_is_read_quoted_or_not() {
        let text = "NAME=\"Debian GNU/Linux\"\nVERSION_ID='12'\nID=debian\nEMPTY=\n";
        assert_eq!(value(text, "NAME").unwrap(), "Debian GNU/Linux");
        assert_eq!(value(text, "VERSION_ID").unwrap(), "12");
        assert_eq!(value(text, "ID").unwrap(), "debian");
        assert_eq!(value(text, "EMPTY"), None);
        assert_eq!(value(text, "VERSION"), None);
    }

    #[test]
    fn this_machine_has_a_name_and_an_architecture() {
        let platform = detect(Some(IpAddr::from([10, 0, 0, 1])));
        assert!(!platform.name.is_empty() && !platform.architecture.is_empty());
        assert_eq!(&*platform.ip_address, "10.0.0.1");
    }
}
