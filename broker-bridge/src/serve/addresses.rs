//! `serve.json`: where a bridge that runs listens, for the verbs beside it.
//! Never trusted for more than a printed line: the file may be of a bridge that was killed.

use serde::{Deserialize, Serialize};
use std::io;
use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::path::{Path, PathBuf};

/// Port of MQTT over TLS (IANA `secure-mqtt`).
const MQTT_PORT: u16 = 8883;

/// Where a bridge listens.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Addresses {
    /// The API.
    pub http: SocketAddr,
    /// The MQTT endpoint.
    pub mqtt: SocketAddr,
    /// Where agents reach the endpoint, where that was said to be elsewhere.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub public_mqtt: Option<String>,
    /// Process of the bridge.
    pub pid: u32,
}

impl Addresses {
    pub(super) fn path(state_dir: &Path) -> PathBuf {
        state_dir.join("serve.json")
    }

    /// What a bridge wrote that runs on this state directory, or that was killed there.
    #[must_use]
    pub fn read(state_dir: &Path) -> Option<Self> {
        let text = std::fs::read(Self::path(state_dir)).ok()?;
        serde_json::from_slice(&text).ok()
    }

    pub(super) fn write(&self, state_dir: &Path) -> io::Result<()> {
        let path = Self::path(state_dir);
        let fresh = path.with_extension("json.new");
        std::fs::write(&fresh, serde_json::to_vec(self)?)?;
        std::fs::rename(&fresh, &path)
    }
}

/// `HOST:PORT` for the register line: as configured, else as bound, with this machine's name
/// where every address is bound.
#[must_use]
pub fn register_address(addresses: Option<&Addresses>) -> String {
    let host = || {
        rustix::system::uname()
            .nodename()
            .to_string_lossy()
            .into_owned()
    };
    let Some(addresses) = addresses else {
        return format!("{}:{MQTT_PORT}", host());
    };
    if let Some(public) = &addresses.public_mqtt {
        return public.clone();
    }
    let is_any = match addresses.mqtt.ip() {
        IpAddr::V4(ip) => ip.is_unspecified(),
        IpAddr::V6(ip) => ip.is_unspecified(),
    };
    if is_any {
        format!("{}:{}", host(), addresses.mqtt.port())
    } else {
        addresses.mqtt.to_string()
    }
}

/// Reads an address to listen on.
///
/// # Errors
/// What was given, and what is meant.
pub fn listen_address(text: &str) -> Result<SocketAddr, String> {
    text.parse().map_err(|_| {
        format!(
            "`{text}` is no address to listen on: ADDRESS:PORT, such as 127.0.0.1:8440, 0.0.0.0:8883 or \
             [::1]:8440; no name"
        )
    })
}

/// Reads the `HOST:PORT` at which agents reach the endpoint: a name, an IPv4 address or an IPv6 address
/// in brackets; without a port that of MQTT over TLS.
///
/// # Errors
/// What is wrong with it, in words.
pub fn public_address(text: &str) -> Result<String, String> {
    let wrong = || {
        format!(
            "`{text}` is not where agents reach this bridge: HOST:PORT, such as bridge.example:8883, \
             192.0.2.7:8883 or [2001:db8::7]:8883, without mqtts://"
        )
    };
    let (host, port) = match text.rsplit_once(':') {
        Some((host, port)) if !port.ends_with(']') => (host, Some(port)),
        _ => (text, None),
    };
    let is_host = match host
        .strip_prefix('[')
        .and_then(|rest| rest.strip_suffix(']'))
    {
        Some(address) => address.parse::<Ipv6Addr>().is_ok(),
        None => is_name(host),
    };
    let port = match port {
        None => Some(MQTT_PORT),
        Some(port) => port.parse().ok().filter(|port| *port != 0),
    };
    match port {
        Some(port) if is_host => Ok(format!("{host}:{port}")),
        _ => Err(wrong()),
    }
}

/// A name of hosts by their rules (RFC 1123, section 2.1), or an IPv4 address; underscores are met too.
fn is_name(host: &str) -> bool {
    let is_label = |label: &str| {
        let bytes = label.as_bytes();
        let is_inner = |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_');
        (1..=63).contains(&bytes.len()) && bytes.iter().all(is_inner) && !label.starts_with('-')
    };
    host.len() <= 253 && host.trim_end_matches('.').split('.').all(is_label)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_to_listen_on_has_a_port_and_no_name() {
        assert_eq!(
            listen_address("127.0.0.1:8440").map(|read| read.port()),
            Ok(8440)
        );
        for wrong in ["28442", "localhost:8440", "127.0.0.1", ""] {
            let said = listen_address(wrong).unwrap_err();
            assert!(said.contains(&format!("`{wrong}`")), "{said}");
        }
    }

    #[test]
    fn an_address_for_agents_is_a_host_with_its_port() {
        for (given, read) in [
            ("bridge.example:8883", "bridge.example:8883"),
            ("localhost", "localhost:8883"),
            ("192.0.2.7:1", "192.0.2.7:1"),
            ("[2001:db8::7]:8883", "[2001:db8::7]:8883"),
            ("[::1]", "[::1]:8883"),
        ] {
            assert_eq!(public_address(given).as_deref(), Ok(read), "{given}");
        }
        for wrong in [
            "",
            ":8883",
            "mqtts://localhost:28883",
            "localhost:99999",
            "localhost:0",
            "localhost:",
            "a b:1",
            "2001:db8::7",
            "[::g]:1",
            "a..b",
            "host/path:1",
        ] {
            assert!(public_address(wrong).is_err(), "{wrong}");
        }
    }
}
