//! The API's HTTP listener: bounded connections, headers, bodies and waiting.
//! Never knows a route, and never speaks TLS: another address than loopback is the operator's word.

use crate::impatient::Impatient;
use axum::Router;
use axum::body::Body;
use axum::extract::DefaultBodyLimit;
use axum::http::header::CONTENT_LENGTH;
use axum::http::{HeaderMap, Request, Response, StatusCode};
use axum::response::IntoResponse;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use std::convert::Infallible;
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, watch};
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};

/// Bounds of the listener.
#[derive(Debug, Clone)]
pub struct Limits {
    /// Connections at once; further ones wait in the kernel's backlog.
    pub connections: usize,
    /// Bytes of a request's line and headers.
    pub header_bytes: usize,
    /// From a connection's begin, or the end of its last request, to the end of its next headers.
    pub header_wait: Duration,
    /// Largest body.
    pub body_bytes: usize,
    /// From a request's headers to its reply.
    pub request: Duration,
    /// For a client that takes nothing of its reply.
    pub unread: Duration,
    /// For requests under way once the bridge is to stop.
    pub grace: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            connections: 512,
            header_bytes: 32 * 1024,
            header_wait: Duration::from_secs(30),
            // Above the API's own bound, so that its error is AWS's; what is larger still is cut here.
            body_bytes: 2 * 1024 * 1024,
            request: Duration::from_secs(60),
            unread: Duration::from_secs(30),
            grace: Duration::from_secs(5),
        }
    }
}

/// Serves `router` until `stop` resolves; then finishes the requests under way within the grace.
pub async fn serve(
    listener: TcpListener,
    router: Router,
    limits: Limits,
    stop: impl Future<Output = ()>,
) {
    let router = router.layer(DefaultBodyLimit::max(limits.body_bytes));
    let places = Arc::new(Semaphore::new(limits.connections));
    let (ending, ended) = watch::channel(false);
    let mut tasks = JoinSet::new();
    tokio::pin!(stop);
    loop {
        let accepted = tokio::select! {
            () = &mut stop => break,
            Some(_) = tasks.join_next() => continue,
            accepted = accept(&listener, &places) => accepted,
        };
        if let Some((socket, place)) = accepted {
            let connection = connection(socket, router.clone(), limits.clone(), ended.clone());
            tasks.spawn(async move {
                connection.await;
                drop(place);
            });
        }
    }
    drop(listener);
    // Nobody listens when no connection is open.
    let _ = ending.send(true);
    let finished = async { while tasks.join_next().await.is_some() {} };
    if timeout(limits.grace, finished).await.is_err() {
        tracing::info!("requests did not end in time and are cut");
    }
}

async fn accept(
    listener: &TcpListener,
    places: &Arc<Semaphore>,
) -> Option<(TcpStream, tokio::sync::OwnedSemaphorePermit)> {
    let place = Arc::clone(places).acquire_owned().await.ok()?;
    match listener.accept().await {
        Ok((socket, _)) => Some((socket, place)),
        Err(error) => {
            tracing::warn!(%error, "cannot accept an HTTP connection");
            sleep(Duration::from_millis(100)).await;
            None
        }
    }
}

async fn connection(
    socket: TcpStream,
    router: Router,
    limits: Limits,
    mut ended: watch::Receiver<bool>,
) {
    // A reply is one write; waiting for more of it would only delay it.
    let _ = socket.set_nodelay(true);
    let (request_limit, body_bytes) = (limits.request, limits.body_bytes);
    let service = service_fn(move |request: Request<Incoming>| {
        let router = TowerToHyperService::new(router.clone());
        async move {
            if too_large(request.headers(), body_bytes) {
                return Ok(plain(StatusCode::PAYLOAD_TOO_LARGE));
            }
            let reply = hyper::service::Service::call(&router, request);
            Ok::<_, Infallible>(match timeout(request_limit, reply).await {
                Ok(Ok(reply)) => reply,
                Ok(Err(never)) => match never {},
                Err(_) => plain(StatusCode::REQUEST_TIMEOUT),
            })
        }
    });
    let socket = Impatient::new(socket, limits.unread);
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(limits.header_wait)
        .max_buf_size(limits.header_bytes)
        .serve_connection(TokioIo::new(socket), service);
    tokio::pin!(connection);
    let ending = async {
        // Who would send the word is gone only after it was sent.
        let _ = ended.wait_for(|ended| *ended).await;
    };
    let result = tokio::select! {
        result = connection.as_mut() => result,
        () = ending => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    };
    if let Err(error) = result {
        tracing::debug!(%error, "HTTP connection ended");
    }
}

