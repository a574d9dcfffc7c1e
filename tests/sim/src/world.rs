//! The event loop of one world: machines, the bridge, the link between them, and what goes wrong.
//! Never decides for either side; chance comes from the seed alone.

mod api;
mod fault;
mod fleet;
mod hostile;
mod link;
mod plan;

use crate::bridge::{Bridge, Heard, Out};
use crate::machine::{EPOCH_UNIX_MS, Machine};
use crate::random::Random;
use crate::witness::Witness;
use crate::{Case, Summary, Violation};
use fault::Fault;
use holdfast_agent_core::{Attempt, Gathering, Input};
use holdfast_protocol::enrol::public_key;
use holdfast_protocol::seal::Sealer;
use holdfast_protocol::topic::Topic;
use holdfast_protocol::up::Class;
use holdfast_protocol::{CommandId, NodeId, Nonce};
use link::{Connection, Packet};
use ring::signature::Ed25519KeyPair;
use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet, BinaryHeap};

/// How long things go wrong.
const TROUBLE_MS: u64 = 8 * 60_000;
/// By when everything has come to its end after that.
const PEACE_MS: u64 = 4 * 3_600_000;
/// Events of one world; more means that something spins.
const EVENTS_MAX: u64 = 200_000;
/// Every so many worlds have the real hub on real SQLite.
const REAL_ONE_IN: u64 = 50;
/// How often the bridge looks at its clock.
const BRIDGE_TICK_MS: u64 = 2_000;

#[derive(Debug)]
enum Event {
    Tick {
        machine: usize,
        life: u32,
    },
    Disk {
        machine: usize,
        life: u32,
    },
    /// An attempt to connect has come to something.
    Connect {
        machine: usize,
        life: u32,
        attempt: Attempt,
        enrols: bool,
    },
    Up {
        connection: u64,
        packet: Packet,
    },
    Down {
        connection: u64,
        packet: Packet,
    },
    /// A side learns that its connection has ended.
    MachineLost {
        connection: u64,
    },
    BridgeLost {
        connection: u64,
    },
    /// What an earlier life left running has ended.
    RemainsEnded {
        machine: usize,
        life: u32,
    },
    Output {
        machine: usize,
        life: u32,
        command: CommandId,
        bytes: Vec<u8>,
    },
    Exit {
        machine: usize,
        life: u32,
        command: CommandId,
        code: i32,
    },
    Gathered {
        machine: usize,
        life: u32,
        what: Gathering,
    },
    /// A fresh key and its request are durable.
    Renewal {
        machine: usize,
        life: u32,
        nonce: Nonce,
    },
    /// A certificate is durable.
    Installed {
        machine: usize,
        life: u32,
        certificate: Vec<u8>,
    },
    Commit,
    BridgeTick,
    Submit,
    Cancel(CommandId),
    Fault(Fault),
    Change {
        machine: usize,
    },
    /// A command has the packages gathered.
    Report {
        machine: usize,
    },
    /// From here on everything works.
    Peace,
    /// What waits for a date that a wrong clock has set comes to it.
    YearsPass,
}

/// One world.
pub(crate) struct World {
    now: u64,
    random: Random,
    queue: BinaryHeap<Reverse<(u64, u64, usize)>>,
    events: BTreeMap<usize, Event>,
    next_event: usize,
    /// How many events were planned.
    planned: u32,
    handled: u64,
    machines: Vec<Machine>,
    /// How many of them are not copies.
    originals: usize,
    bridge: Bridge,
    /// Serial of the bridge's signing key.
    serial: u32,
    commit_due: bool,
    links: Vec<bool>,
    connections: BTreeMap<u64, Connection>,
    next_connection: u64,
    /// Downward frames that somebody on the wire has kept.
    captured: Vec<(NodeId, Topic, Vec<u8>)>,
    /// And the nonce of each machine's last hello.
    nonces: BTreeMap<usize, Nonce>,
    backup: Option<crate::bridge::Store>,
    images: BTreeMap<usize, holdfast_journal::SimStorage>,
    peace: bool,
    /// How far ahead the bridge's clock has ever been.
    clock_jump_ms_max: i64,
    /// Whether it was ever years off: then it is set right at the end, and the nodes' floors with it.
    clock_was_wrong: bool,
    witness: Witness,
    summary: Summary,
    trace: Option<Vec<String>>,
}

fn pair(seed: u8) -> Result<Ed25519KeyPair, Violation> {
    Ed25519KeyPair::from_seed_unchecked(&[seed; 32]).map_err(|why| Violation::new(0, why))
}

