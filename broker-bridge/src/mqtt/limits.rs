//! Every bound of the endpoint, with the reason for its size.
//! Never a bound of the wire: those are the protocol's.

use holdfast_protocol::limits::PACKET_BYTES_MAX;
use std::time::Duration;

/// Bounds of the endpoint. A test makes them small; `serve` takes them as they are, but for
/// `connections`.
#[derive(Debug, Clone)]
pub struct Limits {
    /// Clients connected at once; one more is told "server unavailable".
    pub connections: usize,
    /// Of these, clients without a certificate, which may only enrol.
    pub anonymous: usize,
    /// Clients between TCP's accept and CONNECT; further ones wait in the kernel's backlog.
    pub handshakes: usize,
    /// Accepted a second at most: a fleet that comes back together must not starve who is there.
    pub accepts_per_second: u32,
    /// For the TLS handshake, and again for CONNECT.
    pub handshake: Duration,
    /// Life of a connection without a certificate.
    pub anonymous_life: Duration,
    /// Largest packet of a node.
    pub packet_bytes: usize,
    /// Largest packet of a client without a certificate; a request to enrol is half of it.
    pub anonymous_packet_bytes: usize,
    /// Publishes of one client that wait for their commit; then its socket is not read.
    pub inflight: usize,
    /// Bytes of these.
    pub inflight_bytes: usize,
    /// Messages that wait to be written to one client, in bytes; one more closes the connection.
    pub outbound_bytes: usize,
    /// Messages at QoS 1 that a client has not acknowledged; one more closes the connection.
    pub unacknowledged: usize,
    /// Silence after which a client without keep-alive is gone.
    pub silence: Duration,
    /// For a client that takes nothing of what is written: far above the pauses of a slow link.
    pub unread: Duration,
    /// For what is committed or queued already, once a connection or the bridge is to end.
    pub grace: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            connections: 10_000,
            anonymous: 64,
            handshakes: 256,
            accepts_per_second: 500,
            handshake: Duration::from_secs(10),
            anonymous_life: Duration::from_secs(60),
            packet_bytes: PACKET_BYTES_MAX,
            anonymous_packet_bytes: 4 * 1024,
            inflight: 100,
            inflight_bytes: 1024 * 1024,
            outbound_bytes: 1024 * 1024,
            unacknowledged: 1000,
            silence: Duration::from_secs(20 * 60),
            unread: Duration::from_secs(60),
            grace: Duration::from_secs(5),
        }
    }
}
