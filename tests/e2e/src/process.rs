//! A child process that does not outlive an owner that returns or panics, and commands that are waited for.
//! Never signals a process that this crate did not start.

use crate::wait::{go_on, told, within};
use anyhow::{Context as _, Result, bail};
use rustix::process::{Pid, Signal, kill_process};
use std::io::{self, Read};
use std::os::unix::process::CommandExt as _;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;

/// How long a program may take to stop: the agent promises 15 s, on a machine that has time for it.
const STOPPED_WITHIN: Duration = Duration::from_secs(120);

/// A running program; dropped, it is killed and reaped.
#[derive(Debug)]
pub struct Running {
    child: Child,
    name: String,
}

impl Running {
    /// Starts a program.
    ///
    /// # Errors
    /// When it cannot be started, and after [`crate::interrupt`].
    pub fn start(command: &mut Command) -> Result<Self> {
        let name = command.get_program().to_string_lossy().into_owned();
        go_on(&format!("starting {name}"))?;
        // A group of its own: Ctrl-C at the terminal reaches the owner, which then stops the child.
        let child = command
            .stdin(Stdio::null())
            .process_group(0)
            .spawn()
            .with_context(|| format!("starting {name}"))?;
        Ok(Self { child, name })
    }

    /// Its process id.
    #[must_use]
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// Takes its standard output, where it was piped.
    pub fn take_stdout(&mut self) -> Option<std::process::ChildStdout> {
        self.child.stdout.take()
    }

    /// The status when it has ended.
    ///
    /// # Errors
    /// When it cannot be waited for.
    pub fn ended(&mut self) -> Result<Option<ExitStatus>> {
        self.child
            .try_wait()
            .with_context(|| format!("waiting for {}", self.name))
    }

    /// Sends a signal.
    ///
    /// # Errors
    /// When the process is gone.
    pub fn signal(&self, signal: Signal) -> Result<()> {
        let pid = i32::try_from(self.child.id())
            .ok()
            .and_then(Pid::from_raw)
            .context("a process id")?;
        kill_process(pid, signal).with_context(|| format!("signalling {}", self.name))
    }

    /// The power cut of a process: SIGKILL, then reaped.
    ///
    /// # Errors
    /// When it cannot be reaped.
    pub fn kill(&mut self) -> Result<()> {
        // It may have ended by itself: then there is nothing left to kill.
        let _ = self.child.kill();
        self.child
            .wait()
            .with_context(|| format!("reaping {}", self.name))?;
        Ok(())
    }

    /// Asks it to stop, and waits until it has.
    ///
    /// # Errors
    /// When it cannot be signalled or reaped, does not end within [`STOPPED_WITHIN`], or
    /// [`crate::interrupt`] was called twice.
    pub fn stop(&mut self) -> Result<ExitStatus> {
        if self.ended()?.is_none() {
            self.signal(Signal::TERM)?;
        }
        let what = format!("{} has ended after SIGTERM", self.name);
        within(&what, STOPPED_WITHIN, || self.ended())
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.kill();
    }
}

/// What a finished command left.
#[derive(Debug, Clone)]
pub struct Exit {
    /// Exit code; -1 when a signal ended it.
    pub code: i32,
    /// Standard output.
    pub stdout: String,
    /// Standard error.
    pub stderr: String,
}

impl Exit {
    /// Runs a command to its end.
    ///
    /// # Errors
    /// When it cannot be started, and after [`crate::interrupt`], which kills it.
    pub fn of(command: &mut Command) -> Result<Self> {
        let mut running = Running::start(command.stdout(Stdio::piped()).stderr(Stdio::piped()))?;
        // Not its arguments: an activation's code may be among them.
        let what = format!("running {}", running.name);
        // Beside it, both at once: a full pipe would hold the program up.
        let stdout = read(running.child.stdout.take());
        let stderr = read(running.child.stderr.take());
        let (stdout, stderr) = (told(&what, &stdout)?, told(&what, &stderr)?);
        let status = running.child.wait().context(what)?;
        Ok(Self {
            code: status.code().unwrap_or(-1),
            stdout: String::from_utf8_lossy(&stdout?).into_owned(),
            stderr: String::from_utf8_lossy(&stderr?).into_owned(),
        })
    }

    /// The standard output of a command that must succeed.
    ///
    /// # Errors
    /// When it failed, with what it said.
    pub fn success(self) -> Result<String> {
        if self.code != 0 {
            bail!("exit code {}: {}", self.code, self.stderr.trim());
        }
        Ok(self.stdout)
    }
}

/// Reads all that a program says on a thread of its own.
fn read(pipe: Option<impl Read + Send + 'static>) -> Receiver<io::Result<Vec<u8>>> {
    let (teller, all) = channel();
    std::thread::spawn(move || {
        let mut bytes = Vec::new();
        let read = pipe.map_or(Ok(0), |mut pipe| pipe.read_to_end(&mut bytes));
        // Nobody listens after an interrupt.
        let _ = teller.send(read.map(|_: usize| bytes));
    });
    all
}
