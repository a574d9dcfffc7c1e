//! `aws:runShellScript`: the lines become a file in a directory of their own, and an interpreter runs it.
//! Never puts a line of the script on a command line or into the environment.

use super::process::{self, Finished, Process};
use super::remains::{self, Note};
use super::{End, Job, StepOutcome, Stop};
use holdfast_documents::RunScript;
use std::ffi::OsString;
use std::fs::{self, DirBuilder, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::Duration;
use tokio::process::Command;
use tokio::sync::{Semaphore, oneshot};
use tokio::time::timeout;

/// Scripts whose files are touched at once, each on a blocking thread. A thread that hangs, such as
/// on the mount of a server that is gone, is lost until that answers: so many may be.
pub(crate) const FILES_AT_ONCE: u32 = 8;
/// Held while a script's files are being made or removed.
static FILES: Semaphore = Semaphore::const_new(FILES_AT_ONCE as usize);
/// The script's file in its directory.
pub(super) const SCRIPT: &str = "script.sh";
/// A script's result does not wait longer for its directory to be removed.
const REMOVE_LIMIT: Duration = Duration::from_secs(5);

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
    note: Option<Note>,
}

impl Workspace {
    fn create(directory: PathBuf, text: &str, noted: bool) -> Result<Self, PrepareError> {
        let script = directory.join(SCRIPT);
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
            .and_then(|mut file| file.write_all(text.as_bytes()))
            .and_then(|()| noted.then(|| Note::create(&directory)).transpose());
        match written {
            Ok(note) => Ok(Self {
                directory,
                script,
                note,
            }),
            Err(source) => Err(PrepareError {
                path: directory,
                source,
            }),
        }
    }

    /// The step has ended, or never began.
    fn remove(self) {
        if let Some(note) = self.note {
            note.remove();
        }
        let _ = remove(&self.directory);
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
    // One limit for everything: also for files that cannot be reached.
    let stop = super::stopped(stop, job.limit);
    tokio::pin!(stop);
    let wanted = Wanted::of(script, job);
    let begun = tokio::select! {
        begun = on_files(move |given_up| wanted.begin(given_up)) => begun,
        stop = &mut stop => {
            return StepOutcome {
                end: End::Stopped(stop),
                ..StepOutcome::failed("stopped before its files could be reached".into())
            };
        }
    };
    let (workspace, process) = match begun {
        Ok(Ok(begun)) => begun,
        Ok(Err(outcome)) => return outcome,
        Err(error) => return StepOutcome::not_started(&error),
    };
    let outcome = match process::supervise(process, job.output_bytes_max, stop).await {
        Ok(finished) => outcome_of(finished),
        Err(error) => StepOutcome::not_started(&error),
    };
    // What is not removed by then is removed when the agent starts next.
    let _ = timeout(REMOVE_LIMIT, on_files(move |_| workspace.remove())).await;
    outcome
}

/// Ends what earlier processes left running of their scripts, calls `ended`, and removes their files;
/// scripts that begin meanwhile wait for it.
pub(crate) fn sweep(scripts: PathBuf, ended: impl FnOnce() + Send + 'static) {
    let all = FILES.try_acquire_many(FILES_AT_ONCE);
    tokio::task::spawn_blocking(move || {
        let _all = all;
        remains::end(&scripts);
        ended();
        if let Err(error) = remove(&scripts) {
            tracing::warn!(%error, path = %scripts.display(), "old scripts are not removed");
        }
    });
}

/// Works on files on a blocking thread: a slow or hanging file system takes neither the link's thread
/// nor those that the journal needs. `work` learns whether anybody still waits for it.
async fn on_files<T: Send + 'static>(
    work: impl FnOnce(&dyn Fn() -> bool) -> T + Send + 'static,
) -> io::Result<T> {
    let stopping = || io::Error::other("the agent is stopping");
    let permit = FILES.acquire().await.map_err(|_| stopping())?;
    let (done, result) = oneshot::channel();
    tokio::task::spawn_blocking(move || {
        let _permit = permit;
        let came = work(&|| done.is_closed());
        let _ = done.send(came);
    });
    result.await.map_err(|_| stopping())
}

/// What is to be run.
struct Wanted {
    directory: PathBuf,
    text: String,
    working_directory: Option<PathBuf>,
    environment: Vec<(String, String)>,
    noted: bool,
}

