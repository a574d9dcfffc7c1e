//! `serve.json`: where a bridge that runs listens, for the verbs beside it.
//! Never trusted for more than a printed line: the file may be of a bridge that was killed.

use serde::{Deserialize, Serialize};
use std::io;
use std::net::{IpAddr, SocketAddr};
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
