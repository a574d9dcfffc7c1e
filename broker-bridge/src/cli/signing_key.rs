//! `signing-key rotate`.
//! Never removes an older key.

use super::Common;
use super::error::CliError;
use super::state::{caller, now, open_existing, unix_ms};
use crate::pki;
use clap::{Args, Subcommand};
use serde_json::json;

#[derive(Debug, Subcommand)]
pub(super) enum Verb {
    /// Make the next key that signs what is sent to nodes
    ///
    /// A bridge that runs takes it up within seconds; nodes learn of it under the root that they
    /// pinned, those that are away with their next hello. Afterwards they refuse the older keys.
    #[command(after_help = "Example:\n  holdfast-bridge signing-key rotate")]
    Rotate(Rotate),
}

#[derive(Debug, Args)]
pub(super) struct Rotate {
    #[command(flatten)]
    common: Common,
    /// Serial to exceed, where agents say that this bridge's key was replaced by a newer one
    ///
    /// Serials follow the clock, so this is needed only where the clock once stood far ahead and
    /// the key made then is lost.
    #[arg(long, value_name = "SERIAL", default_value_t = 0)]
    above: u32,
}

impl Verb {
    pub(super) async fn run(self) -> Result<(), CliError> {
        let Self::Rotate(Rotate { common, above }) = self;
        let fault = || CliError::because("cannot make a signing key");
        let store = open_existing(&common.state_dir).await?;
        pki::Root::open_or_create(&common.state_dir).map_err(fault())?;
        let serial = pki::rotate(&common.state_dir, above, unix_ms(now())).map_err(fault())?;
        let recorded = store.record(caller(), "RotateSigningKey", serial.to_string());
        let recorded = recorded.await;
        store.close().await;
        recorded.map_err(CliError::because(format!(
            "signing key {serial} is in use, but the audit trail does not say so"
        )))?;
        let line = format!("signing key {serial} is in use from now on");
        Ok(common.output().value(&line, &json!({ "serial": serial }))?)
    }
}
