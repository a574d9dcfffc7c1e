//! The socket in the state directory that answers with the agent's status.
//! Never takes a request: who connects is told, and that is all.

use serde_json::Value;
use std::fs::{self, Permissions};
use std::io::{self, Read};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixStream as BlockingStream;
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
    path: PathBuf,
}

impl Control {
    /// Listens. Who holds the state directory may replace what an earlier process left.
    pub(super) fn listen(path: PathBuf) -> io::Result<Self> {
        match fs::remove_file(&path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            Ok(()) | Err(_) => {}
        }
        let listener = UnixListener::bind(&path)?;
        fs::set_permissions(&path, Permissions::from_mode(0o600))?;
        Ok(Self { listener, path })
    }

    /// The next to ask.
    pub(super) async fn accept(&self) -> io::Result<UnixStream> {
        self.listener.accept().await.map(|(stream, _)| stream)
    }
}

impl Drop for Control {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.path);
    }
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
    let stream = match BlockingStream::connect(path) {
        Ok(stream) => stream,
        Err(error)
            if matches!(
                error.kind(),
                io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused
            ) =>
        {
            return Ok(None);
        }
        Err(error) => return Err(error),
    };
    stream.set_read_timeout(Some(LIMIT * 2))?;
    let mut text = Vec::new();
    stream.take(ANSWER_BYTES_MAX).read_to_end(&mut text)?;
    Ok(Some(serde_json::from_slice(&text)?))
}
