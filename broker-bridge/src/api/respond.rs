//! Replies and errors as HTTP responses.
//! Never decides what is said: only how it goes over the wire.

use axum::body::Body;
use axum::http::{Response, StatusCode, header};
use holdfast_aws_api::{ApiError, CONTENT_TYPE};
use serde_json::Value as Json;

/// A reply with status 200.
pub(super) fn reply(request_id: &str, reply: &Json) -> Response<Body> {
    let headers = [
        ("content-type", CONTENT_TYPE.to_owned()),
        ("x-amzn-requestid", request_id.to_owned()),
    ];
    build(200, headers, Body::from(reply.to_string()))
}

/// Bytes of whatever kind, with status 200.
pub(super) fn bytes(request_id: &str, bytes: Vec<u8>) -> Response<Body> {
    let headers = [
        ("content-type", "application/octet-stream".to_owned()),
        ("x-amzn-requestid", request_id.to_owned()),
    ];
    build(200, headers, Body::from(bytes))
}

/// An error with the status and the headers that the service gives it.
pub(super) fn error(request_id: &str, error: &ApiError) -> Response<Body> {
    let body = Body::from(error.to_json().to_string());
    build(error.status(), error.headers(request_id), body)
}

fn build<const N: usize>(
    status: u16,
    headers: [(&'static str, String); N],
    body: Body,
) -> Response<Body> {
    let mut response = Response::builder()
        .status(status)
        .header(header::CACHE_CONTROL, "no-store");
    for (name, value) in headers {
        response = response.header(name, value);
    }
    // Status and headers are of our own making, so this cannot fail; were it to, the client is told as much.
    response.body(body).unwrap_or_else(|_| {
        let mut fault = Response::new(Body::empty());
        *fault.status_mut() = StatusCode::INTERNAL_SERVER_ERROR;
        fault
    })
}
