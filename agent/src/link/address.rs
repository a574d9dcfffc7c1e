//! Address of a bridge: `mqtts://HOST:PORT`. Never resolves a name.

use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

/// Port of MQTT over TLS, where an address names none.
pub const DEFAULT_PORT: u16 = 8883;

/// Where a bridge listens.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Address {
    /// Host name or IP address, without brackets.
    pub host: String,
    /// TCP port.
    pub port: u16,
}

/// A text is not the address of a bridge.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{found}` is not the address of a bridge: expected mqtts://HOST or mqtts://HOST:PORT")]
pub struct InvalidAddress {
    /// The text, cut to 128 characters.
    pub found: String,
}

impl FromStr for Address {
    type Err = InvalidAddress;
    fn from_str(text: &str) -> Result<Self, InvalidAddress> {
        parse(text).ok_or_else(|| InvalidAddress {
            found: text.chars().take(128).collect(),
        })
    }
}

fn parse(text: &str) -> Option<Address> {
    let authority = text.strip_prefix("mqtts://")?;
    let authority = authority.strip_suffix('/').unwrap_or(authority);
    let (host, port) = match authority.strip_prefix('[') {
        Some(rest) => {
            let (host, port) = rest.split_once(']')?;
            host.parse::<std::net::Ipv6Addr>().ok()?;
            let port = if port.is_empty() {
                None
            } else {
                Some(port.strip_prefix(':')?)
            };
            (host, port)
        }
        None => match authority.split_once(':') {
            Some((host, port)) => (host, Some(port)),
            None => (authority, None),
        },
    };
    let known = |byte: u8| byte.is_ascii_alphanumeric() || b".-_:%".contains(&byte);
    if host.is_empty() || host.len() > 253 || !host.bytes().all(known) {
        return None;
    }
    let port = match port {
        Some(port) => port.parse().ok().filter(|port| *port != 0)?,
        None => DEFAULT_PORT,
    };
    Some(Address {
        host: host.to_owned(),
        port,
    })
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.host.parse() {
            Ok(IpAddr::V6(host)) => write!(f, "mqtts://[{host}]:{}", self.port),
            Ok(IpAddr::V4(_)) | Err(_) => write!(f, "mqtts://{}:{}", self.host, self.port),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn addresses_are_read_as_they_are_shown() {
        for (text, shown) in [
            ("mqtts://bridge", "mqtts://bridge:8883"),
            ("mqtts://10.0.0.1:1883/", "mqtts://10.0.0.1:1883"),
            ("mqtts://[::1]:9", "mqtts://[::1]:9"),
            ("mqtts://[fe80::1]", "mqtts://[fe80::1]:8883"),
        ] {
            let address: Address = text.parse().unwrap();
            assert_eq!(address.to_string(), shown);
            assert_eq!(shown.parse(), Ok(address));
        }
    }

    #[test]
    fn what_is_no_address_is_refused() {
        for text in [
            "",
            "bridge:8883",
            "mqtt://bridge:1883",
            "mqtts://",
            "mqtts://:1",
            "mqtts://b:0",
            "mqtts://b:65536",
            "mqtts://b/path",
            "mqtts://user@b:1",
            "mqtts://[::1",
            "mqtts://[bridge]:1",
        ] {
            assert!(text.parse::<Address>().is_err(), "{text}");
        }
    }

    proptest! {
        #[test]
        fn no_text_panics(text in "(mqtts://)?.{0,80}") {
            if let Ok(address) = text.parse::<Address>() {
                prop_assert_eq!(address.to_string().parse(), Ok(address));
            }
        }
    }
}
