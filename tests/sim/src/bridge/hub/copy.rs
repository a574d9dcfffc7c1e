//! What the real database holds, as the witness reads it.
//! Never more than a copy: nothing of it goes back.

use super::{Real, said};
use crate::bridge::{CommandRow, Ended, NodeRow, Row, Store};
use holdfast_bridge::store::{
    Command, CommandFilter, InvocationFilter, InvocationRecord, OutputKey, Page, Store as Database,
};
use holdfast_bridge_core::invocation::{Stage, StatusDetails};
use holdfast_bridge_core::output::Kept;
use holdfast_protocol::bounded::{List, Text};
use holdfast_protocol::down;
use holdfast_protocol::up::OutputStream;
use holdfast_protocol::{CommandId, NodeId};
use std::collections::{BTreeMap, BTreeSet};

/// More than a world ever has.
const ROWS: u32 = 1_000;

impl Real {
    /// A copy of the database. `closely`: with the output, which only the end asks for.
    pub(super) fn copy(&self, nodes: &[NodeId], closely: bool) -> Result<Store, String> {
        let running = self.running()?;
        let store = running.hub.store();
        let ended = &self.followed.ended;
        running.runtime.block_on(copy(store, nodes, ended, closely))
    }
}

async fn copy(
    store: &Database,
    nodes: &[NodeId],
    ended: &BTreeSet<(NodeId, CommandId)>,
    closely: bool,
) -> Result<Store, String> {
    let mut copied = Store::default();
    for node in nodes {
        let row = copied.nodes.entry(*node).or_default();
        copy_node(store, *node, row).await?;
        let gaps = store.gaps(*node).await.map_err(said)?;
        copied.gaps += gaps.iter().map(|gap| gap.records).sum::<u64>();
    }
    let page = Page::first(ROWS);
    let filter = CommandFilter::default();
    let commands = store.commands(&filter, &page).await.map_err(said)?;
    for command in commands.items {
        copied.commands.insert(command.id, command_row(&command));
    }
    let filter = InvocationFilter::default();
    let invocations = store.invocations(&filter, &page).await.map_err(said)?;
    for record in invocations.items {
        let mut row = row(&record, ended.contains(&(record.node, record.command)));
        if closely {
            row.output_bytes = output(store, record.command, record.node).await?;
        }
        if let Some(command) = copied.commands.get_mut(&record.command) {
            command.rows.insert(record.node, row);
        }
    }
    Ok(copied)
}

async fn copy_node(store: &Database, node: NodeId, row: &mut NodeRow) -> Result<(), String> {
    let known = store.node(node).await.map_err(said)?;
    row.quarantined = known.is_some_and(|known| known.quarantine.is_some());
    let type_name = crate::machine::type_name();
    let report = store.report(node, type_name.as_str()).await.map_err(said)?;
    row.tables.extend(report.map(|report| report.table));
    Ok(())
}

async fn output(
    store: &Database,
    command: CommandId,
    node: NodeId,
) -> Result<BTreeMap<u8, u64>, String> {
    let key = OutputKey {
        command,
        node,
        step: 0,
        stream: OutputStream::Stdout,
    };
    let bytes = store.output_bytes(key).await.map_err(said)?;
    Ok([(0, bytes)].into())
}

/// `heard`: whether a result of it was taken.
fn row(record: &InvocationRecord, heard: bool) -> Row {
    let steps = record.steps.iter();
    let told = record.state.stage == Stage::Closed && !record.state.inferred;
    // So the bridge itself ends one, too, and that is no guess.
    let own = matches!(
        record.state.details,
        StatusDetails::Terminated | StatusDetails::Undeliverable | StatusDetails::Cancelled
    );
    let result = (told && (heard || !own)).then(|| Ended {
        state: record.state.details.as_str().to_owned(),
        stdout_bytes: steps.map(|step| step.stdout_bytes).collect(),
    });
    Row {
        state: record.state,
        result,
        output_bytes: BTreeMap::new(),
        kept: Kept::default(),
        was_sent: record.sent.is_some(),
    }
}

fn command_row(command: &Command) -> CommandRow {
    let wire = down::Command {
        id: command.id,
        document_name: Text::cut(&command.document_name),
        document_version: Text::cut(&command.document_version),
        content: Text::cut(&command.content),
        content_sha256: [0; 32],
        parameters: List::default(),
        expires_unix_ms: command.expires.unsigned_abs(),
        operator: None,
    };
    CommandRow {
        command: wire,
        requested_unix_ms: command.requested.unsigned_abs(),
        limits: command.limits,
        run_bound_ms: command.run_bound_ms.unsigned_abs(),
        rows: BTreeMap::new(),
    }
}
