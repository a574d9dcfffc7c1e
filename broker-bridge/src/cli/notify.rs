//! Tells the service manager that started this process that it serves; `sd_notify(3)`.
//! Never fails because of it, and never waits.

use std::ffi::OsStr;
use std::io;
use std::os::linux::net::SocketAddrExt as _;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::net::{SocketAddr, UnixDatagram};

/// Says so where the environment names somebody who listens: until then, nothing that waits for
/// this service is started.
pub(super) fn ready() {
    let Some(socket) = std::env::var_os("NOTIFY_SOCKET") else {
        return;
    };
    if let Err(error) = tell(&socket) {
        tracing::warn!(%error, "the service manager is not told that the bridge serves");
    }
}

fn tell(name: &OsStr) -> io::Result<()> {
    let address = match name.as_bytes().split_first() {
        Some((b'@', name)) => SocketAddr::from_abstract_name(name)?,
        Some(_) | None => SocketAddr::from_pathname(name)?,
    };
    let socket = UnixDatagram::unbound()?;
    socket.set_nonblocking(true)?;
    socket.send_to_addr(b"READY=1", &address).map(drop)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_listens_is_told_once() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("notify");
        let listener = UnixDatagram::bind(&path).unwrap();
        tell(path.as_os_str()).unwrap();
        let mut told = [0; 32];
        let length = listener.recv(&mut told).unwrap();
        assert_eq!(&told[..length], b"READY=1");
        drop(listener);
        std::fs::remove_file(&path).unwrap();
        assert!(tell(path.as_os_str()).is_err());
    }
}
