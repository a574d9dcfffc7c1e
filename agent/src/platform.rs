//! What this machine is, for hello and registration.
//! Never fails: what cannot be found out is left empty.

use crate::inventory::os_release::OsRelease;
use holdfast_protocol::bounded::Text;
use holdfast_protocol::up::Platform;
use std::net::IpAddr;
use std::path::Path;

/// What this machine is; `address` is that of its end of the link, where there is one.
#[must_use]
pub fn detect(address: Option<IpAddr>) -> Platform {
    let release = OsRelease::read(Path::new("/"));
    let uname = rustix::system::uname();
    let or = |value: String, other: &std::ffi::CStr| {
        if value.is_empty() {
            other.to_string_lossy().into_owned()
        } else {
            value
        }
    };
    Platform {
        name: Text::cut(&or(release.name, uname.sysname())),
        version: Text::cut(&or(release.version_id, uname.release())),
        computer_name: Text::cut(&uname.nodename().to_string_lossy()),
        ip_address: Text::cut(&address.map(|ip| ip.to_string()).unwrap_or_default()),
        architecture: Text::cut(&uname.machine().to_string_lossy()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_machine_has_a_name_and_an_architecture() {
        let platform = detect(Some(IpAddr::from([10, 0, 0, 1])));
        assert!(!platform.name.is_empty() && !platform.architecture.is_empty());
        assert_eq!(&*platform.ip_address, "10.0.0.1");
    }
}
