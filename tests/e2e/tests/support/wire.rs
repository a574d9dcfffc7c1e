//! One side of MQTT 3.1.1 over TLS that says whatever a test tells it to.
//! Never interprets what it carries.

use bytes::BytesMut;
use rumqttc::mqttbytes::v4::Packet;
use rumqttc::mqttbytes::{Error as Incomplete, QoS};
use std::io::{Read, Write};

/// Longer than any frame.
const PACKET_BYTES_MAX: usize = 256 * 1024;

trait Duplex: Read + Write + Send {}
impl<T: Read + Write + Send> Duplex for T {}

/// A connection after its TLS handshake.
pub(crate) struct Wire {
    stream: Box<dyn Duplex>,
    input: BytesMut,
}

impl Wire {
    /// Over any stream.
    pub(crate) fn over(stream: impl Read + Write + Send + 'static) -> Self {
        Self {
            stream: Box::new(stream),
            input: BytesMut::new(),
        }
    }

    /// Sends a packet; `None` when the other side has closed.
    pub(crate) fn send(&mut self, packet: &Packet) -> Option<()> {
        let mut bytes = BytesMut::new();
        packet.write(&mut bytes, PACKET_BYTES_MAX).unwrap();
        self.stream.write_all(&bytes).ok()?;
        self.stream.flush().ok()
    }

    /// The next packet; `None` when the other side has closed or is silent for too long.
    pub(crate) fn receive(&mut self) -> Option<Packet> {
        loop {
            match Packet::read(&mut self.input, PACKET_BYTES_MAX) {
                Ok(packet) => return Some(packet),
                Err(Incomplete::InsufficientBytes(_)) => {}
                Err(error) => panic!("no MQTT: {error}"),
            }
            let mut buffer = [0; 16 * 1024];
            match self.stream.read(&mut buffer) {
                Ok(0) | Err(_) => return None,
                Ok(bytes) => self.input.extend_from_slice(&buffer[..bytes]),
            }
        }
    }
}

/// A publish at QoS 1.
pub(crate) fn publish(topic: &str, packet: u16, frame: Vec<u8>) -> Packet {
    let mut publish = rumqttc::mqttbytes::v4::Publish::new(topic, QoS::AtLeastOnce, frame);
    publish.pkid = packet;
    Packet::Publish(publish)
}
