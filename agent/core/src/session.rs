//! One session with the bridge: hello, its reply, the token made durable, then everything else.
//! Never sends anything but the hello before the reply to this very hello is durable.

use crate::context::{Context, Purpose};
use crate::effect::{Attempt, Delivery, Effect};
use crate::input::Monotonic;
use crate::report::Reports;
use crate::stream::Streams;
use holdfast_protocol::down::HelloReply;
use holdfast_protocol::limits::{REVISION, REVISION_OLDEST};
use holdfast_protocol::report::TypeName;
use holdfast_protocol::topic::Topic;
use holdfast_protocol::up::{Answer, Hello, Presence, Up};
use holdfast_protocol::{Nonce, OutboxId};

/// Answers that wait for the session to open, one for each command. More end the connection, and the
/// bridge sends again what was not answered.
const ANSWERS_MAX: usize = 256;

#[derive(Debug)]
enum Phase {
    Down,
    /// The hello is out.
    Greeting {
        until: Monotonic,
    },
    /// The reply is good; its token is being written.
    Storing {
        revision: u16,
        acks: [u64; 4],
        resync: Vec<TypeName>,
    },
    Open,
    /// The session is over, but the connection is not closed yet.
    Closing,
}

/// [`ANSWERS_MAX`] answers wait already.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{ANSWERS_MAX} answers wait for the disk: the bridge sends the rest again")]
pub(crate) struct TooManyAnswers;

/// The session.
#[derive(Debug)]
pub(crate) struct Session {
    phase: Phase,
    attempt: Attempt,
    nonce: Nonce,
    /// Another life for the outbox, should the disk prove to be rolled back.
    spare: OutboxId,
    answers: Vec<(Answer, Option<Delivery>)>,
}

/// What has been agreed on when a session opens.
#[derive(Debug)]
pub(crate) struct Opened {
    pub(crate) attempt: Attempt,
    /// Newest that the bridge reads.
    pub(crate) revision: u16,
    pub(crate) acks: [u64; 4],
    pub(crate) resync: Vec<TypeName>,
}

impl Session {
    pub(crate) fn new() -> Self {
        Self {
            phase: Phase::Down,
            attempt: Attempt(0),
            nonce: Nonce::default(),
            spare: OutboxId(0),
            answers: Vec::new(),
        }
    }

    /// Says hello on a new connection.
    pub(crate) fn greet(
        &mut self,
        ctx: &mut Context,
        now: Monotonic,
        attempt: Attempt,
        streams: &Streams,
        reports: &Reports,
    ) {
        self.attempt = attempt;
        self.nonce = ctx.random.nonce();
        self.spare = OutboxId(ctx.random.next());
        self.answers.clear();
        let hello = Hello {
            agent_version: ctx.config.agent_version.clone(),
            revisions: (REVISION_OLDEST, REVISION),
            stamp: ctx.record.clock.stamp(now),
            outbox: ctx.record.outbox,
            streams: streams.heads(),
            counter: ctx.record.counter,
            signing_serial: ctx.record.signing_serial,
            token: ctx.record.token.clone(),
            nonce: self.nonce,
            bases: reports.bases(),
            platform: ctx.config.platform.clone(),
        };
        let topic = Topic::Hello(ctx.config.node);
        ctx.send(attempt, topic, &Up::Hello(Box::new(hello)));
        self.phase = Phase::Greeting {
            until: now.after(ctx.config.intervals.hello_ms),
        };
    }

    /// Whether this nonce is that of the hello of this connection.
    pub(crate) fn knows(&self, nonce: &Nonce) -> bool {
        !matches!(self.phase, Phase::Down) && self.nonce == *nonce
    }

    /// Whether the hello is out and not answered.
    pub(crate) fn is_greeting(&self) -> bool {
        matches!(self.phase, Phase::Greeting { .. })
    }

    /// Whether the bridge has accepted this node on this connection.
    pub(crate) fn is_accepted(&self) -> bool {
        matches!(self.phase, Phase::Storing { .. } | Phase::Open)
    }

