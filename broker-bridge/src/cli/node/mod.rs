//! `node list|show|events|gaps|release|reset-floor|deregister`.
//! Never changes a node's state itself: that is the hub's.

mod show;

use super::Common;
use super::error::CliError;
use super::state::{caller, open_existing, time};
use crate::hub::{self, NodeChangeError};
use crate::store::{GapCount, NodeEvent, Page};
use clap::{Args, Subcommand};
use holdfast_protocol::NodeId;
use serde_json::json;

/// Rows read at once.
const READ: u32 = 1000;
/// Most events that one call prints.
const EVENTS_MAX: i64 = 100_000;

#[derive(Debug, Subcommand)]
pub(super) enum Verb {
    /// List the registered nodes
    ///
    /// The column `quarantine` says why a node is not heard; `node release` ends that.
    List(Common),
    /// Show all that is known of a node: state, certificate, tags, what waits for it, what it lost, its last events
    #[command(after_help = "Example:\n  holdfast-bridge node show mi-0123456789abcdef0")]
    Show(One),
    /// List a node's events, newest first: its agent's notable lines, and what was done on the node itself
    ///
    /// What was done to it on the bridge is in `audit list --node`.
    #[command(
        after_help = "Example:\n  holdfast-bridge node events mi-0123456789abcdef0 --limit 20"
    )]
    Events(Events),
    /// List what will never arrive, by node, class and reason, counted
    ///
    /// Records are lost only in these ways, and each is counted: `evicted` (the node's journal was full: oldest logs
    /// go first), `superseded` (a newer state took an unsent one's place; nothing is missing), `damaged` (the disk
    /// lost them), `bridge-restored` (the bridge was restored from a backup older than them). The classes `result`
    /// and `audit` are never evicted. AWS clients read the same as inventory of type Custom:HoldfastGaps.
    #[command(after_help = "Examples:\n  holdfast-bridge node gaps\n  \
holdfast-bridge node gaps mi-0123456789abcdef0 --json\n  \
aws ssm list-inventory-entries --instance-id mi-0123456789abcdef0 --type-name Custom:HoldfastGaps")]
    Gaps(Gaps),
    /// End a node's quarantine
    ///
    /// A node is quarantined when its token shows that two machines use one identity. Make sure
    /// that only one is left (register the other anew), then release it.
    #[command(after_help = "Example:\n  holdfast-bridge node release mi-0123456789abcdef0")]
    Release(One),
    /// Set a node's floor of time back to this bridge's time
    ///
    /// A node never takes time for earlier than the latest that it was told under a seal. So if this machine's clock
    /// once stood far ahead, nodes that said hello meanwhile take every command for expired, until this verb. The
    /// root signs it; a node that is away gets it with its next hello. Set this machine's clock right first.
    #[command(
        after_help = "Examples:\n  holdfast-bridge node reset-floor mi-0123456789abcdef0\n  \
holdfast-bridge node reset-floor --all   # every node that is registered, also those that are away"
    )]
    ResetFloor(ResetFloor),
    /// Deregister a node, as `aws ssm deregister-managed-instance` does
    ///
    /// Its certificate is revoked, its invocations are closed as Undeliverable, its inventory is forgotten and its
    /// history stays. A bridge that runs disconnects it within a second. The machine comes back as a new node only:
    /// `activation create`, then `holdfast-agent register --force` there.
    #[command(after_help = "Example:\n  holdfast-bridge node deregister mi-0123456789abcdef0")]
    Deregister(One),
}

#[derive(Debug, Args)]
pub(super) struct One {
    #[command(flatten)]
    common: Common,
    /// The node's id
    node: NodeId,
}

#[derive(Debug, Args)]
pub(super) struct ResetFloor {
    #[command(flatten)]
    common: Common,
    /// The node's id
    #[arg(required_unless_present = "all")]
    node: Option<NodeId>,
    /// Every registered node
    #[arg(long, conflicts_with = "node")]
    all: bool,
}

#[derive(Debug, Args)]
pub(super) struct Events {
    #[command(flatten)]
    one: One,
    /// Print at most so many
    #[arg(long, value_name = "N", default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..=EVENTS_MAX))]
    limit: u32,
}

#[derive(Debug, Args)]
pub(super) struct Gaps {
    #[command(flatten)]
    common: Common,
    /// Only this node's
    node: Option<NodeId>,
}

impl Verb {
    pub(super) async fn run(self) -> Result<(), CliError> {
        match self {
            Self::List(common) => list(&common).await,
            Self::Show(one) => show::show(&one.common, one.node).await,
            Self::Events(events) => events.run().await,
            Self::Gaps(gaps) => gaps.run().await,
            Self::Release(one) => release(&one).await,
            Self::ResetFloor(which) => which.run().await,
            Self::Deregister(one) => deregister(&one).await,
        }
    }
}

async fn release(one: &One) -> Result<(), CliError> {
    let store = open_existing(&one.common.state_dir).await?;
    let released = hub::release(&store, caller(), one.node).await;
    store.close().await;
    let what = format!(
        "cannot release {}; `node list` shows who is quarantined",
        one.node
    );
    released.map_err(CliError::because(what))?;
    let line = format!(
        "{} is released: it is heard when it tries again, within 10 minutes, or when its agent is restarted",
        one.node
    );
    let json = json!({ "node": one.node.to_string(), "released": true });
    Ok(one.common.output().value(&line, &json)?)
}

