//! One MQTT connection: our own loop around rumqttc's codec and state.
//! Never lets a write hold up a read, a slow caller hold up a ping, or a buffer grow past its bound.

use super::address::Address;
use super::connect::KEEP_ALIVE;
use super::error::{End, LinkError};
use bytes::{Buf, BytesMut};
use holdfast_agent_core::{IN_FLIGHT_MAX, Qos};
use holdfast_protocol::limits::PACKET_BYTES_MAX;
use holdfast_tcp::Pace;
use rumqttc::mqttbytes::v4::{
    Connect, ConnectReturnCode, Packet, PingReq, PubAck, Publish, Subscribe, SubscribeFilter,
    SubscribeReasonCode,
};
use rumqttc::mqttbytes::{self, QoS};
use rumqttc::{MqttState, Request};
use std::collections::VecDeque;
use std::io;
use std::net::IpAddr;
use std::os::fd::{AsFd as _, OwnedFd};
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt, ReadHalf, WriteHalf};
use tokio::net::TcpStream;
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep_until};
use tokio_rustls::client::TlsStream;

/// More than the core keeps in flight, which is acknowledged in order: rumqttc's handling of a
/// collision is never entered.
const WINDOW: u16 = IN_FLIGHT_MAX + IN_FLIGHT_MAX / 2;
/// Nothing sent for so long: ping, well before the bridge gives up.
const PING_AFTER: Duration = Duration::from_secs(KEEP_ALIVE.as_secs() * 2 / 3);
/// After a ping something arrives within this, or the connection is dead.
const PING_LIMIT: Duration = Duration::from_secs(10);
/// More is not taken from the caller until the socket has taken some of this.
const OUT_BYTES_HIGH: usize = 64 * 1024;
/// An empty buffer that once grew above this is given back.
const IDLE_BYTES: usize = 4 * 1024;

/// What the caller wants done.
#[derive(Debug)]
pub enum Outgoing {
    /// Publish.
    Publish {
        /// Topic.
        topic: String,
        /// Payload.
        frame: Vec<u8>,
        /// With or without acknowledgement.
        qos: Qos,
    },
    /// Acknowledge an incoming publish by its packet id; 0 needs none.
    Ack(u16),
    /// Close, for this reason.
    Close(String),
}

/// What arrived.
#[derive(Debug, PartialEq, Eq)]
pub enum Incoming {
    /// A publish; to be acknowledged with [`Outgoing::Ack`] once it is safe.
    Publish {
        /// Packet id; 0 with QoS 0.
        packet: u16,
        /// Topic.
        topic: String,
        /// Payload.
        frame: Vec<u8>,
    },
    /// One of our own publishes was acknowledged.
    PubAck,
}

/// A connection's pace, with a descriptor of its own: the halves of a TLS stream hide theirs.
#[derive(Debug)]
pub(super) struct Paced {
    pace: Pace,
    socket: OwnedFd,
}

impl Paced {
    /// Sets the pace of a fresh connection.
    pub(super) fn set(stream: &TcpStream) -> io::Result<Self> {
        let socket = stream.as_fd().try_clone_to_owned()?;
        let pace = Pace::set(&socket);
        Ok(Self { pace, socket })
    }

    fn follow(&mut self) {
        self.pace.follow(&self.socket);
    }
}

/// One connection, connected and subscribed.
#[derive(Debug)]
pub struct Session {
    reader: ReadHalf<TlsStream<TcpStream>>,
    writer: WriteHalf<TlsStream<TcpStream>>,
    local: Option<IpAddr>,
    paced: Paced,
    bridge_expires_unix_ms: u64,
    state: MqttState,
    input: BytesMut,
    output: BytesMut,
    arrived: VecDeque<Incoming>,
    /// The socket has bytes of ours that TLS still holds.
    unflushed: bool,
    last_sent: Instant,
    ping_sent: Option<Instant>,
}

impl Session {
    /// Greets and subscribes on a fresh TLS stream.
    pub(super) async fn open(
        address: &Address,
        stream: TlsStream<TcpStream>,
        paced: Paced,
        connect: Connect,
        topics: Vec<String>,
        bridge_expires_unix_ms: u64,
    ) -> Result<Self, LinkError> {
        let local = stream.get_ref().0.local_addr().ok();
        let (reader, writer) = tokio::io::split(stream);
        let mut session = Self {
            reader,
            writer,
            local: local.map(|local| local.ip()),
            paced,
            bridge_expires_unix_ms,
            state: MqttState::new(WINDOW, true),
            input: BytesMut::new(),
            output: BytesMut::new(),
            arrived: VecDeque::new(),
            unflushed: false,
            last_sent: Instant::now(),
            ping_sent: None,
        };
        let refused = |why: String| LinkError::Mqtt {
            address: address.clone(),
            why,
        };
        session.exchange(address, Packet::Connect(connect)).await?;
        let packet = session.next_packet(address).await?;
        let Packet::ConnAck(ack) = packet else {
            return Err(refused(format!("{} instead of CONNACK", name(&packet))));
        };
        accepted(address, ack.code)?;
        if topics.is_empty() {
            return Ok(session);
        }
        let filters = topics
            .into_iter()
            .map(|topic| SubscribeFilter::new(topic, QoS::AtLeastOnce));
        let subscribe = Subscribe::new_many(filters);
        if let Some(packet) = session
            .state
            .handle_outgoing_packet(Request::Subscribe(subscribe))
            .map_err(|error| refused(error.to_string()))?
        {
            session.exchange(address, packet).await?;
        }
        let packet = session.next_packet(address).await?;
        let Packet::SubAck(ack) = packet else {
            return Err(refused(format!("{} instead of SUBACK", name(&packet))));
        };
        if ack.return_codes.contains(&SubscribeReasonCode::Failure) {
            return Err(refused("a subscription is refused".into()));
        }
        Ok(session)
    }

