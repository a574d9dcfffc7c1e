//! What several verbs need of a state directory: its store, the time, randomness, addresses.
//! Never keeps anything open longer than a verb.

use super::error::CliError;
use crate::store::{Store, UnixMs};
use ring::rand::{SecureRandom, SystemRandom};
use std::path::Path;

/// The OS clock, milliseconds since 1970.
pub(crate) fn now() -> UnixMs {
    jiff::Timestamp::now().as_millisecond()
}

/// Opens the store of a state directory, beside a bridge that may be running.
pub(crate) async fn open(state_dir: &Path) -> Result<Store, CliError> {
    Store::open(state_dir)
        .await
        .map_err(CliError::because(format!(
            "cannot open the state directory `{}`",
            state_dir.display()
        )))
}

/// Fresh randomness.
pub(crate) fn random<const N: usize>() -> Result<[u8; N], CliError> {
    let mut bytes = [0; N];
    match SystemRandom::new().fill(&mut bytes) {
        Ok(()) => Ok(bytes),
        Err(_) => Err(CliError::Failed("the system gives no randomness".into())),
    }
}

/// A time for people and programs, such as `2026-01-31T12:00:00Z`.
pub(crate) fn time(unix_ms: UnixMs) -> String {
    jiff::Timestamp::from_millisecond(unix_ms)
        .and_then(|time| time.round(jiff::Unit::Second))
        .map_or_else(|_| unix_ms.to_string(), |time| time.to_string())
}
