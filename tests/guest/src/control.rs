//! The wire by which the test tells the machine what to do: one line there, its end and output back.
//! Never the network of the test itself: that may be cut.

use anyhow::{Context as _, Result, bail, ensure};
use holdfast_e2e::{Exit, PATIENCE, until};
use std::io::{BufRead as _, BufReader, ErrorKind, Read as _, Write as _};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;

/// Longest output that is read.
const OUTPUT_BYTES_MAX: usize = 4 << 20;
/// Longest line of the machine's own.
const LINE_BYTES_MAX: u64 = 200;

/// A machine that listens.
#[derive(Debug)]
pub(crate) struct Control(BufReader<UnixStream>);

impl Control {
    /// Makes the socket that a machine connects to.
    ///
    /// # Errors
    /// When it cannot be made.
    pub(crate) fn listen(socket: &Path) -> Result<UnixListener> {
        let listener = UnixListener::bind(socket).with_context(|| socket.display().to_string())?;
        listener.set_nonblocking(true)?;
        Ok(listener)
    }

    /// Waits until the machine has come up; `alive` fails when it has ended instead.
    ///
    /// # Errors
    /// When it does not come up, with what it said.
    pub(crate) fn accept(
        listener: &UnixListener,
        mut alive: impl FnMut() -> Result<()>,
    ) -> Result<Self> {
        let stream = until("the machine's wire is there", PATIENCE, || {
            match listener.accept() {
                Ok((stream, _)) => Ok(Some(stream)),
                Err(error) if error.kind() == ErrorKind::WouldBlock => alive().map(|()| None),
                Err(error) => Err(error.into()),
            }
        })?;
        stream.set_nonblocking(false)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        let mut control = Self(BufReader::new(stream));
        let said = control
            .line()
            .context("waiting for the machine to come up")?;
        ensure!(said == "ready", "the machine says: {said}");
        Ok(control)
    }

    /// Has the machine's shell run a line, and waits for its end.
    ///
    /// # Errors
    /// When the machine is gone or does not answer in time.
    pub(crate) fn run(&mut self, line: &str) -> Result<Exit> {
        ensure!(!line.contains('\n'), "more than one line: {line}");
        writeln!(self.0.get_mut(), "{line}")?;
        let head = self.line()?;
        let numbers: Vec<usize> = head
            .split(' ')
            .map_while(|word| word.parse().ok())
            .collect();
        let [code, stdout, stderr] = numbers[..] else {
            bail!("the machine answers {head}");
        };
        Ok(Exit {
            code: i32::try_from(code)?,
            stdout: self.text(stdout)?,
            stderr: self.text(stderr)?,
        })
    }

    fn line(&mut self) -> Result<String> {
        let mut line = String::new();
        self.0.by_ref().take(LINE_BYTES_MAX).read_line(&mut line)?;
        let line = line.strip_suffix('\n');
        Ok(line.context("the machine is gone")?.to_owned())
    }

    fn text(&mut self, bytes: usize) -> Result<String> {
        ensure!(bytes <= OUTPUT_BYTES_MAX, "an output of {bytes} bytes");
        let mut text = vec![0; bytes];
        self.0.read_exact(&mut text)?;
        Ok(String::from_utf8_lossy(&text).into_owned())
    }
}