    /// Address of this machine's end.
    #[must_use]
    pub fn local(&self) -> Option<IpAddr> {
        self.local
    }

    /// End of the certificate that the bridge showed, milliseconds since 1970.
    #[must_use]
    pub fn bridge_expires_unix_ms(&self) -> u64 {
        self.bridge_expires_unix_ms
    }

    async fn exchange(&mut self, address: &Address, packet: Packet) -> Result<(), LinkError> {
        self.write(&packet).map_err(|end| LinkError::Mqtt {
            address: address.clone(),
            why: end.to_string(),
        })?;
        let failed = |source| LinkError::of_tls(address, source);
        self.writer
            .write_all_buf(&mut self.output)
            .await
            .map_err(failed)?;
        self.writer.flush().await.map_err(failed)
    }

    async fn next_packet(&mut self, address: &Address) -> Result<Packet, LinkError> {
        let refused = |why: String| LinkError::Mqtt {
            address: address.clone(),
            why,
        };
        loop {
            match Packet::read(&mut self.input, PACKET_BYTES_MAX) {
                Ok(packet) => return Ok(packet),
                Err(mqttbytes::Error::InsufficientBytes(_)) => {}
                Err(error) => return Err(refused(error.to_string())),
            }
            match self.reader.read_buf(&mut self.input).await {
                Ok(0) => return Err(refused("the bridge closed the connection".into())),
                Ok(_) => self.paced.follow(),
                Err(error) => return Err(LinkError::of_tls(address, error)),
            }
        }
    }

    /// Serves the connection until it ends. What arrives goes to `incoming`, in order; while that is
    /// full nothing more is read, but what is to be sent still goes out.
    pub async fn serve(
        mut self,
        outgoing: &mut mpsc::Receiver<Outgoing>,
        incoming: mpsc::Sender<Incoming>,
    ) -> End {
        loop {
            if let Err(end) = self.turn(outgoing, &incoming).await {
                if let End::Asked(_) = end {
                    self.part().await;
                }
                return end;
            }
        }
    }

    /// Waits for whatever comes first and handles it.
    async fn turn(
        &mut self,
        outgoing: &mut mpsc::Receiver<Outgoing>,
        incoming: &mpsc::Sender<Incoming>,
    ) -> Result<(), End> {
        let alarm = match self.ping_sent {
            Some(sent) => sent + PING_LIMIT,
            None => self.last_sent + PING_AFTER,
        };
        tokio::select! {
            read = self.reader.read_buf(&mut self.input), if self.arrived.is_empty() => {
                match read {
                    Ok(0) => Err(End::Lost("the bridge closed it".into())),
                    Ok(_) => {
                        self.paced.follow();
                        // On a slow link a ping waits behind what was to be sent before it.
                        self.ping_sent = self.ping_sent.map(|_| Instant::now());
                        self.take_packets()
                    }
                    Err(error) => Err(End::of_io(&error)),
                }
            }
            pushed = push(&mut self.writer, &self.output), if !self.output.is_empty() || self.unflushed => {
                let bytes = pushed.map_err(|error| End::of_io(&error))?;
                self.unflushed = bytes > 0;
                self.output.advance(bytes);
                shrink(&mut self.output);
                Ok(())
            }
            permit = incoming.reserve(), if !self.arrived.is_empty() => {
                let permit = permit.map_err(|_| End::Asked("nobody listens".into()))?;
                if let Some(arrived) = self.arrived.pop_front() {
                    permit.send(arrived);
                }
                Ok(())
            }
            wanted = outgoing.recv(), if self.output.len() < OUT_BYTES_HIGH => {
                self.take(wanted.unwrap_or_else(|| Outgoing::Close("nobody sends".into())))
            }
            () = sleep_until(alarm) => self.ping(),
        }
    }

    /// Handles each whole packet that has been read.
    fn take_packets(&mut self) -> Result<(), End> {
        loop {
            let packet = match Packet::read(&mut self.input, PACKET_BYTES_MAX) {
                Ok(packet) => packet,
                Err(mqttbytes::Error::InsufficientBytes(_)) => break,
                Err(error) => return Err(End::Mqtt(error.to_string())),
            };
            let answer = self
                .state
                .handle_incoming_packet(packet.clone())
                .map_err(|error| End::Mqtt(error.to_string()))?;
            self.state.events.clear();
            if let Some(answer) = answer {
                self.write(&answer)?;
            }
            self.arrive(packet)?;
        }
        shrink(&mut self.input);
        Ok(())
    }

