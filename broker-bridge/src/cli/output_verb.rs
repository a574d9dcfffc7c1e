//! `output`: everything that is kept of one step's output, beyond what an API reply shows.
//! Never changes a byte of it.

use super::Common;
use super::error::CliError;
use super::state::open_existing;
use crate::store::OutputKey;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use clap::Args;
use holdfast_protocol::limits::INVOCATION_OUTPUT_BYTES_MAX;
use holdfast_protocol::up::OutputStream;
use holdfast_protocol::{CommandId, NodeId};
use serde_json::json;

pub(super) const EXAMPLES: &str = "Examples:\n  \
holdfast-bridge output 11111111-2222-4333-8444-555555555555 mi-0123456789abcdef0 > stdout.txt\n  \
holdfast-bridge output 11111111-2222-4333-8444-555555555555 mi-0123456789abcdef0 --step 2 --stderr\n\n\
With --json: the text, or its base64 where it is not UTF-8.";

#[derive(Debug, Args)]
pub(super) struct ShowOutput {
    #[command(flatten)]
    common: Common,
    /// The command's id
    command: CommandId,
    /// The node's id
    node: NodeId,
    /// Which step, from 1
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u8).range(1..))]
    step: u8,
    /// Standard error instead of standard output
    #[arg(long)]
    stderr: bool,
}

impl ShowOutput {
    pub(super) async fn run(self) -> Result<(), CliError> {
        let store = open_existing(&self.common.state_dir).await?;
        let fault = || CliError::because("cannot read the output");
        let known = store.invocation(self.command, self.node).await;
        if known.map_err(fault())?.is_none() {
            let why = format!(
                "command {} was not sent to {}; `aws ssm list-command-invocations` shows what was",
                self.command, self.node
            );
            return Err(CliError::Failed(why));
        }
        let key = OutputKey {
            command: self.command,
            node: self.node,
            step: self.step - 1,
            stream: if self.stderr {
                OutputStream::Stderr
            } else {
                OutputStream::Stdout
            },
        };
        // An invocation keeps no more than this, so one read is all.
        let read = store.output(key, 0, INVOCATION_OUTPUT_BYTES_MAX).await;
        let (bytes, _) = read.map_err(fault())?;
        store.close().await;
        if !self.common.json {
            return Ok(self.common.output().bytes(&bytes)?);
        }
        let (encoding, output) = match String::from_utf8(bytes) {
            Ok(text) => ("utf-8", text),
            Err(error) => ("base64", STANDARD.encode(error.into_bytes())),
        };
        let json = json!({
            "command_id": self.command.to_string(),
            "node": self.node.to_string(),
            "step": self.step,
            "stream": if self.stderr { "stderr" } else { "stdout" },
            "encoding": encoding,
            "output": output,
        });
        Ok(self.common.output().line(&json.to_string())?)
    }
}