impl World {
    pub(crate) fn new(case: &Case, trace: bool) -> Result<Self, Violation> {
        let mut random = Random::new(case.seed);
        let root = pair(1)?;
        let sealer = hostile::certified(&root, 1, pair(2)?);
        let root_key = public_key(&root).unwrap_or_default();
        let count = random.between(1, 4);
        // In some worlds certificates are renewed and run out every few minutes.
        let life_ms = if random.one_in(4) {
            random.between(150_000, 400_000)
        } else {
            90 * 86_400_000
        };
        let machines: Vec<Machine> = (0..count)
            .map(|_| {
                let node = NodeId::from_random(random.bytes());
                Machine::new(node, root_key, life_ms, &mut random)
            })
            .collect();
        let originals = machines.len();
        let links = machines.iter().map(|_| true).collect();
        let mut world = Self {
            now: 0,
            random,
            queue: BinaryHeap::new(),
            events: BTreeMap::new(),
            next_event: 0,
            planned: 0,
            handled: 0,
            machines,
            originals,
            bridge: Bridge::new(Sealer::root(root), sealer, life_ms),
            serial: 1,
            commit_due: false,
            links,
            connections: BTreeMap::new(),
            next_connection: 0,
            captured: Vec::new(),
            nonces: BTreeMap::new(),
            backup: None,
            images: BTreeMap::new(),
            peace: false,
            clock_jump_ms_max: 0,
            clock_was_wrong: false,
            witness: Witness::default(),
            summary: Summary::default(),
            trace: trace.then(Vec::new),
        };
        if case.seed.is_multiple_of(REAL_ONE_IN) {
            world.make_real(case.seed)?;
        }
        world.prepare(&case.without);
        Ok(world)
    }

    /// The bridge is the real hub in this world; where it was left out of the build, its model.
    fn make_real(&mut self, seed: u64) -> Result<(), Violation> {
        let root = pair(1)?;
        let key = public_key(&root).unwrap_or_default();
        let sealer = hostile::certified(&root, 1, pair(2)?);
        for machine in &mut self.machines {
            machine.never_renews();
        }
        let nodes = self.machines.iter();
        let nodes: Vec<_> = nodes.map(|m| (m.node, m.public_key())).collect();
        let made = self
            .bridge
            .make_real(seed, (Sealer::root(root), key), sealer, &nodes);
        made.map_err(|why| self.violation(why))
    }

    /// Puts what will happen into the queue, but for what a smaller case leaves out.
    fn prepare(&mut self, without: &BTreeSet<u32>) {
        for (number, (at, event)) in (0_u32..).zip(self.plan()) {
            self.planned = number + 1;
            if !without.contains(&number) {
                self.at(at, event);
            }
        }
        self.at(BRIDGE_TICK_MS, Event::BridgeTick);
        self.at(TROUBLE_MS, Event::Peace);
    }

    fn at(&mut self, at: u64, event: Event) {
        let at = at.max(self.now);
        self.next_event += 1;
        let key = self.next_event;
        self.events.insert(key, event);
        self.queue.push(Reverse((at, key as u64, key)));
    }

    fn after(&mut self, ms: u64, event: Event) {
        self.at(self.now + ms, event);
    }

    fn say(&mut self, line: impl FnOnce() -> String) {
        if let Some(trace) = &mut self.trace {
            trace.push(format!("{:>10.3} s  {}", self.now as f64 / 1000.0, line()));
        }
    }

    /// How many of its events a smaller case could leave out.
    pub(crate) fn planned(&self) -> u32 {
        self.planned
    }

    /// Runs the world to its end; the trace comes back with whatever it came to.
    pub(crate) fn run(mut self) -> (Vec<String>, Result<Summary, Violation>) {
        let outcome = self.run_to_end();
        (self.trace.unwrap_or_default(), outcome)
    }

    fn run_to_end(&mut self) -> Result<Summary, Violation> {
        while let Some(Reverse((at, _, key))) = self.queue.pop() {
            self.now = at;
            let Some(event) = self.events.remove(&key) else {
                continue;
            };
            self.handle(event)?;
            self.handled += 1;
            self.check()?;
            if self.peace && self.is_over() {
                break;
            }
            if self.now > TROUBLE_MS + PEACE_MS || self.handled > EVENTS_MAX {
                return Err(self.violation(format!(
                    "no end after {} events: {}",
                    self.handled,
                    self.unfinished()
                )));
            }
        }
        self.bridge.look_closely();
        self.witness
            .judge(&self.bridge, &self.machines)
            .map_err(|why| self.violation(why))?;
        self.summary.events = self.handled;
        self.summary.gaps = self.bridge.store.gaps;
        Ok(self.summary)
    }

