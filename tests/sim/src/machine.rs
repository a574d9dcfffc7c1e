//! One machine: the agent's real core on a simulated disk, with processes that take time.
//! Never decides anything that the core should; what leaves the machine is handed to the world.

use crate::disk::{self, Bounds, Disk};
use crate::random::Random;
use holdfast_agent_core::{
    Attempt, CertificateLife, Config, Core, Delivery, Effect, Gathering, Input, Intervals, Limits,
    LinkFault, LinkIdentity, Monotonic, Qos, Run, StepEnd, StepExit, StoreOp, chain,
};
use holdfast_journal::{Fault, Recovery, SimStorage};
use holdfast_protocol::enrol::{Renewal, public_key};
use holdfast_protocol::limits::CERTIFICATES_END_UNIX_MS;
use holdfast_protocol::report::{Cell, Row, Table, TypeName};
use holdfast_protocol::seal::PublicKey;
use holdfast_protocol::topic::Topic;
use holdfast_protocol::up::{Class, OutputStream, Platform};
use holdfast_protocol::{CommandId, NodeId, Nonce};
use ring::signature::Ed25519KeyPair;
use std::collections::{BTreeMap, BTreeSet};

/// Milliseconds since 1970 when a world begins.
pub(crate) const EPOCH_UNIX_MS: u64 = 1_800_000_000_000;
const DAY_MS: u64 = 86_400_000;
/// Commands that a node remembers where it remembers few.
const FEW_TOMBSTONES: usize = 8;
/// So many lives on, those of a copy begin: none of them is taken for one of the original.
const COPY_LIVES: u32 = 1 << 16;

/// What the world has to do for a machine.
#[derive(Debug)]
pub(crate) enum Action {
    /// Work waits for the disk.
    Disk,
    /// As the node, or to enrol again.
    Connect {
        attempt: Attempt,
        enrols: bool,
    },
    /// A fresh key and a request for its certificate.
    MakeRenewal(Nonce),
    /// A certificate has come.
    Install(Vec<u8>),
    Disconnect(Attempt),
    /// A publish of the living connection.
    Publish {
        topic: Topic,
        frame: Vec<u8>,
        acknowledged: bool,
    },
    /// The transport's acknowledgement of a downward publish.
    PubAck(Delivery),
    /// A process was begun.
    Begin(Box<Run>),
    /// A process is to be killed.
    Kill(CommandId),
    /// What the last life left running is to be ended.
    EndRemains,
    Gather(Gathering),
    Reboot,
}

/// What ends an agent in the middle of a write.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Death {
    /// Of what was not synced some is lost.
    PowerCut,
    /// Nothing that was written is lost, but no more is.
    Kill,
}

/// A step's process.
#[derive(Debug, Clone)]
pub(crate) struct Process {
    pub(crate) step: u8,
    pub(crate) killed: bool,
    pub(crate) stdout_bytes: u64,
}

/// One machine.
pub(crate) struct Machine {
    pub(crate) node: NodeId,
    root: PublicKey,
    tombstones_max: usize,
    bounds: Bounds,
    pub(crate) storage: SimStorage,
    pub(crate) disk: Option<Disk>,
    pub(crate) core: Option<Core>,
    /// Which life of the process this is; what was begun in an earlier one is void.
    pub(crate) life: u32,
    boot: u64,
    booted_at: u64,
    /// Whether the machine has no power.
    pub(crate) off: bool,
    /// Until when the machine is suspended.
    pub(crate) suspended_until: u64,
    /// Until when its disk takes seconds for what it is asked.
    pub(crate) slow_until: u64,
    /// How long it sleeps as soon as it has said hello.
    pub(crate) dozes: Option<u64>,
    /// How many writes after the end of a step its disk takes no more.
    pub(crate) turns_read_only: Option<u64>,
    pub(crate) processes: BTreeMap<CommandId, Process>,
    /// Commands of whose steps an agent that was killed left the processes running.
    pub(crate) remains: BTreeSet<CommandId>,
    work: Vec<StoreOp>,
    pub(crate) disk_busy: bool,
    /// When the core's deadline is already in the world's queue.
    pub(crate) tick_at: Option<u64>,
    /// What the machine has installed: package and version.
    pub(crate) packages: BTreeMap<String, u64>,
    /// The last table that was gathered.
    pub(crate) gathered: Option<Table>,
    /// What ends the agent in the middle of one of its next writes.
    pub(crate) death: Option<Death>,
    /// The certificate in use, and how many came before it; both durable.
    pub(crate) certificate: CertificateLife,
    renewals: u64,
}

