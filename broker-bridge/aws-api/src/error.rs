//! The API's errors: a code that clients match on, a message for people, an HTTP status.
//! Never carries a secret, nor the cause's internals: what led to it belongs in the log.

use serde_json::{Value as Json, json};

use crate::model::model;

/// The media type of requests, replies and errors.
pub const CONTENT_TYPE: &str = "application/x-amz-json-1.1";

/// What a client is answered instead of a reply.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{code}: {message}")]
pub struct ApiError {
    code: &'static str,
    status: u16,
    message: String,
}

impl ApiError {
    /// An error by its code; the status is what the model declares for it, or 400 for those of the protocol itself.
    fn of(code: &'static str, message: impl Into<String>) -> Self {
        let declared = model().errors.get(code);
        Self {
            code,
            status: declared.map_or(400, |error| error.status),
            message: message.into(),
        }
    }

    /// What clients match on, such as `InvalidInstanceId`.
    #[must_use]
    pub fn code(&self) -> &'static str {
        self.code
    }

    /// What is wrong with which value, and what is allowed.
    #[must_use]
    pub fn message(&self) -> &str {
        &self.message
    }

    /// The HTTP status.
    #[must_use]
    pub fn status(&self) -> u16 {
        self.status
    }

    /// The reply's body: `__type`, and the message under the name that the model gives it for this error.
    #[must_use]
    pub fn to_json(&self) -> Json {
        let declared = model().errors.get(self.code);
        // Several errors are declared without a message; clients show one all the same, under this name.
        let member = match declared {
            Some(error) => error.message.unwrap_or("Message"),
            None => "message",
        };
        json!({ "__type": self.code, member: self.message })
    }

    /// The headers that go with [`Self::to_json`].
    #[must_use]
    pub fn headers(&self, request_id: &str) -> [(&'static str, String); 3] {
        [
            ("content-type", CONTENT_TYPE.to_owned()),
            ("x-amzn-requestid", request_id.to_owned()),
            ("x-amzn-errortype", self.code.to_owned()),
        ]
    }
}

/// The errors of the protocol, which no operation declares.
impl ApiError {
    /// The request violates the model.
    #[must_use]
    pub fn validation(message: impl Into<String>) -> Self {
        Self::of("ValidationException", message)
    }

    /// The body is not JSON, or a value has the wrong type.
    #[must_use]
    pub fn serialization(message: impl Into<String>) -> Self {
        Self::of("SerializationException", message)
    }

    /// `X-Amz-Target` is absent or names nothing in the model.
    #[must_use]
    pub fn unknown_operation(target: &str) -> Self {
        let shown: String = target.chars().take(100).collect();
        let source = model().source;
        Self::of(
            "UnknownOperationException",
            format!("'{shown}' is not an operation of {source}"),
        )
    }

    /// The operation is in the model, and has no behaviour here yet.
    ///
    /// The model declares this code for what the service knows and does not do, and clients treat it as final.
    #[must_use]
    pub fn unsupported_operation(operation: &str) -> Self {
        Self::of(
            "UnsupportedOperationException",
            format!(
                "Holdfast knows {operation} but has no behaviour for it yet; `holdfast-bridge api coverage` lists \
                 what each operation does"
            ),
        )
    }

    /// The operation has behaviour, this member of its request has none.
    #[must_use]
    pub fn unsupported_member(operation: &str, member: &str) -> Self {
        Self::validation(format!(
            "1 validation error detected: {operation}'s member '{member}' is not supported by Holdfast and was refused \
             rather than ignored; leave it out"
        ))
    }

    /// The body is above its bound.
    #[must_use]
    pub fn request_too_large(bytes_max: usize) -> Self {
        Self {
            status: 413,
            ..Self::of(
                "RequestEntityTooLargeException",
                format!("the request's body is larger than {bytes_max} bytes"),
            )
        }
    }

    /// The request carries no signature.
    #[must_use]
    pub fn missing_authentication_token() -> Self {
        Self::of(
            "MissingAuthenticationTokenException",
            "Missing Authentication Token",
        )
    }

    /// The access key is unknown or disabled; which of the two is nobody's business but the log's.
    #[must_use]
    pub fn unrecognized_client() -> Self {
        Self::of(
            "UnrecognizedClientException",
            "The security token included in the request is invalid.",
        )
    }

    /// The signature does not fit the request, the key or the time.
    #[must_use]
    pub fn invalid_signature(message: impl Into<String>) -> Self {
        Self::of("InvalidSignatureException", message)
    }

    /// The Authorization header is malformed.
    #[must_use]
    pub fn incomplete_signature(message: impl Into<String>) -> Self {
        Self::of("IncompleteSignatureException", message)
    }
}