fn too_large(headers: &HeaderMap, body_bytes: usize) -> bool {
    let length = headers
        .get(CONTENT_LENGTH)
        .and_then(|length| length.to_str().ok()?.parse::<usize>().ok());
    length.is_some_and(|length| length > body_bytes)
}

fn plain(status: StatusCode) -> Response<Body> {
    status.into_response()
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::routing::post;
    use std::net::SocketAddr;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::sync::oneshot;
    use tokio::task::JoinHandle;

    async fn start(limits: Limits) -> (SocketAddr, oneshot::Sender<()>, JoinHandle<()>) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let router = Router::new().route("/", post(|body: String| async move { body }));
        let (stop, stopped) = oneshot::channel::<()>();
        let running = tokio::spawn(serve(listener, router, limits, async {
            let _ = stopped.await;
        }));
        (address, stop, running)
    }

    async fn ask(address: SocketAddr, request: &[u8]) -> String {
        let mut socket = TcpStream::connect(address).await.unwrap();
        socket.write_all(request).await.unwrap();
        let mut reply = Vec::new();
        // A reset after the reply is an end, too.
        let _ = socket.read_to_end(&mut reply).await;
        String::from_utf8_lossy(&reply).into_owned()
    }

    #[tokio::test]
    async fn requests_are_answered_until_the_stop() {
        let (address, stop, running) = start(Limits::default()).await;
        let request =
            b"POST / HTTP/1.1\r\nhost: x\r\nconnection: close\r\ncontent-length: 2\r\n\r\nhi";
        let reply = ask(address, request).await;
        assert!(
            reply.starts_with("HTTP/1.1 200") && reply.ends_with("hi"),
            "{reply}"
        );
        stop.send(()).unwrap();
        running.await.unwrap();
        assert!(TcpStream::connect(address).await.is_err());
    }

    #[tokio::test]
    async fn what_is_over_a_bound_is_refused() {
        let limits = Limits {
            body_bytes: 10,
            header_bytes: 8192,
            header_wait: Duration::from_millis(200),
            ..Limits::default()
        };
        let (address, _stop, _running) = start(limits).await;
        let body = b"POST / HTTP/1.1\r\nhost: x\r\ncontent-length: 11\r\n\r\nhello world";
        assert!(ask(address, body).await.starts_with("HTTP/1.1 413"));
        let chunked = b"POST / HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\nb\r\nhello world\r\n0\r\n\r\n";
        assert!(ask(address, chunked).await.starts_with("HTTP/1.1 413"));
        let header = format!("POST / HTTP/1.1\r\nx: {}\r\n\r\n", "y".repeat(20_000));
        let reply = ask(address, header.as_bytes()).await;
        assert!(reply.starts_with("HTTP/1.1 431"), "{reply}");
        // Headers that never end are not waited for.
        let reply = ask(address, b"POST / HTTP/1.1\r\nhost").await;
        assert!(!reply.starts_with("HTTP/1.1 200"), "{reply}");
    }

    #[tokio::test]
    async fn a_client_that_takes_nothing_of_its_reply_is_given_up() {
        let limits = Limits {
            connections: 1,
            unread: Duration::from_millis(100),
            ..Limits::default()
        };
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let large = || async { vec![b'x'; 64 * 1024 * 1024] };
        let router = Router::new()
            .route("/large", post(large))
            .route("/", post(|body: String| async move { body }));
        tokio::spawn(serve(listener, router, limits, std::future::pending()));
        let mut silent = TcpStream::connect(address).await.unwrap();
        let request = b"POST /large HTTP/1.1\r\nhost: x\r\ncontent-length: 0\r\n\r\n";
        silent.write_all(request).await.unwrap();
        // It holds the only place until it is given up.
        let request =
            b"POST / HTTP/1.1\r\nhost: x\r\nconnection: close\r\ncontent-length: 2\r\n\r\nhi";
        let reply = timeout(Duration::from_secs(20), ask(address, request)).await;
        assert!(reply.unwrap().ends_with("hi"));
        drop(silent);
    }
}
