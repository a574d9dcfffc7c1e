//! The core itself: hands each input to the part it concerns, then lets every part do what is due.
//! Never holds a rule of its own that belongs to one part alone.

use crate::command::{Commands, Times};
use crate::config::Config;
use crate::context::{Context, Purpose, Random};
use crate::effect::{Attempt, BULK_PREFIX, Effect, Gathering, LinkIdentity, StoreOp};
use crate::enrol::Renewals;
use crate::input::{Input, LinkFault, Monotonic, Restored};
use crate::link::{Link, Pause};
use crate::report::Reports;
use crate::schedule::Schedule;
use crate::session::Session;
use crate::status::{LinkState, Status};
use crate::store::{self, NODE_KEY, NodeRecord};
use crate::stream::Streams;
use crate::time::Clock;
use holdfast_protocol::OutboxId;
use holdfast_protocol::seal::Opener;
use holdfast_protocol::up::{Class, Presence, Up};

/// Wait before what the disk did not do is tried again: work goes on within 5 s of its repair.
pub(crate) const RETRY_MS: u64 = 2_000;

/// The state directory cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RestoreError {
    /// A ledger entry of a layout that this build does not read.
    #[error(
        "ledger entry `{key}` has layout {found}: this build reads {newest}; start a newer agent on this state directory"
    )]
    Layout {
        /// The key.
        key: String,
        /// Layout found.
        found: u8,
        /// Newest layout read.
        newest: u8,
    },
    /// The node's own entry cannot be read. Any other is left out instead, and what it cost is told.
    #[error(
        "ledger entry `{key}` cannot be read; move the state directory away and register again"
    )]
    Malformed {
        /// The key.
        key: String,
        /// What the decoder found.
        #[source]
        source: postcard::Error,
    },
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Life {
    /// The node's record of this process is being written, or will be again after a refusal.
    Starting,
    Running,
    /// Asked to stop; what runs has until then.
    Stopping(Monotonic),
    /// Nothing runs any more; the last writes and the connection are being closed.
    Closing,
    Stopped,
}

/// The agent's decisions.
#[derive(Debug)]
pub struct Core {
    pub(crate) ctx: Context,
    pub(crate) opener: Opener,
    pub(crate) link: Link,
    pub(crate) session: Session,
    pub(crate) streams: Streams,
    pub(crate) commands: Commands,
    pub(crate) reports: Reports,
    pub(crate) renewals: Renewals,
    schedule: Schedule,
    /// The bridge says that the certificate has expired, whatever the floor of time says.
    pub(crate) certificate_refused: bool,
    /// What a hello's reply brought was refused by the journal: it is written before the next hello.
    pub(crate) unwritten: bool,
    /// When the node's record of this process is written again after a refusal.
    pub(crate) start_at: Option<Monotonic>,
    pub(crate) life: Life,
    /// What a hello names was durable when the process began.
    pub(crate) secured: bool,
    /// The outbox's new life stands for a cursor or an end of a stream that the journal has lost.
    pub(crate) sequences_lost: bool,
    /// When the last input came.
    now: Monotonic,
}

