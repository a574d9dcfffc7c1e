//! `api coverage`: which operations of the SSM service model have behaviour.
//! Never lists by hand: the table is the API's own.

use super::error::CliError;
use super::output::Output;
use clap::{Args, Subcommand};
use std::path::PathBuf;

#[derive(Debug, Subcommand)]
pub(super) enum Verb {
    /// List every operation of the service model, with behaviour or without
    ///
    /// An operation without behaviour answers UnsupportedOperationException. Of one with behaviour each member of a
    /// request is honoured, or refused by its name: the third column has those.
    #[command(
        after_help = "Example:\n  holdfast-bridge api coverage --json | jq '.[] | select(.behaviour == \"yes\").operation'"
    )]
    Coverage(Coverage),
}

#[derive(Debug, Args)]
pub(super) struct Coverage {
    /// Taken for uniformity; nothing of it is used
    #[arg(long, value_name = "DIR", hide = true)]
    state_dir: Option<PathBuf>,
    /// Print JSON for programs
    #[arg(long)]
    json: bool,
}

impl Verb {
    pub(super) fn run(self) -> Result<(), CliError> {
        let Self::Coverage(Coverage { json, .. }) = self;
        let rows: Vec<_> = holdfast_aws_api::coverage()
            .map(|row| {
                let behaviour = if row.has_behaviour { "yes" } else { "no" };
                vec![
                    row.operation.to_owned(),
                    behaviour.to_owned(),
                    row.refused_members.join(","),
                ]
            })
            .collect();
        let columns = ["operation", "behaviour", "refused_members"];
        Ok(Output { json }.table(&columns, &rows)?)
    }
}
