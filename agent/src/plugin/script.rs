//! `aws:runShellScript`: the lines become a file in a directory of their own, and an interpreter runs it.
//! Never puts a line of the script on a command line or into the environment.

use super::process;
use super::{End, Job, StepOutcome, Stop};
use holdfast_documents::RunScript;
use std::ffi::OsString;
use std::fs::{self, DirBuilder, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use tokio::process::Command;
use tokio::sync::{Semaphore, oneshot};

/// Held by the one script whose files are being made or removed.
static FILES: Semaphore = Semaphore::const_new(1);

/// A script's directory could not be made ready.
#[derive(Debug, thiserror::Error)]
#[error("the script's directory {} cannot be made ready", path.display())]
struct PrepareError {
    path: PathBuf,
    #[source]
    source: io::Error,
}

/// A directory (0700) with the script in it; removed with what the script left there.
#[derive(Debug)]
struct Workspace {
    directory: PathBuf,
    script: PathBuf,
}

impl Workspace {
    fn create(directory: PathBuf, text: &str) -> Result<Self, PrepareError> {
        let script = directory.join("script.sh");
        let written = remove(&directory)
            .and_then(|()| {
                DirBuilder::new()
                    .recursive(true)
                    .mode(0o700)
                    .create(&directory)
            })
            .and_then(|()| {
                OpenOptions::new()
                    .write(true)
                    .create_new(true)
                    .mode(0o700)
                    .open(&script)
            })
            .and_then(|mut file| file.write_all(text.as_bytes()));
        match written {
            Ok(()) => Ok(Self { directory, script }),
            Err(source) => Err(PrepareError {
                path: directory,
                source,
            }),
        }
    }
}

fn remove(directory: &Path) -> io::Result<()> {
    match fs::remove_dir_all(directory) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        Ok(()) | Err(_) => Ok(()),
    }
}

/// The program that runs a script: its `#!` line's, else `/bin/sh`.
///
/// The line is read here, and the kernel is not asked to: the state directory may be mounted
/// `noexec`, and a file just written may be "busy" while another step is being started.
fn interpreter(text: &str) -> Vec<OsString> {
    let line = text.lines().next().and_then(|line| line.strip_prefix("#!"));
    let mut parts = line
        .unwrap_or_default()
        .trim()
        .splitn(2, char::is_whitespace);
    match (
        parts.next().filter(|program| !program.is_empty()),
        parts.next(),
    ) {
        (Some(program), None) => vec![program.into()],
        (Some(program), Some(argument)) => vec![program.into(), argument.trim().into()],
        (None, _) => vec!["/bin/sh".into()],
    }
}

/// Runs the script in the job's directory, which is made for it and removed after it.
pub(super) async fn run(
    script: &RunScript,
    job: &Job,
    stop: oneshot::Receiver<Stop>,
) -> StepOutcome {
    let mut text = script.commands.join("\n");
    text.push('\n');
    let program = interpreter(&text);
    let (directory, wanted) = (job.directory.clone(), script.working_directory.clone());
    let prepared = on_files(move || {
        if let Some(detail) = wanted.and_then(|wanted| not_a_directory(Path::new(&wanted))) {
            return Err(StepOutcome::failed(detail));
        }
        Workspace::create(directory, &text).map_err(|error| StepOutcome::not_started(&error))
    });
    let workspace = match prepared.await {
        Ok(Ok(workspace)) => workspace,
        Ok(Err(outcome)) => return outcome,
        Err(error) => return StepOutcome::not_started(&error),
    };
    let outcome = run_in(&workspace, script, program, job, stop).await;
    let directory = workspace.directory;
    // What cannot be removed now is removed when the agent starts next.
    let _ = on_files(move || remove(&directory)).await;
    outcome
}

/// Works on files on a blocking thread, for one script at a time: the journal needs such a thread
/// too, and a slow or hanging file system must not take all of them, or the link's.
async fn on_files<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> io::Result<T> {
    let stopping = || io::Error::other("the agent is stopping");
    let permit = FILES.acquire().await.map_err(|_| stopping())?;
    let working = tokio::task::spawn_blocking(move || {
        let _permit = permit;
        work()
    });
    working.await.map_err(|_| stopping())
}

async fn run_in(
    workspace: &Workspace,
    script: &RunScript,
    program: Vec<OsString>,
    job: &Job,
    stop: oneshot::Receiver<Stop>,
) -> StepOutcome {
    let directory = script
        .working_directory
        .as_ref()
        .map_or(&*workspace.directory, Path::new);
    let mut program = program.into_iter();
    let name = program.next().unwrap_or_default();
    let mut command = Command::new(&name);
    command
        .args(program)
        .arg(&workspace.script)
        .current_dir(directory)
        .envs(job.environment.variables())
        .envs(script.env.iter().map(|(name, value)| (name, value)));
    match process::run(command, job.limit, job.output_bytes_max, stop).await {
        Ok(finished) => StepOutcome {
            detail: match &finished.end {
                End::Stopped(Stop::TimedOut) => {
                    "ran past its time limit, and was killed with its process group".into()
                }
                End::Stopped(Stop::Cancelled) => "killed with its process group".into(),
                End::Signalled(signal) => format!("ended by signal {signal}"),
                End::Exited(_) | End::NotStarted => String::new(),
            },
            end: finished.end,
            stdout: finished.stdout,
            stderr: finished.stderr,
            tables: Vec::new(),
        },
        Err(error) => StepOutcome::failed(format!(
            "interpreter {} cannot be started: {error}",
            name.display()
        )),
    }
}

fn not_a_directory(path: &Path) -> Option<String> {
    let shown = path.display();
    match fs::metadata(path) {
        Ok(found) if found.is_dir() => None,
        Ok(_) => Some(format!("working directory {shown} is not a directory")),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Some(format!(
            "working directory {shown} does not exist on this node"
        )),
        Err(error) => Some(format!("working directory {shown} cannot be used: {error}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_interpreter_is_the_scripts_own_else_the_shell() {
        let of = |text: &str| {
            let parts = interpreter(text).into_iter();
            parts
                .map(|part| part.into_string().unwrap())
                .collect::<Vec<_>>()
        };
        assert_eq!(of("echo\n"), ["/bin/sh"]);
        assert_eq!(of(""), ["/bin/sh"]);
        assert_eq!(of("#!\n"), ["/bin/sh"]);
        assert_eq!(of("#!/bin/bash\n"), ["/bin/bash"]);
        assert_eq!(of("#! /bin/sh -eu\r\n"), ["/bin/sh", "-eu"]);
        assert_eq!(
            of("#!/usr/bin/env -S python3 -u\n"),
            ["/usr/bin/env", "-S python3 -u"]
        );
    }
}