    pub(crate) fn is_open(&self) -> bool {
        matches!(self.phase, Phase::Open)
    }

    /// Whether the hello has been unanswered for too long.
    pub(crate) fn overdue(&self, now: Monotonic) -> bool {
        matches!(self.phase, Phase::Greeting { until } if until <= now)
    }

    pub(crate) fn deadline(&self) -> Option<Monotonic> {
        match self.phase {
            Phase::Greeting { until } => Some(until),
            Phase::Down | Phase::Storing { .. } | Phase::Open | Phase::Closing => None,
        }
    }

    /// The hello was accepted: make the token durable, then open.
    /// Returns whether it can be opened at once: while the disk fails its token is not taken over,
    /// and the next hello shows the one on disk again, which the bridge goes on to accept.
    pub(crate) fn accepted(&mut self, ctx: &mut Context, reply: &HelloReply) -> bool {
        self.phase = Phase::Storing {
            revision: reply.revision,
            acks: reply.acks,
            resync: reply.resync.to_vec(),
        };
        if ctx.disk.is_some() {
            return true;
        }
        ctx.record.token = Some(reply.token.clone());
        let write = ctx.node_write();
        ctx.persist(Purpose::Token, vec![write]);
        false
    }

    /// The bridge has acknowledged records that this disk does not have: it was rolled back. A new
    /// life of the outbox keeps a sequence from meaning two records; the next hello names it.
    pub(crate) fn rolled_back(&mut self, ctx: &mut Context, reply: &HelloReply) {
        ctx.record.token = Some(reply.token.clone());
        ctx.record.outbox = self.spare;
        let write = ctx.node_write();
        ctx.persist(Purpose::Outbox, vec![write]);
        self.phase = Phase::Closing;
    }

    /// The token is durable.
    pub(crate) fn stored(&mut self, ctx: &mut Context) -> Option<Opened> {
        let Phase::Storing {
            revision,
            acks,
            resync,
        } = &mut self.phase
        else {
            return None;
        };
        let opened = Opened {
            attempt: self.attempt,
            revision: *revision,
            acks: *acks,
            resync: std::mem::take(resync),
        };
        self.phase = Phase::Open;
        self.presence(ctx, true);
        for (answer, delivery) in std::mem::take(&mut self.answers) {
            // It is open: nothing waits any more.
            let _ = self.answer(ctx, answer, delivery);
        }
        Some(opened)
    }

    /// Tells whether the connection lives.
    pub(crate) fn presence(&self, ctx: &mut Context, online: bool) {
        let presence = Presence {
            online,
            connection: self.attempt.0,
        };
        let topic = Topic::Presence(ctx.config.node);
        ctx.send(self.attempt, topic, &Up::Presence(presence));
    }

    /// Answers a downward frame, once the session is open, and then acknowledges it on the transport:
    /// otherwise a lost connection could leave the bridge with the acknowledgement alone.
    ///
    /// # Errors
    /// When too many wait for the session to open: this one is not given.
    pub(crate) fn answer(
        &mut self,
        ctx: &mut Context,
        answer: Answer,
        delivery: Option<Delivery>,
    ) -> Result<(), TooManyAnswers> {
        match self.phase {
            Phase::Open => {
                let topic = Topic::Answer(ctx.config.node);
                ctx.send(self.attempt, topic, &Up::Answer(answer));
                if let Some(delivery) = delivery {
                    ctx.push(Effect::AckTransport { delivery });
                }
            }
            Phase::Storing { .. } if self.answers.len() < ANSWERS_MAX => {
                self.answers.push((answer, delivery));
            }
            Phase::Storing { .. } => return Err(TooManyAnswers),
            Phase::Down | Phase::Greeting { .. } | Phase::Closing => {}
        }
        Ok(())
    }

    /// Nothing more is said on this connection.
    pub(crate) fn closing(&mut self) {
        self.phase = Phase::Closing;
        self.answers.clear();
    }

    /// The connection has ended.
    pub(crate) fn disconnected(&mut self) {
        self.phase = Phase::Down;
        self.answers.clear();
    }
}
