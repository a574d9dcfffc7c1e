//! Who saw what: the invariants of the architecture, asserted after each event and at the end.
//! Never tells either side anything.

mod again;
mod streams;

use crate::bridge::{Bridge, CommandRow, Heard, Row};
use crate::machine::Machine;
use again::Again;
use holdfast_agent_core::{CommandStatus, Status};
use holdfast_bridge_core::invocation::{Stage, StatusDetails};
use holdfast_journal::{Damage, Recovery};
use holdfast_protocol::frame::Raw;
use holdfast_protocol::topic::Topic;
use holdfast_protocol::up::{Answer, InvocationState, Record, Up};
use holdfast_protocol::{CommandId, NodeId};
use std::collections::{BTreeMap, BTreeSet};
use streams::{Account, Streams};

/// How much later than at the bridge a node may notice an expiry: the age of signed time on arrival,
/// which is not taken over once the reply to the hello is overdue.
const EXPIRY_SLACK_MS: u64 = 20_000;

/// How long a node that is awake, and whose disk works, may hold what has expired.
const REFUSED_WITHIN_MS: u64 = 5_000;

/// Room that a machine reserves for the result of a command, framing included.
const RESERVED_BYTES_MAX: u64 = 25 << 10;

/// How often a session of another copy may open, before the chain of tokens must have shown it.
const CLONE_TURNS_MAX: u32 = 2;

type Key = (NodeId, CommandId, u8);

/// The command of which a record says that its agent was killed.
fn interrupted(frame: &[u8]) -> Option<CommandId> {
    match Up::decode(frame) {
        Ok(Up::Record { record, .. }) => match *record {
            Record::Invocation(update) if update.state == InvocationState::Interrupted => {
                Some(update.command)
            }
            Record::Invocation(_)
            | Record::Output(_)
            | Record::Audit(_)
            | Record::Report(_)
            | Record::Log(_)
            | Record::Gap(_) => None,
        },
        Ok(_) | Err(_) => None,
    }
}

/// What was seen.
#[derive(Debug, Default)]
pub(crate) struct Witness {
    begun: BTreeMap<Key, u32>,
    reboots: BTreeMap<Key, u32>,
    rebooted: BTreeSet<(NodeId, CommandId)>,
    rolled_back: BTreeSet<NodeId>,
    amnesia: bool,
    clock_jumped: bool,
    fault: Option<String>,
    /// Commands that a node has answered instead of taking them in.
    answered: BTreeSet<(NodeId, CommandId)>,
    /// Nodes whose connection a hostile broker has had.
    in_hostile_hands: BTreeSet<NodeId>,
    /// Results that the bridge has committed; nothing may replace one.
    results: BTreeMap<(NodeId, CommandId), String>,
    /// How invocations ended that ended by more than a guess; nothing may change that.
    ends: BTreeMap<(NodeId, CommandId), StatusDetails>,
    /// Invocations of a command that were ever sent, once it had met too many errors.
    stopped: BTreeMap<CommandId, BTreeSet<NodeId>>,
    /// Which machine's session was open last of a node that has a copy, and how often it was
    /// another's than before.
    clones: BTreeMap<NodeId, (Option<usize>, u32)>,
    /// Where each node's floor of time was last seen, in which life of its process.
    floors: BTreeMap<NodeId, (u32, u64)>,
    floors_reset: bool,
    /// What has expired and still waits on each node, in which life of its process, and since when.
    overdue: BTreeMap<NodeId, BTreeMap<(u32, CommandId), u64>>,
    streams: Streams,
    backup: Account,
    again: Again,
    /// How often each node has said that a frame came under a counter that was used up.
    stale: BTreeMap<NodeId, u64>,
}

impl Witness {
    /// A step of a command begins on a node.
    pub(crate) fn begun(
        &mut self,
        now: u64,
        node: NodeId,
        command: CommandId,
        step: u8,
        bridge: &Bridge,
    ) {
        let key = (node, command, step);
        let times = self.begun.entry(key).or_default();
        *times += 1;
        let allowed = 1 + self.reboots.get(&key).copied().unwrap_or(0);
        if *times > allowed && !self.rolled_back.contains(&node) {
            self.fault = Some(format!("{node}: step {step} of {command} begins twice"));
        }
        let Some(row) = bridge.store.commands.get(&command) else {
            if !self.amnesia {
                self.fault = Some(format!("{node}: {command} begins, and nobody sent it"));
            }
            return;
        };
        if !row.rows.contains_key(&node) {
            self.fault = Some(format!("{node}: {command} begins on another node's frame"));
        }
        let expires = row.command.expires_unix_ms + EXPIRY_SLACK_MS;
        if step == 0 && *times == 1 && !self.clock_jumped && bridge.unix_ms(now) > expires {
            self.fault = Some(format!("{node}: {command} begins after its expiry"));
        }
    }

