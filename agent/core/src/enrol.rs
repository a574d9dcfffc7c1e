//! A fresh certificate for a fresh key: at two thirds of the old one's life on the node's own topic,
//! after its end by enrolling again. Never holds a private key: the shell makes and keeps them.

use crate::context::Context;
use crate::effect::{Attempt, Effect, Level};
use crate::input::{CertificateLife, Monotonic};
use holdfast_protocol::enrol::{EnrolRefusal, Outcome, Renewal, Reply, Request};
use holdfast_protocol::topic::Topic;
use holdfast_protocol::up::Up;

#[derive(Debug)]
enum Phase {
    Idle,
    /// The shell makes the key and the request.
    Making,
    Ready(Box<Renewal>),
    Asked {
        renewal: Box<Renewal>,
        until: Monotonic,
    },
    /// The shell installs the certificate.
    Installing,
}

/// What a reply came to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Answered {
    /// It was not for us, or could not be trusted.
    Ignored,
    /// A certificate is being installed. With the bridge's time, unless it was on its way for too long.
    Issued { unix_ms: Option<u64> },
    /// Refused; the text says why.
    Refused { busy: bool, why: String },
}

/// Renewals.
#[derive(Debug)]
pub(crate) struct Renewals {
    phase: Phase,
    not_before: Monotonic,
    /// By the floor of time the certificate had expired when it was issued: the floor is wrong, and
    /// whether it is good only the bridge can say. So the root's word can reach this node.
    doubted: bool,
}

impl Renewals {
    pub(crate) fn new(now: Monotonic) -> Self {
        Self {
            phase: Phase::Idle,
            not_before: now,
            doubted: false,
        }
    }

    fn renew_from(certificate: CertificateLife) -> u64 {
        let life = certificate
            .expires_unix_ms
            .saturating_sub(certificate.issued_unix_ms);
        certificate.expires_unix_ms - life / 3
    }

    /// Whether the certificate has certainly expired.
    pub(crate) fn expired(&self, ctx: &Context, now: Monotonic) -> bool {
        !self.doubted && ctx.record.clock.certain(now) >= ctx.config.certificate.expires_unix_ms
    }

    fn is_due(&self, ctx: &Context, now: Monotonic) -> bool {
        !self.doubted && ctx.record.clock.certain(now) >= Self::renew_from(ctx.config.certificate)
    }

    /// Begins a renewal when it is due. `wanted`: the bridge itself said that the certificate has expired.
    pub(crate) fn settle(&mut self, ctx: &mut Context, now: Monotonic, wanted: bool) {
        if let Phase::Asked { until, .. } = self.phase
            && until <= now
        {
            self.failed(ctx, now, "the bridge did not answer");
        }
        // The floor was set right.
        self.doubted &= ctx.record.clock.certain(now) >= ctx.config.certificate.expires_unix_ms;
        let due = self.is_due(ctx, now);
        if (due || wanted) && matches!(self.phase, Phase::Idle) && self.not_before <= now {
            self.phase = Phase::Making;
            let nonce = ctx.random.nonce();
            ctx.push(Effect::MakeRenewal { nonce });
        }
    }

    pub(crate) fn ready(&mut self, renewal: Box<Renewal>) {
        if matches!(self.phase, Phase::Making) {
            self.phase = Phase::Ready(renewal);
        }
    }

    /// Nonce of the request that waits to be sent.
    pub(crate) fn nonce(&self) -> Option<[u8; 16]> {
        match &self.phase {
            Phase::Ready(renewal) | Phase::Asked { renewal, .. } => Some(renewal.nonce),
            Phase::Idle | Phase::Making | Phase::Installing => None,
        }
    }

    /// Whether an answer or an installation is awaited.
    pub(crate) fn is_under_way(&self) -> bool {
        matches!(self.phase, Phase::Asked { .. } | Phase::Installing)
    }