    #[expect(
        clippy::wildcard_enum_match_arm,
        reason = "the state has already refused what a client must not be sent"
    )]
    fn arrive(&mut self, packet: Packet) -> Result<(), End> {
        match packet {
            Packet::Publish(publish) if publish.qos == QoS::ExactlyOnce => Err(End::Mqtt(
                "a publish of QoS 2, which nothing here uses".into(),
            )),
            Packet::Publish(publish) => {
                self.arrived.push_back(Incoming::Publish {
                    packet: publish.pkid,
                    topic: publish.topic,
                    frame: publish.payload.to_vec(),
                });
                Ok(())
            }
            Packet::PubAck(_) => {
                self.arrived.push_back(Incoming::PubAck);
                Ok(())
            }
            Packet::PingResp => {
                self.ping_sent = None;
                Ok(())
            }
            _ => Ok(()),
        }
    }

    fn take(&mut self, wanted: Outgoing) -> Result<(), End> {
        let request = match wanted {
            Outgoing::Publish { topic, frame, qos } => {
                let qos = match qos {
                    Qos::AtMostOnce => QoS::AtMostOnce,
                    Qos::AtLeastOnce => QoS::AtLeastOnce,
                };
                Request::Publish(Publish::new(topic, qos, frame))
            }
            Outgoing::Ack(0) => return Ok(()),
            Outgoing::Ack(packet) => Request::PubAck(PubAck::new(packet)),
            Outgoing::Close(why) => return Err(End::Asked(why)),
        };
        self.request(request)
    }

    fn ping(&mut self) -> Result<(), End> {
        if self.ping_sent.is_some() {
            return Err(End::Silent(PING_LIMIT));
        }
        self.request(Request::PingReq(PingReq))?;
        self.ping_sent = Some(Instant::now());
        Ok(())
    }

    fn request(&mut self, request: Request) -> Result<(), End> {
        let packet = self
            .state
            .handle_outgoing_packet(request)
            .map_err(|error| End::Mqtt(error.to_string()))?;
        self.state.events.clear();
        match packet {
            Some(packet) => self.write(&packet),
            // rumqttc keeps a publish back when its id is taken: the window was overrun.
            None => Err(End::Mqtt("more publishes in flight than the window".into())),
        }
    }

    fn write(&mut self, packet: &Packet) -> Result<(), End> {
        self.last_sent = Instant::now();
        packet
            .write(&mut self.output, PACKET_BYTES_MAX)
            .map(drop)
            .map_err(|error| End::Mqtt(error.to_string()))
    }

    /// Says goodbye, so that the will is not published; a second is enough for that.
    async fn part(&mut self) {
        let goodbye = async {
            self.write(&Packet::Disconnect).ok()?;
            self.writer.write_all_buf(&mut self.output).await.ok()?;
            self.writer.shutdown().await.ok()
        };
        let _ = tokio::time::timeout(Duration::from_secs(1), goodbye).await;
    }
}

/// Hands bytes to TLS, or when there are none makes TLS hand on what it holds. May be dropped.
async fn push(writer: &mut WriteHalf<TlsStream<TcpStream>>, bytes: &[u8]) -> io::Result<usize> {
    if bytes.is_empty() {
        writer.flush().await.map(|()| 0)
    } else {
        writer.write(bytes).await
    }
}

fn shrink(buffer: &mut BytesMut) {
    if buffer.is_empty() && buffer.capacity() > IDLE_BYTES {
        *buffer = BytesMut::new();
    }
}

fn accepted(address: &Address, code: ConnectReturnCode) -> Result<(), LinkError> {
    let address = address.clone();
    match code {
        ConnectReturnCode::Success => Ok(()),
        ConnectReturnCode::NotAuthorized | ConnectReturnCode::BadUserNamePassword => {
            Err(LinkError::Refused {
                address,
                expired: false,
                why: "MQTT: not authorised".into(),
            })
        }
        ConnectReturnCode::RefusedProtocolVersion
        | ConnectReturnCode::BadClientId
        | ConnectReturnCode::ServiceUnavailable => Err(LinkError::Mqtt {
            address,
            why: format!("{code:?}"),
        }),
    }
}

fn name(packet: &Packet) -> &'static str {
    match packet {
        Packet::Connect(_) => "CONNECT",
        Packet::ConnAck(_) => "CONNACK",
        Packet::Publish(_) => "PUBLISH",
        Packet::PubAck(_) => "PUBACK",
        Packet::PubRec(_) => "PUBREC",
        Packet::PubRel(_) => "PUBREL",
        Packet::PubComp(_) => "PUBCOMP",
        Packet::Subscribe(_) => "SUBSCRIBE",
        Packet::SubAck(_) => "SUBACK",
        Packet::Unsubscribe(_) => "UNSUBSCRIBE",
        Packet::UnsubAck(_) => "UNSUBACK",
        Packet::PingReq => "PINGREQ",
        Packet::PingResp => "PINGRESP",
        Packet::Disconnect => "DISCONNECT",
    }
}
