//! Makes one connection: name, TCP, TLS, MQTT, subscriptions, each within its time.
//! Never tries a second address list or waits between attempts: that is the core's.

use super::address::Address;
use super::error::LinkError;
use super::session::{Paced, Session};
use crate::tls::{Connector, certificate};
use rumqttc::mqttbytes::v4::{Connect, LastWill};
use rumqttc::mqttbytes::{Protocol, QoS};
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;
use tokio::net::TcpStream;
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};
use tokio_rustls::client::TlsStream;

/// From the name to a TCP connection.
const TCP_LIMIT: Duration = Duration::from_secs(4);
/// Between the beginnings of two attempts to the addresses of one name.
const STAGGER: Duration = Duration::from_millis(250);
/// Addresses of one name that are tried.
const PLACES_MAX: usize = 8;
/// TLS, MQTT and the subscriptions together.
const GREETING_LIMIT: Duration = Duration::from_secs(20);
/// MQTT keep-alive: the bridge gives up after one and a half of it.
pub(super) const KEEP_ALIVE: Duration = Duration::from_secs(60);

/// Who connects, and what it wants to hear.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hail {
    /// MQTT client id: the node, or anything without a certificate.
    pub client_id: String,
    /// Topic and payload to be published when this connection is lost.
    pub will: Option<(String, Vec<u8>)>,
    /// Topics to subscribe to, QoS 1.
    pub topics: Vec<String>,
}

/// Makes connections. One for the life of the process, so that a resolver that hangs is asked once
/// at a time: names are resolved on the blocking threads, which others need too.
#[derive(Debug, Clone)]
pub struct Dialer {
    resolving: Arc<Semaphore>,
}

impl Default for Dialer {
    fn default() -> Self {
        Self {
            resolving: Arc::new(Semaphore::new(1)),
        }
    }
}

impl Dialer {
    /// Connects and subscribes.
    ///
    /// # Errors
    /// [`LinkError`], by the stage that failed.
    pub async fn connect(
        &self,
        address: &Address,
        tls: &Connector,
        hail: Hail,
    ) -> Result<Session, LinkError> {
        let (stream, paced) = self.tcp(address).await?;
        let greeting = async {
            let stream = tls
                .tls()
                .connect(Connector::server_name(), stream)
                .await
                .map_err(|source| LinkError::of_tls(address, source))?;
            let bridge_expires_unix_ms = expiry_of_bridge(address, &stream)?;
            let (connect, topics) = (connect_packet(&hail), hail.topics);
            Session::open(
                address,
                stream,
                paced,
                connect,
                topics,
                bridge_expires_unix_ms,
            )
            .await
        };
        match timeout(GREETING_LIMIT, Box::pin(greeting)).await {
            Ok(session) => session,
            Err(_) => Err(LinkError::Silent {
                address: address.clone(),
                stage: "TLS and the MQTT greeting",
                limit: GREETING_LIMIT,
            }),
        }
    }

    async fn tcp(&self, address: &Address) -> Result<(TcpStream, Paced), LinkError> {
        let tcp = |source| LinkError::Tcp {
            address: address.clone(),
            source,
        };
        let connecting = async {
            let places = self.resolve(address).await?;
            first_to_connect(places).await.map_err(tcp)
        };
        let stream = match timeout(TCP_LIMIT, connecting).await {
            Ok(stream) => stream?,
            Err(_) => return Err(tcp(io::ErrorKind::TimedOut.into())),
        };
        let paced = prepare(&stream).map_err(tcp)?;
        Ok((stream, paced))
    }

    async fn resolve(&self, address: &Address) -> Result<Vec<SocketAddr>, LinkError> {
        if let Ok(ip) = address.host.parse::<IpAddr>() {
            return Ok(vec![SocketAddr::new(ip, address.port)]);
        }
        let failed = |source| LinkError::Resolve {
            address: address.clone(),
            source,
        };
        // The permit goes with the question, not with the one who asked: that one may give up.
        let permit = Arc::clone(&self.resolving).acquire_owned().await;
        let question = (address.host.clone(), address.port);
        let asked = tokio::task::spawn_blocking(move || {
            let _permit = permit;
            std::net::ToSocketAddrs::to_socket_addrs(&question).map(Iterator::collect::<Vec<_>>)
        });
        let found = asked
            .await
            .map_err(io::Error::other)
            .and_then(|found| found)
            .map_err(failed)?;
        if found.is_empty() {
            return Err(failed(io::ErrorKind::NotFound.into()));
        }
        Ok(found)
    }
}

/// What every connection is: prompt, given up in time, and steady where packets are lost.
fn prepare(stream: &TcpStream) -> io::Result<Paced> {
    stream.set_nodelay(true)?;
    Paced::set(stream)
}

/// Connects to whichever address answers first. Each begins a little after the one before it, so
/// that one that swallows everything does not take the whole time (RFC 8305, section 5).
async fn first_to_connect(places: Vec<SocketAddr>) -> io::Result<TcpStream> {
    let mut attempts = JoinSet::new();
    for (place, turn) in places.into_iter().take(PLACES_MAX).zip(0_u32..) {
        attempts.spawn(async move {
            sleep(STAGGER * turn).await;
            TcpStream::connect(place).await
        });
    }
    let mut last = io::Error::from(io::ErrorKind::AddrNotAvailable);
    while let Some(attempt) = attempts.join_next().await {
        match attempt.unwrap_or_else(|error| Err(io::Error::other(error))) {
            Ok(stream) => return Ok(stream),
            Err(error) => last = error,
        }
    }
    Err(last)
}

/// End of the certificate that the bridge showed, milliseconds since 1970.
fn expiry_of_bridge(address: &Address, stream: &TlsStream<TcpStream>) -> Result<u64, LinkError> {
    let shown = stream.get_ref().1.peer_certificates();
    let leaf = shown.and_then(<[_]>::first);
    // The verifier has read it; none at all is as malformed as an empty one.
    let facts = certificate::read(leaf.map_or(&[], |leaf| leaf.as_ref()));
    facts
        .map(|facts| facts.not_after_unix_s.saturating_mul(1000))
        .map_err(|malformed| LinkError::Distrust {
            address: address.clone(),
            source: malformed.into(),
        })
}

fn connect_packet(hail: &Hail) -> Connect {
    let mut connect = Connect::new(&hail.client_id);
    connect.protocol = Protocol::V4;
    connect.keep_alive = u16::try_from(KEEP_ALIVE.as_secs()).unwrap_or(u16::MAX);
    // What must not be lost is in the outbox here and in the store there.
    connect.clean_session = true;
    connect.last_will = hail
        .will
        .as_ref()
        .map(|(topic, will)| LastWill::new(topic, will.clone(), QoS::AtMostOnce, false));
    connect
}