    /// Sends the request that waits: on the node's own topic, or to enrol again.
    pub(crate) fn send(
        &mut self,
        ctx: &mut Context,
        now: Monotonic,
        attempt: Attempt,
        enrolling: bool,
    ) {
        let Phase::Ready(_) = self.phase else {
            return;
        };
        let Phase::Ready(renewal) = std::mem::replace(&mut self.phase, Phase::Idle) else {
            return;
        };
        let (topic, up) = if enrolling {
            let request = Request::Renew((*renewal).clone());
            let topic = Topic::EnrolRequest(renewal.nonce);
            (topic, Up::Enrol(Box::new(request)))
        } else {
            let topic = Topic::Renewal(ctx.config.node);
            (topic, Up::Renewal((*renewal).clone()))
        };
        ctx.send(attempt, topic, &up);
        let until = now.after(ctx.config.intervals.hello_ms);
        self.phase = Phase::Asked { renewal, until };
    }

    /// The connection has ended: what was asked on it is asked again on the next.
    pub(crate) fn disconnected(&mut self) {
        let phase = std::mem::replace(&mut self.phase, Phase::Idle);
        self.phase = match phase {
            Phase::Asked { renewal, .. } => Phase::Ready(renewal),
            other @ (Phase::Idle | Phase::Making | Phase::Ready(_) | Phase::Installing) => other,
        };
    }

    /// A reply has come.
    pub(crate) fn answered(
        &mut self,
        ctx: &mut Context,
        now: Monotonic,
        reply: &Reply,
    ) -> Answered {
        let Phase::Asked { renewal, until } = &self.phase else {
            return Answered::Ignored;
        };
        match reply.open(&renewal.nonce, &renewal.key, &ctx.config.root) {
            Err(why) => {
                ctx.log(
                    Level::Warn,
                    format!("a certificate's reply is ignored: {why}"),
                );
                Answered::Ignored
            }
            Ok(Outcome::Issued { node, .. }) if node != ctx.config.node => {
                let why = format!("the certificate is for {node}");
                self.failed(ctx, now, &why);
                Answered::Refused { busy: false, why }
            }
            Ok(Outcome::Issued {
                certificate,
                unix_ms,
                ..
            }) => {
                let unix_ms = Some(unix_ms).filter(|_| now < *until);
                self.phase = Phase::Installing;
                ctx.push(Effect::Install {
                    certificate: certificate.to_vec(),
                });
                Answered::Issued { unix_ms }
            }
            Ok(Outcome::Refused { reason, detail }) => {
                let why = format!("no certificate ({reason:?}): {detail}");
                self.failed(ctx, now, &why);
                Answered::Refused {
                    busy: reason == EnrolRefusal::Busy,
                    why,
                }
            }
        }
    }

    pub(crate) fn installed(&mut self, ctx: &mut Context, certificate: CertificateLife) {
        ctx.config.certificate = certificate;
        self.doubted = ctx.record.clock.floor_unix_ms() >= certificate.expires_unix_ms;
        self.phase = Phase::Idle;
    }

    /// Gives up for a while; the fresh key stays and is asked for again.
    pub(crate) fn failed(&mut self, ctx: &mut Context, now: Monotonic, why: &str) {
        self.phase = Phase::Idle;
        self.not_before = now.after(ctx.random.jitter(ctx.config.intervals.renewal_ms));
        ctx.log(
            Level::Warn,
            format!("the certificate is not renewed: {why}"),
        );
    }

    /// When [`Self::settle`] has something to do, with the same `wanted`.
    pub(crate) fn deadline(
        &self,
        ctx: &Context,
        now: Monotonic,
        wanted: bool,
    ) -> Option<Monotonic> {
        match &self.phase {
            Phase::Idle => {
                let due = Self::renew_from(ctx.config.certificate);
                let due = if wanted || self.is_due(ctx, now) {
                    Some(now)
                } else if self.doubted {
                    None
                } else {
                    ctx.record.clock.when(now, due)
                };
                due.map(|due| due.max(self.not_before))
            }
            Phase::Asked { until, .. } => Some(*until),
            Phase::Making | Phase::Ready(_) | Phase::Installing => None,
        }
    }
}
