//! Wires store, keys, endpoint and API together, and takes them down in the right order.
//! Never decides: it starts, waits for the word to stop, and stops.

mod addresses;
mod lock;

pub use addresses::{Addresses, listen_address, public_address, register_address};
pub use lock::LockError;
pub(crate) use lock::{Lock, is_an_agents};

use crate::api::{self, Api};
use crate::enrol::{Desk, Enroller};
use crate::http;
use crate::hub::{self, Clock, Hub, Randomness, Sealers, Ticks};
use crate::mqtt::{self, Endpoint};
use crate::pki::{self, PkiError, Root, Signing};
use crate::store::{OpenError, Store, StoreError};
use axum::Router;
use holdfast_aws_api::arn::Account;
use holdfast_bridge_core::retention::{DAY_MS, Retention};
use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::TcpListener;
use tokio::sync::watch;

/// A rotation by another process is taken up within this time.
const RELOAD: Duration = Duration::from_secs(5);

/// How a bridge is run.
#[derive(Debug, Clone)]
pub struct Options {
    /// Directory of database and keys.
    pub state_dir: PathBuf,
    /// Address of the API, without TLS.
    pub http: SocketAddr,
    /// Address of the MQTT endpoint.
    pub mqtt: SocketAddr,
    /// Where agents reach the endpoint, where that is another address.
    pub public_mqtt: Option<String>,
    /// Account and partition of ARNs.
    pub account: Account,
    /// Days of history that are kept.
    pub retention_days: u32,
    /// Days that a node's certificate is good for.
    pub certificate_days: u32,
    /// Clients of the endpoint at once.
    pub connections: usize,
}

