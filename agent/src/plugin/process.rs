//! Runs one process in a group of its own, to its end, its time limit or a stop.
//! Never waits for an orphan that holds a pipe, and never leaves the group alive after a stop.

use super::output::{Captured, capture};
use super::remains::Note;
use super::{End, Stop};
use rustix::process::{Pid, Signal, kill_process_group, test_kill_process_group};
use std::os::unix::process::ExitStatusExt;
use std::process::{ExitStatus, Stdio};
use std::time::Duration;
use tokio::process::{Child, Command};
use tokio::time::{sleep, timeout};

/// Time between a polite TERM and KILL, unless the machine itself goes down.
pub(super) const GRACE: Duration = Duration::from_secs(5);
/// What a process wrote is in its pipes when it ends; an orphan that holds them gets this long.
const DRAIN: Duration = Duration::from_secs(1);

/// What a process left behind.
#[derive(Debug)]
pub(crate) struct Finished {
    pub(crate) end: End,
    pub(crate) stdout: Captured,
    pub(crate) stderr: Captured,
}

/// A process in a group of its own; killed with it when nobody waits for it any more.
#[derive(Debug)]
pub(crate) struct Process {
    child: Child,
    group: Option<Pid>,
    supervised: bool,
}

impl Process {
    /// Starts `command`. Blocks until it is under way, which a working directory on a file system
    /// that hangs can hold up for ever: not for the link's thread.
    ///
    /// # Errors
    /// What the system said when it could not be started.
    pub(crate) fn begin(mut command: Command, note: Option<&Note>) -> std::io::Result<Self> {
        let child = command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .process_group(0)
            .kill_on_drop(true)
            .spawn()?;
        let group = group_of(&child);
        if let Some((note, leader)) = note.zip(group)
            && let Err(error) = note.write(leader)
        {
            tracing::warn!(%error, "a step's process is not noted: a kill of this agent would leave it running");
        }
        Ok(Self {
            child,
            group,
            supervised: false,
        })
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        if let Some(group) = self.group.filter(|_| !self.supervised) {
            let _ = kill_process_group(group, Signal::KILL);
        }
    }
}

/// Waits until a process ends or `stop` does, and then ends its whole group.
///
/// # Errors
/// What the system said when it could not be waited for.
pub(crate) async fn supervise(
    mut process: Process,
    output_bytes_max: (usize, usize),
    stop: impl Future<Output = Stop>,
) -> std::io::Result<Finished> {
    let (child, group) = (&mut process.child, process.group);
    let (out, err) = (child.stdout.take(), child.stderr.take());
    let (mut stdout, mut stderr) = (Captured::default(), Captured::default());
    let end = {
        let output = async {
            tokio::join!(
                capture(out, &mut stdout, output_bytes_max.0),
                capture(err, &mut stderr, output_bytes_max.1)
            )
        };
        tokio::pin!(output);
        let mut open = true;
        let waited = wait(child, group, stop);
        tokio::pin!(waited);
        let end = loop {
            tokio::select! {
                end = &mut waited => break end?,
                _ = &mut output, if open => open = false,
            }
        };
        if open {
            // Whoever still holds the pipes after this writes for itself.
            let _ = timeout(DRAIN, &mut output).await;
        }
        end
    };
    // What it leaves behind on purpose outlives it, but not an agent that ends before it does.
    process.supervised = true;
    Ok(Finished {
        end,
        stdout,
        stderr,
    })
}

fn group_of(child: &Child) -> Option<Pid> {
    child
        .id()
        .and_then(|id| i32::try_from(id).ok())
        .and_then(Pid::from_raw)
}

async fn wait(
    child: &mut Child,
    group: Option<Pid>,
    stop: impl Future<Output = Stop>,
) -> std::io::Result<End> {
    let stop = tokio::select! {
        status = child.wait() => return Ok(ended(status?)),
        stop = stop => stop,
    };
    let Some(group) = group else {
        child.kill().await?;
        return Ok(End::Stopped(stop));
    };
    kill_all(child, group).await?;
    Ok(End::Stopped(stop))
}

/// TERM to the group; after [`GRACE`] KILL to whoever of it is still there.
async fn kill_all(child: &mut Child, group: Pid) -> std::io::Result<()> {
    let _ = kill_process_group(group, Signal::TERM);
    let gone = async {
        child.wait().await?;
        // The leader has ended; others of the group may be tidying up after themselves.
        while test_kill_process_group(group).is_ok() {
            sleep(Duration::from_millis(20)).await;
        }
        Ok(())
    };
    if let Ok(result) = timeout(GRACE, gone).await {
        return result;
    }
    let _ = kill_process_group(group, Signal::KILL);
    child.wait().await.map(drop)
}

fn ended(status: ExitStatus) -> End {
    match (status.code(), status.signal()) {
        (Some(code), _) => End::Exited(code),
        (None, Some(signal)) => End::Signalled(signal),
        // Cannot be on Unix: a process that ended did one of the two.
        (None, None) => End::Exited(-1),
    }
}