impl Machine {
    pub(crate) fn new(node: NodeId, root: PublicKey, life_ms: u64, random: &mut Random) -> Self {
        // Few, in some worlds: then they are swept, and a replay is all that brings a command back.
        let tombstones_max = if random.one_in(3) { FEW_TOMBSTONES } else { 64 };
        let packages = (0..random.between(1, 6)).map(|n| (format!("package-{n}"), 1));
        Self {
            node,
            root,
            tombstones_max,
            bounds: Bounds::default(),
            storage: SimStorage::new(),
            disk: None,
            core: None,
            life: 0,
            boot: random.next(),
            booted_at: 0,
            off: false,
            suspended_until: 0,
            slow_until: 0,
            dozes: None,
            turns_read_only: None,
            processes: BTreeMap::new(),
            remains: BTreeSet::new(),
            work: Vec::new(),
            disk_busy: false,
            tick_at: None,
            packages: packages.collect(),
            gathered: None,
            death: None,
            certificate: CertificateLife {
                issued_unix_ms: EPOCH_UNIX_MS,
                expires_unix_ms: EPOCH_UNIX_MS + life_ms,
            },
            renewals: 0,
        }
    }

    /// A machine with the same disk and identity.
    pub(crate) fn copy(&self) -> Self {
        Self {
            node: self.node,
            root: self.root,
            tombstones_max: self.tombstones_max,
            bounds: self.bounds,
            storage: self.storage.copy(),
            disk: None,
            core: None,
            life: self.life + COPY_LIVES,
            boot: self.boot,
            booted_at: 0,
            off: false,
            suspended_until: 0,
            slow_until: 0,
            dozes: None,
            turns_read_only: None,
            processes: BTreeMap::new(),
            remains: BTreeSet::new(),
            work: Vec::new(),
            disk_busy: false,
            tick_at: None,
            packages: self.packages.clone(),
            gathered: None,
            death: None,
            certificate: self.certificate,
            renewals: self.renewals,
        }
    }

    /// The key of a certificate, by its number.
    fn key(&self, number: u64) -> Option<Ed25519KeyPair> {
        let mut seed = [0; 32];
        for (to, from) in seed.iter_mut().rev().zip(number.to_le_bytes()) {
            *to = from;
        }
        for (to, from) in seed.iter_mut().zip(self.node.as_str().bytes()) {
            *to ^= from;
        }
        Ed25519KeyPair::from_seed_unchecked(&seed).ok()
    }

    /// It remembers few commands that have ended.
    pub(crate) fn remembers_few(&mut self) {
        self.tombstones_max = FEW_TOMBSTONES;
    }

    /// Its disk gives segments back often, and its ledger is full now and then.
    pub(crate) fn has_narrow_disk(&mut self, random: &mut Random) {
        self.remembers_few();
        self.bounds = Bounds::narrow(random);
    }

    /// Its certificate is good by every clock.
    pub(crate) fn never_renews(&mut self) {
        self.certificate = CertificateLife {
            issued_unix_ms: 0,
            expires_unix_ms: CERTIFICATES_END_UNIX_MS,
        };
    }

    /// Its public key.
    pub(crate) fn public_key(&self) -> PublicKey {
        let pair = self.key(self.renewals);
        pair.and_then(|pair| public_key(&pair)).unwrap_or_default()
    }

    /// A request for a certificate of the next key, which is durable.
    pub(crate) fn renewal(&self, nonce: Nonce) -> Option<Input> {
        let (old, fresh) = (self.key(self.renewals)?, self.key(self.renewals + 1)?);
        let renewal = Box::new(Renewal::new(nonce, self.node, &old, &fresh)?);
        Some(Input::RenewalReady { renewal })
    }

