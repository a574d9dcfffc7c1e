//! The command line: one verb a module, each on a state directory, also while `serve` runs.
//! Never decides and never touches a table: verbs call what the bridge itself calls.

mod access_key;
mod activation;
mod api;
mod audit;
mod backup;
mod document;
mod error;
mod node;
mod notify;
mod output;
mod output_verb;
mod serve;
mod signing_key;
mod state;

use clap::{Args, Parser, Subcommand};
use error::CliError;
use output::Output;
use std::path::PathBuf;
use std::process::ExitCode;

/// Holdfast's bridge: agents connect to it over MQTT, and AWS clients drive it over the SSM API.
///
/// A first fleet takes three steps: `serve`, then `activation create` (its line registers an
/// agent), then `access-key create` (its lines let the AWS CLI in).
#[derive(Debug, Parser)]
#[command(name = "holdfast-bridge", version, after_help = AFTER_HELP)]
struct Cli {
    #[command(subcommand)]
    verb: Verb,
}

const AFTER_HELP: &str = "A first fleet:\n  \
holdfast-bridge serve --mqtt 0.0.0.0:8883 --public-mqtt bridge.example:8883 &\n  \
holdfast-bridge activation create --limit 10 --tag Site=north   # run its line on each machine\n  \
(umask 077; holdfast-bridge access-key create --name me > aws.env)   # then: set -a; . ./aws.env\n  \
export AWS_ENDPOINT_URL_SSM=http://127.0.0.1:8440 AWS_DEFAULT_REGION=eu-central-1\n  \
aws ssm describe-instance-information\n\n\
Every verb works beside a bridge that runs; `--state-dir DIR` (or HOLDFAST_BRIDGE_STATE_DIR) says which one is meant, and \
`--json` prints for programs. `holdfast-bridge VERB --help` has examples.\n\n\
Exit codes: 0 done, 1 failed, 2 wrong usage, 5 not permitted.\n\
Logs go to standard error; HOLDFAST_LOG sets their level: error, warn, info (default), debug, trace.";

/// Where the state is, and how results are printed.
#[derive(Debug, Clone, Args)]
struct Common {
    /// Directory of the bridge's database and keys, mode 0700
    #[arg(
        long,
        value_name = "DIR",
        env = "HOLDFAST_BRIDGE_STATE_DIR",
        default_value = "/var/lib/holdfast-bridge"
    )]
    state_dir: PathBuf,
    /// Print JSON for programs
    #[arg(long)]
    json: bool,
}

impl Common {
    fn output(&self) -> Output {
        Output { json: self.json }
    }
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// Run the bridge: the MQTT endpoint for agents and the HTTP endpoint for AWS clients
    ///
    /// Makes the state directory with database, root certificate and signing key where they are missing, prints one
    /// line once it serves, and runs until SIGTERM or SIGINT: what is under way is finished first; a second signal ends
    /// it at once. One bridge runs on a state directory; the other verbs work beside it.
    #[command(after_help = serve::EXAMPLES)]
    Serve(serve::Serve),
    /// Let machines become nodes
    #[command(subcommand)]
    Activation(activation::Verb),
    /// Let AWS clients in
    #[command(subcommand)]
    AccessKey(access_key::Verb),
    /// See the nodes: state, events, gaps; release or deregister one
    #[command(subcommand)]
    Node(node::Verb),
    /// See who changed what
    #[command(subcommand)]
    Audit(audit::Verb),
    /// Work with command documents
    #[command(subcommand)]
    Document(document::Verb),
    /// See what of the SSM API is there
    #[command(subcommand)]
    Api(api::Verb),
    /// Print all that is kept of a step's output
    ///
    /// A reply of the API shows at most 24,000 characters; this prints the bytes as the step wrote them, to standard
    /// output. They are there once the invocation has ended, as long as `serve --retention-days` says.
    #[command(after_help = output_verb::EXAMPLES)]
    Output(output_verb::ShowOutput),
    /// Copy the database and all keys to a new private directory, also while the bridge runs
    ///
    /// The keys are in it: whoever reads the copy can command the fleet. Keep it as you keep the bridge.
    #[command(after_help = backup::BACKUP_EXAMPLES)]
    Backup(backup::Backup),
    /// Bring a backup back into a state directory that no bridge runs on
    ///
    /// Nodes that did something since the backup was made are recognised at their next hello: the bridge takes
    /// results of commands that it no longer knows, and counts what it lost as gaps (`node gaps`).
    #[command(after_help = backup::RESTORE_EXAMPLES)]
    Restore(backup::Restore),
    /// The keys that sign what is sent to nodes
    #[command(subcommand)]
    SigningKey(signing_key::Verb),
}

/// Runs the verb on this process's arguments.
#[must_use]
pub fn main() -> ExitCode {
    let cli = Cli::parse();
    start_log();
    match run(cli.verb) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) if error.is_broken_pipe() => ExitCode::SUCCESS,
        Err(error) => {
            output::complain(&error.chain());
            ExitCode::from(error.code())
        }
    }
}

fn run(verb: Verb) -> Result<(), CliError> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .map_err(CliError::because("cannot start the runtime"))?;
    runtime.block_on(async {
        match verb {
            Verb::Serve(serve) => serve.run().await,
            Verb::Activation(verb) => verb.run().await,
            Verb::AccessKey(verb) => verb.run().await,
            Verb::Node(verb) => verb.run().await,
            Verb::Audit(verb) => verb.run().await,
            Verb::Document(verb) => verb.run(),
            Verb::Api(verb) => verb.run(),
            Verb::Output(show) => show.run().await,
            Verb::Backup(backup) => backup.run().await,
            Verb::Restore(restore) => restore.run().await,
            Verb::SigningKey(verb) => verb.run().await,
        }
    })
}

/// Logs to standard error at the level of `HOLDFAST_LOG`.
fn start_log() {
    let level = std::env::var("HOLDFAST_LOG")
        .ok()
        .and_then(|level| level.parse().ok())
        .unwrap_or(tracing::Level::INFO);
    tracing_subscriber::fmt()
        .with_max_level(level)
        .with_writer(std::io::stderr)
        .with_ansi(false)
        .with_target(false)
        .init();
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_verbs_and_their_help_are_consistent() {
        Cli::command().debug_assert();
    }
}
