//! What the bridge's own errors mean on the wire: the one place that says so.
//! Never tells a client the cause's internals: those go to the log, under the request's id.

use std::error::Error;

use holdfast_aws_api::ApiError;

use crate::store::StoreError;

/// The database's errors, for every operation.
pub(super) fn of_store(request_id: &str, error: &StoreError) -> ApiError {
    match error {
        StoreError::Busy { .. } | StoreError::Commands { .. } => {
            ApiError::throttling(error.to_string())
        }
        StoreError::Database(_)
        | StoreError::Commit(_)
        | StoreError::Closed
        | StoreError::Corrupt { .. } => internal(request_id, error),
    }
}

/// The bridge's own fault.
pub(super) fn internal(request_id: &str, error: &dyn Error) -> ApiError {
    let mut chain = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        chain = format!("{chain}: {cause}");
        source = cause.source();
    }
    tracing::error!(request_id, error = chain, "a request could not be answered");
    ApiError::internal_server_error(format!(
        "The bridge could not answer; its log says why, under request {request_id}."
    ))
}
