//! Running steps and gatherers as tasks that feed the core.
//! Never starts one by itself.

use super::Event;
use crate::plugin::gather::{Gathered, INVENTORY_TYPES, Occasion};
use crate::plugin::gatherer::{self, Wanted};
use crate::plugin::{self, Captured, End, Environment, Job, StepOutcome, Stop};
use holdfast_agent_core::{Gathering, Input, KillReason, Run, StepEnd, StepExit};
use holdfast_protocol::CommandId;
use holdfast_protocol::limits::OUTPUT_CHUNK_BYTES_MAX;
use holdfast_protocol::up::OutputStream;
use std::collections::HashMap;
use std::path::Path;
use std::time::Duration;
use tokio::sync::{mpsc, oneshot};

/// A machine that was told to reboot is down within this.
const REBOOT_LIMIT: Duration = Duration::from_mins(10);

/// The running steps, each with the way to stop it. The core bounds how many there are.
#[derive(Debug, Default)]
pub(super) struct Steps(HashMap<(CommandId, u8), oneshot::Sender<Stop>>);

impl Steps {
    pub(super) fn begin(
        &mut self,
        run: Run,
        scripts: &Path,
        environment: Environment,
        events: mpsc::Sender<Event>,
    ) {
        let Run {
            command,
            step,
            inputs,
            stdout_bytes_max,
            stderr_bytes_max,
            ..
        } = run;
        let job = Job {
            inputs,
            limit: None,
            output_bytes_max: (stdout_bytes_max, stderr_bytes_max),
            directory: scripts.join(format!("{command}-{step}")),
            noted: true,
            environment: Environment {
                command: command.to_string(),
                ..environment
            },
        };
        let (stop, stopped) = oneshot::channel();
        self.0.insert((command, step), stop);
        tokio::spawn(async move {
            let outcome = Box::pin(plugin::run(job, stopped)).await;
            tell(&events, command, step, outcome).await;
        });
    }

    pub(super) fn kill(&mut self, command: CommandId, step: u8, why: KillReason) {
        let stop = match why {
            KillReason::TimedOut => Stop::TimedOut,
            KillReason::Cancelled | KillReason::Stopping => Stop::Cancelled,
        };
        // A step that has just ended is not there any more, or does not listen.
        if let Some(stopping) = self.0.remove(&(command, step)) {
            let _ = stopping.send(stop);
        }
    }

    pub(super) fn ended(&mut self, command: CommandId, step: u8) {
        self.0.remove(&(command, step));
    }
}

/// Output, then reports, then the end.
async fn tell(events: &mpsc::Sender<Event>, command: CommandId, step: u8, outcome: StepOutcome) {
    let StepOutcome {
        end,
        stdout,
        stderr,
        detail,
        tables,
    } = outcome;
    let streams = [
        (OutputStream::Stdout, &stdout),
        (OutputStream::Stderr, &stderr),
    ];
    for (stream, Captured { kept, .. }) in streams {
        for bytes in kept.chunks(OUTPUT_CHUNK_BYTES_MAX) {
            let bytes = bytes.to_vec();
            let input = Input::Output {
                command,
                step,
                stream,
                bytes,
            };
            let _ = events.send(Event::Input(input)).await;
        }
    }
    for (type_name, table) in tables {
        let input = Input::Reported {
            origin: Some(command),
            type_name,
            table,
        };
        let _ = events.send(Event::Input(input)).await;
    }
    let exit = match end {
        End::Exited(code) => StepExit::Code(code),
        End::Signalled(signal) => StepExit::Signal(signal),
        End::Stopped(_) => StepExit::Signal(rustix::process::Signal::KILL.as_raw()),
        End::NotStarted => StepExit::Failed(detail),
    };
    let end = StepEnd {
        exit,
        stdout_bytes: stdout.total,
        stderr_bytes: stderr.total,
    };
    let input = Input::StepEnded { command, step, end };
    let _ = events.send(Event::Input(input)).await;
}

/// Begins what a schedule asks for.
pub(super) fn gather(what: Gathering, environment: Environment, events: mpsc::Sender<Event>) {
    tokio::spawn(async move {
        let wanted = match what {
            Gathering::Inventory => Wanted::Inventory {
                node: environment.node.clone(),
                types: INVENTORY_TYPES.to_vec(),
            },
            Gathering::Patches => Wanted::Patches(Occasion::default()),
        };
        let gathering = Box::pin(gatherer::gather(wanted, &environment));
        let Gathered { tables, faults, .. } = gathering.await;
        for (type_name, table) in tables {
            let input = Input::Reported {
                origin: None,
                type_name,
                table,
            };
            let _ = events.send(Event::Input(input)).await;
        }
        let fault = (!faults.is_empty()).then(|| faults.join("; "));
        let input = Input::Gathered { what, fault };
        let _ = events.send(Event::Input(input)).await;
    });
}

