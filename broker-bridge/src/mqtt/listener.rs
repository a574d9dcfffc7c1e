//! Accepts TCP connections at a bounded rate and gives each its task.
//! Never waits for one client while it could serve another.

use super::connection::{self, End};
use super::limits::Limits;
use super::registry::Registry;
use super::sessions::{CloseReason, ConnectionId, Sessions};
use holdfast_bridge_core::gate::Pace;
use holdfast_protocol::NodeId;
use rustls::ServerConfig;
use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, timeout};
use tokio_rustls::TlsAcceptor;

/// After an accept that failed.
const AGAIN: Duration = Duration::from_millis(100);
/// For the connection that a newer one of its node has replaced.
const TAKE_OVER: Duration = Duration::from_secs(2);

/// What every connection shares.
pub(super) struct Context {
    pub(super) limits: Limits,
    pub(super) sessions: Arc<dyn Sessions>,
    pub(super) registry: Registry,
    tls: RwLock<TlsAcceptor>,
    connections: Arc<Semaphore>,
    anonymous: Arc<Semaphore>,
}

/// A place among the connections; given back when it is dropped.
pub(super) struct Permit {
    _any: OwnedSemaphorePermit,
    _anonymous: Option<OwnedSemaphorePermit>,
}

impl Context {
    pub(super) fn tls(&self) -> TlsAcceptor {
        self.tls
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    /// A place for a client that said CONNECT. A node's older connection makes room for its
    /// newer one.
    pub(super) async fn admit(&self, node: Option<NodeId>) -> Result<Permit, End> {
        let full = || End::Full {
            what: "client",
            max: self.limits.connections,
        };
        let anonymous = match node {
            Some(_) => None,
            None => Some(
                Arc::clone(&self.anonymous)
                    .try_acquire_owned()
                    .map_err(|_| End::Full {
                        what: "enrolling",
                        max: self.limits.anonymous,
                    })?,
            ),
        };
        let any = match Arc::clone(&self.connections).try_acquire_owned() {
            Ok(permit) => permit,
            Err(_) => {
                let replaces = node
                    .is_some_and(|node| self.registry.close_node(&node, CloseReason::TakenOver));
                if !replaces {
                    return Err(full());
                }
                let place = Arc::clone(&self.connections).acquire_owned();
                let place = timeout(TAKE_OVER, place).await.map_err(|_| full())?;
                place.map_err(|_| full())?
            }
        };
        Ok(Permit {
            _any: any,
            _anonymous: anonymous,
        })
    }
}

/// The endpoint: bound, and serving once [`Self::run`] is polled.
pub struct Endpoint {
    listener: TcpListener,
    context: Arc<Context>,
}

impl Endpoint {
    /// Binds the address; port 0 takes a free one.
    ///
    /// # Errors
    /// Why the address cannot be bound.
    pub async fn bind(
        address: SocketAddr,
        tls: Arc<ServerConfig>,
        limits: Limits,
        sessions: Arc<dyn Sessions>,
    ) -> io::Result<Self> {
        let listener = TcpListener::bind(address).await?;
        let context = Context {
            connections: Arc::new(Semaphore::new(limits.connections)),
            anonymous: Arc::new(Semaphore::new(limits.anonymous)),
            limits,
            sessions,
            registry: Registry::default(),
            tls: RwLock::new(tls.into()),
        };
        Ok(Self {
            listener,
            context: Arc::new(context),
        })
    }

    /// The address that is bound.
    ///
    /// # Errors
    /// Why the system does not tell.
    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        self.listener.local_addr()
    }

    /// Serves until `stop` resolves; then accepts no more, lets each connection finish what is
    /// committing, and returns when all are closed, at the latest after twice the grace.
    pub async fn run(self, stop: impl Future<Output = ()>) {
        let Self { listener, context } = self;
        let limits = &context.limits;
        let handshakes = Arc::new(Semaphore::new(limits.handshakes));
        let mut tasks = JoinSet::new();
        let (began, mut pace) = (Instant::now(), Pace::new(limits.accepts_per_second));
        let mut last = 0;
        tokio::pin!(stop);
        loop {
            let socket = tokio::select! {
                () = &mut stop => break,
                Some(_) = tasks.join_next() => continue,
                accepted = accept(&listener, &handshakes, &mut pace, began) => accepted,
            };
            last += 1;
            if let Some((socket, peer, permit)) = socket {
                let id = ConnectionId(last);
                let context = Arc::clone(&context);
                tasks.spawn(connection::serve(context, socket, peer, id, permit));
            }
        }
        drop(listener);
        context.registry.close_all(CloseReason::Shutdown);
        let finished = async { while tasks.join_next().await.is_some() {} };
        if timeout(limits.grace * 2, finished).await.is_err() {
            tracing::info!("connections did not end in time and are cut");
        }
    }
}

/// The next socket, once the rate and the handshakes under way allow it. Cancelling loses none.
async fn accept(
    listener: &TcpListener,
    handshakes: &Arc<Semaphore>,
    pace: &mut Pace,
    began: Instant,
) -> Option<(TcpStream, SocketAddr, OwnedSemaphorePermit)> {
    let now_ms = || u64::try_from(began.elapsed().as_millis()).unwrap_or(u64::MAX);
    let wait_ms = pace.wait_ms(now_ms());
    if wait_ms > 0 {
        sleep(Duration::from_millis(wait_ms)).await;
    }
    let permit = Arc::clone(handshakes).acquire_owned().await.ok()?;
    match listener.accept().await {
        Ok((socket, peer)) => {
            pace.count(now_ms());
            Some((socket, peer, permit))
        }
        Err(error) => {
            // Out of descriptors, mostly; trying again at once would only burn the processor.
            tracing::warn!(%error, "cannot accept a connection");
            sleep(AGAIN).await;
            None
        }
    }
}