    /// A node publishes: what it tells must be durable.
    pub(crate) fn publishes(
        &mut self,
        now: u64,
        machine: &mut Machine,
        topic: Topic,
        frame: &[u8],
    ) {
        let node = machine.node;
        match topic {
            Topic::Stream(_, class) => {
                let durable = machine.disk.as_ref().map_or(0, |disk| disk.durable(class));
                let sequence = Raw::read(frame).map_or(0, |raw| raw.sequence);
                if sequence > durable {
                    let what = format!("{node} tells record {sequence} before it is durable");
                    self.fault = Some(what);
                }
                if let Some(command) = interrupted(frame)
                    && machine.remains.contains(&command)
                {
                    self.fault = Some(format!("{node} calls {command} interrupted, and it runs"));
                }
                // A disk that was rolled back gives its numbers out again.
                if let Err(what) = self.streams.tells(node, class, frame)
                    && !self.rolled_back.contains(&node)
                {
                    self.fault = Some(what);
                }
            }
            Topic::Answer(_) => {
                let Ok(Up::Answer(answer)) = Up::decode(frame) else {
                    return;
                };
                if let Answer::Stale { .. } = answer {
                    *self.stale.entry(node).or_default() += 1;
                }
                if let Answer::Known { command, state } = answer
                    && state.is_terminal()
                {
                    self.again.says(now, machine, command);
                }
                if let Answer::Busy { command, .. } = answer {
                    self.gives_back(machine, command);
                }
                if let Answer::Busy { command, .. }
                | Answer::Known { command, .. }
                | Answer::Stale {
                    command: Some(command),
                    ..
                } = answer
                {
                    self.answered.insert((node, command));
                }
            }
            Topic::Presence(_)
            | Topic::Hello(_)
            | Topic::Renewal(_)
            | Topic::Command(_)
            | Topic::Control(_)
            | Topic::EnrolRequest(_)
            | Topic::EnrolReply(_) => {}
        }
    }

    /// A node gives a command back: what it kept of it would run beside the one that comes again.
    fn gives_back(&mut self, machine: &mut Machine, command: CommandId) {
        let node = machine.node;
        if let Some(overdue) = self.overdue.get_mut(&node) {
            // When it comes again it waits anew.
            overdue.remove(&(machine.life, command));
        }
        let key = format!("command/{command}");
        if machine.disk.as_mut().is_some_and(|disk| disk.knows(&key)) {
            self.fault = Some(format!("{node} gives {command} back, and keeps it"));
        }
    }

    /// An agent starts: nothing that was durable is damaged, unless this world turned a bit over or
    /// put an older image back.
    pub(crate) fn starts(&mut self, node: NodeId, found: &Recovery) {
        let durable = |damage: &&Damage| !damage.maybe_unsynced;
        let damage = found.damaged.iter().find(durable);
        let whole = damage.is_none() && found.doubtful.is_empty();
        if (!whole || found.end_lost || found.cursor_lost) && !self.has_rolled_back(node) {
            let (end, cursor) = (found.end_lost, found.cursor_lost);
            let doubtful = found.doubtful.len();
            self.fault = Some(format!(
                "{node}: its disk lost what was durable: {damage:?}, {doubtful} entries in doubt, \
                 end lost {end}, cursor lost {cursor}"
            ));
        }
    }

    /// A node acknowledges a command's publish: it must be durable, or answered.
    pub(crate) fn acknowledges(&mut self, machine: &mut Machine, command: Option<CommandId>) {
        let (Some(command), Some(disk)) = (command, machine.disk.as_mut()) else {
            return;
        };
        if !disk.knows(&format!("command/{command}"))
            && !self.answered.contains(&(machine.node, command))
        {
            let node = machine.node;
            self.fault = Some(format!(
                "{node} acknowledges {command} before it is durable"
            ));
        }
    }

    /// A hostile broker has a node's connection. Acknowledgements of the transport are not sealed, and
    /// answers can be kept back: that the node has a command is a guess of the bridge from here on.
    pub(crate) fn in_hostile_hands(&mut self, node: NodeId) {
        self.in_hostile_hands.insert(node);
    }

