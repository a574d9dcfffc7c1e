//! When to connect, to which bridge, and how long to wait: probing while the link is down, backing off
//! when somebody is there but will not talk. Never waits longer because the link was down for long.

use crate::context::Context;
use crate::effect::{Attempt, Effect, LinkIdentity};
use crate::input::{LinkFault, Monotonic};
use crate::status::{LinkState, LinkStatus};

/// Longest wait that a bridge can ask for.
const LATER_MS_MAX: u64 = 10 * 60_000;

/// Shortest wait between the end of a probe and the next.
const PROBE_MS_MIN: u64 = 100;

/// Wait for what the shell is still making or writing.
const AGAIN_MS: u64 = 1_000;

/// How long to stay away after a connection that the core closed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Pause {
    /// Come back at once.
    Short,
    /// As after a failure behind TCP.
    Backoff,
    /// Only a person can help.
    Refused,
    /// As long as the bridge asked for.
    Later(u32),
}

#[derive(Debug)]
enum State {
    Waiting {
        until: Monotonic,
    },
    Connecting {
        attempt: Attempt,
        since: Monotonic,
        enrolling: bool,
    },
    Up {
        attempt: Attempt,
        enrolling: bool,
    },
    Closing {
        attempt: Attempt,
        pause: Pause,
    },
    Stopped,
}

/// The link.
#[derive(Debug)]
pub(crate) struct Link {
    state: State,
    bridge: usize,
    next_attempt: u64,
    /// Failures behind TCP since the last success.
    failures: u32,
    /// Whether the bridge has accepted this node on the connection that lives.
    is_accepted: bool,
    /// End of the certificate that the bridge showed on the connection made last.
    bridge_expires_unix_ms: u64,
    /// Bridges tried in this round.
    tried: usize,
    last: Option<(Monotonic, LinkFault, String)>,
    /// Why the bridge refuses this node, where it does.
    pub(crate) refused: Option<String>,
}

impl Link {
    pub(crate) fn new(now: Monotonic, starts: u32) -> Self {
        Self {
            state: State::Waiting { until: now },
            bridge: 0,
            next_attempt: u64::from(starts) << 32 | 1,
            failures: 0,
            is_accepted: false,
            bridge_expires_unix_ms: 0,
            tried: 0,
            last: None,
            refused: None,
        }
    }

    /// This start is not on disk, and the next one may be counted the same: numbers attempts below it,
    /// above those of the start before, from the time since boot on, a tenth of a second each. No
    /// process makes them faster, so a later one of this boot is above an earlier one.
    pub(crate) fn skip_ahead(&mut self, now: Monotonic) {
        const HALF: u64 = 1 << 31;
        let before = (self.next_attempt >> 32).saturating_sub(1) << 32;
        self.next_attempt = before + HALF + (now.0 / 100 + 1).min(HALF - 1);
    }

    /// Whether it is time to connect.
    pub(crate) fn due(&self, now: Monotonic) -> bool {
        matches!(self.state, State::Waiting { until } if until <= now)
    }

    pub(crate) fn deadline(&self) -> Option<Monotonic> {
        match self.state {
            State::Waiting { until } => Some(until),
            State::Connecting { .. }
            | State::Up { .. }
            | State::Closing { .. }
            | State::Stopped => None,
        }
    }

    /// The attempt that the next [`Self::connect`] makes.
    pub(crate) fn next_attempt(&self) -> Attempt {
        Attempt(self.next_attempt)
    }

    pub(crate) fn connect(&mut self, ctx: &mut Context, now: Monotonic, identity: LinkIdentity) {
        let attempt = self.next_attempt();
        self.next_attempt += 1;
        self.tried += 1;
        self.is_accepted = false;
        self.state = State::Connecting {
            attempt,
            since: now,
            enrolling: matches!(identity, LinkIdentity::Enrol { .. }),
        };
        ctx.push(Effect::Connect {
            attempt,
            bridge: self.bridge,
            identity,
            floor_unix_ms: ctx.record.clock.certain(now),
        });
    }

    /// What a connection would say is not at hand or not durable yet: look again when it may be.
    pub(crate) fn look_again(&mut self, now: Monotonic, ready: Option<Monotonic>) {
        let until = ready.unwrap_or(now).max(now.after(AGAIN_MS));
        self.state = State::Waiting { until };
    }

    /// A connection was made: whether it is one to enrol; `None` when it is not the one asked for.
    pub(crate) fn connected(
        &mut self,
        attempt: Attempt,
        bridge_expires_unix_ms: u64,
    ) -> Option<bool> {
        match self.state {
            State::Connecting {
                attempt: awaited,
                enrolling,
                ..
            } if awaited == attempt => {
                self.state = State::Up { attempt, enrolling };
                self.bridge_expires_unix_ms = bridge_expires_unix_ms;
                Some(enrolling)
            }
            State::Waiting { .. }
            | State::Connecting { .. }
            | State::Up { .. }
            | State::Closing { .. }
            | State::Stopped => None,
        }
    }

    /// End of the certificate that the bridge showed on the connection made last.
    pub(crate) fn bridge_expires_unix_ms(&self) -> u64 {
        self.bridge_expires_unix_ms
    }

    /// Whether the living connection is one to enrol.
    pub(crate) fn is_enrolling(&self) -> bool {
        matches!(
            self.state,
            State::Up {
                enrolling: true,
                ..
            }
        )
    }

    /// The bridge has accepted this node.
    pub(crate) fn accepted(&mut self) {
        self.is_accepted = true;
        self.failures = 0;
        self.tried = 0;
        self.refused = None;
    }

