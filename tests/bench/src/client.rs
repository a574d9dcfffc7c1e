//! MQTT over TLS for load: a reader and a writer around rumqttc's codec.
//! Never reconnects and keeps no window: who sends counts.

use anyhow::{Context as _, Result, bail};
use bytes::{Bytes, BytesMut};
use rumqttc::mqttbytes::v4::{
    Connect, ConnectReturnCode, LastWill, Packet, Publish, Subscribe, SubscribeFilter,
    SubscribeReasonCode,
};
use rumqttc::mqttbytes::{self, Protocol, QoS};
use rustls_pki_types::ServerName;
use std::net::SocketAddr;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, ReadHalf, WriteHalf};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

const PACKET_BYTES_MAX: usize = holdfast_protocol::limits::PACKET_BYTES_MAX;
/// Seconds; a client that is silent for longer pings.
pub const KEEP_ALIVE_S: u16 = 60;

/// Where to connect, and what to trust and show there.
#[derive(Clone)]
pub struct Place {
    /// TCP address.
    pub address: SocketAddr,
    /// TLS.
    pub tls: TlsConnector,
    /// Name in the server's certificate.
    pub name: ServerName<'static>,
}

/// Who connects, and what it wants to hear.
#[derive(Debug, Clone, Default)]
pub struct Greeting {
    /// MQTT client id.
    pub client_id: String,
    /// Topic and payload to be published when the connection is lost.
    pub will: Option<(String, Vec<u8>)>,
    /// Topics to subscribe to, QoS 1.
    pub topics: Vec<String>,
}

/// What arrives.
pub struct Reader {
    stream: ReadHalf<TlsStream<TcpStream>>,
    input: BytesMut,
}

/// What is to be sent.
pub struct Writer {
    stream: WriteHalf<TlsStream<TcpStream>>,
    output: BytesMut,
    next_id: u16,
}

/// Connects, greets and subscribes.
///
/// # Errors
/// When TCP, TLS or MQTT refuse.
pub async fn connect(place: &Place, greeting: Greeting) -> Result<(Reader, Writer)> {
    let stream = TcpStream::connect(place.address).await.context("TCP")?;
    stream.set_nodelay(true)?;
    let stream = place.tls.connect(place.name.clone(), stream).await;
    let (read, write) = tokio::io::split(stream.context("TLS")?);
    let mut reader = Reader {
        stream: read,
        input: BytesMut::new(),
    };
    let mut writer = Writer {
        stream: write,
        output: BytesMut::new(),
        next_id: 0,
    };
    let mut connect = Connect::new(&greeting.client_id);
    connect.protocol = Protocol::V4;
    connect.keep_alive = KEEP_ALIVE_S;
    connect.clean_session = true;
    connect.last_will = greeting
        .will
        .map(|(topic, will)| LastWill::new(topic, will, QoS::AtMostOnce, false));
    writer.push(&Packet::Connect(connect))?;
    writer.flush().await?;
    let answer = reader.next().await?;
    if !matches!(&answer, Packet::ConnAck(ack) if ack.code == ConnectReturnCode::Success) {
        bail!("{answer:?} instead of a CONNACK that accepts");
    }
    if greeting.topics.is_empty() {
        return Ok((reader, writer));
    }
    let filters = greeting.topics.into_iter();
    let mut subscribe =
        Subscribe::new_many(filters.map(|topic| SubscribeFilter::new(topic, QoS::AtLeastOnce)));
    subscribe.pkid = writer.id();
    writer.push(&Packet::Subscribe(subscribe))?;
    writer.flush().await?;
    let answer = reader.next().await?;
    let failure = SubscribeReasonCode::Failure;
    if !matches!(&answer, Packet::SubAck(ack) if !ack.return_codes.contains(&failure)) {
        bail!("{answer:?} instead of a SUBACK that accepts");
    }
    Ok((reader, writer))
}

impl Reader {
    /// The next packet. May be dropped while it waits; nothing is lost.
    ///
    /// # Errors
    /// When the connection has ended or what came is not MQTT.
    pub async fn next(&mut self) -> Result<Packet> {
        loop {
            match Packet::read(&mut self.input, PACKET_BYTES_MAX) {
                Ok(packet) => return Ok(packet),
                Err(mqttbytes::Error::InsufficientBytes(_)) => {}
                Err(error) => bail!("not MQTT: {error}"),
            }
            if self.stream.read_buf(&mut self.input).await? == 0 {
                bail!("the server closed the connection");
            }
        }
    }
}

impl Writer {
    /// The next packet id, never 0.
    pub fn id(&mut self) -> u16 {
        self.next_id = self.next_id.checked_add(1).unwrap_or(1);
        self.next_id
    }

    /// Adds a packet to what [`Self::flush`] sends.
    ///
    /// # Errors
    /// When it is over MQTT's bounds.
    pub fn push(&mut self, packet: &Packet) -> Result<()> {
        packet
            .write(&mut self.output, PACKET_BYTES_MAX)
            .map(drop)
            .map_err(|error| anyhow::anyhow!("cannot be written: {error}"))
    }

    /// Adds a publish under a fresh id.
    ///
    /// # Errors
    /// As [`Self::push`].
    pub fn publish(&mut self, topic: &str, qos: QoS, payload: Bytes) -> Result<()> {
        let mut publish = Publish::from_bytes(topic, qos, payload);
        if qos != QoS::AtMostOnce {
            publish.pkid = self.id();
        }
        self.push(&Packet::Publish(publish))
    }

    /// Sends what was added; whether there was anything.
    ///
    /// # Errors
    /// When the connection has ended.
    pub async fn flush(&mut self) -> Result<bool> {
        if self.output.is_empty() {
            return Ok(false);
        }
        self.stream.write_all_buf(&mut self.output).await?;
        self.stream.flush().await?;
        Ok(true)
    }
}
