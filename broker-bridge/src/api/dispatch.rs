//! From a call to its handler: one line an operation.
//! Never knows what an operation does.

use holdfast_aws_api::{ApiError, Call, Reply};

use super::context::Context;
use super::{activations, documents, nodes, tags};

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
        Call::GetDocument(asked) => documents::get(asked).map(Reply::from),
        other => Err(ApiError::unsupported_operation(other.operation())),
    }
}
