//! Gathering in a process of its own: its memory and the code that it runs go with its end, a stop ends
//! it at once, and a package database that breaks a reader breaks no agent.
//! Never two at once, and never on the thread that serves the link.

use super::gather::{Gathered, Occasion, inventory_reports, patch_reports};
use super::process::{Finished, Process, supervise};
use super::{End, Environment, Stop};
use holdfast_documents::InventoryType;
use serde::{Deserialize, Serialize};
use std::path::Path;
use std::time::Duration;
use tokio::process::Command;
use tokio::sync::{Semaphore, oneshot};
use tokio::time::timeout;

/// Gatherers read whole package databases: one at a time keeps memory and disk in bounds.
static ONE_AT_A_TIME: Semaphore = Semaphore::const_new(1);

/// This program, also where its file was replaced by an upgrade since it began.
pub const THIS_PROGRAM: &str = "/proc/self/exe";
/// The verb by which it gathers: of no use to people, and so in no help text.
pub const VERB: &str = "gather";

/// Who asks is answered within this, also while one before it hangs: no more wait than ask in this time.
const LIMIT: Duration = Duration::from_mins(30);
/// Bytes taken of what a gatherer found: far above what a report may have.
const FOUND_BYTES_MAX: usize = 8 << 20;
/// Bytes taken of its last words.
const WORDS_BYTES_MAX: usize = 1024;

/// What is to be gathered.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Wanted {
    /// An inventory.
    Inventory {
        /// The node's id.
        node: String,
        /// Of what, beside the node itself.
        types: Vec<InventoryType>,
    },
    /// A patch scan.
    Patches(Occasion),
}

impl Wanted {
    /// Gathers it here. Blocks.
    #[must_use]
    pub fn gather(&self) -> Gathered {
        match self {
            Self::Inventory { node, types } => inventory_reports(node, types),
            Self::Patches(occasion) => patch_reports(occasion),
        }
    }

    /// The command line of this program that gathers it.
    fn command(&self, program: &Path) -> Result<Command, postcard::Error> {
        let mut command = Command::new(program);
        // An emulator that takes itself for this program takes the verb for a file: of nobody's folder.
        command.current_dir("/").arg0("holdfast-agent");
        command.args([VERB, &self.to_argument()?]);
        Ok(command)
    }

    /// As the one argument of [`VERB`].
    fn to_argument(&self) -> Result<String, postcard::Error> {
        postcard::to_stdvec(self).map(hex::encode)
    }

    /// What an argument of [`VERB`] asks for; `None`: it is not one.
    #[must_use]
    pub fn of_argument(argument: &str) -> Option<Self> {
        let bytes = hex::decode(argument).ok()?;
        postcard::from_bytes(&bytes).ok()
    }
}

/// Gathers in another process, where there can be one, else on a blocking thread. To drop it ends the
/// process; a thread finishes for nobody, since a gatherer changes nothing.
pub async fn gather(wanted: Wanted, environment: &Environment) -> Gathered {
    let command = environment.program.as_deref();
    let command = command.and_then(|program| wanted.command(program).ok());
    let (answer, gathered) = oneshot::channel();
    tokio::spawn(take_turn(&ONE_AT_A_TIME, wanted, command, answer));
    match timeout(LIMIT, gathered).await {
        Ok(gathered) => {
            gathered.unwrap_or_else(|_| Gathered::failed("the gatherer broke off".into()))
        }
        Err(_) => Gathered::failed(format!(
            "the gatherer did not end within {} minutes",
            LIMIT.as_secs() / 60
        )),
    }
}

/// Gathers when it is its turn, and keeps the turn until nothing of that runs any more, also when nobody
/// waits for the answer: what a disk holds up does not add up.
async fn take_turn(
    turns: &Semaphore,
    wanted: Wanted,
    command: Option<Command>,
    mut answer: oneshot::Sender<Gathered>,
) {
    let turn = tokio::select! {
        turn = turns.acquire() => turn,
        () = answer.closed() => return,
    };
    let elsewhere = match command {
        Some(command) => elsewhere(command, answer.closed()).await,
        None => Err("there is no program for it".into()),
    };
    let gathered = match elsewhere {
        Ok(gathered) => gathered,
        Err(_) if answer.is_closed() => return,
        Err(why) => {
            tracing::debug!(why, "gathering in this process");
            let gathering = tokio::task::spawn_blocking(move || wanted.gather());
            let broke_off = |_| Gathered::failed("the gatherer broke off".into());
            gathering.await.unwrap_or_else(broke_off)
        }
    };
    drop(turn);
    // Whoever asked may have given up just now.
    let _ = answer.send(gathered);
}

/// Gathers in another process, as long as somebody waits for it; an error says why there was none that
/// could.
async fn elsewhere(
    command: Command,
    nobody_waits: impl Future<Output = ()>,
) -> Result<Gathered, String> {
    // The disk that the program is read from may hang.
    let beginning = tokio::task::spawn_blocking(move || Process::begin(command, None));
    let process = beginning
        .await
        .map_err(|error| error.to_string())?
        .map_err(|error| error.to_string())?;
    let bounds = (FOUND_BYTES_MAX, WORDS_BYTES_MAX);
    let stop = async {
        nobody_waits.await;
        Stop::Cancelled
    };
    let finished = supervise(process, bounds, stop).await;
    found(finished.map_err(|error| error.to_string())?)
}

