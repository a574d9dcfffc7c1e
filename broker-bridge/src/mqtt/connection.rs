//! One connection from TLS's handshake to its end: a task that reads, writes, and waits for
//! commits. Never holds more than the endpoint's limits, and little while nothing happens.

use super::arrival::{self, Admission};
use super::buffers::{Inbox, Outbox};
use super::encode::{self, ConnectCode};
use super::limits::Limits;
use super::link::{Link, Next, Violation};
use super::listener::{Context, Permit};
use super::mailbox::Mailbox;
use super::packet::{Packet, PacketError};
use super::sessions::{
    Arrival, CloseReason, ConnectRefusal, ConnectionId, Departure, Identity, Verdict,
};
use crate::impatient::Impatient;
use crate::pki;
use holdfast_protocol::NodeId;
use holdfast_protocol::topic::Topic;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::TcpStream;
use tokio::sync::OwnedSemaphorePermit;
use tokio::time::{Instant, Sleep, sleep_until, timeout};
use tokio_rustls::server::TlsStream;

/// Packets are gathered into one write up to here.
const WRITE_BYTES: usize = 16 * 1024;
/// A client that makes us answer without reading the answers is not read beyond this.
const ANSWER_BYTES_MAX: usize = 64 * 1024;

type Stream = TlsStream<Impatient>;