    /// A certificate is made durable and used from here on.
    pub(crate) fn install(&mut self, bytes: &[u8]) -> Option<Input> {
        let (issued, rest) = bytes.split_first_chunk()?;
        let expires = rest.first_chunk()?;
        self.certificate = CertificateLife {
            issued_unix_ms: u64::from_le_bytes(*issued),
            expires_unix_ms: u64::from_le_bytes(*expires),
        };
        self.renewals += 1;
        let certificate = self.certificate;
        Some(Input::Installed { certificate })
    }

    /// The machine's own clock.
    pub(crate) fn monotonic(&self, now: u64) -> Monotonic {
        Monotonic(now - self.booted_at + 1_000)
    }

    fn config(&self) -> Config {
        Config {
            node: self.node,
            root: self.root,
            bridges: 2,
            certificate: self.certificate,
            agent_version: heapless::String::new(),
            platform: Platform::default(),
            document_platform: holdfast_documents::Platform::Linux,
            built_unix_ms: EPOCH_UNIX_MS - DAY_MS,
            registered_unix_ms: EPOCH_UNIX_MS - DAY_MS,
            limits: Limits {
                commands_max: 6,
                running_max: 2,
                tombstones_max: self.tombstones_max,
                inbox_bytes_max: 64 << 10,
                result_bytes_reserved: 24 << 10,
                ..Limits::default()
            },
            intervals: Intervals {
                inventory_ms: 10 * 60_000,
                refused_ms: 5 * 60_000,
                ..Intervals::default()
            },
        }
    }

    /// The process begins on what the disk holds; `booted`: with the whole machine. Says what was
    /// found there.
    pub(crate) fn start(
        &mut self,
        now: u64,
        booted: bool,
        random: &mut Random,
    ) -> Result<Recovery, String> {
        if booted {
            self.remains.clear();
            self.booted_at = now;
            self.boot = random.next();
        }
        let (mut disk, found) = disk::open(&self.storage, self.bounds, random.next())?;
        let mut boot_id = [0; 16];
        for (to, from) in boot_id.iter_mut().zip(self.boot.to_le_bytes()) {
            *to = from;
        }
        let restored = disk
            .restored(boot_id, random.bytes(), self.monotonic(now))
            .map_err(|why| chain(&why))?;
        let core = Core::restore(self.config(), restored).map_err(|why| chain(&why))?;
        self.life += 1;
        self.core = Some(core);
        self.disk = Some(disk);
        self.tick_at = None;
        Ok(found)
    }

    /// The process dies, with everything that it held in memory.
    pub(crate) fn die(&mut self) {
        self.core = None;
        self.disk = None;
        self.work.clear();
        self.disk_busy = false;
        self.tick_at = None;
        self.remains
            .extend(std::mem::take(&mut self.processes).into_keys());
        self.life += 1;
    }

    /// The agent dies in the middle of one of the next writes.
    pub(crate) fn arm_death(&mut self, death: Death, at: Fault) {
        self.storage.arm(at);
        self.death = Some(death);
    }

    /// What a step writes, in bytes of each piece; all of a command's is within what is kept of it.
    pub(crate) fn output_sizes(&self, random: &mut Random) -> Vec<usize> {
        let (pieces, bytes) = if self.bounds.is_narrow() {
            (random.between(3, 5), 1_000..1_500)
        } else {
            (random.between(0, 3), 1..401)
        };
        let sizes = (0..pieces).map(|_| bytes.start + random.index(bytes.len()));
        sizes.collect()
    }

    /// It sleeps. One that sleeps already does not wake sooner: what waits for it waits for that.
    pub(crate) fn sleep_until(&mut self, until: u64) {
        self.suspended_until = self.suspended_until.max(until);
    }

    /// Whatever still ran of an earlier life has ended.
    pub(crate) fn end_remains(&mut self) -> Input {
        self.remains.clear();
        Input::RemainsEnded
    }

    pub(crate) fn is_alive(&self) -> bool {
        self.core.is_some()
    }

    /// Hands an input to the core and collects what follows.
    pub(crate) fn step(&mut self, now: u64, input: Input) -> Vec<Action> {
        let at = self.monotonic(now);
        if let Some(core) = &mut self.core {
            core.step(at, input);
        }
        self.effects()
    }

