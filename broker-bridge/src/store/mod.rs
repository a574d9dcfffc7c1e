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
pub use backup::{BackupError, CheckedBackup, RESTORED_AT, RestoreError, Undone};
pub use commands::{Command, CommandFilter, RawTarget};
pub use compliance_query::{ComplianceFacts, ComplianceRow};
pub use error::{OpenError, StoreError};
pub use invocations::{InvocationFilter, InvocationRecord, Step};
pub use nodes::{
    Connectivity, Enrolled, NewNode, Node, NodeCertificate, NodeFilter, NodeFilterKey,
    RegisterRefusal, Standing,
};
pub use outputs::OutputKey;
pub use overview::{AuditFilter, NodeGap};
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

/// Which part of a list is wanted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Page {
    /// Items wanted, at least 1.
    pub limit: u32,
    /// Where the page before ended, as [`Paged::next`] said.
    pub after: Option<String>,
}

impl Page {
    /// The first `limit` items.
    #[must_use]
    pub fn first(limit: u32) -> Self {
        Self { limit, after: None }
    }

    /// One more than wanted, so that the last page is known as such.
    pub(crate) fn fetch(&self) -> i64 {
        i64::from(self.limit.max(1)) + 1
    }
}

/// One page of a list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Paged<T> {
    /// The items, in the list's order.
    pub items: Vec<T>,
    /// The key after which the next page begins; `None` at the end.
    pub next: Option<String>,
}

impl<T> Paged<T> {
    /// Cuts what [`Page::fetch`] fetched; `key` names an item.
    pub(crate) fn cut(mut items: Vec<T>, page: &Page, key: impl Fn(&T) -> String) -> Self {
        let limit = page.limit.max(1) as usize;
        let more = items.len() > limit;
        items.truncate(limit);
        let next = if more { items.last().map(key) } else { None };
        Self { items, next }
    }

    /// The same page of other items.
    pub fn map<U>(self, to: impl FnMut(T) -> U) -> Paged<U> {
        Paged {
            items: self.items.into_iter().map(to).collect(),
            next: self.next,
        }
    }
}