fn found(finished: Finished) -> Result<Gathered, String> {
    let Finished {
        end,
        stdout,
        stderr,
    } = finished;
    let words = String::from_utf8_lossy(&stderr.kept);
    let words = words.trim();
    match end {
        End::Exited(0) if stdout.total > FOUND_BYTES_MAX as u64 => Ok(Gathered::failed(format!(
            "the gatherer found {} bytes, at most {FOUND_BYTES_MAX} are taken",
            stdout.total
        ))),
        End::Exited(0) => Ok(postcard::from_bytes(&stdout.kept).unwrap_or_else(|error| {
            Gathered::failed(format!("the gatherer's words are not understood: {error}"))
        })),
        // What broke it would break this process too.
        End::Signalled(signal) => Ok(Gathered::failed(format!(
            "the gatherer was ended by signal {signal}: {words}"
        ))),
        // It was not this program that ran: an emulator's /proc/self/exe is the emulator.
        End::Exited(code) => Err(format!("exit code {code}: {words}")),
        End::Stopped(_) | End::NotStarted => Err("it was not run".into()),
    }
}

#[cfg(test)]
mod tests {
    use super::super::Captured;
    use super::*;

    fn finished(end: End, stdout: &[u8], stderr: &str) -> Finished {
        Finished {
            end,
            stdout: Captured {
                kept: stdout.to_vec(),
                total: stdout.len() as u64,
            },
            stderr: Captured::of_text(stderr, WORDS_BYTES_MAX),
        }
    }

    #[test]
    fn what_is_wanted_is_read_as_it_was_written() {
        for wanted in [
            Wanted::Inventory {
                node: "mi-1".into(),
                types: vec![InventoryType::Application, InventoryType::Network],
            },
            Wanted::Patches(Occasion {
                snapshot: Some("s".into()),
                association: None,
                command: "c".into(),
            }),
        ] {
            let argument = wanted.to_argument().unwrap();
            assert_eq!(Wanted::of_argument(&argument), Some(wanted));
        }
        for wrong in ["", "zz", "ff", "00ff"] {
            assert_eq!(Wanted::of_argument(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn what_was_found_is_taken_and_a_crash_is_a_fault_in_words() {
        let whole = Gathered {
            text: "all of it".into(),
            ..Gathered::default()
        };
        let bytes = postcard::to_stdvec(&whole).unwrap();
        let taken = found(finished(End::Exited(0), &bytes, "")).unwrap();
        assert_eq!(taken.text, "all of it");
        let crash = found(finished(End::Signalled(6), b"", "panicked at x\n")).unwrap();
        assert_eq!(
            crash.faults,
            ["the gatherer was ended by signal 6: panicked at x"]
        );
        let cut = found(finished(End::Exited(0), &bytes[..3], "")).unwrap();
        assert!(cut.faults[0].contains("not understood"), "{:?}", cut.faults);
    }

    #[tokio::test]
    async fn one_that_nobody_waits_for_has_ended_before_the_next_begins() {
        let home = tempfile::tempdir().unwrap();
        let (begun, ended) = (home.path().join("begun"), home.path().join("ended"));
        rustix::fs::mkfifoat(
            rustix::fs::CWD,
            &begun,
            rustix::fs::Mode::RUSR | rustix::fs::Mode::WUSR,
        )
        .unwrap();
        let mut command = Command::new("sh");
        let script = "trap 'echo > ended; exit' TERM; echo > begun; while :; do sleep 0.01; done";
        command.current_dir(home.path()).args(["-c", script]);
        let turns: &Semaphore = Box::leak(Box::new(Semaphore::new(1)));
        let (answer, gathered) = oneshot::channel();
        let wanted = Wanted::Patches(Occasion::default());
        let turn = tokio::spawn(take_turn(turns, wanted, Some(command), answer));
        let told = tokio::task::spawn_blocking(move || std::fs::read_to_string(begun));
        told.await.unwrap().unwrap();
        drop(gathered);
        let next = turns.acquire().await;
        assert!(ended.exists());
        drop(next);
        turn.await.unwrap();
    }

    #[test]
    fn more_than_is_taken_is_a_fault_with_the_bound() {
        let mut much = finished(End::Exited(0), b"", "");
        much.stdout.total = FOUND_BYTES_MAX as u64 + 1;
        assert!(found(much).unwrap().faults[0].contains("at most 8388608"));
    }

    #[tokio::test]
    async fn a_program_that_is_not_the_agent_leaves_the_work_to_this_process() {
        for program in ["/bin/false", "/nowhere/at/all"] {
            let environment = Environment {
                program: Some(program.into()),
                ..Environment::default()
            };
            let wanted = Wanted::Inventory {
                node: "mi-1".into(),
                types: Vec::new(),
            };
            let gathered = gather(wanted, &environment).await;
            assert!(!gathered.tables.is_empty(), "{gathered:?}");
        }
    }
}
