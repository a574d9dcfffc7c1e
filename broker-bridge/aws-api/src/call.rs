//! From a request's target and body to a typed call, and from a typed reply back to bytes.
//! Never lets a member through that nothing honours: what is not supported is refused by its name.

use serde_json::Value as Json;

use crate::error::ApiError;
use crate::model::{self, model};
use crate::shape::activations::*;
use crate::shape::commands::*;
use crate::shape::compliance::*;
use crate::shape::documents::*;
use crate::shape::inventory::*;
use crate::shape::nodes::*;
use crate::shape::patch::*;
use crate::shape::tags::*;

/// A request's body may be this long.
///
/// The largest that the model allows an operation with behaviour is far smaller; a document, which comes with
/// `CreateDocument`, is at most 64 KiB.
pub const BODY_BYTES_MAX: usize = 1 << 20;

/// Members of requests that nothing honours here; an operation that is not listed honours all of its own.
const REFUSED: &[(&str, &[&str])] = &[
    // The service keeps it for its own use.
    ("CreateActivation", &["RegistrationMetadata"]),
    (
        "SendCommand",
        &[
            // Output goes to the bridge's own store, which keeps all of it.
            "OutputS3Region",
            "OutputS3BucketName",
            "OutputS3KeyPrefix",
            "CloudWatchOutputConfig",
            // Nothing is notified yet, so neither is there a role to notify with.
            "ServiceRoleArn",
            "NotificationConfig",
            "AlarmConfiguration",
        ],
    ),
    // Counting instead of listing.
    ("GetInventory", &["Aggregators"]),
    ("GetInventorySchema", &["Aggregator", "SubType"]),
];

macro_rules! calls {
    ($($operation:ident($input:ident) -> $output:ident,)*) => {
        /// A request to an operation that has behaviour: checked against the model, with nothing in it to ignore.
        #[derive(Debug, Clone, PartialEq)]
        #[expect(clippy::large_enum_variant, reason = "one lives for the length of a request, and is moved twice")]
        pub enum Call {
            $(
                #[doc = concat!("`", stringify!($operation), "`.")]
                $operation($input),
            )*
        }

        /// The reply to a [`Call`] of the same name.
        #[derive(Debug, Clone, PartialEq)]
        pub enum Reply {
            $(
                #[doc = concat!("`", stringify!($operation), "`.")]
                $operation($output),
            )*
        }

        /// The operations that have behaviour.
        const WITH_BEHAVIOUR: &[&str] = &[$(stringify!($operation)),*];

        impl Call {
            /// The operation's name.
            #[must_use]
            pub fn operation(&self) -> &'static str {
                match self {
                    $(Self::$operation(_) => stringify!($operation),)*
                }
            }

            fn decode(operation: &str, request: Json) -> Result<Self, ApiError> {
                match operation {
                    $(stringify!($operation) => typed(request).map(Self::$operation),)*
                    other => Err(ApiError::unsupported_operation(other)),
                }
            }
        }

        impl Reply {
            /// The operation's name.
            #[must_use]
            pub fn operation(&self) -> &'static str {
                match self {
                    $(Self::$operation(_) => stringify!($operation),)*
                }
            }

            fn encode(&self) -> serde_json::Result<Json> {
                match self {
                    $(Self::$operation(reply) => serde_json::to_value(reply),)*
                }
            }
        }

        $(
            impl From<$output> for Reply {
                fn from(reply: $output) -> Self {
                    Self::$operation(reply)
                }
            }
        )*

        /// Each operation with the names of its types, and all that these read.
        #[cfg(test)]
        fn traced() -> (Vec<[String; 3]>, std::collections::BTreeMap<&'static str, crate::shape::trace::Members>) {
            use crate::shape::trace::trace;
            let mut seen = std::collections::BTreeMap::new();
            let names = vec![
                $([stringify!($operation).to_owned(), trace::<$input>(&mut seen), trace::<$output>(&mut seen)],)*
            ];
            (names, seen)
        }
    };
}

calls! {
    CreateActivation(CreateActivationRequest) -> CreateActivationResult,
    DescribeActivations(DescribeActivationsRequest) -> DescribeActivationsResult,
    DeleteActivation(DeleteActivationRequest) -> DeleteActivationResult,
    DescribeInstanceInformation(DescribeInstanceInformationRequest) -> DescribeInstanceInformationResult,
    DeregisterManagedInstance(DeregisterManagedInstanceRequest) -> DeregisterManagedInstanceResult,
    UpdateManagedInstanceRole(UpdateManagedInstanceRoleRequest) -> UpdateManagedInstanceRoleResult,
    AddTagsToResource(AddTagsToResourceRequest) -> AddTagsToResourceResult,
    ListTagsForResource(ListTagsForResourceRequest) -> ListTagsForResourceResult,
    RemoveTagsFromResource(RemoveTagsFromResourceRequest) -> RemoveTagsFromResourceResult,
    SendCommand(SendCommandRequest) -> SendCommandResult,
    ListCommands(ListCommandsRequest) -> ListCommandsResult,
    ListCommandInvocations(ListCommandInvocationsRequest) -> ListCommandInvocationsResult,
    GetCommandInvocation(GetCommandInvocationRequest) -> GetCommandInvocationResult,
    CancelCommand(CancelCommandRequest) -> CancelCommandResult,
    ListDocuments(ListDocumentsRequest) -> ListDocumentsResult,
    DescribeDocument(DescribeDocumentRequest) -> DescribeDocumentResult,
    GetDocument(GetDocumentRequest) -> GetDocumentResult,
    GetInventory(GetInventoryRequest) -> GetInventoryResult,
    ListInventoryEntries(ListInventoryEntriesRequest) -> ListInventoryEntriesResult,
    GetInventorySchema(GetInventorySchemaRequest) -> GetInventorySchemaResult,
    DescribeInstancePatchStates(DescribeInstancePatchStatesRequest) -> DescribeInstancePatchStatesResult,
    DescribeInstancePatches(DescribeInstancePatchesRequest) -> DescribeInstancePatchesResult,
    ListComplianceItems(ListComplianceItemsRequest) -> ListComplianceItemsResult,
    ListComplianceSummaries(ListComplianceSummariesRequest) -> ListComplianceSummariesResult,
    ListResourceComplianceSummaries(ListResourceComplianceSummariesRequest) -> ListResourceComplianceSummariesResult,
}