impl Core {
    /// Begins where the last process ended.
    ///
    /// # Errors
    /// [`RestoreError`]; nothing was changed.
    pub fn restore(config: Config, restored: Restored) -> Result<Self, RestoreError> {
        let Restored {
            ledger,
            streams,
            secured,
            boot_id,
            random,
            sequences_lost,
            damage,
            now,
        } = restored;
        let mut random = Random::new(random);
        let record = ledger.iter().find(|(key, _)| key == NODE_KEY);
        let is_known = record.is_some();
        let mut record: NodeRecord = match record {
            Some((key, value)) => store::decode(key, value)?,
            None => NodeRecord {
                outbox: OutboxId(random.next()),
                starts: 0,
                counter: 0,
                signing_serial: 0,
                token: None,
                clock: Clock::new(boot_id, config.registered_unix_ms),
            },
        };
        if sequences_lost {
            record.outbox = OutboxId(random.next());
        }
        record.starts = record.starts.saturating_add(1);
        record.clock.restart(boot_id, config.built_unix_ms);
        let [results, _, state, _] = streams;
        let boot = record.clock.boot();
        let times = Times {
            now,
            boot,
            certain_unix_ms: record.clock.certain(now),
        };
        let commands = Commands::restore(&ledger, &damage, times, results)?;
        let reports = Reports::restore(&ledger, state.head)?;
        let opener = Opener::new(config.root, record.signing_serial);
        let link = Link::new(now, record.starts);
        let mut ctx = Context::new(config, record, random);
        let schedule = Schedule::new(&mut ctx, now);
        ctx.push(Effect::EndRemains);
        let write = ctx.node_write();
        ctx.persist(Purpose::Start, vec![write]);
        if sequences_lost {
            let detail = "the journal lost its cursor or the end of a stream";
            ctx.audit(now, "outbox-renewed", detail);
        }
        commands.tell_damage(&mut ctx, now, damage.records);
        Ok(Self {
            ctx,
            opener,
            link,
            session: Session::new(),
            streams: Streams::new(streams, commands.is_recovering()),
            commands,
            reports,
            renewals: Renewals::new(now),
            schedule,
            certificate_refused: false,
            unwritten: false,
            start_at: None,
            life: Life::Starting,
            // A new life of the outbox is durable with the start, not before.
            secured: secured && is_known && !sequences_lost,
            sequences_lost,
            now,
        })
    }

    /// Advances by one input; what must follow waits in [`Self::poll_effect`].
    ///
    /// `now` must not go back within a boot.
    pub fn step(&mut self, now: Monotonic, input: Input) {
        match input {
            Input::Tick => {}
            Input::Persisted {
                ticket,
                appended,
                streams,
            } => self.persisted(now, ticket, &appended, streams),
            Input::Released { streams } => self.streams_changed(streams),
            Input::PersistFailed { ticket, why } => self.persist_failed(now, ticket, &why),
            Input::PersistDelayed { why, .. } => self.disk_fails(now, why),
            Input::Records {
                class,
                from,
                entries,
            } => self.records(now, class, from, &entries),
            Input::ReadFailed { class, why } => self.read_failed(now, class, &why),
            Input::Loaded { key, value } => {
                self.reports
                    .loaded(&mut self.ctx, now, &key, value.as_deref());
            }
            Input::LinkFailed {
                attempt,
                fault,
                why,
            }
            | Input::Disconnected {
                attempt,
                fault,
                why,
            } => self.disconnected(now, attempt, fault, &why),
            Input::Connected {
                attempt,
                random,
                bridge_expires_unix_ms,
            } => self.connected(now, attempt, random, bridge_expires_unix_ms),
            Input::Received {
                delivery,
                topic,
                frame,
            } => self.received(now, delivery, topic, &frame),
            Input::PubAcked { attempt, count } => self.streams.pub_acked(attempt, count),
            Input::RemainsEnded => self.commands.remains_ended(&mut self.ctx, now),
            Input::Output {
                command,
                step,
                stream,
                bytes,
            } => self
                .commands
                .output(&mut self.ctx, command, step, stream, &bytes),
            Input::StepEnded { command, step, end } => {
                self.commands
                    .step_ended(&mut self.ctx, now, command, step, end, &self.reports);
            }
            Input::Reported {
                origin,
                type_name,
                table,
            } => self
                .reports
                .reported(&mut self.ctx, now, origin, &type_name, table),
            Input::Gathered { what, fault } => self.gathered(now, what, fault),
            Input::RebootFailed { why } => self.commands.reboot_failed(&mut self.ctx, now, &why),
            Input::RenewalReady { renewal } => self.renewals.ready(renewal),
            Input::Installed { certificate } => self.installed(now, certificate),
            Input::RenewalFailed { why } => self.renewals.failed(&mut self.ctx, now, &why),
            Input::Platform(platform) => self.ctx.config.platform = *platform,
            Input::Stop => self.stop(now),
        }
        self.now = now;
        self.settle(now);
    }

    /// The next effect to begin.
    pub fn poll_effect(&mut self) -> Option<Effect> {
        self.ctx.effects.pop_front()
    }