/// The bridge cannot start.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    /// Another bridge uses the state directory, or it cannot be used.
    #[error(transparent)]
    Lock(#[from] LockError),
    /// The database cannot be opened.
    #[error("the state directory cannot be used")]
    Open(#[from] OpenError),
    /// The database failed while the bridge started.
    #[error("the fleet's state cannot be read")]
    Store(#[from] StoreError),
    /// Keys or certificates cannot be used.
    #[error("the keys cannot be used")]
    Pki(#[from] PkiError),
    /// The API cannot start.
    #[error("the API cannot start")]
    Api(#[from] api::StartError),
    /// An address cannot be bound.
    #[error("cannot listen on {address} ({flag}); choose another address, or stop what uses it")]
    Bind {
        /// The flag that named it.
        flag: &'static str,
        /// The address.
        address: SocketAddr,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The addresses cannot be written to the state directory.
    #[error("cannot write the bridge's addresses to `{}`", path.display())]
    Addresses {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
}

/// The OS clock, milliseconds since 1970; 0 before.
fn now_unix_ms() -> u64 {
    u64::try_from(jiff::Timestamp::now().as_millisecond()).unwrap_or(0)
}

/// Serves until `stop` resolves; `ready` is called once with the addresses that are bound.
///
/// # Errors
/// [`ServeError`]; nothing is left behind but a state directory that can be used again.
pub async fn serve<E: From<ServeError>>(
    options: Options,
    ready: impl FnOnce(&Addresses) -> Result<(), E>,
    stop: impl Future<Output = ()>,
) -> Result<(), E> {
    let lock = Lock::take(&options.state_dir).map_err(ServeError::from)?;
    let bridge = Bridge::start(&options).await?;
    let addresses = bridge.addresses(&options)?;
    addresses.write(&options.state_dir).map_err(|source| {
        let path = Addresses::path(&options.state_dir);
        ServeError::Addresses { path, source }
    })?;
    let told = ready(&addresses);
    if told.is_ok() {
        bridge.run(stop).await;
    }
    bridge_left(&options);
    drop(lock);
    told
}

/// What is true only while a bridge runs goes with it.
fn bridge_left(options: &Options) {
    if let Err(error) = std::fs::remove_file(Addresses::path(&options.state_dir)) {
        tracing::warn!(%error, "the file of the bridge's addresses stays behind");
    }
}

/// Everything that is bound and open, before it serves.
struct Bridge {
    hub: Hub,
    root: Arc<Root>,
    signing: Arc<Signing>,
    endpoint: Endpoint,
    http: TcpListener,
    router: Router,
}

impl Bridge {
    async fn start(options: &Options) -> Result<Self, ServeError> {
        let state_dir = &options.state_dir;
        let store = Store::open(state_dir).await?;
        let root = Arc::new(Root::open_or_create(state_dir)?);
        let signing = Arc::new(Signing::open_or_create(&root, state_dir, now_unix_ms())?);
        let hub = start_hub(options, store, &root, &signing).await?;
        let sessions = Arc::new(hub.clone());
        let limits = mqtt::Limits {
            connections: options.connections,
            ..mqtt::Limits::default()
        };
        let tls = pki::server_config(&root, now_unix_ms())?;
        let endpoint = Endpoint::bind(options.mqtt, tls, limits, sessions)
            .await
            .map_err(bind_fault("--mqtt", options.mqtt))?;
        let http = TcpListener::bind(options.http)
            .await
            .map_err(bind_fault("--http", options.http))?;
        let config = api::Config {
            scheme: "http",
            account: options.account.clone(),
        };
        let api = Api::start(hub.clone(), config).await?;
        Ok(Self {
            hub,
            root,
            signing,
            endpoint,
            http,
            router: api::router(api),
        })
    }

    fn addresses(&self, options: &Options) -> Result<Addresses, ServeError> {
        let bound = self.http.local_addr();
        let http = bound.map_err(bind_fault("--http", options.http))?;
        let bound = self.endpoint.local_addr();
        let mqtt = bound.map_err(bind_fault("--mqtt", options.mqtt))?;
        Ok(Addresses {
            http,
            mqtt,
            public_mqtt: options.public_mqtt.clone(),
            pid: std::process::id(),
        })
    }

    /// Serves; once `stop` resolves, the listeners end first, then the hub with its store.
    async fn run(self, stop: impl Future<Output = ()>) {
        let (stopping, stopped) = watch::channel(false);
        let wait = |mut stopped: watch::Receiver<bool>| async move {
            // Who would send the word is gone only after it was sent.
            let _ = stopped.wait_for(|stopped| *stopped).await;
        };
        let endpoint = tokio::spawn(self.endpoint.run(wait(stopped.clone())));
        let limits = http::Limits::default();
        let http = http::serve(self.http, self.router, limits, wait(stopped.clone()));
        let http = tokio::spawn(http);
        let reload = tokio::spawn(reload(self.root, self.signing, self.hub.clone()));
        stop.await;
        tracing::info!("stopping: what is under way is finished first");
        reload.abort();
        // Nobody listens when both have ended already.
        let _ = stopping.send(true);
        for task in [endpoint, http] {
            if let Err(error) = task.await {
                tracing::error!(%error, "a listener ended badly");
            }
        }
        self.hub.stop().await;
    }
}

async fn start_hub(
    options: &Options,
    store: Store,
    root: &Arc<Root>,
    signing: &Arc<Signing>,
) -> Result<Hub, ServeError> {
    let clock = Clock::system();
    let enroller = Enroller::new(
        store.clone(),
        Arc::clone(root),
        Arc::clone(signing),
        options.certificate_days,
    )?;
    let sealers = Arc::clone(signing);
    let age = i64::from(options.retention_days) * DAY_MS;
    let hub = Hub::start(hub::Options {
        store,
        sealers: Sealers::new(move || sealers.sealer()),
        root: Arc::new(pki::root_sealer(&options.state_dir)?),
        token_key: pki::token_key(&options.state_dir)?,
        clock: clock.clone(),
        random: Randomness::system(),
        ticks: Ticks::Own,
        retention: Retention {
            command_age_ms: age,
            event_age_ms: age,
            ..Retention::default()
        },
        enrolment: Arc::new(Desk::new(enroller, clock)),
    });
    Ok(hub.await?)
}

/// Takes up signing keys that `signing-key rotate` made meanwhile.
async fn reload(root: Arc<Root>, signing: Arc<Signing>, hub: Hub) {
    loop {
        tokio::time::sleep(RELOAD).await;
        match signing.reload(&root) {
            Ok(Some(serial)) => {
                tracing::info!(serial, "frames are sealed by a new signing key");
                hub.rotated();
            }
            Ok(None) => {}
            Err(error) => tracing::warn!(%error, "a new signing key cannot be taken up"),
        }
    }
}

fn bind_fault(flag: &'static str, address: SocketAddr) -> impl FnOnce(io::Error) -> ServeError {
    move |source| ServeError::Bind {
        flag,
        address,
        source,
    }
}