impl ResetFloor {
    async fn run(&self) -> Result<(), CliError> {
        let store = open_existing(&self.common.state_dir).await?;
        let wanted = match self.node {
            Some(node) => store.want_floor_reset(caller(), node).await.map(u64::from),
            None => store.want_floor_resets(caller()).await,
        };
        store.close().await;
        let wanted = wanted.map_err(CliError::because("cannot set floors of time back"))?;
        match (self.node, wanted) {
            (Some(node), 0) => Err(unknown(node)),
            (Some(node), _) => {
                let line = format!(
                    "the floor of {node} is set back: at once if it is connected, else with its next hello"
                );
                let json = json!({ "node": node.to_string(), "nodes": 1 });
                Ok(self.common.output().value(&line, &json)?)
            }
            (None, nodes) => {
                let line = format!(
                    "the floors of {nodes} nodes are set back: at once where a node is connected, else with its next hello"
                );
                Ok(self
                    .common
                    .output()
                    .value(&line, &json!({ "nodes": nodes }))?)
            }
        }
    }
}

async fn deregister(one: &One) -> Result<(), CliError> {
    let store = open_existing(&one.common.state_dir).await?;
    let done = hub::deregister(&store, caller(), one.node).await;
    store.close().await;
    match done {
        Ok(closed) => {
            let line = format!(
                "{} is deregistered; {} commands lost it",
                one.node,
                closed.len()
            );
            let json = json!({ "node": one.node.to_string(), "deregistered": true, "commands": closed.len() });
            Ok(one.common.output().value(&line, &json)?)
        }
        Err(NodeChangeError::NoSuchNode(node)) => Err(unknown(node)),
        Err(error) => Err(CliError::because(format!("cannot deregister {}", one.node))(error)),
    }
}

/// The failure for a node that is not there.
fn unknown(node: NodeId) -> CliError {
    CliError::Failed(format!(
        "{node} is not registered here; `node list` shows the nodes that are"
    ))
}

async fn list(common: &Common) -> Result<(), CliError> {
    let store = open_existing(&common.state_dir).await?;
    let mut rows = Vec::new();
    let mut page = Page::first(READ);
    loop {
        let nodes = store
            .nodes(&[], &page)
            .await
            .map_err(CliError::because("cannot read the nodes"))?;
        rows.extend(nodes.items.into_iter().map(|node| {
            vec![
                node.id.to_string(),
                node.name,
                node.connectivity.as_str().to_owned(),
                time(node.last_ping),
                node.computer_name,
                node.agent_version,
                node.quarantine.unwrap_or_default(),
            ]
        }));
        let Some(next) = nodes.next else { break };
        page.after = Some(next);
    }
    let columns = [
        "node",
        "name",
        "ping",
        "last_ping",
        "computer",
        "agent",
        "quarantine",
    ];
    Ok(common.output().table(&columns, &rows)?)
}

const EVENT_COLUMNS: [&str; 5] = ["received", "occurred", "class", "name", "detail"];

fn event_row(event: NodeEvent) -> Vec<String> {
    vec![
        time(event.received),
        event.occurred.map(time).unwrap_or_default(),
        event.class.name().to_owned(),
        event.name,
        event.detail,
    ]
}

impl Events {
    async fn run(self) -> Result<(), CliError> {
        let One { common, node } = &self.one;
        let store = open_existing(&common.state_dir).await?;
        let fault = || CliError::because("cannot read the node's events");
        if store.node(*node).await.map_err(fault())?.is_none() {
            return Err(unknown(*node));
        }
        let mut rows = Vec::new();
        let mut page = Page::first(READ.min(self.limit));
        while (rows.len() as u64) < u64::from(self.limit) {
            let events = store.node_events(*node, &page).await.map_err(fault())?;
            let room = (self.limit as usize).saturating_sub(rows.len());
            rows.extend(events.items.into_iter().take(room).map(event_row));
            let Some(next) = events.next else { break };
            page.after = Some(next);
        }
        Ok(common.output().table(&EVENT_COLUMNS, &rows)?)
    }
}

const GAP_COLUMNS: [&str; 5] = ["class", "reason", "gaps", "records", "latest"];

fn gap_row(gap: GapCount) -> Vec<String> {
    vec![
        gap.class.name().to_owned(),
        gap.reason,
        gap.gaps.to_string(),
        gap.records.to_string(),
        time(gap.latest),
    ]
}

impl Gaps {
    async fn run(self) -> Result<(), CliError> {
        let store = open_existing(&self.common.state_dir).await?;
        let fault = || CliError::because("cannot read the gaps");
        let mut rows = Vec::new();
        let mut row = |node: NodeId, gap: GapCount| {
            let mut row = vec![node.to_string()];
            row.extend(gap_row(gap));
            rows.push(row);
        };
        if let Some(node) = self.node {
            if store.node(node).await.map_err(fault())?.is_none() {
                return Err(unknown(node));
            }
            let gaps = store.gaps(node).await.map_err(fault())?;
            gaps.into_iter().for_each(|gap| row(node, gap));
        } else {
            let mut page = Page::first(READ);
            loop {
                let gaps = store.fleet_gaps(&page).await.map_err(fault())?;
                let items = gaps.items.into_iter();
                items.for_each(|item| row(item.node, item.gap));
                let Some(next) = gaps.next else { break };
                page.after = Some(next);
            }
        }
        let columns: Vec<&str> = ["node"].into_iter().chain(GAP_COLUMNS).collect();
        Ok(self.common.output().table(&columns, &rows)?)
    }
}