    /// When [`Input::Tick`] is due, if ever.
    #[must_use]
    pub fn next_deadline(&self) -> Option<Monotonic> {
        let (ctx, now) = (&self.ctx, self.now);
        let life = match self.life {
            Life::Starting => return self.start_at,
            Life::Closing | Life::Stopped => None,
            Life::Stopping(until) => Some(until),
            Life::Running => self
                .link
                .deadline()
                .into_iter()
                .chain(self.renewals.deadline(ctx, now, self.enrols(now)))
                .min(),
        };
        [
            life,
            self.start_at,
            self.session.deadline(),
            self.streams.deadline(ctx),
            self.commands.deadline(ctx, now),
            self.schedule.deadline(),
            ctx.record.clock.lags_at(now),
        ]
        .into_iter()
        .flatten()
        .min()
    }

    /// How far the link is.
    #[must_use]
    pub fn link_state(&self) -> LinkState {
        self.link.state(self.session.is_open())
    }

    /// When the next attempt to connect begins, from now; `None` while one lives.
    #[must_use]
    pub fn next_try_in_ms(&self, now: Monotonic) -> Option<u64> {
        self.link.deadline().map(|until| until.since(now))
    }

    /// What the disk last failed with, while it fails.
    #[must_use]
    pub fn disk_fault(&self) -> Option<&str> {
        self.ctx.disk.as_deref()
    }

    /// What `holdfast-agent status` shows.
    #[must_use]
    pub fn status(&self, now: Monotonic) -> Status {
        let clock = &self.ctx.record.clock;
        Status {
            node: self.ctx.config.node,
            outbox: self.ctx.record.outbox,
            link: self.link.status(now, self.session.is_open()),
            queues: self.streams.status(),
            commands: self.commands.status(),
            certificate: self.ctx.config.certificate,
            floor_unix_ms: clock.floor_unix_ms(),
            trusted_unix_ms: clock.trusted(now),
            refused: self.link.refused.clone(),
            disk: self.ctx.disk.clone().or_else(|| self.full(now)),
            inventory_in_ms: self.schedule.next_in(now, Gathering::Inventory),
            patch_scan_in_ms: self.schedule.next_in(now, Gathering::Patches),
        }
    }

    fn connected(
        &mut self,
        now: Monotonic,
        attempt: Attempt,
        random: [u8; 32],
        bridge_expires_unix_ms: u64,
    ) {
        self.ctx.random.stir(random);
        match self.link.connected(attempt, bridge_expires_unix_ms) {
            None => {}
            Some(true) => self.renewals.send(&mut self.ctx, now, attempt, true),
            Some(false) => {
                self.session
                    .greet(&mut self.ctx, now, attempt, &self.streams, &self.reports);
            }
        }
    }

    fn disconnected(&mut self, now: Monotonic, attempt: Attempt, fault: LinkFault, why: &str) {
        if fault == LinkFault::CertificateExpired {
            self.certificate_refused = true;
        }
        if self.link.ended(&mut self.ctx, now, attempt, fault, why) {
            self.session.disconnected();
            self.streams.close();
            self.renewals.disconnected();
        }
    }

    /// Closes the connection; nothing more is said on it.
    pub(crate) fn hang_up(&mut self, pause: Pause, why: &str) {
        self.session.closing();
        self.streams.close();
        self.link.close(&mut self.ctx, pause, why);
    }

    /// The session opens: everything that waited may go.
    pub(crate) fn open(&mut self, now: Monotonic) {
        let Some(opened) = self.session.stored(&mut self.ctx) else {
            return;
        };
        self.link.accepted();
        self.certificate_refused = false;
        self.streams.open(&mut self.ctx, now, &opened);
        self.acknowledged();
        self.reports.resync(&mut self.ctx, now, &opened.resync);
    }

    /// What follows from acknowledgements.
    pub(crate) fn acknowledged(&mut self) {
        self.results_changed();
        let acked = self.streams.acked(Class::State);
        self.reports.acknowledged(&mut self.ctx, acked);
    }

    fn gathered(&mut self, now: Monotonic, what: Gathering, fault: Option<String>) {
        self.schedule.ended(what);
        if let Some(fault) = fault {
            let name = match what {
                Gathering::Inventory => "inventory-incomplete",
                Gathering::Patches => "patch-scan-failed",
            };
            self.ctx.note(now, name, &fault);
        }
    }

    /// Whether the next or the living connection is one without a certificate.
    fn enrols(&self, now: Monotonic) -> bool {
        self.certificate_refused || self.renewals.expired(&self.ctx, now)
    }