macro_rules! declared {
    ($($(#[$doc:meta])* $name:ident => $code:literal,)*) => {
        /// The errors that the operations with behaviour declare.
        impl ApiError {
            $(
                $(#[$doc])*
                #[must_use]
                pub fn $name(message: impl Into<String>) -> Self {
                    Self::of($code, message)
                }
            )*
        }

        #[cfg(test)]
        const DECLARED: &[&str] = &[$($code),*];
    };
}

declared! {
    /// Access is not granted.
    access_denied => "AccessDeniedException",
    /// A node is named twice.
    duplicate_instance_id => "DuplicateInstanceId",
    /// The bridge's own fault: the store failed, an invariant did not hold.
    internal_server_error => "InternalServerError",
    /// The activation cannot be used as asked.
    invalid_activation => "InvalidActivation",
    /// No activation has this id.
    invalid_activation_id => "InvalidActivationId",
    /// An inventory aggregator is malformed.
    invalid_aggregator => "InvalidAggregatorException",
    /// No command has this id.
    invalid_command_id => "InvalidCommandId",
    /// No document has this name, or it cannot be used as asked.
    invalid_document => "InvalidDocument",
    /// The document has no such version.
    invalid_document_version => "InvalidDocumentVersion",
    /// A filter's name or value is wrong, where the operation does not tell them apart.
    invalid_filter => "InvalidFilter",
    /// A filter's name is wrong.
    invalid_filter_key => "InvalidFilterKey",
    /// No node has this id, or it is not in a state for this.
    invalid_instance_id => "InvalidInstanceId",
    /// A node filter's value is wrong.
    invalid_instance_information_filter_value => "InvalidInstanceInformationFilterValue",
    /// An inventory group is malformed.
    invalid_inventory_group => "InvalidInventoryGroupException",
    /// The page token is not one of this query's.
    invalid_next_token => "InvalidNextToken",
    /// A notification's configuration is wrong.
    invalid_notification_config => "InvalidNotificationConfig",
    /// The output's place is wrong.
    invalid_output_folder => "InvalidOutputFolder",
    /// A parameter of a document is missing, unknown or wrong.
    invalid_parameters => "InvalidParameters",
    /// The command has no such plugin.
    invalid_plugin_name => "InvalidPluginName",
    /// No such resource of this type.
    invalid_resource_id => "InvalidResourceId",
    /// Not a type of resource.
    invalid_resource_type => "InvalidResourceType",
    /// A result attribute is malformed.
    invalid_result_attribute => "InvalidResultAttributeException",
    /// The role is malformed.
    invalid_role => "InvalidRole",
    /// Not a type of inventory.
    invalid_type_name => "InvalidTypeNameException",
    /// The command was not sent to this node.
    invocation_does_not_exist => "InvocationDoesNotExist",
    /// The document is above its bound.
    max_document_size_exceeded => "MaxDocumentSizeExceeded",
    /// The resource would hold more tags than it may.
    too_many_tags => "TooManyTagsError",
    /// A bound of the bridge is reached: clients wait and try again.
    throttling => "ThrottlingException",
    /// Others are changing the same thing.
    too_many_updates => "TooManyUpdates",
    /// The document does not run on this platform.
    unsupported_platform_type => "UnsupportedPlatformType",
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_constructor_is_declared_by_the_model() {
        for code in DECLARED {
            assert!(model().errors.contains_key(code), "{code}");
        }
        assert_eq!(ApiError::internal_server_error("").status(), 500);
        assert_eq!(ApiError::invalid_instance_id("").status(), 400);
    }

    #[test]
    fn looks_on_the_wire_as_clients_expect_it() {
        let error = ApiError::invalid_document("Document 'x' does not exist.");
        assert_eq!(
            error.to_json().to_string(),
            r#"{"__type":"InvalidDocument","Message":"Document 'x' does not exist."}"#
        );
        assert_eq!(
            error.headers("7a5e"),
            [
                ("content-type", "application/x-amz-json-1.1".to_owned()),
                ("x-amzn-requestid", "7a5e".to_owned()),
                ("x-amzn-errortype", "InvalidDocument".to_owned()),
            ]
        );
        assert_eq!(
            ApiError::missing_authentication_token()
                .to_json()
                .to_string(),
            r#"{"__type":"MissingAuthenticationTokenException","message":"Missing Authentication Token"}"#
        );
        let fault = ApiError::unsupported_operation("StartSession");
        assert_eq!(
            (fault.code(), fault.status()),
            ("UnsupportedOperationException", 400)
        );
    }
}