impl Wanted {
    fn of(script: &RunScript, job: &Job) -> Self {
        let known = job.environment.variables().into_iter();
        let known = known.map(|(name, value)| (name.to_owned(), value.to_owned()));
        let mut text = script.commands.join("\n");
        text.push('\n');
        Self {
            directory: job.directory.clone(),
            text,
            working_directory: script.working_directory.as_ref().map(PathBuf::from),
            environment: known.chain(script.env.iter().cloned()).collect(),
            noted: job.noted,
        }
    }

    /// Makes the files and starts the process. Each step of this may hang; what was given up
    /// meanwhile does not begin.
    fn begin(self, given_up: &dyn Fn() -> bool) -> Result<(Workspace, Process), StepOutcome> {
        let nobody_waits = || StepOutcome::failed(String::new());
        if let Some(detail) = self.working_directory.as_deref().and_then(not_a_directory) {
            return Err(StepOutcome::failed(detail));
        }
        if given_up() {
            return Err(nobody_waits());
        }
        let workspace = Workspace::create(self.directory.clone(), &self.text, self.noted)
            .map_err(|error| StepOutcome::not_started(&error))?;
        let begun = if given_up() {
            Err(nobody_waits())
        } else {
            self.start(&workspace)
        };
        match begun {
            Ok(process) if !given_up() => Ok((workspace, process)),
            Ok(process) => {
                drop(process);
                workspace.remove();
                Err(nobody_waits())
            }
            Err(outcome) => {
                workspace.remove();
                Err(outcome)
            }
        }
    }

    fn start(self, workspace: &Workspace) -> Result<Process, StepOutcome> {
        let mut program = interpreter(&self.text).into_iter();
        let name = program.next().unwrap_or_default();
        let directory = self.working_directory.as_ref();
        let mut command = Command::new(&name);
        command
            .args(program)
            .arg(&workspace.script)
            .current_dir(directory.unwrap_or(&workspace.directory))
            .envs(self.environment);
        for variable in crate::run::notify::VARIABLES {
            command.env_remove(variable);
        }
        Process::begin(command, workspace.note.as_ref()).map_err(|error| {
            StepOutcome::failed(format!(
                "interpreter {} cannot be started: {error}",
                name.display()
            ))
        })
    }
}

fn outcome_of(finished: Finished) -> StepOutcome {
    StepOutcome {
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

    #[tokio::test]
    async fn a_step_whose_files_cannot_be_reached_keeps_its_limit_and_can_be_stopped() {
        // As many threads as may be hang.
        let _hanging = FILES.acquire_many(FILES_AT_ONCE).await.unwrap();
        let home = tempfile::tempdir().unwrap();
        let script = RunScript {
            commands: vec!["true".into()],
            working_directory: None,
            env: Vec::new(),
        };
        let mut job = Job {
            inputs: holdfast_documents::StepInputs::RunShellScript(script.clone()),
            limit: Some(Duration::from_millis(1)),
            output_bytes_max: (1, 1),
            directory: home.path().join("step"),
            noted: false,
            environment: crate::plugin::Environment::default(),
        };
        let (_stop, stopped) = oneshot::channel();
        let outcome = run(&script, &job, stopped).await;
        assert_eq!(outcome.end, End::Stopped(Stop::TimedOut));
        job.limit = None;
        let (stop, stopped) = oneshot::channel();
        stop.send(Stop::Cancelled).unwrap();
        let outcome = run(&script, &job, stopped).await;
        assert_eq!(outcome.end, End::Stopped(Stop::Cancelled));
        assert!(!job.directory.exists());
    }

    #[tokio::test]
    async fn what_was_given_up_while_it_hung_does_not_begin() {
        let home = tempfile::tempdir().unwrap();
        let mark = home.path().join("mark");
        let wanted = || Wanted {
            directory: home.path().join("step"),
            text: format!("echo > {}\n", mark.display()),
            working_directory: None,
            environment: Vec::new(),
            noted: false,
        };
        assert!(wanted().begin(&|| true).is_err());
        // Given up between the two looks: while its files were made.
        let looks = std::cell::Cell::new(0);
        let second = || looks.replace(looks.get() + 1) > 0;
        assert!(wanted().begin(&second).is_err());
        assert!(!mark.exists() && !home.path().join("step").exists());
    }

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
