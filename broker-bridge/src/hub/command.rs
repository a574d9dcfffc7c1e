//! What the API asks of commands: send and cancel.
//! Never stores a command that a node could not run: document and parameters are checked first.

use super::Hub;
use crate::store::row::parsed;
use crate::store::writing;
use crate::store::{Caller, Command, RawTarget, StoreError, audit, commands, invocations};
use holdfast_bridge_core::invocation::{Event, Stage, StatusDetails};
use holdfast_bridge_core::rate::{Limits, MaxConcurrency, MaxErrors};
use holdfast_bridge_core::target::{NodeFacts, Selection, TargetError};
use holdfast_documents::library::LibraryVersion;
use holdfast_documents::{BindError, Document, DocumentError, PlanError, Platform, Supplied};
use holdfast_protocol::bounded::TooLong;
use holdfast_protocol::{CommandId, NodeId};
use sqlx::{QueryBuilder, Row, SqliteConnection};

/// What a step may take beyond its timeout: its end, and a reboot on its behalf.
const STEP_GRACE_S: i64 = 60;

/// A command to be sent.
#[derive(Debug, Clone)]
pub struct SendCommand {
    /// Name of the document.
    pub document_name: String,
    /// The version of it that was asked for, found and held against the hash that the sender expects.
    pub version: &'static LibraryVersion,
    /// Parameters by name.
    pub parameters: Supplied,
    /// `InstanceIds` as they came.
    pub instance_ids: Vec<String>,
    /// `Targets` as they came: key and values.
    pub targets: Vec<RawTarget>,
    /// Delivery time in seconds, 30 to 2,592,000.
    pub timeout_seconds: u32,
    /// How many at once.
    pub max_concurrency: MaxConcurrency,
    /// How many errors.
    pub max_errors: MaxErrors,
    /// The sender's comment.
    pub comment: String,
}

