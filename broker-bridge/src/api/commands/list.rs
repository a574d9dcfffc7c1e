//! `ListCommands` and `ListCommandInvocations`.
//! Never loads more than a page, and each command and node of a page once.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;

use holdfast_aws_api::ApiError;
use holdfast_aws_api::filter;
use holdfast_aws_api::shape::commands::{
    CommandInvocation, ListCommandInvocationsRequest, ListCommandInvocationsResult,
    ListCommandsRequest, ListCommandsResult,
};
use holdfast_protocol::{CommandId, NodeId};

use super::filters::narrowed;
use super::{command_id, plugins, shown};
use crate::api::context::{Context, timestamp};
use crate::api::nodes;
use crate::store::{Command, CommandFilter, InvocationFilter, InvocationRecord};

pub(in crate::api) async fn list(
    context: &Context<'_>,
    asked: ListCommandsRequest,
) -> Result<ListCommandsResult, ApiError> {
    let narrowed = narrowed(context, filter::commands(&asked)?)?;
    let pager = context.pager(
        "ListCommands",
        &asked,
        asked.max_results,
        asked.next_token.as_deref(),
    )?;
    let filter = CommandFilter {
        command: asked.command_id.as_deref().map(command_id).transpose()?,
        node: node(context, asked.instance_id.as_deref()).await?,
        after: narrowed.after,
        before: narrowed.before,
        statuses: narrowed.statuses,
        documents: narrowed.documents,
        executing: narrowed.executing,
    };
    let listed = context.store().commands(&filter, &pager.page).await;
    let listed = listed.map_err(|error| context.store_error(&error))?;
    Ok(ListCommandsResult {
        commands: listed.items.into_iter().map(shown).collect(),
        next_token: pager.token(listed.next)?,
    })
}

/// The node that a list is narrowed to: one that is, or once was, registered here.
async fn node(context: &Context<'_>, id: Option<&str>) -> Result<Option<NodeId>, ApiError> {
    let Some(text) = id else { return Ok(None) };
    let id = nodes::node_id(text)?;
    let known = context.store().node(id).await;
    match known.map_err(|error| context.store_error(&error))? {
        Some(_) => Ok(Some(id)),
        None => Err(nodes::unknown(text)),
    }
}

pub(in crate::api) async fn list_invocations(
    context: &Context<'_>,
    asked: ListCommandInvocationsRequest,
) -> Result<ListCommandInvocationsResult, ApiError> {
    let narrowed = narrowed(context, filter::invocations(&asked)?)?;
    let pager = context.pager(
        "ListCommandInvocations",
        &asked,
        asked.max_results,
        asked.next_token.as_deref(),
    )?;
    let filter = InvocationFilter {
        command: asked.command_id.as_deref().map(command_id).transpose()?,
        node: node(context, asked.instance_id.as_deref()).await?,
        after: narrowed.after,
        before: narrowed.before,
        statuses: narrowed.statuses,
        documents: narrowed.documents,
    };
    let listed = context.store().invocations(&filter, &pager.page).await;
    let listed = listed.map_err(|error| context.store_error(&error))?;
    let mut known = Known::default();
    let mut invocations = Vec::with_capacity(listed.items.len());
    for record in &listed.items {
        let details = asked.details.unwrap_or(false);
        // Retention may have taken the command away since the list was read.
        if let Some(shown) = known.shown(context, record, details).await? {
            invocations.push(shown);
        }
    }
    Ok(ListCommandInvocationsResult {
        command_invocations: invocations,
        next_token: pager.token(listed.next)?,
    })
}

/// What a page has looked up so far.
#[derive(Default)]
struct Known {
    commands: BTreeMap<CommandId, Option<Command>>,
    hosts: BTreeMap<NodeId, String>,
}

impl Known {
    async fn shown(
        &mut self,
        context: &Context<'_>,
        record: &InvocationRecord,
        details: bool,
    ) -> Result<Option<CommandInvocation>, ApiError> {
        self.look_up(context, record).await?;
        let Some(Some(command)) = self.commands.get(&record.command) else {
            return Ok(None);
        };
        let plugins = match details {
            true => plugins::of(context, command, record).await?,
            false => Vec::new(),
        };
        let [stdout, stderr] = plugins::invocation_urls(context, record);
        Ok(Some(CommandInvocation {
            command_id: Some(record.command.to_string()),
            instance_id: Some(record.node.to_string()),
            instance_name: self.hosts.get(&record.node).cloned(),
            comment: Some(command.comment.clone()),
            document_name: Some(command.document_name.clone()),
            document_version: Some(command.document_version.clone()),
            requested_date_time: Some(timestamp(record.requested)),
            status: Some(record.state.details.status().as_str().to_owned()),
            status_details: Some(record.state.details.api_name().to_owned()),
            trace_output: Some(plugins::reason(record)),
            standard_output_url: Some(stdout),
            standard_error_url: Some(stderr),
            command_plugins: Some(plugins),
            ..CommandInvocation::default()
        }))
    }

    async fn look_up(
        &mut self,
        context: &Context<'_>,
        record: &InvocationRecord,
    ) -> Result<(), ApiError> {
        if let Entry::Vacant(vacant) = self.commands.entry(record.command) {
            let command = context.store().command(record.command).await;
            vacant.insert(command.map_err(|error| context.store_error(&error))?);
        }
        if let Entry::Vacant(vacant) = self.hosts.entry(record.node) {
            let node = context.store().node(record.node).await;
            let node = node.map_err(|error| context.store_error(&error))?;
            vacant.insert(node.map(|node| node.computer_name).unwrap_or_default());
        }
        Ok(())
    }
}