    /// Lets every part do what is due.
    fn settle(&mut self, now: Monotonic) {
        let ctx = &mut self.ctx;
        if self.start_at.take_if(|at| *at <= now).is_some() {
            let write = ctx.node_write();
            ctx.persist(Purpose::Start, vec![write]);
        }
        match self.life {
            Life::Starting | Life::Stopped => return,
            Life::Running | Life::Stopping(_) | Life::Closing => {}
        }
        // Before any of them is forgotten.
        self.commands.tell_asked(ctx, now);
        if ctx.record.clock.lags(now) {
            ctx.record.clock.raise(now);
            let write = ctx.node_write();
            ctx.persist(Purpose::Note, vec![write]);
            self.commands.sweep(ctx, now);
        }
        if self.life == Life::Running {
            self.schedule.settle(ctx, now);
        }
        self.commands.settle(ctx, now);
        if self.session.overdue(now) {
            self.hang_up(Pause::Backoff, "the bridge did not answer the hello");
        }
        if self.streams.stuck(&self.ctx, now) {
            self.hang_up(Pause::Short, "acknowledgements stand still");
        }
        if !self.commands.is_recovering() {
            self.streams.results_found(&mut self.ctx);
        }
        self.streams.pump(&mut self.ctx, now);
        self.settle_link(now);
        self.settle_life(now);
    }

    fn settle_link(&mut self, now: Monotonic) {
        if self.life != Life::Running {
            return;
        }
        let enrols = self.enrols(now);
        self.renewals.settle(&mut self.ctx, now, enrols);
        if let Some(attempt) = self.link.attempt().filter(|_| self.session.is_open()) {
            self.renewals.send(&mut self.ctx, now, attempt, false);
        }
        if self.link.is_enrolling() && !self.renewals.is_under_way() {
            self.hang_up(Pause::Backoff, "no certificate was issued");
        }
        if !self.link.due(now) {
            return;
        }
        if !self.is_told_durable() {
            return self.link.look_again(now, None);
        }
        let identity = if enrols {
            // The request must be at hand: its nonce names the topic of the reply.
            let Some(nonce) = self.renewals.nonce() else {
                let ready = self.renewals.deadline(&self.ctx, now, enrols);
                return self.link.look_again(now, ready);
            };
            LinkIdentity::Enrol { nonce }
        } else {
            let presence = Presence {
                online: false,
                connection: self.link.next_attempt().0,
            };
            let will = Up::Presence(presence).encode().unwrap_or_default();
            LinkIdentity::Node { will }
        };
        self.link.connect(&mut self.ctx, now, identity);
    }

    /// Whether the token and the outbox that a hello would name are on disk: one that the bridge
    /// has seen and the disk has not would make this node its own clone after a crash.
    fn is_told_durable(&mut self) -> bool {
        let ctx = &mut self.ctx;
        if std::mem::take(&mut self.unwritten) {
            let write = ctx.node_write();
            ctx.persist(Purpose::Token, vec![write]);
        }
        !ctx.writes(Purpose::Token) && !ctx.writes(Purpose::Outbox)
    }

    fn stop(&mut self, now: Monotonic) {
        if !matches!(self.life, Life::Starting | Life::Running) {
            return;
        }
        self.life = Life::Stopping(now.after(self.ctx.config.intervals.stop_ms));
        self.start_at = None;
        self.schedule.stop();
        self.commands.stop(&mut self.ctx);
    }

    fn settle_life(&mut self, now: Monotonic) {
        if let Life::Stopping(until) = self.life
            && (self.commands.is_quiet() || until <= now)
        {
            if self.session.is_open() {
                self.session.presence(&mut self.ctx, false);
            }
            self.session.closing();
            self.streams.close();
            self.life = Life::Closing;
        }
        if self.life == Life::Closing && !self.link.stop(&mut self.ctx) && !self.ctx.is_writing() {
            self.life = Life::Stopped;
            self.ctx.push(Effect::Store(StoreOp::Checkpoint));
            self.ctx.push(Effect::Stopped);
        }
    }
}

/// Whether a ledger entry belongs into [`Restored`].
#[must_use]
pub fn is_restored(key: &str) -> bool {
    !key.starts_with(BULK_PREFIX)
}
