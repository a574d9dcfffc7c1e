//! From a call to its handler: one line an operation.
//! Never knows what an operation does.

use holdfast_aws_api::{ApiError, Call, Reply};

use super::context::Context;
use super::{activations, commands, compliance, documents, inventory, nodes, patch, tags};

/// Runs an operation.
pub(super) async fn call(context: &Context<'_>, call: Call) -> Result<Reply, ApiError> {
    match call {
        Call::CreateActivation(asked) => activations::create(context, asked).await.map(Reply::from),
        Call::DescribeActivations(asked) => {
            activations::describe(context, asked).await.map(Reply::from)
        }
        Call::DeleteActivation(asked) => activations::delete(context, asked).await.map(Reply::from),
        Call::DescribeInstanceInformation(asked) => {
            nodes::describe(context, asked).await.map(Reply::from)
        }
        Call::UpdateManagedInstanceRole(asked) => {
            nodes::update_role(context, asked).await.map(Reply::from)
        }
        Call::AddTagsToResource(asked) => tags::add(context, asked).await.map(Reply::from),
        Call::ListTagsForResource(asked) => tags::list(context, asked).await.map(Reply::from),
        Call::RemoveTagsFromResource(asked) => tags::remove(context, asked).await.map(Reply::from),
        Call::ListDocuments(asked) => documents::list(context, asked).await.map(Reply::from),
        Call::DescribeDocument(asked) => documents::describe(context, asked).await.map(Reply::from),
        Call::GetDocument(asked) => documents::get(context, asked).map(Reply::from),
        Call::DeregisterManagedInstance(asked) => {
            nodes::deregister(context, asked).await.map(Reply::from)
        }
        Call::SendCommand(asked) => commands::send(context, asked).await.map(Reply::from),
        Call::ListCommands(asked) => commands::list(context, asked).await.map(Reply::from),
        Call::ListCommandInvocations(asked) => commands::list_invocations(context, asked)
            .await
            .map(Reply::from),
        Call::GetCommandInvocation(asked) => commands::get(context, asked).await.map(Reply::from),
        Call::CancelCommand(asked) => commands::cancel(context, asked).await.map(Reply::from),
        Call::GetInventory(asked) => inventory::get(context, asked).await.map(Reply::from),
        Call::ListInventoryEntries(asked) => inventory::list_entries(context, asked)
            .await
            .map(Reply::from),
        Call::GetInventorySchema(asked) => inventory::schema(context, &asked).map(Reply::from),
        Call::DescribeInstancePatchStates(asked) => patch::describe_states(context, asked)
            .await
            .map(Reply::from),
        Call::DescribeInstancePatches(asked) => patch::describe_patches(context, asked)
            .await
            .map(Reply::from),
        Call::ListComplianceItems(asked) => compliance::list_items(context, asked)
            .await
            .map(Reply::from),
        Call::ListComplianceSummaries(asked) => compliance::list_summaries(context, asked)
            .await
            .map(Reply::from),
        Call::ListResourceComplianceSummaries(asked) => {
            compliance::list_resource_summaries(context, asked)
                .await
                .map(Reply::from)
        }
    }
}