    /// The connection that lives, if one does.
    pub(crate) fn attempt(&self) -> Option<Attempt> {
        match self.state {
            State::Up { attempt, .. } => Some(attempt),
            State::Waiting { .. }
            | State::Connecting { .. }
            | State::Closing { .. }
            | State::Stopped => None,
        }
    }

    /// Closes what there is and comes back after the pause.
    pub(crate) fn close(&mut self, ctx: &mut Context, pause: Pause, why: &str) {
        let (State::Connecting { attempt, .. } | State::Up { attempt, .. }) = self.state else {
            return;
        };
        self.state = State::Closing { attempt, pause };
        ctx.push(Effect::Disconnect {
            attempt,
            why: why.into(),
        });
    }

    /// Ends for good. Returns whether something is still open.
    pub(crate) fn stop(&mut self, ctx: &mut Context) -> bool {
        self.close(ctx, Pause::Short, "the agent stops");
        match self.state {
            State::Closing { .. } => true,
            State::Waiting { .. }
            | State::Connecting { .. }
            | State::Up { .. }
            | State::Stopped => {
                self.state = State::Stopped;
                false
            }
        }
    }

    /// An attempt failed or a connection ended; `false` when it is none of ours.
    pub(crate) fn ended(
        &mut self,
        ctx: &mut Context,
        now: Monotonic,
        attempt: Attempt,
        fault: LinkFault,
        why: &str,
    ) -> bool {
        let (pause, since) = match self.state {
            State::Connecting {
                attempt: mine,
                since,
                ..
            } if mine == attempt => (None, since),
            State::Up { attempt: mine, .. } if mine == attempt => (None, now),
            State::Closing {
                attempt: mine,
                pause,
            } if mine == attempt => (Some(pause), now),
            State::Waiting { .. }
            | State::Connecting { .. }
            | State::Up { .. }
            | State::Closing { .. }
            | State::Stopped => return false,
        };
        if fault != LinkFault::Asked {
            self.last = Some((now, fault, why.chars().take(512).collect()));
        }
        let wait = match pause {
            Some(pause) => self.pause(ctx, pause),
            None => self.wait(ctx, fault),
        };
        // Probes are as far apart as their beginnings: one that hangs does not delay the next.
        let until = if fault == LinkFault::Tcp {
            since.after(wait).max(now.after(PROBE_MS_MIN))
        } else {
            now.after(wait)
        };
        self.state = State::Waiting { until };
        true
    }

    /// Remembers what a refusal said, for the status.
    pub(crate) fn fault(&mut self, now: Monotonic, why: String) {
        self.last = Some((now, LinkFault::Asked, why));
    }

    fn pause(&mut self, ctx: &mut Context, pause: Pause) -> u64 {
        match pause {
            Pause::Short => ctx.random.jitter(500),
            Pause::Backoff => self.backoff(ctx),
            Pause::Refused => ctx.random.jitter(ctx.config.intervals.refused_ms),
            Pause::Later(ms) => ctx.random.jitter(500) + u64::from(ms).min(LATER_MS_MAX),
        }
    }

    fn wait(&mut self, ctx: &mut Context, fault: LinkFault) -> u64 {
        match fault {
            LinkFault::Tcp => {
                self.rotate(ctx);
                if !self.tried.is_multiple_of(ctx.config.bridges.max(1)) {
                    return ctx.random.jitter(200);
                }
                ctx.random.jitter(ctx.config.intervals.probe_ms_max)
            }
            // Whoever hangs up before the hello is answered is there but will not talk.
            LinkFault::Lost if !self.is_accepted => self.backoff(ctx),
            LinkFault::Lost | LinkFault::Asked => ctx.random.jitter(1_000),
            LinkFault::CertificateExpired => ctx.random.jitter(1_000),
            LinkFault::Tls | LinkFault::Mqtt => self.backoff(ctx),
            LinkFault::CertificateRefused => {
                self.rotate(ctx);
                ctx.random.jitter(ctx.config.intervals.backoff_ms_max)
            }
        }
    }

    fn backoff(&mut self, ctx: &mut Context) -> u64 {
        let intervals = ctx.config.intervals;
        let doubled = intervals.backoff_ms_min << self.failures.min(16);
        self.failures = self.failures.saturating_add(1);
        self.rotate(ctx);
        ctx.random.jitter(doubled.min(intervals.backoff_ms_max))
    }

    fn rotate(&mut self, ctx: &Context) {
        self.bridge = (self.bridge + 1) % ctx.config.bridges.max(1);
    }

    pub(crate) fn state(&self, online: bool) -> LinkState {
        match self.state {
            State::Waiting { .. } | State::Closing { .. } | State::Stopped => LinkState::Waiting,
            State::Connecting { .. } => LinkState::Connecting,
            State::Up {
                enrolling: true, ..
            } => LinkState::Enrolling,
            State::Up { .. } if online => LinkState::Online,
            State::Up { .. } => LinkState::Greeting,
        }
    }

    pub(crate) fn status(&self, now: Monotonic, online: bool) -> LinkStatus {
        LinkStatus {
            state: self.state(online),
            bridge: self.bridge,
            attempt: Attempt(self.next_attempt - 1),
            last_fault: self.last.as_ref().map(|(_, fault, _)| *fault),
            last_error: self.last.as_ref().map(|(_, _, why)| why.clone()),
            last_error_ms_ago: self.last.as_ref().map(|(at, _, _)| now.since(*at)),
            next_try_in_ms: self.deadline().map(|until| until.since(now)),
        }
    }
}