impl Reply {
    /// The reply as JSON; what is absent is left out rather than sent as `null`.
    ///
    /// # Errors
    /// `InternalServerError`, were a reply not expressible in JSON.
    pub fn to_json(&self) -> Result<Json, ApiError> {
        let encoded = self.encode();
        encoded.map(without_nulls).map_err(|error| {
            ApiError::internal_server_error(format!(
                "the reply to {} cannot be sent: {error}",
                self.operation()
            ))
        })
    }
}

/// Parses a request: `target` is the value of `X-Amz-Target`, such as `AmazonSSM.SendCommand`.
///
/// # Errors
/// `UnknownOperationException` for a target outside the model; `UnsupportedOperationException` for an operation without
/// behaviour; `RequestEntityTooLargeException` above [`BODY_BYTES_MAX`]; `SerializationException` for a body that is
/// not JSON or has a value of a wrong type; `ValidationException` for what violates the model, for a member that the
/// model does not have, and for one that nothing honours here.
pub fn parse(target: &str, body: &[u8]) -> Result<Call, ApiError> {
    let operation = operation_of(target)?;
    if !WITH_BEHAVIOUR.contains(&operation) {
        return Err(ApiError::unsupported_operation(operation));
    }
    if body.len() > BODY_BYTES_MAX {
        return Err(ApiError::request_too_large(BODY_BYTES_MAX));
    }
    // The parser itself refuses to nest deeper than 128.
    let request: Json = serde_json::from_slice(body).map_err(|error| {
        ApiError::serialization(format!("the request's body is not JSON: {error}"))
    })?;
    model::validate(operation, &request)?;
    let request = without_nulls(request);
    refuse_unsupported(operation, &request)?;
    Call::decode(operation, request)
}

/// The model's own name of the operation that `target` names.
///
/// # Errors
/// `UnknownOperationException`.
pub fn operation_of(target: &str) -> Result<&'static str, ApiError> {
    let model = model();
    let known = match target.split_once('.') {
        Some((prefix, name)) if prefix == model.target_prefix => model.operations.get(name),
        Some(_) | None => None,
    };
    known
        .map(|operation| operation.name)
        .ok_or_else(|| ApiError::unknown_operation(target))
}

/// A switch that is off asks for nothing, so only one that is on is refused.
fn refuse_unsupported(operation: &str, request: &Json) -> Result<(), ApiError> {
    let is_set = |member: &str| {
        request
            .get(member)
            .is_some_and(|value| *value != Json::Bool(false))
    };
    match refused_members(operation)
        .iter()
        .find(|member| is_set(member))
    {
        Some(member) => Err(ApiError::unsupported_member(operation, member)),
        None => Ok(()),
    }
}

fn refused_members(operation: &str) -> &'static [&'static str] {
    let listed = REFUSED.iter().find(|(name, _)| *name == operation);
    listed.map_or(&[], |(_, members)| members)
}

fn typed<T: serde::de::DeserializeOwned>(request: Json) -> Result<T, ApiError> {
    serde_json::from_value(request).map_err(|error| ApiError::serialization(error.to_string()))
}

/// Members that are `null` are absent ones, to clients and service alike. What is nested was bounded by then.
fn without_nulls(value: Json) -> Json {
    match value {
        Json::Object(members) => {
            let kept = members.into_iter().filter(|(_, value)| !value.is_null());
            Json::Object(
                kept.map(|(name, value)| (name, without_nulls(value)))
                    .collect(),
            )
        }
        Json::Array(items) => Json::Array(items.into_iter().map(without_nulls).collect()),
        scalar @ (Json::Null | Json::Bool(_) | Json::Number(_) | Json::String(_)) => scalar,
    }
}

/// What the bridge does for an operation of the model.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Coverage {
    /// The operation's name.
    pub operation: &'static str,
    /// False: it is known, and answers `UnsupportedOperationException`.
    pub has_behaviour: bool,
    /// Members of its request that are refused by name.
    pub refused_members: &'static [&'static str],
}

/// Every operation of the model, by name.
pub fn coverage() -> impl Iterator<Item = Coverage> {
    model().operations.keys().map(|operation| Coverage {
        operation,
        has_behaviour: WITH_BEHAVIOUR.contains(operation),
        refused_members: refused_members(operation),
    })
}

#[cfg(test)]
mod tests;