    fn violation(&self, what: impl std::fmt::Display) -> Violation {
        Violation::new(self.now, what)
    }

    fn is_over(&self) -> bool {
        self.bridge.up
            && self.bridge.is_finished()
            && self
                .machines
                .iter()
                .all(|machine| machine.is_quiet(self.now))
            && self.machines.iter().all(|machine| {
                let row = self.bridge.store.nodes.get(&machine.node);
                row.and_then(|row| row.tables.first()) == machine.gathered.as_ref()
            })
    }

    fn unfinished(&self) -> String {
        let quiet: Vec<_> = self
            .machines
            .iter()
            .map(|machine| {
                let core = machine.core.as_ref();
                let status = core.map(|core| core.status(machine.monotonic(self.now)));
                format!(
                    "{}: quiet {}, {status:?}",
                    machine.node,
                    machine.is_quiet(self.now)
                )
            })
            .collect();
        format!(
            "{}; {}",
            self.bridge.unfinished().join("; "),
            quiet.join("; ")
        )
    }

    /// The machine that an event needs awake.
    fn needs(&self, event: &Event) -> Option<usize> {
        match event {
            Event::Tick { machine, .. }
            | Event::Disk { machine, .. }
            | Event::Connect { machine, .. }
            | Event::RemainsEnded { machine, .. }
            | Event::Output { machine, .. }
            | Event::Exit { machine, .. }
            | Event::Renewal { machine, .. }
            | Event::Installed { machine, .. }
            | Event::Gathered { machine, .. }
            | Event::Report { machine } => Some(*machine),
            Event::Down { connection, .. } | Event::MachineLost { connection } => {
                self.connections.get(connection).map(|c| c.machine)
            }
            Event::Up { .. }
            | Event::BridgeLost { .. }
            | Event::Commit
            | Event::BridgeTick
            | Event::Submit
            | Event::Cancel(_)
            | Event::Fault(_)
            | Event::Change { .. }
            | Event::Peace
            | Event::YearsPass => None,
        }
    }

    fn handle(&mut self, event: Event) -> Result<(), Violation> {
        let awake = self
            .needs(&event)
            .and_then(|index| self.machines.get(index));
        if let Some(until) = awake.map(|m| m.suspended_until).filter(|at| *at > self.now) {
            // Asleep: it happens when the machine wakes.
            self.at(until, event);
            return Ok(());
        }
        match event {
            Event::Tick { machine, life } => self.input(machine, life, Input::Tick)?,
            Event::Disk { machine, life } => self.disk(machine, life)?,
            Event::Connect {
                machine,
                life,
                attempt,
                enrols,
            } => self.connect(machine, life, attempt, enrols)?,
            Event::Renewal {
                machine,
                life,
                nonce,
            } => self.process(machine, life, |machine| machine.renewal(nonce))?,
            Event::Installed {
                machine,
                life,
                certificate,
            } => self.process(machine, life, |machine| machine.install(&certificate))?,
            Event::Up { connection, packet } => self.arrive_up(connection, packet),
            Event::Down { connection, packet } => self.arrive_down(connection, packet)?,
            Event::MachineLost { connection } => self.machine_lost(connection)?,
            Event::BridgeLost { connection } => self.bridge_lost(connection),
            Event::RemainsEnded { machine, life } => {
                self.process(machine, life, |machine| Some(machine.end_remains()))?;
            }
            Event::Output {
                machine,
                life,
                command,
                bytes,
            } => {
                let output = |machine: &mut Machine| machine.output(command, bytes);
                self.process(machine, life, output)?;
            }
            Event::Exit {
                machine,
                life,
                command,
                code,
            } => self.exit(machine, life, command, code)?,
            Event::Gathered {
                machine,
                life,
                what,
            } => {
                if what == Gathering::Inventory {
                    self.process(machine, life, |machine| machine.gather(None))?;
                }
                self.input(machine, life, Input::Gathered { what, fault: None })?;
            }
            Event::Commit => self.commit(),
            Event::BridgeTick => {
                let seldom = if self.bridge.is_real() { 3 } else { 1 };
                self.after(BRIDGE_TICK_MS * seldom, Event::BridgeTick);
                if self.bridge.up {
                    if self.peace {
                        self.bridge.release_all(self.now);
                    }
                    let mut out = self.bridge.take_out();
                    out.extend(self.bridge.tick(self.now));
                    self.perform_bridge(out);
                }
            }
            Event::Submit => self.submit(),
            Event::Cancel(command) => {
                self.say(|| format!("the API cancels {command}"));
                if self.bridge.up {
                    let out = self.bridge.cancel(self.now, command);
                    self.perform_bridge(out);
                }
            }
            Event::Fault(fault) => self.fault(fault)?,
            Event::Change { machine } => {
                let name = format!("package-{}", self.random.between(0, 6));
                let version = self.random.between(1, 9);
                if let Some(machine) = self.machines.get_mut(machine) {
                    machine.packages.insert(name, version);
                }
            }
            Event::Report { machine } => {
                let alive = self.machines.get(machine).filter(|m| m.is_alive());
                if let Some(life) = alive.map(|m| m.life) {
                    self.process(machine, life, |machine| machine.gather(None))?;
                }
            }
            Event::Peace => self.make_peace()?,
            Event::YearsPass => self.years_pass(),
        }
        Ok(())
    }