    pub(crate) fn asked_reboot(&mut self, node: NodeId, command: CommandId, step: u8) {
        *self.reboots.entry((node, command, step)).or_default() += 1;
        self.rebooted.insert((node, command));
    }

    /// How often a node has said that a frame came under a counter that was used up.
    pub(crate) fn stale(&self, node: NodeId) -> u64 {
        self.stale.get(&node).copied().unwrap_or(0)
    }

    /// The bridge hears that a command has ended whose end it does not have.
    pub(crate) fn known(&mut self, node: NodeId, command: CommandId) {
        self.again.heard(node, command);
    }

    /// A machine's agent dies.
    pub(crate) fn dies(&mut self, now: u64, machine: &Machine) {
        self.again.dies(now, machine);
    }

    /// The bridge forgets what came after its backup.
    pub(crate) fn bridge_restored(&mut self) {
        self.again.forget();
        self.amnesia = true;
        self.results.clear();
        self.ends.clear();
        self.stopped.clear();
        self.streams.restore(self.backup.clone());
    }

    /// The bridge is backed up.
    pub(crate) fn backed_up(&mut self) {
        self.backup = self.streams.account();
    }

    /// The bridge takes records.
    pub(crate) fn hears(&mut self, heard: &Heard) -> Result<(), String> {
        let mut may_lose = self.amnesia;
        if let Heard::Opened { stream, .. } = heard {
            // Copies that begin new lives by turns: what one had told is not in the other's last life.
            may_lose |= self.clones.contains_key(&stream.0);
        }
        self.streams.hears(heard, may_lose)
    }

    /// The bridge's clock jumps: what has expired is no longer the same for both sides.
    pub(crate) fn clock_jumped(&mut self) {
        self.clock_jumped = true;
    }

    /// The operator has the nodes' floors of time set back.
    pub(crate) fn floors_reset(&mut self) {
        self.floors_reset = true;
    }

    /// A node's floor only rises, but by the root's word, and not above what the bridge's clock
    /// has ever shown.
    pub(crate) fn floor(
        &mut self,
        machine: &Machine,
        floor: u64,
        latest: u64,
    ) -> Result<(), String> {
        let (node, life) = (machine.node, machine.life);
        let before = self.floors.insert(node, (life, floor));
        let fell = before.is_some_and(|(of, before)| of == life && floor < before);
        let may_fall = self.floors_reset || self.rolled_back.contains(&node);
        if fell && !may_fall {
            return Err(format!("{node}: its floor of time falls to {floor}"));
        }
        if floor > latest {
            return Err(format!(
                "{node}: its floor of time is {floor}, no clock was beyond {latest}"
            ));
        }
        Ok(())
    }

    /// What a node takes for the time is no older than what a hello's reply may be.
    pub(crate) fn trusts(
        &self,
        machine: &Machine,
        status: &Status,
        unix_ms: u64,
    ) -> Result<(), String> {
        let behind = |trusted: &u64| trusted + EXPIRY_SLACK_MS < unix_ms;
        match status.trusted_unix_ms.filter(behind) {
            Some(trusted) if !self.clock_jumped => Err(format!(
                "{}: it is {unix_ms}, and the node believes {trusted}",
                machine.node
            )),
            Some(_) | None => Ok(()),
        }
    }

    /// Room is kept for the results of the commands that a node holds, and for nothing else.
    pub(crate) fn reserves(&self, machine: &Machine, status: &Status) -> Result<(), String> {
        let figures = machine.disk.as_ref().map(|disk| disk.figures());
        let reserved = figures.map_or(0, |[results, ..]| results.reserved_bytes);
        let held = status.commands.len();
        if reserved > held as u64 * RESERVED_BYTES_MAX {
            let node = machine.node;
            return Err(format!(
                "{node} holds {held} commands, and keeps {reserved} bytes for their results"
            ));
        }
        Ok(())
    }

    /// A node's disk fails: until it works, what the node holds cannot be refused.
    pub(crate) fn disk_fails(&mut self, node: NodeId) {
        self.overdue.remove(&node);
    }

