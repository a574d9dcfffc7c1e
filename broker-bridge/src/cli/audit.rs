//! `audit list`: who changed what, as the bridge recorded it with each change.
//! Never changes the trail; `serve --retention-days` says how long it is kept.

use super::Common;
use super::error::CliError;
use super::state::{now, open_existing, span, time};
use crate::store::{AuditEntry, AuditFilter, Page, UnixMs};
use clap::{Args, Subcommand};
use holdfast_protocol::NodeId;

#[derive(Debug, Subcommand)]
pub(super) enum Verb {
    /// List the changes that were made through the API and through this command line, newest first
    ///
    /// Columns: when, who (the access key's id and name, or the user on this machine for a verb of this command
    /// line; a user's login shows where `sudo` made another of it), the API's name of the operation, what was
    /// changed, and more about it. Parameters and output are never recorded here.
    #[command(after_help = EXAMPLES)]
    List(List),
}

const EXAMPLES: &str = "Examples:\n  \
holdfast-bridge audit list --since 1d\n  \
holdfast-bridge audit list --key alice --limit 20\n  \
holdfast-bridge audit list --node mi-0123456789abcdef0 --json";

/// Most entries that one call prints.
const LIMIT_MAX: i64 = 100_000;
/// Entries read at once.
const READ: u32 = 1000;

#[derive(Debug, Args)]
pub(super) struct List {
    #[command(flatten)]
    common: Common,
    /// Changes of this time until now: a number and s, m, h or d
    #[arg(long, value_name = "TIME", value_parser = since)]
    since: Option<i64>,
    /// Changes made with the access key of this name or id, or by this user on the bridge's machine
    #[arg(long, value_name = "NAME")]
    key: Option<String>,
    /// Changes to this node, and commands sent to it
    #[arg(long, value_name = "ID")]
    node: Option<NodeId>,
    /// Print at most so many
    #[arg(long, value_name = "N", default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..=LIMIT_MAX))]
    limit: u32,
}

fn since(text: &str) -> Result<i64, String> {
    span(text).ok_or_else(|| format!("`{text}` is not a time such as 90m, 12h or 7d"))
}

impl Verb {
    pub(super) async fn run(self) -> Result<(), CliError> {
        let Self::List(list) = self;
        list.run(now()).await
    }
}

impl List {
    async fn run(self, now: UnixMs) -> Result<(), CliError> {
        let store = open_existing(&self.common.state_dir).await?;
        let fault = || CliError::because("cannot read the recorded changes");
        let names = store.access_keys().await.map_err(fault())?;
        let filter = AuditFilter {
            since: self.since.map(|span| now.saturating_sub(span)),
            key: self.key,
            node: self.node,
        };
        let mut rows = Vec::new();
        let mut page = Page::first(READ.min(self.limit));
        while (rows.len() as u64) < u64::from(self.limit) {
            let entries = store.audit(&filter, &page).await.map_err(fault())?;
            let room = (self.limit as usize).saturating_sub(rows.len());
            rows.extend(entries.items.into_iter().take(room).map(|entry| {
                let key = names
                    .iter()
                    .find(|key| key.access_key_id == entry.access_key_id);
                row(entry, key.map(|key| key.name.clone()))
            }));
            let Some(next) = entries.next else { break };
            page.after = Some(next);
        }
        let columns = ["at", "by", "name", "operation", "target", "detail"];
        Ok(self.common.output().table(&columns, &rows)?)
    }
}

fn row(entry: AuditEntry, key_name: Option<String>) -> Vec<String> {
    let (by, name) = match entry.access_key_id.strip_prefix("local:") {
        Some(user) => ("local".to_owned(), user.to_owned()),
        None => (entry.access_key_id, key_name.unwrap_or_default()),
    };
    vec![
        time(entry.at),
        by,
        name,
        entry.operation,
        entry.target,
        entry.detail,
    ]
}