    /// What the core wants.
    pub(crate) fn effects(&mut self) -> Vec<Action> {
        let mut actions = Vec::new();
        while let Some(effect) = self.core.as_mut().and_then(Core::poll_effect) {
            match effect {
                Effect::Store(op) => self.work.push(op),
                Effect::Connect {
                    attempt, identity, ..
                } => {
                    let enrols = matches!(identity, LinkIdentity::Enrol { .. });
                    actions.push(Action::Connect { attempt, enrols });
                }
                Effect::MakeRenewal { nonce } => actions.push(Action::MakeRenewal(nonce)),
                Effect::Install { certificate } => actions.push(Action::Install(certificate)),
                Effect::Disconnect { attempt, .. } => actions.push(Action::Disconnect(attempt)),
                Effect::Send {
                    topic, frame, qos, ..
                } => actions.push(Action::Publish {
                    topic,
                    frame,
                    acknowledged: qos == Qos::AtLeastOnce,
                }),
                Effect::AckTransport { delivery } => actions.push(Action::PubAck(delivery)),
                Effect::EndRemains => actions.push(Action::EndRemains),
                Effect::Run(run) => actions.push(Action::Begin(run)),
                Effect::Kill { command, .. } => actions.push(Action::Kill(command)),
                Effect::Reboot { .. } => actions.push(Action::Reboot),
                Effect::Gather(what) => actions.push(Action::Gather(what)),
                Effect::Log { .. } | Effect::Stopped => {}
            }
        }
        if !self.work.is_empty() && !self.disk_busy {
            self.disk_busy = true;
            actions.push(Action::Disk);
        }
        actions
    }

    /// The disk has had its time: what came of the work that waited.
    pub(crate) fn disk_done(&mut self) -> Vec<Input> {
        self.disk_busy = false;
        let work = std::mem::take(&mut self.work);
        self.disk
            .as_mut()
            .map_or_else(Vec::new, |disk| disk.perform(work))
    }

    /// What the packages say as a table.
    pub(crate) fn table(&self) -> Option<Table> {
        let row = |(name, version): (&String, &u64)| {
            Row::new(vec![Cell::cut(name), Cell::cut(&version.to_string())]).ok()
        };
        let rows = self.packages.iter().filter_map(row).collect();
        Table::new(1, &["Name", "Version"], rows).ok()
    }

    /// Gathers the packages.
    pub(crate) fn gather(&mut self, origin: Option<CommandId>) -> Option<Input> {
        let table = self.table()?;
        self.gathered = Some(table.clone());
        Some(Input::Reported {
            origin,
            type_name: type_name(),
            table,
        })
    }

    /// A piece of a process's output.
    pub(crate) fn output(&mut self, command: CommandId, bytes: Vec<u8>) -> Option<Input> {
        let process = self.processes.get_mut(&command)?;
        process.stdout_bytes += bytes.len() as u64;
        Some(Input::Output {
            command,
            step: process.step,
            stream: OutputStream::Stdout,
            bytes,
        })
    }

    /// A process ends.
    pub(crate) fn end(&mut self, command: CommandId, code: i32) -> Option<Input> {
        let process = self.processes.remove(&command)?;
        let exit = if process.killed {
            StepExit::Signal(9)
        } else {
            StepExit::Code(code)
        };
        Some(Input::StepEnded {
            command,
            step: process.step,
            end: StepEnd {
                exit,
                stdout_bytes: process.stdout_bytes,
                stderr_bytes: 0,
            },
        })
    }

    /// Everything is told and acknowledged, and nothing runs.
    pub(crate) fn is_quiet(&self, now: u64) -> bool {
        let Some((core, disk)) = self.core.as_ref().zip(self.disk.as_ref()) else {
            return false;
        };
        let status = core.status(self.monotonic(now));
        let figures = disk.figures();
        let told = figures.iter().zip(&status.queues).zip(Class::ALL);
        status.commands.is_empty()
            && !disk.is_delayed()
            && told
                .filter(|(_, class)| *class != Class::Log)
                .all(|((figures, queue), _)| queue.acked >= figures.head)
    }
}

/// The one report type of a world.
pub(crate) fn type_name() -> TypeName {
    TypeName::try_from("AWS:Application").unwrap_or_default()
}

/// What a lost connection is called.
pub(crate) fn lost(attempt: Attempt) -> Input {
    Input::Disconnected {
        attempt,
        fault: LinkFault::Lost,
        why: "the link was cut".into(),
    }
}