    /// Does for the bridge what it asked for.
    fn perform_bridge(&mut self, out: Vec<Out>) {
        for out in out {
            match out {
                Out::Publish {
                    connection,
                    packet,
                    topic,
                    frame,
                } => self.publish_down(connection, packet, topic, frame),
                Out::PubAck { connection } => {
                    self.send_down(connection, Packet::PubAck { packet: 0 });
                }
                Out::Close { connection } => self.close(connection),
            }
        }
    }

    fn commit(&mut self) {
        self.commit_due = false;
        if self.bridge.up {
            let random = self.random.bytes();
            let out = self.bridge.commit(self.now, random);
            self.perform_bridge(out);
        }
    }

    /// What must hold at every moment.
    fn check(&mut self) -> Result<(), Violation> {
        if let Some(why) = self.bridge.failed.take() {
            return Err(self.violation(why));
        }
        for heard in std::mem::take(&mut self.bridge.heard) {
            let heard = match heard {
                Heard::Greeted { node, connection } => {
                    let connection = self.connections.get(&connection);
                    let machine = connection.map(|c| c.machine).filter(|_| !self.peace);
                    machine.map_or(Ok(()), |machine| self.witness.greeted(node, machine))
                }
                Heard::Known { node, command } => {
                    self.witness.known(node, command);
                    Ok(())
                }
                Heard::Opened { .. } | Heard::Record { .. } => self.witness.hears(&heard),
            };
            heard.map_err(|why| self.violation(why))?;
        }
        for (node, what) in std::mem::take(&mut self.bridge.contradictions) {
            // A disk that forgot what it told may tell it otherwise; the first result stays.
            if !self.witness.has_rolled_back(node) {
                return Err(self.violation(format!("{node}: {what}")));
            }
        }
        self.witness
            .check(self.now, &self.bridge, &self.machines)
            .map_err(|why| self.violation(why))?;
        if !self.handled.is_multiple_of(16) {
            return Ok(());
        }
        for machine in &self.machines {
            let Some((disk, core)) = machine.disk.as_ref().zip(machine.core.as_ref()) else {
                continue;
            };
            let status = core.status(machine.monotonic(self.now));
            let latest = (EPOCH_UNIX_MS + self.now).saturating_add_signed(self.clock_jump_ms_max);
            self.witness
                .reserves(machine, &status)
                .and_then(|()| self.witness.floor(machine, status.floor_unix_ms, latest))
                .and_then(|()| {
                    let unix_ms = self.bridge.unix_ms(self.now);
                    self.witness.trusts(machine, &status, unix_ms)
                })
                .and_then(|()| {
                    // What may have ended already is not refused before its result was looked for.
                    let fails = disk.is_delayed() || machine.storage.reads_fail();
                    let idle = fails || machine.suspended_until > self.now;
                    self.witness
                        .waits(self.now, machine, &status, idle, &self.bridge)
                })
                .map_err(|why| Violation::new(self.now, why))?;
            for (figures, class) in disk.figures().iter().zip(Class::ALL) {
                if class != Class::Log && figures.used_bytes > figures.cap_bytes {
                    let what = format!("{}: stream {} overflows", machine.node, class.name());
                    return Err(self.violation(what));
                }
            }
        }
        Ok(())
    }
}
