//! What arrives from the bridge: opened, checked for freshness, handed to the part that it concerns.
//! Never acts on a frame that is not sealed for this node, and on nothing but a hello's reply before one came.

use crate::command::Arrival;
use crate::context::Purpose;
use crate::core::Core;
use crate::effect::{Delivery, Effect, Level};
use crate::enrol::Answered;
use crate::input::{CertificateLife, Monotonic};
use crate::link::Pause;
use holdfast_protocol::down::{Down, FloorReset, HelloRefusal, HelloRefusalReason, HelloReply};
use holdfast_protocol::enrol::Reply;
use holdfast_protocol::limits::{REVISION, REVISION_OLDEST};
use holdfast_protocol::seal::{Address, SealError};
use holdfast_protocol::topic::Topic;
use holdfast_protocol::up::{Answer, Class};

impl Core {
    pub(crate) fn received(
        &mut self,
        now: Monotonic,
        delivery: Delivery,
        topic: Topic,
        frame: &[u8],
    ) {
        if self.link.attempt() != Some(delivery.attempt) {
            return;
        }
        match topic {
            Topic::EnrolReply(_) => {
                self.acknowledge_transport(delivery);
                match Reply::from_frame(frame) {
                    Ok(reply) => self.certificate_answered(now, &reply),
                    Err(why) => self.ctx.note(now, "frame-refused", &why.to_string()),
                }
            }
            Topic::Command(_) | Topic::Control(_) => self.open_frame(now, delivery, frame),
            Topic::Presence(_)
            | Topic::Hello(_)
            | Topic::Stream(..)
            | Topic::Answer(_)
            | Topic::Renewal(_)
            | Topic::EnrolRequest(_) => self.acknowledge_transport(delivery),
        }
    }

    fn acknowledge_transport(&mut self, delivery: Delivery) {
        self.ctx.push(Effect::AckTransport { delivery });
    }

    fn open_frame(&mut self, now: Monotonic, delivery: Delivery, frame: &[u8]) {
        let address = Address {
            node: self.ctx.config.node,
            outbox: self.ctx.record.outbox,
        };
        let opened = match self.opener.open(&address, frame) {
            Ok(opened) => opened,
            Err(why) => return self.unopened(now, delivery, &why),
        };
        self.take_over_serial(now);
        let fresh = opened.counter > self.ctx.record.counter;
        // The root does not know the counter: its nonce keeps a reset from being replayed.
        if fresh && !matches!(opened.down, Down::FloorReset(_)) {
            self.ctx.record.counter = opened.counter;
        }
        let accepted = self.session.is_accepted();
        if let Down::Command(command) = opened.down {
            if accepted {
                let arrival = Arrival {
                    delivery,
                    fresh,
                    command,
                    results: self.streams.figures(Class::Result),
                };
                let answer = self.commands.arrive(&mut self.ctx, now, arrival);
                if let Some(answer) = answer {
                    self.answer(answer, Some(delivery));
                }
            }
            return;
        }
        self.acknowledge_transport(delivery);
        match opened.down {
            Down::FloorReset(reset) => self.reset_floor(now, reset),
            Down::HelloReply(reply) if fresh => self.hello_accepted(now, &reply),
            Down::HelloRefusal(refusal) if fresh => self.hello_refused(now, &refusal),
            down if fresh && accepted => self.control(now, &down),
            // Dropped in silence it would leave its invocation to the clock.
            Down::Cancel(cancel) if accepted => {
                let answer = Answer::Stale {
                    command: Some(cancel.command),
                    counter: self.ctx.record.counter,
                };
                self.answer(answer, None);
            }
            Down::HelloReply(_)
            | Down::HelloRefusal(_)
            | Down::Command(_)
            | Down::Cancel(_)
            | Down::Ack(_)
            | Down::Resync(_)
            | Down::Rotation(_)
            | Down::Renewed(_) => {
                let counter = opened.counter;
                self.ctx.log(
                    Level::Debug,
                    format!("a frame under counter {counter} is stale or before the hello's reply"),
                );
            }
        }
    }

    /// Answers, or ends the connection: what is not answered on this one is sent again on the next.
    pub(crate) fn answer(&mut self, answer: Answer, delivery: Option<Delivery>) {
        if let Err(why) = self.session.answer(&mut self.ctx, answer, delivery) {
            self.hang_up(Pause::Backoff, &why.to_string());
        }
    }

    /// A frame that cannot be trusted is dropped; one under another key than the newest known calls
    /// for a new hello. It is not acknowledged: it may be a command, overtaken on its way by the new
    /// key, and what was not acknowledged comes again under the key of that hello.
    fn unopened(&mut self, now: Monotonic, delivery: Delivery, why: &SealError) {
        self.ctx.note(now, "frame-refused", &why.to_string());
        match why {
            SealError::UnknownKey { .. } => {
                let why = "the signing key has changed: its certificate comes with a hello";
                self.hang_up(Pause::Backoff, why);
            }
            SealError::Superseded { .. } => self.hang_up(Pause::Backoff, &why.to_string()),
            SealError::Frame(_)
            | SealError::Unsigned { .. }
            | SealError::Key { .. }
            | SealError::Certificate { .. }
            | SealError::Signature { .. } => self.acknowledge_transport(delivery),
        }
    }

    /// The newest signing key is remembered, so that an older one is never believed again.
    fn take_over_serial(&mut self, now: Monotonic) {
        let serial = self.opener.newest_serial();
        if serial == self.ctx.record.signing_serial {
            return;
        }
        self.ctx.record.signing_serial = serial;
        let write = self.ctx.node_write();
        self.ctx.persist(Purpose::Note, vec![write]);
        let detail = format!("serial {serial}");
        self.ctx.audit(now, "signing-key-accepted", &detail);
    }

