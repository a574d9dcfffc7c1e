//! The command line: a verb becomes a call, its result becomes text and an exit code.
//! Never prints but through [`output`], and never does itself what a verb is about.

pub mod arguments;
mod document;
mod gather;
mod help;
mod inspect;
mod output;
mod read;
mod scan;
mod status;

use crate::error::chain;
use crate::plugin::FILES_AT_ONCE;
use crate::register::{self, RegisterError};
use crate::run::{self, RunError};
use crate::state::{Identity, StateDir};
use arguments::{Arguments, Invocation, UsageError, Verb};
use serde_json::json;
use std::process::ExitCode;
use std::time::Duration;
use tokio::runtime::Runtime;

/// What a smaller build leaves out, behind its version.
const WITHOUT: &str = if cfg!(all(feature = "yaml", feature = "xz", feature = "zstd")) {
    ""
} else {
    " (a smaller build: not all of YAML documents, xz and zstd)"
};

/// What a process ends with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Exit {
    /// Done.
    Ok = 0,
    /// Not done.
    Failed = 1,
    /// Not understood.
    Usage = 2,
    /// Done in part.
    Partial = 3,
    /// The bridge cannot be reached.
    Unreachable = 4,
    /// The bridge refuses, or is not the one asked for.
    Denied = 5,
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit as u8)
    }
}

/// Why a verb failed, and with which exit code.
#[derive(Debug)]
struct Failure {
    exit: Exit,
    text: String,
}

impl Failure {
    fn new(exit: Exit, error: &dyn std::error::Error) -> Self {
        Self {
            exit,
            text: chain(error),
        }
    }
}

/// Runs the program.
pub fn main(arguments: impl Iterator<Item = std::ffi::OsString>) -> Exit {
    match arguments::parse(arguments) {
        Ok(Invocation::Help(topic)) => {
            output::text(help::of(topic));
            Exit::Ok
        }
        Ok(Invocation::Version) => {
            output::text(&format!(
                "holdfast-agent {}{WITHOUT}\n",
                env!("CARGO_PKG_VERSION")
            ));
            Exit::Ok
        }
        Ok(Invocation::Run(arguments)) => {
            let json = arguments.json;
            perform(*arguments).unwrap_or_else(|failure| {
                output::failure(&failure.text, json);
                failure.exit
            })
        }
        Err(error) => {
            output::failure(&usage(&error), false);
            Exit::Usage
        }
    }
}

fn usage(error: &UsageError) -> String {
    let mut text = chain(error);
    text.push_str("\nTry `holdfast-agent --help`.");
    text
}

fn perform(arguments: Arguments) -> Result<Exit, Failure> {
    let Arguments {
        verb,
        state_dir,
        json,
    } = arguments;
    let state = StateDir::new(state_dir);
    match verb {
        Verb::Register(registration) => {
            log_to_stderr(tracing::Level::WARN);
            let identity = runtime()?
                .block_on(register::register(&state, &registration))
                .map_err(|error| Failure::new(exit_of(&error), &error))?;
            registered(&identity, &state, json);
            Ok(Exit::Ok)
        }
        Verb::Run(settings) => {
            log_to_stderr(tracing::Level::INFO);
            let runtime = runtime()?;
            let ended = runtime.block_on(run::run(state, &settings));
            // What still hangs on a file system, or gathers for nobody, holds up no end.
            runtime.shutdown_background();
            ended.map_err(|error| Failure::new(exit_of_run(&error), &error))?;
            Ok(Exit::Ok)
        }
        Verb::Status => status::show(&state, json),
        Verb::JournalInspect => inspect::show(&state, json),
        Verb::Inventory { full } => scan::inventory(&state, full, json),
        Verb::Gather { wanted } => gather::answer(&wanted),
        Verb::PatchScan { root, baseline } => scan::patches(&root, baseline.as_deref(), json),
        Verb::DocumentRun { file, parameters } => {
            log_to_stderr(tracing::Level::WARN);
            let runtime = runtime()?;
            let ended = document::run(&runtime, &state, &file, parameters.as_deref(), json);
            runtime.shutdown_background();
            ended
        }
    }
}

/// One thread; blocking work on others, which end when they have been idle for a second: the journal,
/// the resolver, a gatherer, a renewal, and scripts' files.
fn runtime() -> Result<Runtime, Failure> {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .max_blocking_threads(4 + FILES_AT_ONCE as usize)
        .thread_keep_alive(Duration::from_secs(1))
        .build()
        .map_err(|error| Failure::new(Exit::Failed, &error))
}

/// `HOLDFAST_LOG` chooses the level: off, error, warn, info, debug, trace.
fn log_to_stderr(default: tracing::Level) {
    use tracing_subscriber::filter::LevelFilter;
    let asked = std::env::var("HOLDFAST_LOG").ok();
    let level = asked
        .and_then(|level| level.parse::<LevelFilter>().ok())
        .unwrap_or_else(|| LevelFilter::from_level(default));
    // Seconds since the start: a clock that may be wrong by years would only mislead.
    let _ = tracing_subscriber::fmt()
        .with_max_level(level)
        .with_writer(std::io::stderr)
        .with_ansi(false)
        .with_target(false)
        .with_timer(tracing_subscriber::fmt::time::uptime())
        .try_init();
}

fn registered(identity: &Identity, state: &StateDir, json: bool) {
    let directory = state.path().display();
    if json {
        output::json(&json!({
            "node_id": identity.node.as_str(),
            "state_dir": directory.to_string(),
            "bridges": identity.bridges.iter().map(ToString::to_string).collect::<Vec<_>>(),
            "certificate_expires_unix_s": identity.life().not_after_unix_s,
        }));
    } else {
        output::text(&format!(
            "Registered as {} in {directory}.\nNext: holdfast-agent run --state-dir {directory}\n",
            identity.node
        ));
    }
}

fn exit_of(error: &RegisterError) -> Exit {
    use crate::link::LinkError;
    match error {
        RegisterError::Link(LinkError::Distrust { .. } | LinkError::Refused { .. })
        | RegisterError::Refused { .. }
        | RegisterError::Reply(_)
        | RegisterError::RootKey
        | RegisterError::Root(_) => Exit::Denied,
        RegisterError::Link(
            LinkError::Resolve { .. }
            | LinkError::Tcp { .. }
            | LinkError::NotTls { .. }
            | LinkError::Tls { .. }
            | LinkError::Mqtt { .. }
            | LinkError::Silent { .. },
        )
        | RegisterError::Ended { .. }
        | RegisterError::Silent { .. } => Exit::Unreachable,
        RegisterError::Registered { .. }
        | RegisterError::State(_)
        | RegisterError::Frame(_)
        | RegisterError::Tls(_)
        | RegisterError::Identity(_)
        | RegisterError::Random(_)
        | RegisterError::Key => Exit::Failed,
    }
}

fn exit_of_run(_error: &RunError) -> Exit {
    Exit::Failed
}
