//! The SSM API over HTTP: routes, authentication, and one handler an operation.
//! Never decides what the core decides, and never speaks SQL: it translates between the AWS wire and the store.
//!
//! A request is judged in this order: its headers are text, its key is known, its body is within bounds, its
//! signature fits, its members fit the service's model, and only then what it asks for.

mod activations;
mod commands;
mod compliance;
mod context;
mod dispatch;
mod documents;
mod error;
mod inventory;
mod nodes;
mod output;
mod patch;
mod request;
mod respond;
mod tags;
#[cfg(test)]
mod tests;
mod yaml;

use std::sync::Arc;

use axum::Router;
use axum::extract::State;
use axum::response::Response;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use holdfast_aws_api::ApiError;
use holdfast_aws_api::arn::Account;
use holdfast_aws_api::page::TokenKey;
use ring::rand::{SecureRandom as _, SystemRandom};
use tokio::sync::Semaphore;

use crate::hub::Hub;
use crate::store::StoreError;

/// Requests that are read and answered at once at most; more are answered `ThrottlingException`. With the bound of
/// a body it bounds the memory that callers can take.
pub const REQUESTS_MAX: usize = 128;
/// Where the store keeps the secret of page tokens.
const TOKEN_KEY: &str = "page-token-key";

/// How the API presents itself.
#[derive(Debug, Clone)]
pub struct Config {
    /// `http` or `https`, as clients reach the API: the URLs of output begin with it.
    pub scheme: &'static str,
    /// Partition and account of ARNs; the region is the one a client signs for.
    pub account: Account,
}

/// The API of one bridge: cheap to clone.
#[derive(Debug, Clone)]
pub struct Api(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    hub: Hub,
    config: Config,
    token_key: TokenKey,
    requests: Semaphore,
}

/// The API cannot start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The database failed.
    #[error("the secret of page tokens cannot be read or kept")]
    Store(#[from] StoreError),
    /// The system has no randomness.
    #[error("the system gives no randomness for the secret of page tokens")]
    Randomness,
}

impl Api {
    /// The API over a hub and its store. The secret of page tokens is made on the first start and kept, so that a client's
    /// listing survives a restart.
    ///
    /// # Errors
    /// [`StartError`].
    pub async fn start(hub: Hub, config: Config) -> Result<Self, StartError> {
        let store = hub.store();
        let kept = store.meta(TOKEN_KEY).await?;
        let kept = kept.and_then(|text| BASE64.decode(text).ok()?.try_into().ok());
        let bytes = match kept {
            Some(bytes) => bytes,
            None => {
                let mut bytes = [0; 32];
                let filled = SystemRandom::new().fill(&mut bytes);
                filled.map_err(|_| StartError::Randomness)?;
                store.set_meta(TOKEN_KEY, BASE64.encode(bytes)).await?;
                bytes
            }
        };
        Ok(Self(Arc::new(Inner {
            hub,
            config,
            token_key: TokenKey::new(bytes),
            requests: Semaphore::new(REQUESTS_MAX),
        })))
    }
}

/// The routes: the operations at `/`, and the output of steps at the URLs that replies name.
pub fn router(api: Api) -> Router {
    Router::new()
        .route("/", axum::routing::post(operation))
        .route(output::ROUTE, axum::routing::get(output::serve))
        .fallback(no_such_route)
        .method_not_allowed_fallback(no_such_route)
        .with_state(api)
}

async fn operation(State(api): State<Api>, request: axum::extract::Request) -> Response {
    // A client that hangs up, or is answered that its time is over, drops this future. What was
    // committed must still be acted on, so it runs in a task of its own.
    let answered = tokio::spawn(async move {
        let id = request::new_id();
        match request::answer(&api, &id, request).await {
            Ok(reply) => respond::reply(&id, &reply),
            Err(error) => respond::error(&id, &error),
        }
    });
    answered.await.unwrap_or_else(|_| {
        let error = ApiError::internal_server_error("The request was not answered; try again.");
        respond::error(&request::new_id(), &error)
    })
}

async fn no_such_route() -> Response {
    let error = ApiError::unknown_operation("");
    respond::error(&request::new_id(), &error)
}