    fn control(&mut self, now: Monotonic, down: &Down) {
        match down {
            Down::Cancel(cancel) => {
                let answer = self.commands.cancel(&mut self.ctx, now, cancel.command);
                if let Some(answer) = answer {
                    self.answer(answer, None);
                }
            }
            Down::Ack(ack) => match self.streams.acknowledge(&mut self.ctx, now, ack.acks) {
                Ok(()) => self.acknowledged(),
                Err(why) => {
                    self.ctx
                        .audit(now, "acknowledgement-refused", &why.to_string());
                }
            },
            Down::Resync(resync) => self.reports.resync(&mut self.ctx, now, &resync.reports),
            Down::Renewed(reply) => self.certificate_answered(now, reply),
            // The seal has brought the key along.
            Down::Rotation(_) => {}
            Down::HelloReply(_)
            | Down::HelloRefusal(_)
            | Down::Command(_)
            | Down::FloorReset(_) => {}
        }
    }

    fn hello_accepted(&mut self, now: Monotonic, reply: &HelloReply) {
        if !self.session.is_greeting() || !self.session.knows(&reply.nonce) {
            return;
        }
        // Its time is as old as it was on its way, such as while this machine slept: what follows each
        // input gives this connection up, and the next hello brings the time of then.
        if self.session.overdue(now) {
            return;
        }
        if !(REVISION_OLDEST..=REVISION).contains(&reply.revision) {
            let why = format!(
                "the bridge wants revision {}: this agent writes {REVISION_OLDEST} to {REVISION}",
                reply.revision
            );
            return self.refused(now, Pause::Refused, why);
        }
        self.learn(now, reply.unix_ms);
        match self.streams.above_head(reply.acks) {
            None => {
                if self.session.accepted(&mut self.ctx, reply) {
                    self.open(now);
                }
            }
            Some(class) => {
                self.session.rolled_back(&mut self.ctx, reply);
                let detail = format!(
                    "the bridge has more of stream {} than this disk: it was rolled back",
                    class.name()
                );
                self.ctx.audit(now, "outbox-renewed", &detail);
            }
        }
    }

    fn hello_refused(&mut self, now: Monotonic, refusal: &HelloRefusal) {
        if !self.session.is_greeting() || !self.session.knows(&refusal.nonce) {
            return;
        }
        let detail = &refusal.detail;
        match refusal.reason {
            HelloRefusalReason::Later(ms) => {
                self.hang_up(Pause::Later(ms), "the bridge asks to come later");
                self.link
                    .fault(now, format!("come again in {ms} ms: {detail}"));
            }
            HelloRefusalReason::Quarantined => {
                self.refused(now, Pause::Refused, format!("quarantined: {detail}"));
            }
            HelloRefusalReason::Deregistered => {
                self.refused(now, Pause::Refused, format!("deregistered: {detail}"));
            }
            HelloRefusalReason::Revision(oldest, newest) => {
                let why = format!(
                    "the bridge reads revisions {oldest} to {newest}, this agent writes \
                     {REVISION_OLDEST} to {REVISION}: {detail}"
                );
                self.refused(now, Pause::Refused, why);
            }
        }
    }

    fn refused(&mut self, now: Monotonic, pause: Pause, why: String) {
        self.hang_up(pause, &why);
        if self.link.refused.as_ref() != Some(&why) {
            self.ctx.note(now, "hello-refused", &why);
        }
        self.link.fault(now, why.clone());
        self.link.refused = Some(why);
    }

    fn reset_floor(&mut self, now: Monotonic, reset: FloorReset) {
        if !self.session.knows(&reset.nonce) {
            return;
        }
        let until = self.link.bridge_expires_unix_ms();
        if let Err(beyond) = self.ctx.record.clock.reset(now, reset.unix_ms, until) {
            let detail = beyond.to_string();
            return self.ctx.note(now, "floor-reset-refused", &detail);
        }
        let write = self.ctx.node_write();
        self.ctx.persist(Purpose::Note, vec![write]);
        self.ctx
            .audit(now, FloorReset::CONFIRMATION, &reset.confirmation());
    }

    /// Takes over signed time. One that contradicts the connection is told and left out: the rest of
    /// the message stands, for a link that ended over it would end over it each time.
    fn learn(&mut self, now: Monotonic, unix_ms: u64) {
        let until = self.link.bridge_expires_unix_ms();
        if let Err(beyond) = self.ctx.record.clock.learn(now, unix_ms, until) {
            self.ctx.note(now, "time-refused", &beyond.to_string());
        }
    }

    fn certificate_answered(&mut self, now: Monotonic, reply: &Reply) {
        match self.renewals.answered(&mut self.ctx, now, reply) {
            Answered::Ignored => {}
            Answered::Issued { unix_ms } => {
                // Signed under the root for a fresh nonce: as good as a hello's time.
                if let Some(unix_ms) = unix_ms {
                    self.learn(now, unix_ms);
                    let write = self.ctx.node_write();
                    self.ctx.persist(Purpose::Note, vec![write]);
                }
            }
            Answered::Refused { busy, why } => {
                self.ctx.note(now, "certificate-refused", &why);
                if !self.session.is_accepted() {
                    let pause = if busy { Pause::Backoff } else { Pause::Refused };
                    self.refused(now, pause, why);
                }
            }
        }
    }

    pub(crate) fn installed(&mut self, now: Monotonic, certificate: CertificateLife) {
        self.renewals.installed(&mut self.ctx, certificate);
        self.certificate_refused = false;
        let detail = format!("expires at {} ms since 1970", certificate.expires_unix_ms);
        self.ctx.audit(now, "certificate-renewed", &detail);
        self.hang_up(Pause::Short, "the new certificate is used from here on");
    }
}