/// Why a connection ended.
#[derive(Debug, thiserror::Error)]
pub(super) enum End {
    #[error("the client disconnected")]
    Graceful,
    #[error("the client closed the connection without DISCONNECT")]
    Eof,
    #[error("the socket failed")]
    Io(#[from] io::Error),
    #[error("no {what} within {} s", limit.as_secs())]
    Timeout { what: &'static str, limit: Duration },
    #[error("the client's certificate is not a node's")]
    Identity(#[from] pki::IdentityError),
    #[error("malformed packet")]
    Packet(#[from] PacketError),
    #[error("{0} came before CONNECT")]
    NotConnect(&'static str),
    #[error("CONNECT was refused")]
    Connect(#[from] arrival::ConnectError),
    #[error("the client is not let in")]
    Refused(#[from] ConnectRefusal),
    #[error("{max} {what} connections are open already")]
    Full { what: &'static str, max: usize },
    #[error("the client broke the protocol")]
    Violation(#[from] Violation),
    #[error("closed by the bridge: {0}")]
    Closed(CloseReason),
}

impl End {
    fn departure(&self) -> Departure {
        if matches!(self, Self::Graceful) {
            Departure::Graceful
        } else {
            Departure::Lost
        }
    }
}

/// A connection whose client was let in.
struct Connection {
    inbox: Inbox<Stream>,
    outbox: Outbox<Stream>,
    link: Link,
    mailbox: Arc<Mailbox>,
    heard: Instant,
    silence: Duration,
    /// When it ends whatever happens; of a client without a certificate, and while closing.
    deadline: Option<Instant>,
    closing: Option<CloseReason>,
    /// Published when it is lost.
    will: Option<Box<[u8]>>,
    _place: Permit,
}

/// Serves a socket until its end, which is logged.
pub(super) async fn serve(
    context: Arc<Context>,
    socket: TcpStream,
    peer: SocketAddr,
    connection: ConnectionId,
    handshaking: OwnedSemaphorePermit,
) {
    let mut node = None;
    // The way in takes several times what staying takes: it has memory of its own, which is given
    // back before the client's first message.
    let arrived = Box::pin(arrive(
        &context,
        socket,
        peer,
        connection,
        handshaking,
        &mut node,
    ))
    .await;
    let end = match arrived {
        Ok(mut connection) => connection.stay(&context).await,
        Err(end) => end,
    };
    log(&end, peer, node);
}

fn log(end: &End, peer: SocketAddr, node: Option<NodeId>) {
    let node_id = node.map(tracing::field::display);
    let why = std::error::Error::source(end).map(ToString::to_string);
    let why = why.as_deref().unwrap_or_default();
    match end {
        End::Graceful | End::Eof | End::Io(_) | End::Timeout { .. } | End::Closed(_) => {
            tracing::debug!(%peer, node_id, why, "connection ended: {end}");
        }
        End::Identity(_)
        | End::Packet(_)
        | End::NotConnect(_)
        | End::Connect(_)
        | End::Refused(_)
        | End::Full { .. }
        | End::Violation(_) => {
            tracing::info!(%peer, node_id, why, "connection refused: {end}");
        }
    }
}

/// From the TLS handshake until the hub has let the client in.
async fn arrive(
    context: &Arc<Context>,
    socket: TcpStream,
    peer: SocketAddr,
    connection: ConnectionId,
    handshaking: OwnedSemaphorePermit,
    node: &mut Option<NodeId>,
) -> Result<Box<Connection>, End> {
    let limits = &context.limits;
    let stream = handshake(context, socket).await?;
    let identity = client_identity(&stream)?;
    *node = identity.as_ref().map(|identity| identity.node);
    let packet_bytes = match node {
        Some(_) => limits.packet_bytes,
        None => limits.anonymous_packet_bytes,
    };
    let (reader, writer) = tokio::io::split(stream);
    let mut inbox = Inbox::new(reader, packet_bytes);
    let mut outbox = Outbox::new(writer);
    let first = timeout(limits.handshake, first_packet(&mut inbox, *node)).await;
    let admission = match first {
        Ok(Ok(admission)) => admission,
        Ok(Err(end)) => return Err(refuse(&mut outbox, end).await),
        Err(_) => {
            return Err(End::Timeout {
                what: "CONNECT",
                limit: limits.handshake,
            });
        }
    };
    let place = match context.admit(*node).await {
        Ok(place) => place,
        Err(end) => return Err(refuse(&mut outbox, end).await),
    };
    let mailbox = Arc::new(Mailbox::new(limits.outbound_bytes));
    let arrival = Arrival {
        connection,
        identity,
        peer,
        mailbox: Arc::clone(&mailbox),
    };
    if let Err(end) = let_in(context, arrival).await {
        return Err(refuse(&mut outbox, end).await);
    }
    drop(handshaking);
    context.registry.enter(connection, *node, &mailbox);
    let deadline = node
        .is_none()
        .then(|| Instant::now() + limits.anonymous_life);
    encode::connack(&mut outbox.buffer, ConnectCode::Accepted);
    Ok(Box::new(Connection {
        inbox,
        outbox,
        link: Link::new(
            connection,
            *node,
            Arc::clone(&mailbox),
            Arc::clone(&context.sessions),
        ),
        mailbox,
        heard: Instant::now(),
        silence: admission.silence.unwrap_or(limits.silence),
        deadline,
        closing: None,
        will: admission.will,
        _place: place,
    }))
}

async fn handshake(context: &Context, socket: TcpStream) -> Result<Stream, End> {
    socket.set_nodelay(true)?;
    let socket = Impatient::new(socket, context.limits.unread);
    let limit = context.limits.handshake;
    timeout(limit, context.tls().accept(socket))
        .await
        .map_err(|_| End::Timeout {
            what: "TLS handshake",
            limit,
        })?
        .map_err(End::Io)
}

fn client_identity(stream: &Stream) -> Result<Option<Identity>, pki::IdentityError> {
    let (_, tls) = stream.get_ref();
    tls.peer_certificates()
        .and_then(<[_]>::first)
        .map(|certificate| pki::identity(certificate))
        .transpose()
}

/// Waits for CONNECT, which must come first.
async fn first_packet(inbox: &mut Inbox<Stream>, node: Option<NodeId>) -> Result<Admission, End> {
    loop {
        let admission = match inbox.peek()? {
            None => None,
            Some(Packet::Connect(connect)) => Some(arrival::admit(&connect, node)?),
            Some(Packet::Publish(_)) => return Err(End::NotConnect("PUBLISH")),
            Some(Packet::PubAck(_)) => return Err(End::NotConnect("PUBACK")),
            Some(Packet::Subscribe { .. }) => return Err(End::NotConnect("SUBSCRIBE")),
            Some(Packet::Unsubscribe { .. }) => return Err(End::NotConnect("UNSUBSCRIBE")),
            Some(Packet::PingReq) => return Err(End::NotConnect("PINGREQ")),
            Some(Packet::Disconnect) => return Err(End::NotConnect("DISCONNECT")),
        };
        if let Some(admission) = admission {
            inbox.advance();
            return Ok(admission);
        }
        if inbox.fill().await? == 0 {
            return Err(End::Eof);
        }
    }
}

async fn let_in(context: &Context, arrival: Arrival) -> Result<(), End> {
    let connection = arrival.connection;
    let answer = context.sessions.connect(arrival);
    let refusal = match timeout(context.limits.handshake, answer).await {
        Ok(Ok(Ok(()))) => return Ok(()),
        Ok(Ok(Err(refusal))) => return Err(refusal.into()),
        Ok(Err(_)) | Err(_) => ConnectRefusal::Unavailable,
    };
    // It may have been let in just after; then it has left again.
    context.sessions.disconnect(connection, Departure::Lost);
    Err(refusal.into())
}

/// Tells the client why, where MQTT has a code for it.
async fn refuse(outbox: &mut Outbox<Stream>, end: End) -> End {
    let code = match &end {
        End::Packet(PacketError::ProtocolLevel(_)) => ConnectCode::ProtocolLevel,
        End::Connect(error) => error.code(),
        End::Refused(ConnectRefusal::Unavailable) | End::Full { .. } => ConnectCode::Unavailable,
        End::Refused(_) => ConnectCode::NotAuthorized,
        End::Graceful
        | End::Eof
        | End::Io(_)
        | End::Timeout { .. }
        | End::Identity(_)
        | End::Packet(_)
        | End::NotConnect(_)
        | End::Violation(_)
        | End::Closed(_) => return end,
    };
    encode::connack(&mut outbox.buffer, code);
    // Four bytes: a socket that does not take them at once is not worth waiting for.
    let farewell = async {
        while !outbox.is_drained() {
            outbox.drain().await?;
        }
        outbox.shutdown().await
    };
    let _ = timeout(Duration::from_secs(1), farewell).await;
    end
}

impl Connection {
    /// Serves the client until the connection's end.
    async fn stay(&mut self, context: &Context) -> End {
        let end = self.live(&context.limits).await;
        Box::pin(self.leave(context, &end)).await;
        end
    }

    async fn live(&mut self, limits: &Limits) -> End {
        let timer = sleep_until(self.next_deadline());
        tokio::pin!(timer);
        loop {
            if let Err(end) = self.advance(limits, timer.as_mut()) {
                return end;
            }
            let has_room = self.reads(limits);
            tokio::select! {
                bytes = self.inbox.fill(), if has_room => match bytes {
                    Ok(0) => return End::Eof,
                    Ok(_) => self.heard = Instant::now(),
                    Err(error) => return error.into(),
                },
                written = self.outbox.drain(), if !self.outbox.is_drained() => {
                    if let Err(error) = written {
                        return error.into();
                    }
                }
                verdict = self.link.verdict(), if self.link.is_committing() => {
                    if let Err(end) = self.settle(limits, verdict) {
                        return end;
                    }
                }
                () = self.mailbox.woken() => {}
                () = timer.as_mut() => {
                    if let Some(end) = self.overdue(limits, has_room) {
                        return end;
                    }
                    timer.as_mut().reset(self.next_deadline());
                }
            }
        }
    }

    /// Does what can be done without waiting: packets that came, messages that wait, the end.
    fn advance(&mut self, limits: &Limits, timer: std::pin::Pin<&mut Sleep>) -> Result<(), End> {
        while self.reads(limits) {
            let Some(packet) = self.inbox.peek()? else {
                break;
            };
            let next = self.link.receive(&packet, &mut self.outbox.buffer)?;
            self.inbox.advance();
            if next == Next::Leave {
                return Err(End::Graceful);
            }
        }
        self.forward(limits)?;
        if let Some(reason) = self.mailbox.closed()
            && self.closing.is_none()
        {
            if matches!(reason, CloseReason::SlowConsumer | CloseReason::TakenOver) {
                return Err(End::Closed(reason));
            }
            self.closing = Some(reason);
            self.deadline = Some(Instant::now() + limits.grace);
            timer.reset(self.next_deadline());
        }
        match self.closing {
            Some(reason) if self.outbox.is_drained() && !self.link.is_committing() => {
                Err(End::Closed(reason))
            }
            _ => Ok(()),
        }
    }

    /// Moves messages from the mailbox to the outbox, as far as one write goes.
    fn forward(&mut self, limits: &Limits) -> Result<(), End> {
        while self.outbox.waiting() < WRITE_BYTES {
            let forwarded = self.link.forward(limits, &mut self.outbox.buffer);
            if !forwarded.map_err(End::Closed)? {
                break;
            }
        }
        Ok(())
    }

    /// Whether the client is read: not while it has too much in flight, nor while closing.
    fn reads(&self, limits: &Limits) -> bool {
        self.closing.is_none()
            && self.link.has_room(limits)
            && self.outbox.waiting() < ANSWER_BYTES_MAX + limits.packet_bytes
    }

    /// Answers publishes. What was queued before their verdict goes first: the reply to a request
    /// comes before the PUBACK that closes it, whichever this task noticed first.
    fn settle(&mut self, limits: &Limits, verdict: Verdict) -> Result<(), End> {
        self.forward(limits)?;
        self.link
            .settle(verdict, &mut self.outbox.buffer)
            .map_err(End::Closed)
    }

    fn next_deadline(&self) -> Instant {
        let silent = self.heard + self.silence;
        self.deadline
            .map_or(silent, |deadline| deadline.min(silent))
    }

    /// Whether the timer that rang means the end.
    fn overdue(&mut self, limits: &Limits, was_read: bool) -> Option<End> {
        let now = Instant::now();
        if self.deadline.is_some_and(|deadline| deadline <= now) {
            let reason = self.closing;
            let end = End::Timeout {
                what: "end of an enrolment",
                limit: limits.anonymous_life,
            };
            return Some(reason.map_or(end, End::Closed));
        }
        if !was_read {
            // It is we who do not listen: what it may have said still waits in the socket.
            self.heard = now;
            return None;
        }
        let limit = self.silence;
        (self.heard + limit <= now).then_some(End::Timeout {
            what: "packet",
            limit,
        })
    }

    /// Publishes the will, tells the hub, and says good-bye.
    async fn leave(&mut self, context: &Context, end: &End) {
        let departure = end.departure();
        let (connection, node) = (self.link.connection, self.link.node);
        context.registry.leave(connection, node);
        if let (Departure::Lost, Some(will), Some(node)) = (departure, &self.will, node) {
            // The hub keeps the order of calls; nobody waits for the commit of a will.
            drop(
                context
                    .sessions
                    .publish(connection, Topic::Presence(node), will),
            );
        }
        context.sessions.disconnect(connection, departure);
        if !matches!(end, End::Io(_) | End::Timeout { .. }) {
            // The good-bye is a courtesy: a client that is gone must not hold the task.
            let _ = timeout(Duration::from_secs(1), self.outbox.shutdown()).await;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bytes_of<A, B, C, D, E, F>(_: fn(A, B, C, D, E) -> F) -> usize {
        size_of::<F>()
    }

    #[test]
    fn the_task_of_a_connection_is_small_once_the_client_is_in() {
        // TLS's own state is beside it; what the way in takes is given back.
        let bytes = bytes_of(serve);
        assert!(bytes <= 1024, "{bytes} bytes for each connected node");
    }
}
