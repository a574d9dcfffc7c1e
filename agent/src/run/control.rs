//! The socket in the state directory that answers with the agent's status; a name of the kernel's
//! where that directory takes none. Never takes a request: who connects is told, and that is all.

use rustix::net::UCred;
use rustix::net::sockopt::socket_peercred;
use serde_json::Value;
use std::fs::{self, Permissions};
use std::io::{self, Read};
use std::os::linux::net::SocketAddrExt;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::{
    SocketAddr, UnixListener as BlockingListener, UnixStream as BlockingStream,
};
use std::path::{Path, PathBuf};
use std::time::Duration;
use tokio::io::AsyncWriteExt;
use tokio::net::{UnixListener, UnixStream};
use tokio::time::timeout;

/// How long an answer may take on either side.
const LIMIT: Duration = Duration::from_secs(2);
/// An answer is not longer.
const ANSWER_BYTES_MAX: u64 = 4 * 1024 * 1024;

/// Listens as long as the agent runs; the socket is removed at its end.
#[derive(Debug)]
pub(super) struct Control {
    listener: UnixListener,
    /// Where the socket is; none in a directory that takes none.
    path: Option<PathBuf>,
}

impl Control {
    /// Listens. Who holds the state directory may replace what an earlier process left.
    pub(super) fn listen(path: PathBuf) -> io::Result<Self> {
        match Self::listen_at(&path) {
            Ok(listener) => Ok(Self {
                listener,
                path: Some(path),
            }),
            Err(error) => {
                tracing::debug!(%error, "no socket in the state directory: the kernel keeps its name");
                let listener = BlockingListener::bind_addr(&name_of(&path)?)?;
                listener.set_nonblocking(true)?;
                let listener = UnixListener::from_std(listener)?;
                Ok(Self {
                    listener,
                    path: None,
                })
            }
        }
    }

    fn listen_at(path: &Path) -> io::Result<UnixListener> {
        match fs::remove_file(path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            Ok(()) | Err(_) => {}
        }
        let listener = UnixListener::bind(path)?;
        fs::set_permissions(path, Permissions::from_mode(0o600))?;
        Ok(listener)
    }

    /// The next to ask. A name of the kernel's is everyone's to call: only this user is answered.
    pub(super) async fn accept(&self) -> io::Result<UnixStream> {
        loop {
            let (stream, _) = self.listener.accept().await?;
            if self.path.is_some() || is_trusted(socket_peercred(&stream)?) {
                return Ok(stream);
            }
        }
    }
}

impl Drop for Control {
    fn drop(&mut self) {
        if let Some(path) = &self.path {
            let _ = fs::remove_file(path);
        }
    }
}

/// The kernel's name for a socket that has no place in the file system: 63 bytes, of its path.
fn name_of(path: &Path) -> io::Result<SocketAddr> {
    let digest = ring::digest::digest(&ring::digest::SHA256, path.as_os_str().as_bytes());
    let digest = digest.as_ref().get(..16).unwrap_or_default();
    SocketAddr::from_abstract_name(format!("holdfast-agent-{}", hex::encode(digest)))
}

/// Root, or who runs this.
fn is_trusted(peer: UCred) -> bool {
    peer.uid.is_root() || peer.uid == rustix::process::geteuid()
}

/// Answers one who asked, at their pace within the limit.
pub(super) fn answer(mut stream: UnixStream, status: Value) {
    tokio::spawn(async move {
        let text = status.to_string();
        let _ = timeout(LIMIT, stream.write_all(text.as_bytes())).await;
    });
}

/// Asks the agent that runs on a state directory; `None` when none does.
///
/// # Errors
/// The system's, or that the answer is none.
pub fn ask(path: &Path) -> io::Result<Option<Value>> {
    let nobody = |error: &io::Error| {
        matches!(
            error.kind(),
            io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused
        )
    };
    let stream = match BlockingStream::connect(path) {
        Err(error) if nobody(&error) => match BlockingStream::connect_addr(&name_of(path)?) {
            Err(error) if nobody(&error) => return Ok(None),
            Ok(stream) if !is_trusted(socket_peercred(&stream)?) => return Ok(None),
            stream => stream?,
        },
        stream => stream?,
    };
    stream.set_read_timeout(Some(LIMIT * 2))?;
    let mut text = Vec::new();
    stream.take(ANSWER_BYTES_MAX).read_to_end(&mut text)?;
    Ok(Some(serde_json::from_slice(&text)?))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    async fn asked(control: Control, path: &Path) -> Option<Value> {
        let path = path.to_owned();
        let asking = tokio::task::spawn_blocking(move || ask(&path).unwrap());
        answer(control.accept().await.unwrap(), json!({"node": "mi-1"}));
        asking.await.unwrap()
    }

    #[tokio::test]
    async fn who_asks_in_the_state_directory_is_told() {
        let home = tempfile::tempdir().unwrap();
        let path = home.path().join("control.sock");
        assert!(ask(&path).unwrap().is_none(), "nobody listens");
        // What a killed process left is replaced.
        drop(BlockingListener::bind(&path).unwrap());
        assert!(ask(&path).unwrap().is_none());
        let control = Control::listen(path.clone()).unwrap();
        let mode = fs::metadata(&path).unwrap().permissions().mode() & 0o777;
        assert_eq!(mode, 0o600);
        assert_eq!(asked(control, &path).await, Some(json!({"node": "mi-1"})));
        assert!(!path.exists(), "it goes with the agent");
    }

    #[tokio::test]
    async fn a_directory_that_takes_no_socket_does_not_hide_the_status() {
        let home = tempfile::tempdir().unwrap();
        let path = home.path().join("nowhere/control.sock");
        let control = Control::listen(path.clone()).unwrap();
        assert_eq!(asked(control, &path).await, Some(json!({"node": "mi-1"})));
        assert!(ask(&path).unwrap().is_none());
    }

    #[tokio::test]
    async fn an_answer_that_is_none_is_an_error() {
        let home = tempfile::tempdir().unwrap();
        let path = home.path().join("control.sock");
        let listener = BlockingListener::bind(&path).unwrap();
        let asking = tokio::task::spawn_blocking(move || ask(&path));
        drop(listener.accept().unwrap());
        assert!(asking.await.unwrap().is_err());
    }
}
