//! The fleet's state in one SQLite database: tables, queries, and the one task that writes.
//! Never decides what a state means, never reads a clock: times and ids come from the caller.
//!
//! Reads use a small pool of their own connections; every write goes through [`Writer`], which
//! groups what waits into one transaction. Lists are paged by key ([`Page`], [`Paged`]). A statement
//! whose text grows with a request is not kept prepared: each would take its own place in the caches.

mod access_keys;
mod activations;
pub(crate) mod audit;
mod backup;
pub(crate) mod commands;
mod compliance_query;
pub(crate) mod error;
pub(crate) mod floors;
mod inventory_query;
pub(crate) mod invocations;
pub(crate) mod nodes;
mod open;
pub(crate) mod outputs;
mod overview;
mod page;
mod registration;
pub(crate) mod reports;
mod retention;
pub(crate) mod row;
mod schema;
pub(crate) mod streams;
mod tags;
mod writer;

#[cfg(test)]
mod tests;

pub use access_keys::AccessKey;
pub(crate) use activations::push_in;
pub use activations::{Activation, ActivationFilter, NewActivation};
pub use audit::{AuditEntry, Caller};
pub use backup::{BackupError, CheckedBackup, RESTORED_AT, RestoreError, StagedBackup, Undone};
pub use commands::{Command, CommandFilter, RawTarget};
pub use compliance_query::{ComplianceFacts, ComplianceRow};
pub use error::{OpenError, StoreError};
pub use invocations::{InvocationFilter, InvocationRecord, Step};
pub use nodes::{Connectivity, Node, NodeCertificate, NodeFilter, NodeFilterKey, Standing};
pub use outputs::OutputKey;
pub use overview::{AuditFilter, NodeGap};
pub use page::{Page, Paged};
pub use registration::{Enrolled, NewNode, RegisterRefusal};
pub use reports::{PatchState, StoredReport};
pub use schema::SCHEMA_VERSION;
pub use streams::{GapCount, NodeEvent};
pub use tags::{ResourceType, Tag, TagError};
pub(crate) use writer::writing;
pub use writer::{WRITES_MAX, Writer};

use sqlx::SqlitePool;

/// Name of the database in the state directory.
pub const DATABASE: &str = "holdfast.db";

/// Milliseconds since 1970, by the bridge's clock.
pub type UnixMs = i64;

/// The database of one bridge: cheap to clone, one writer behind all clones.
#[derive(Debug, Clone)]
pub struct Store {
    pub(crate) reads: SqlitePool,
    pub(crate) writer: Writer,
}