    /// What waits on a node has time left: what has none is refused as soon as that is known.
    /// `idle`: it sleeps, or its disk fails.
    pub(crate) fn waits(
        &mut self,
        now: u64,
        machine: &Machine,
        status: &Status,
        idle: bool,
        bridge: &Bridge,
    ) -> Result<(), String> {
        let (node, life) = (machine.node, machine.life);
        let certain = status.trusted_unix_ms.unwrap_or(0);
        let overdue = |held: &&CommandStatus| {
            let row = bridge.store.commands.get(&held.command);
            held.state == InvocationState::Pending
                && row.is_some_and(|row| row.command.expires_unix_ms < certain)
        };
        let waiting = status.commands.iter().filter(overdue).filter(|_| !idle);
        let waiting: BTreeSet<CommandId> = waiting.map(|held| held.command).collect();
        let since = self.overdue.entry(node).or_default();
        since.retain(|(of, command), _| *of != life || waiting.contains(command));
        for command in waiting {
            let at = *since.entry((life, command)).or_insert(now);
            if now > at + REFUSED_WITHIN_MS {
                return Err(format!("{node}: {command} waits on after its expiry"));
            }
        }
        Ok(())
    }

    /// A node forgets what came after its image.
    pub(crate) fn rolled_back(&mut self, node: NodeId) {
        self.rolled_back.insert(node);
    }

    /// A node has a copy from here on.
    pub(crate) fn cloned(&mut self, node: NodeId) {
        self.rolled_back(node);
        self.clones.insert(node, (None, 0));
    }

    /// A machine's session is open. Copies take turns twice at most: then the chain of tokens tells
    /// that there are two.
    pub(crate) fn greeted(&mut self, node: NodeId, machine: usize) -> Result<(), String> {
        let Some((last, turns)) = self.clones.get_mut(&node) else {
            return Ok(());
        };
        if last.replace(machine).is_some_and(|last| last != machine) {
            *turns += 1;
        }
        if *turns > CLONE_TURNS_MAX && !self.amnesia {
            return Err(format!("{node} and its copy are let in, turn by turn"));
        }
        Ok(())
    }

    /// Whether a node's disk was ever rolled back.
    pub(crate) fn has_rolled_back(&self, node: NodeId) -> bool {
        self.rolled_back.contains(&node)
    }

    /// What must hold at every moment.
    pub(crate) fn check(
        &mut self,
        now: u64,
        bridge: &Bridge,
        machines: &[Machine],
    ) -> Result<(), String> {
        if let Some(fault) = self.fault.take() {
            return Err(fault);
        }
        for (node, row) in &bridge.store.nodes {
            // The chain breaks only where a disk went back to an older image.
            if row.quarantined && !self.rolled_back.contains(node) {
                return Err(format!("{node} is quarantined, and is no clone"));
            }
        }
        for (id, row) in &bridge.store.commands {
            self.check_errors(*id, row)?;
            // One of two copies may say that it has nothing of what the other then begins.
            let holds =
                |(node, row): &(&NodeId, &Row)| row.state.slot && !self.clones.contains_key(*node);
            let held = row.rows.iter().filter(holds).count();
            // A restored bridge hears of commands that it does not remember sending.
            if held > row.limits.slots as usize && !self.amnesia {
                return Err(format!("{id} holds {held} of {} slots", row.limits.slots));
            }
            let runs = |machine: &&Machine| {
                machine.processes.contains_key(id)
                    && machine.suspended_until <= now
                    && !self.rebooted.contains(&(machine.node, *id))
                    && !self.rolled_back.contains(&machine.node)
            };
            let running = machines.iter().filter(runs).count();
            if running > row.limits.slots as usize && !self.amnesia && !self.clock_jumped {
                let slots = row.limits.slots;
                return Err(format!(
                    "{id} runs on {running} nodes at once, {slots} allowed"
                ));
            }
            for (node, row) in &row.rows {
                let state = &row.state;
                if state.stage == Stage::Closed && !state.inferred {
                    let end = *self.ends.entry((*node, *id)).or_insert(state.details);
                    if end != state.details {
                        let details = state.details;
                        return Err(format!(
                            "{node}: {id} ended as {end:?}, then as {details:?}"
                        ));
                    }
                }
                let Some(result) = &row.result else {
                    continue;
                };
                let first = || result.state.clone();
                let before = self.results.entry((*node, *id)).or_insert_with(first);
                if *before != result.state {
                    return Err(format!("{node}: the result of {id} was replaced"));
                }
            }
        }
        Ok(())
    }