/// A command was not sent; nothing is stored.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SendCommandError {
    /// The document cannot be read.
    #[error(transparent)]
    Document(#[from] DocumentError),
    /// The parameters do not fit the document.
    #[error(transparent)]
    Parameters(#[from] BindError),
    /// The document and its parameters make no plan.
    #[error(transparent)]
    Plan(#[from] PlanError),
    /// The targets name nobody, or wrongly.
    #[error(transparent)]
    Target(#[from] TargetError),
    /// Document and parameters do not fit one message.
    #[error("the command does not fit one message to a node")]
    TooLarge(#[source] TooLong),
    /// The database failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// A command was not cancelled.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CancelError {
    /// No such command.
    #[error("command {0} does not exist")]
    NoSuchCommand(CommandId),
    /// The command is not for this node.
    #[error("command {command} is not for node {node}")]
    NotATarget {
        /// The command.
        command: CommandId,
        /// The node.
        node: NodeId,
    },
    /// The database failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// Longest run of the document with these parameters, in milliseconds.
fn run_bound(document: &Document, supplied: &Supplied) -> Result<i64, SendCommandError> {
    let bound = document.bind(supplied)?;
    let plan = document.plan(&bound, Platform::Linux)?;
    let seconds = plan
        .steps
        .iter()
        .map(|step| i64::from(step.timeout_seconds) + STEP_GRACE_S);
    Ok(seconds.fold(0, i64::saturating_add).saturating_mul(1000))
}

/// The registered nodes with their tags: of these ids, or all.
async fn fleet(
    connection: &mut SqliteConnection,
    selection: &Selection,
) -> Result<Vec<NodeFacts>, StoreError> {
    let mut query = QueryBuilder::new(
        "SELECT n.node_id, t.key, t.value FROM nodes n LEFT JOIN tags t \
         ON t.resource_type = 'ManagedInstance' AND t.resource_id = n.node_id \
         WHERE n.deregistered_ms IS NULL",
    );
    if let Selection::Nodes(nodes) = selection {
        let ids: Vec<String> = nodes.iter().map(ToString::to_string).collect();
        crate::store::push_in(&mut query, "n.node_id", &ids);
    }
    query.push(" ORDER BY n.node_id");
    let mut facts: Vec<NodeFacts> = Vec::new();
    let rows = query
        .build()
        .persistent(false)
        .fetch_all(connection)
        .await?;
    for row in rows {
        let node = parsed(&row, "node_id")?;
        if facts.last().is_none_or(|last| last.node != node) {
            facts.push(NodeFacts {
                node,
                tags: Vec::new(),
            });
        }
        let tag: (Option<String>, Option<String>) = (row.try_get("key")?, row.try_get("value")?);
        if let (Some(last), (Some(key), Some(value))) = (facts.last_mut(), tag) {
            last.tags.push((key, value));
        }
    }
    Ok(facts)
}

impl Hub {
    /// Stores a command with its invocations, and has it sent as rate control allows.
    ///
    /// # Errors
    /// [`SendCommandError`].
    pub async fn send_command(
        &self,
        caller: Caller,
        request: SendCommand,
    ) -> Result<Command, SendCommandError> {
        let selection = Selection::new(&request.instance_ids, &request.targets)?;
        let version = request.version;
        let document = version.document()?;
        let run_bound_ms = run_bound(&document, &request.parameters)?;
        let id = CommandId::from_random(self.random()?);
        let expires = caller
            .now
            .saturating_add(i64::from(request.timeout_seconds) * 1000);
        let command = Command {
            id,
            document_name: request.document_name,
            document_version: version.number().to_string(),
            content: version.content().to_owned(),
            parameters: request.parameters,
            comment: request.comment,
            instance_ids: request.instance_ids,
            targets: request.targets,
            max_concurrency: request.max_concurrency.to_string(),
            max_errors: request.max_errors.to_string(),
            limits: Limits {
                slots: 1,
                errors_allowed: 0,
            },
            timeout_seconds: request.timeout_seconds,
            requested: caller.now,
            expires,
            run_bound_ms,
            requested_by: caller.access_key_id.clone(),
            cancel_requested: false,
            details: StatusDetails::Pending,
            target_count: 0,
            completed_count: 0,
            error_count: 0,
            delivery_timed_out_count: 0,
        };
        super::dispatch::fits(&command).map_err(SendCommandError::TooLarge)?;
        let rates = (request.max_concurrency, request.max_errors);
        let stored = self
            .store_command(caller, command, selection, rates)
            .await?;
        self.shared.dispatch.mark([id]);
        Ok(stored)
    }

    async fn store_command(
        &self,
        caller: Caller,
        mut command: Command,
        selection: Selection,
        (concurrency, errors): (MaxConcurrency, MaxErrors),
    ) -> Result<Command, SendCommandError> {
        let limit = self.shared.retention.commands_max;
        // Read beside the writer, however large the fleet. A node that is deregistered before the
        // write is left out by it.
        let mut reads = self
            .shared
            .store
            .reads
            .acquire()
            .await
            .map_err(StoreError::from)?;
        let nodes = selection.resolve(fleet(&mut reads, &selection).await?)?;
        drop(reads);
        let work = writing::<_, Command, SendCommandError>(move |connection| {
            Box::pin(async move {
                if commands::unfinished_count(connection).await? >= limit {
                    return Err(StoreError::Commands { limit }.into());
                }
                let count = u32::try_from(nodes.len()).unwrap_or(u32::MAX);
                command.limits = Limits {
                    slots: concurrency.slots(count),
                    errors_allowed: errors.allowed(count),
                };
                commands::insert(connection, &caller, &command, &nodes).await?;
                commands::refresh(connection, command.id).await?;
                let stored = commands::load(connection, command.id).await?;
                Ok(stored.ok_or(StoreError::Corrupt { what: "command" })?)
            })
        });
        self.shared.store.writer.write(work).await
    }

    /// Cancels a command on these nodes, or on all of its nodes where none are named. What waits
    /// ends at once; what was sent shows `Cancelling` until its node answers. What has ended
    /// stays as it is.
    ///
    /// # Errors
    /// [`CancelError`]; nothing is then changed.
    pub async fn cancel_command(
        &self,
        caller: Caller,
        id: CommandId,
        nodes: Vec<NodeId>,
    ) -> Result<(), CancelError> {
        let work = writing::<_, Vec<NodeId>, CancelError>(move |connection| {
            Box::pin(async move { cancel(connection, &caller, id, nodes).await })
        });
        for node in self.shared.store.writer.write(work).await? {
            if let Some(session) = self.shared.sessions.of_node(node) {
                self.send_cancel(&session, id);
            }
        }
        self.shared.dispatch.mark([id]);
        Ok(())
    }
}

/// Cancels, and names the nodes that are to be told.
async fn cancel(
    connection: &mut SqliteConnection,
    caller: &Caller,
    id: CommandId,
    nodes: Vec<NodeId>,
) -> Result<Vec<NodeId>, CancelError> {
    if commands::load(connection, id).await?.is_none() {
        return Err(CancelError::NoSuchCommand(id));
    }
    let open = invocations::open_of_command(connection, id).await?;
    for node in &nodes {
        if invocations::load(connection, (id, *node)).await?.is_none() {
            return Err(CancelError::NotATarget {
                command: id,
                node: *node,
            });
        }
    }
    if nodes.is_empty() && open.iter().any(|(_, state)| state.stage != Stage::Closed) {
        commands::request_cancel(connection, id).await?;
    }
    let mut told = Vec::new();
    for (node, mut state) in open {
        if !nodes.is_empty() && !nodes.contains(&node) {
            continue;
        }
        let key = (id, node);
        let changed =
            invocations::apply(connection, key, &mut state, Event::Cancel, caller.now).await?;
        if changed && state.cancelling {
            told.push(node);
        }
    }
    commands::refresh(connection, id).await?;
    audit::record(connection, caller, "CancelCommand", &id.to_string(), "").await?;
    Ok(told)
}
