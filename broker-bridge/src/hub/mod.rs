//! Between connections and the store: hello, ingest, dispatch, timers, and what the API asks for.
//! Never decides: the cores do; never tells what is not committed.
//!
//! | module | does |
//! |---|---|
//! | `session` | live connections, their counters and what is on the wire |
//! | `link` | implements the endpoint's seam: connect, publish, delivered, disconnect |
//! | `hello` | the first words of a node: token chain, streams, what is to be sent again |
//! | `ingest` | records of the four streams, in groups, once each, then acknowledgements |
//! | `answer` | busy, stale, known, unknown |
//! | `aside` | ends a command whose record cannot be read |
//! | `dispatch` | admits and sends what waits |
//! | `refill` | uses a place on the wire that came free, or what a hello or time brings back |
//! | `command` | send and cancel |
//! | `node` | deregister, quarantine, release |
//! | `timer` | expiry, retries, retention |
//! | `clock`, `random` | the wall clock and randomness, handed in |

mod answer;
mod aside;
mod clock;
mod command;
mod dispatch;
mod follow;
mod hello;
mod ingest;
mod link;
mod node;
mod random;
mod refill;
mod session;
mod timer;

#[cfg(test)]
mod tests;

pub use clock::Clock;
pub use command::{CancelError, SendCommand, SendCommandError};
pub use node::{NodeChangeError, deregister, release};
pub use random::Randomness;
pub use timer::Ticks;

use crate::mqtt::CloseReason;
use crate::store::{Store, StoreError};
use bytes::Bytes;
use futures_util::future::BoxFuture;
use holdfast_bridge_core::retention::Retention;
use holdfast_bridge_core::token::TokenKey;
use holdfast_protocol::enrol::{Renewal, Reply};
use holdfast_protocol::seal::Sealer;
use holdfast_protocol::{NodeId, Nonce};
use session::{Sessions, lock};
use std::fmt;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicI64};
use std::sync::{Arc, Mutex};
use tokio::task::JoinHandle;

/// Gives the signing key that seals now; a rotation changes it.
#[derive(Clone)]
pub struct Sealers(Arc<dyn Fn() -> Arc<Sealer> + Send + Sync>);

impl Sealers {
    /// Asks `current` at each frame.
    #[must_use]
    pub fn new(current: impl Fn() -> Arc<Sealer> + Send + Sync + 'static) -> Self {
        Self(Arc::new(current))
    }

    fn current(&self) -> Arc<Sealer> {
        (self.0)()
    }
}

impl fmt::Debug for Sealers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Sealers")
    }
}

/// What the hub asks of enrolment. Both must end within a bounded time.
pub trait Enrolment: Send + Sync + 'static {
    /// A client without a certificate sent this frame on `enroll/<nonce>/request`; the frame that
    /// answers on `enroll/<nonce>/reply`, if any does. `peer`: its address, for the log.
    fn enrol(
        &self,
        peer: SocketAddr,
        nonce: Nonce,
        frame: Bytes,
    ) -> BoxFuture<'static, Option<Bytes>>;

    /// A connected node asks for a certificate of a fresh key.
    fn renew(&self, node: NodeId, renewal: Renewal) -> BoxFuture<'static, Option<Reply>>;
}

/// What a hub is made of.
pub struct Options {
    /// The fleet's state.
    pub store: Store,
    /// The keys that seal frames.
    pub sealers: Sealers,
    /// The root, for what only it may say.
    pub root: Arc<Sealer>,
    /// The key of the token chain (`token.key`).
    pub token_key: [u8; 32],
    /// The time.
    pub clock: Clock,
    /// Randomness.
    pub random: Randomness,
    /// Who calls [`Hub::tick`].
    pub ticks: Ticks,
    /// How much history is kept.
    pub retention: Retention,
    /// Enrolment and renewal.
    pub enrolment: Arc<dyn Enrolment>,
}

impl fmt::Debug for Options {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Options")
            .field("retention", &self.retention)
            .finish_non_exhaustive()
    }
}

struct Shared {
    store: Store,
    sealers: Sealers,
    root: Arc<Sealer>,
    token: Arc<TokenKey>,
    clock: Clock,
    retention: Retention,
    enrolment: Arc<dyn Enrolment>,
    random: Randomness,
    sessions: Sessions,
    ingest: ingest::Queue,
    hellos: hello::Gate,
    dispatch: dispatch::Queue,
    /// The store may show nodes as online whose connection is gone: looked for with the next tick.
    strays: AtomicBool,
    /// When the newest tick was, by the clock.
    ticked: AtomicI64,
    tasks: Mutex<Vec<JoinHandle<()>>>,
}

/// The hub: cheap to clone; implements [`crate::mqtt::Sessions`] for the endpoint.
#[derive(Clone)]
pub struct Hub {
    shared: Arc<Shared>,
}

impl fmt::Debug for Hub {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Hub")
            .field("connections", &self.connections())
            .finish_non_exhaustive()
    }
}

impl Hub {
    /// Starts the hub's tasks on the current tokio runtime, after it has marked every node as
    /// away: connections of an earlier run are gone.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn start(options: Options) -> Result<Self, StoreError> {
        let shared = Arc::new(Shared {
            store: options.store,
            sealers: options.sealers,
            root: options.root,
            token: Arc::new(TokenKey::new(&options.token_key)),
            clock: options.clock,
            retention: options.retention,
            enrolment: options.enrolment,
            random: options.random,
            sessions: Sessions::default(),
            ingest: ingest::Queue::new(),
            hellos: hello::Gate::default(),
            dispatch: dispatch::Queue::default(),
            strays: AtomicBool::new(false),
            ticked: AtomicI64::new(i64::MIN),
            tasks: Mutex::default(),
        });
        let hub = Self { shared };
        hub.begin_run().await?;
        let mut tasks = vec![
            tokio::spawn(hub.clone().ingest_records()),
            tokio::spawn(hub.clone().dispatch_commands()),
        ];
        if options.ticks == Ticks::Own {
            tasks.push(tokio::spawn(hub.clone().keep_time()));
        }
        *lock(&hub.shared.tasks) = tasks;
        Ok(hub)
    }

    /// The fleet's state, for reading and for changes that concern no connection.
    #[must_use]
    pub fn store(&self) -> &Store {
        &self.shared.store
    }

    /// The time, as this hub has it.
    #[must_use]
    pub fn clock(&self) -> &Clock {
        &self.shared.clock
    }

    /// Nodes connected now.
    #[must_use]
    pub fn connections(&self) -> usize {
        self.shared.sessions.count()
    }

    /// Closes every connection, stops the hub's tasks, commits what waits and closes the store.
    pub async fn stop(&self) {
        self.shared.sessions.close_all(CloseReason::Shutdown);
        let tasks = std::mem::take(&mut *lock(&self.shared.tasks));
        tasks.iter().for_each(JoinHandle::abort);
        self.shared.store.close().await;
    }

    /// Fresh randomness.
    fn random<const N: usize>(&self) -> Result<[u8; N], StoreError> {
        let mut bytes = [0; N];
        if !self.shared.random.fill(&mut bytes) {
            return Err(StoreError::Corrupt {
                what: "source of randomness",
            });
        }
        Ok(bytes)
    }
}