    /// A command that has met more errors than it may is sent to nobody else.
    fn check_errors(&mut self, id: CommandId, command: &CommandRow) -> Result<(), String> {
        let rows = &command.rows;
        let counts = |row: &&Row| row.state.details.counts_as_error();
        let errors = rows.values().filter(counts).count();
        let sent = || {
            let sent = rows
                .iter()
                .filter(|(_, row)| row.state.stage == Stage::Sent);
            sent.map(|(node, _)| *node)
        };
        match self.stopped.get(&id) {
            Some(before) => match sent().find(|node| !before.contains(node)) {
                Some(node) => Err(format!("{id} is sent to {node} after {errors} errors")),
                None => Ok(()),
            },
            None if errors > command.limits.errors_allowed as usize => {
                // What a dead link has taken back may be sent: it counts as sent before.
                let before = rows.iter().filter(|(_, row)| row.was_sent);
                let before = before.map(|(node, _)| *node).chain(sent());
                self.stopped.insert(id, before.collect());
                Ok(())
            }
            None => Ok(()),
        }
    }

    /// What must hold when everything has come to its end.
    pub(crate) fn judge(&self, bridge: &Bridge, machines: &[Machine]) -> Result<(), String> {
        for (node, command, _) in self.begun.keys() {
            if self.amnesia || self.rolled_back.contains(node) {
                continue;
            }
            let row = bridge.store.commands.get(command);
            let row = row.and_then(|row| row.rows.get(node));
            if row.is_none_or(|row| row.result.is_none()) {
                return Err(format!(
                    "{node}: {command} was begun, and its result is lost"
                ));
            }
        }
        for (node, id) in self.again.owed() {
            let row = bridge.store.commands.get(id);
            let row = row.and_then(|row| row.rows.get(node));
            let lost = row.is_some_and(|row| row.result.is_none());
            if lost && !self.rolled_back.contains(node) && !self.in_hostile_hands.contains(node) {
                return Err(format!(
                    "{node} was asked for {id}, knew how it ended, and did not tell again"
                ));
            }
        }
        for (id, command) in &bridge.store.commands {
            for (node, row) in &command.rows {
                let trusted = !self.amnesia
                    && !self.clock_jumped
                    && !self.rolled_back.contains(node)
                    && !self.in_hostile_hands.contains(node);
                if row.state.stage != Stage::Closed {
                    return Err(format!("{node}: {id} never ends"));
                }
                if trusted
                    && row.state.details == StatusDetails::ExecutionTimedOut
                    && row.result.is_none()
                {
                    return Err(format!("{node}: {id} was taken in, and is lost"));
                }
                self.judge_result(*node, *id, row)?;
            }
        }
        if bridge.store.gaps != self.streams.gaps() {
            let (counted, lost) = (bridge.store.gaps, self.streams.gaps());
            return Err(format!(
                "{lost} records are lost, and the bridge counts {counted}"
            ));
        }
        for machine in machines {
            self.judge_outputs(machine.node, bridge)?;
            let row = bridge.store.nodes.get(&machine.node);
            if row.and_then(|row| row.tables.first()) != machine.gathered.as_ref() {
                return Err(format!("{}: the bridge has another state", machine.node));
            }
        }
        Ok(())
    }

    /// The bridge has all output that was told and not lost, each piece where it belongs.
    fn judge_outputs(&self, node: NodeId, bridge: &Bridge) -> Result<(), String> {
        if self.rolled_back.contains(&node) {
            return Ok(());
        }
        self.streams.judge(node)?;
        for ((id, step), told) in self.streams.outputs(node) {
            let row = bridge.store.commands.get(&id);
            let row = row.and_then(|row| row.rows.get(&node));
            let came = row.map(|row| row.output_bytes.get(&step).copied().unwrap_or(0));
            if came.is_some_and(|came| came != told) {
                return Err(format!(
                    "{node}: {told} bytes of step {step} of {id} were told, {came:?} came"
                ));
            }
        }
        Ok(())
    }

    /// All output that a result speaks of is there, but for what a counted gap stands for.
    fn judge_result(&self, node: NodeId, id: CommandId, row: &Row) -> Result<(), String> {
        let Some(result) = &row.result else {
            return Ok(());
        };
        if self.amnesia || self.rolled_back.contains(&node) {
            return Ok(());
        }
        for (step, wrote) in (0_u8..).zip(&result.stdout_bytes) {
            let came = row.output_bytes.get(&step).copied().unwrap_or(0);
            if came != *wrote && !(came < *wrote && self.streams.is_torn(node, id)) {
                return Err(format!(
                    "{node}: step {step} of {id} wrote {wrote} bytes, {came} came"
                ));
            }
        }
        Ok(())
    }
}