/// Restarts the machine as its init system wants it done; says so where that does not happen, since
/// nothing begins while a reboot is awaited.
pub(super) fn reboot(events: mpsc::Sender<Event>) {
    tokio::spawn(async move {
        let why = if asked_to_reboot().await {
            tokio::time::sleep(REBOOT_LIMIT).await;
            format!(
                "the machine still runs {} s after it was told to reboot",
                REBOOT_LIMIT.as_secs()
            )
        } else {
            "this machine does not let the agent reboot it".to_owned()
        };
        tracing::error!("a step asked for a reboot, but {why}");
        let _ = events.send(Event::Input(Input::RebootFailed { why })).await;
    });
}

async fn asked_to_reboot() -> bool {
    for program in ["/sbin/shutdown", "/usr/sbin/shutdown", "/sbin/reboot"] {
        let mut command = tokio::process::Command::new(program);
        if program.ends_with("shutdown") {
            command.args(["-r", "now"]);
        }
        if command.status().await.is_ok_and(|status| status.success()) {
            return true;
        }
    }
    false
}

#[cfg(test)]
mod tests {
    #![expect(
        clippy::wildcard_enum_match_arm,
        reason = "a test names the one event that it expects"
    )]

    use super::*;
    use holdfast_documents::{RunScript, StepInputs};
    use holdfast_protocol::limits::{STDERR_BYTES_MAX, STDOUT_BYTES_MAX};

    fn step(script: &str) -> Run {
        Run {
            command: CommandId::from([1; 16]),
            step: 2,
            name: "step".into(),
            inputs: StepInputs::RunShellScript(RunScript {
                commands: vec![script.into()],
                working_directory: None,
                env: Vec::new(),
            }),
            stdout_bytes_max: STDOUT_BYTES_MAX,
            stderr_bytes_max: STDERR_BYTES_MAX,
        }
    }

    async fn next(inbox: &mut mpsc::Receiver<Event>) -> Input {
        match inbox.recv().await {
            Some(Event::Input(input)) => input,
            other => panic!("{other:?}"),
        }
    }

    #[tokio::test]
    async fn output_comes_in_pieces_and_in_order_before_the_end() {
        let home = tempfile::tempdir().unwrap();
        let (events, mut inbox) = mpsc::channel(1);
        let mut steps = Steps::default();
        let script = "head -c 40000 /dev/zero\necho error >&2\nexit 5";
        steps.begin(step(script), home.path(), Environment::default(), events);
        let (mut out, mut err) = (0, Vec::new());
        let end = loop {
            match next(&mut inbox).await {
                Input::Output { stream, bytes, .. } => {
                    assert!(bytes.len() <= OUTPUT_CHUNK_BYTES_MAX);
                    match stream {
                        OutputStream::Stdout => {
                            assert!(err.is_empty(), "standard output comes first");
                            out += bytes.len();
                        }
                        OutputStream::Stderr => err.extend(bytes),
                    }
                }
                Input::StepEnded { end, step: 2, .. } => break end,
                other => panic!("{other:?}"),
            }
        };
        assert_eq!((out, err.as_slice()), (40_000, &b"error\n"[..]));
        assert_eq!(end.exit, StepExit::Code(5));
        assert_eq!((end.stdout_bytes, end.stderr_bytes), (40_000, 6));
    }

    #[tokio::test]
    async fn a_killed_step_ends_and_a_second_kill_is_nothing() {
        let home = tempfile::tempdir().unwrap();
        let (events, mut inbox) = mpsc::channel(1);
        let mut steps = Steps::default();
        let run = step("sleep 1000");
        let command = run.command;
        steps.begin(run, home.path(), Environment::default(), events);
        for _ in 0..2 {
            steps.kill(command, 2, KillReason::Cancelled);
        }
        match next(&mut inbox).await {
            Input::StepEnded { end, .. } => {
                assert_eq!(end.exit, StepExit::Signal(9));
            }
            other => panic!("{other:?}"),
        }
        steps.ended(command, 2);
        assert!(steps.0.is_empty());
    }
}
