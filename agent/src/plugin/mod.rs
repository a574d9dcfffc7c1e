//! Step executors: each turns a step's resolved inputs into an outcome, with real processes and files.
//! Never decides whether or when a step runs, and never writes to the outbox: the core does.

pub mod gather;
pub mod gatherer;
mod output;
mod process;
mod remains;
mod script;
#[cfg(test)]
mod tests;

pub use output::Captured;
pub(crate) use script::{FILES_AT_ONCE, sweep};

use holdfast_documents::StepInputs;
use holdfast_protocol::report::{Table, TypeName};
use holdfast_protocol::up::Platform;
use std::error::Error;
use std::path::PathBuf;
use std::time::Duration;
use tokio::sync::oneshot;

/// Why a step is ended from outside.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stop {
    /// On request.
    Cancelled,
    /// It has run for its whole `executionTimeout`.
    TimedOut,
}

/// How a step ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    /// By itself, with this exit code; a step without a process has 0 or 1.
    Exited(i32),
    /// By this signal.
    Signalled(i32),
    /// Its process group was killed.
    Stopped(Stop),
    /// It could not be started; the detail says why.
    NotStarted,
}

/// What a step left behind.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StepOutcome {
    /// How it ended.
    pub end: End,
    /// Its standard output.
    pub stdout: Captured,
    /// Its standard error.
    pub stderr: Captured,
    /// What the agent has to say about it; empty where the end says it all.
    pub detail: String,
    /// Reports of the node's state that it made.
    pub tables: Vec<(TypeName, Table)>,
}

impl StepOutcome {
    fn failed(detail: String) -> Self {
        Self {
            end: End::NotStarted,
            stdout: Captured::default(),
            stderr: Captured::default(),
            detail,
            tables: Vec::new(),
        }
    }

    fn not_started(error: &dyn Error) -> Self {
        Self::failed(crate::error::chain(error))
    }
}

/// What every step of this node may know about it.
#[derive(Debug, Clone, Default)]
pub struct Environment {
    /// The node's id; empty before it is registered.
    pub node: String,
    /// The operating system.
    pub platform: Platform,
    /// Id of the command; empty for a local run.
    pub command: String,
    /// The agent's own program, for what it does in another process; `None`: all in this one.
    pub program: Option<PathBuf>,
}

impl Environment {
    /// The variables that scripts written for the reference agent expect.
    fn variables(&self) -> [(&'static str, &str); 4] {
        [
            ("AWS_SSM_INSTANCE_ID", &self.node),
            ("AWS_SSM_COMMAND_ID", &self.command),
            ("AWS_SSM_PLATFORM_NAME", &self.platform.name),
            ("AWS_SSM_PLATFORM_VERSION", &self.platform.version),
        ]
    }
}

/// One step to run.
#[derive(Debug)]
pub struct Job {
    /// What to do.
    pub inputs: StepInputs,
    /// How long it may take; `None` where somebody else stops it.
    pub limit: Option<Duration>,
    /// Bytes kept of its standard output and standard error.
    pub output_bytes_max: (usize, usize),
    /// A directory of this step's own, made and removed by it.
    pub directory: PathBuf,
    /// Whether what runs is noted beside that directory, for [`sweep`] to end should this process be
    /// killed.
    pub noted: bool,
    /// What it may know.
    pub environment: Environment,
}

/// Runs a step to its end. A message on `stop` ends it early, its processes with it.
pub async fn run(job: Job, stop: oneshot::Receiver<Stop>) -> StepOutcome {
    match &job.inputs {
        StepInputs::RunShellScript(script) => script::run(script, &job, stop).await,
        StepInputs::SoftwareInventory(inventory) => {
            gather::run_inventory(inventory.types.clone(), &job, stop).await
        }
        StepInputs::PatchBaseline(inputs) => {
            gather::run_patch_baseline(inputs.clone(), &job, stop).await
        }
        // A plan for Linux holds no other: this only answers a newer document language.
        StepInputs::RunPowerShellScript(_) | _ => {
            StepOutcome::failed("this version of the agent does not know this action".into())
        }
    }
}

/// Waits for a message on `stop` or for the limit; a dropped `stop` stops nothing.
async fn stopped(stop: oneshot::Receiver<Stop>, limit: Option<Duration>) -> Stop {
    let late = async {
        match limit {
            Some(limit) => tokio::time::sleep(limit).await,
            None => std::future::pending().await,
        }
    };
    let asked = async {
        match stop.await {
            Ok(stop) => stop,
            Err(_) => std::future::pending().await,
        }
    };
    tokio::select! {
        stop = asked => stop,
        () = late => Stop::TimedOut,
    }
}
