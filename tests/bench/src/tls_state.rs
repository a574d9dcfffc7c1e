//! What one idle TLS connection keeps in memory on a server's side, to be told apart from the bridge's own.
//! Never over a socket: both sides shake hands in memory, and the client's is gone before the next.

use crate::measure::resident_kib;
use crate::papers::Papers;
use anyhow::{Context as _, Result, bail};
use rustls::server::{NoServerSessionStorage, WebPkiClientVerifier};
use rustls::{ClientConfig, ClientConnection, ServerConfig, ServerConnection};
use rustls_pki_types::{PrivatePkcs8KeyDer, ServerName};
use std::process::{Command, Stdio};
use std::sync::Arc;

/// The name that the bridge's certificates bear.
const NAME: &str = "holdfast-bridge";
/// As the bridge cuts its fragments.
const FRAGMENT_BYTES: usize = 4 * 1024;

/// Both sides as an agent and a bridge have them: client certificate, no sessions kept, no tickets.
fn configs() -> Result<(Arc<ClientConfig>, Arc<ServerConfig>)> {
    let papers = Papers::new(NAME)?;
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let client = ClientConfig::builder_with_provider(Arc::clone(&provider));
    let client = papers.client(client.with_safe_default_protocol_versions()?)?;
    let roots = Arc::new(papers.roots()?);
    let verifier =
        WebPkiClientVerifier::builder_with_provider(roots, Arc::clone(&provider)).build()?;
    let (certificate, key) = &papers.server;
    let chain = vec![certificate.der().clone(), papers.root.der().clone()];
    let key = PrivatePkcs8KeyDer::from(key.serialize_der());
    let mut server = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .with_client_cert_verifier(verifier)
        .with_single_cert(chain, key.into())?;
    server.session_storage = Arc::new(NoServerSessionStorage {});
    server.send_tls13_tickets = 0;
    server.max_fragment_size = Some(FRAGMENT_BYTES);
    Ok((Arc::new(client), Arc::new(server)))
}

/// One connection after its handshake; the client's side is dropped.
fn shaken(client: &Arc<ClientConfig>, server: &Arc<ServerConfig>) -> Result<ServerConnection> {
    let mut client = ClientConnection::new(Arc::clone(client), ServerName::try_from(NAME)?)?;
    let mut server = ServerConnection::new(Arc::clone(server))?;
    for _ in 0..10 {
        if !client.is_handshaking() && !server.is_handshaking() {
            return Ok(server);
        }
        let mut flight = Vec::new();
        while client.wants_write() {
            client.write_tls(&mut flight)?;
        }
        let mut rest = flight.as_slice();
        while !rest.is_empty() {
            server.read_tls(&mut rest)?;
            server
                .process_new_packets()
                .context("the client's flight")?;
        }
        flight.clear();
        while server.wants_write() {
            server.write_tls(&mut flight)?;
        }
        let mut rest = flight.as_slice();
        while !rest.is_empty() {
            client.read_tls(&mut rest)?;
            client
                .process_new_packets()
                .context("the server's flight")?;
        }
    }
    bail!("no end of the handshake")
}

/// First argument of this program when it measures this and nothing else.
pub const TLS_STATE: &str = "tls-state";

/// KiB that each of `count` idle connections keeps resident in a process that did nothing before:
/// one that has memory to use again would show less than it takes.
///
/// # Errors
/// When the process cannot be started, or as [`resident_kib_each`].
pub fn resident_kib_each_afresh(count: usize) -> Result<f64> {
    let program = std::env::current_exe().context("the path of this program")?;
    let output = Command::new(program)
        .args([TLS_STATE, &count.to_string()])
        .stdin(Stdio::null())
        .stderr(Stdio::inherit())
        .output()
        .context("starting a process for TLS's part")?;
    if !output.status.success() {
        bail!("TLS's part could not be measured: {}", output.status);
    }
    let line = String::from_utf8(output.stdout)?;
    line.trim().parse().with_context(|| line.clone())
}

/// KiB that each of `count` idle connections keeps resident in this process.
///
/// # Errors
/// When a handshake fails or this process cannot be measured.
pub fn resident_kib_each(count: usize) -> Result<f64> {
    let (client, server) = configs()?;
    let mut kept = Vec::with_capacity(count);
    for _ in 0..count.div_ceil(10) {
        kept.push(shaken(&client, &server)?);
    }
    let (before, warm) = (resident_kib(std::process::id())?, kept.len());
    while kept.len() < count {
        kept.push(shaken(&client, &server)?);
    }
    let after = resident_kib(std::process::id())?;
    Ok((after - before) / (kept.len() - warm).max(1) as f64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_connection_keeps_some_kibibytes() {
        let each = resident_kib_each(400).unwrap();
        assert!((0.5..64.0).contains(&each), "{each} KiB");
    }
}
