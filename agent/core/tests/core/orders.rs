//! Any order of frames, writes, ends, crashes and waits: what must never happen does not.

use crate::harness::{NOW, Node, command, document, id, type_name};
use holdfast_agent_core::{Effect, Input, LinkFault, PersistRefusal};
use holdfast_protocol::CommandId;
use holdfast_protocol::down::{Cancel, Down};
use holdfast_protocol::report::{Cell, Row, Table};
use holdfast_protocol::up::{Answer, OutputStream, Record};
use proptest::prelude::*;
use std::collections::{BTreeMap, BTreeSet};

#[derive(Debug, Clone, Copy)]
enum Op {
    Command(u8, u16),
    Replay(u8),
    Cancel(u8),
    Persist(u8),
    Refuse,
    End(u8, i32),
    Output(u8),
    Report(u8, Option<u8>),
    Acknowledge,
    PubAck(u8),
    Disconnect,
    Connect,
    Crash { torn: bool, reboot: bool },
    Wait(u32),
}

fn op() -> impl Strategy<Value = Op> {
    let code = prop_oneof![Just(0), Just(1), Just(168), Just(169), Just(194)];
    prop_oneof![
        4 => (0..12_u8, 0..600_u16).prop_map(|(n, s)| Op::Command(n, s)),
        1 => (0..12_u8).prop_map(Op::Replay),
        1 => (0..12_u8).prop_map(Op::Cancel),
        6 => (1..8_u8).prop_map(Op::Persist),
        1 => Just(Op::Refuse),
        4 => (0..4_u8, code).prop_map(|(n, code)| Op::End(n, code)),
        2 => (0..4_u8).prop_map(Op::Output),
        1 => (0..9_u8, prop::option::of(0..12_u8)).prop_map(|(v, n)| Op::Report(v, n)),
        2 => Just(Op::Acknowledge),
        1 => (0..20_u8).prop_map(Op::PubAck),
        1 => Just(Op::Disconnect),
        3 => Just(Op::Connect),
        1 => (any::<bool>(), any::<bool>()).prop_map(|(torn, reboot)| Op::Crash { torn, reboot }),
        2 => (0..120_000_u32).prop_map(Op::Wait),
    ]
}

/// What was seen over all lives of the process.
#[derive(Default)]
struct Witness {
    begun: BTreeMap<(CommandId, u8), u32>,
    rebooted: BTreeMap<(CommandId, u8), u32>,
    running: BTreeSet<(CommandId, u8)>,
    commands: BTreeMap<u16, CommandId>,
}

impl Witness {
    /// Looks at the effects since the last time.
    fn look(&mut self, node: &mut Node) -> Result<(), TestCaseError> {
        let answered: BTreeSet<CommandId> = node.answers().iter().filter_map(of).collect();
        for effect in std::mem::take(&mut node.seen) {
            match effect {
                Effect::Run(run) => {
                    let key = (run.command, run.step);
                    let begun = self.begun.entry(key).or_default();
                    *begun += 1;
                    let reboots = self.rebooted.get(&key).copied().unwrap_or(0);
                    prop_assert!(*begun <= 1 + reboots, "{key:?} begins twice");
                    let entry = node.disk.ledger.get(&format!("command/{}", run.command));
                    // Layout 1, variant 1: in progress.
                    prop_assert_eq!(entry.map(|entry| entry[1]), Some(1), "not durable");
                    self.running.insert(key);
                    prop_assert!(self.running.len() <= node.limits.running_max);
                }
                Effect::AckTransport { delivery } => {
                    if let Some(command) = self.commands.get(&delivery.packet) {
                        let key = format!("command/{command}");
                        let durable = node.disk.ledger.contains_key(&key);
                        prop_assert!(durable || answered.contains(command));
                    }
                }
                keep @ Effect::Connect { .. } => node.seen.push(keep),
                _ => {}
            }
        }
        let held = node.core.status(node.now).commands.len();
        prop_assert!(held <= node.limits.commands_max);
        node.core.step(node.now, Input::Tick);
        node.perform();
        let deadline = node.core.next_deadline();
        prop_assert!(deadline.is_none_or(|at| at > node.now), "it would spin");
        let mut ended = BTreeMap::new();
        let class = holdfast_protocol::up::Class::Result;
        for (sequence, record) in (1..).zip(node.disk.records(class)) {
            let Record::Invocation(update) = record else {
                continue;
            };
            if !update.state.is_terminal() {
                continue;
            }
            let (id, end) = (update.command, (sequence, update.state));
            if let Some((first, state)) = ended.insert(id, end) {
                // Told again only to a bridge that had it, and asks.
                let had = first <= node.disk.released[class.index()];
                prop_assert!(had && state == update.state, "{id} ends twice");
            }
        }
        Ok(())
    }
}

fn of(answer: &Answer) -> Option<CommandId> {
    match answer {
        Answer::Busy { command, .. } | Answer::Known { command, .. } => Some(*command),
        Answer::Stale { command, .. } => *command,
        Answer::Unknown { .. } => None,
    }
}

fn apply(node: &mut Node, witness: &mut Witness, op: Op) {
    let nth = |witness: &Witness, n: u8| witness.running.iter().nth(n.into()).copied();
    match op {
        Op::Command(n, seconds) if node.attempt.is_some() => {
            let mut command = command(n, &document(&["", ""]));
            command.expires_unix_ms = NOW + u64::from(seconds) * 1000;
            let packet = node.packets + 1;
            witness.commands.insert(packet, id(n));
            node.send_command(command);
        }
        Op::Replay(n) if node.attempt.is_some() => {
            witness.commands.insert(node.packets + 1, id(n));
            let command = command(n, &document(&[""]));
            node.receive_under(1, &Down::Command(Box::new(command)));
        }
        Op::Cancel(n) if node.attempt.is_some() => {
            node.receive(&Down::Cancel(Cancel { command: id(n) }));
        }
        Op::Persist(count) => (0..count).for_each(|_| node.persist_one()),
        Op::Refuse if !node.writes.is_empty() => {
            node.refuse(PersistRefusal::Disk { why: "full".into() })
        }
        Op::End(n, code) => {
            if let Some((command, step)) = nth(witness, n) {
                witness.running.remove(&(command, step));
                if code == 194 {
                    *witness.rebooted.entry((command, step)).or_default() += 1;
                }
                node.step(Input::StepEnded {
                    command,
                    step,
                    end: holdfast_agent_core::StepEnd {
                        exit: holdfast_agent_core::StepExit::Code(code),
                        stdout_bytes: 0,
                        stderr_bytes: 0,
                    },
                });
            }
        }
        Op::Output(n) => {
            if let Some((command, step)) = nth(witness, n) {
                node.step(Input::Output {
                    command,
                    step,
                    stream: OutputStream::Stdout,
                    bytes: vec![n; 100],
                });
            }
        }
        Op::Report(value, origin) => {
            let row = Row::new(vec![Cell::cut("a"), Cell::cut(&value.to_string())]).unwrap();
            node.step(Input::Reported {
                origin: origin.map(id),
                type_name: type_name("AWS:Application"),
                table: Table::new(1, &["Name", "Version"], vec![row]).unwrap(),
            });
        }
        Op::Acknowledge if node.attempt.is_some() => node.acknowledge(),
        Op::PubAck(count) => {
            if let Some(attempt) = node.attempt {
                let count = count.into();
                node.step(Input::PubAcked { attempt, count });
            }
        }
        Op::Disconnect if node.attempt.is_some() => node.disconnect(LinkFault::Lost),
        Op::Connect if node.attempt.is_none() => {
            if let Some(attempt) = node.connecting() {
                node.attempt = Some(attempt);
                let [seed, _] = node.packets.to_le_bytes();
                let random = [seed; 32];
                node.step(crate::harness::connected(attempt, random));
                let hello = node.hello();
                node.accept_hello(hello.streams.map(|stream| stream.acked));
            }
        }
        Op::Crash { torn, reboot } => {
            if torn {
                node.tear();
            }
            witness.running.clear();
            let now = node.now;
            node.crash(reboot);
            node.hold = true;
            if !reboot {
                assert_eq!(node.now, now);
            }
        }
        Op::Wait(ms) => node.wait(ms.into()),
        Op::Command(..)
        | Op::Replay(_)
        | Op::Cancel(_)
        | Op::Refuse
        | Op::Acknowledge
        | Op::Disconnect
        | Op::Connect => {}
    }
}

/// Lets everything come to its end.
fn come_to_an_end(node: &mut Node, witness: &mut Witness) -> Result<(), TestCaseError> {
    for round in 0..60 {
        apply(node, witness, Op::Connect);
        apply(node, witness, Op::Persist(200));
        witness.look(node)?;
        apply(node, witness, Op::End(0, 0));
        witness.look(node)?;
        apply(node, witness, Op::Wait(20_000));
        apply(node, witness, Op::Acknowledge);
        if round % 20 == 19 {
            let reboot = Op::Crash {
                torn: false,
                reboot: true,
            };
            apply(node, witness, reboot);
        }
    }
    let left = node.core.status(node.now).commands;
    prop_assert!(left.is_empty(), "{left:?}");
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn no_order_breaks_an_invariant(ops in proptest::collection::vec(op(), 0..150)) {
        let mut node = Node::new();
        node.limits.commands_max = 6;
        node.limits.running_max = 2;
        node.crash(false);
        node.hold = true;
        let mut witness = Witness::default();
        for op in ops {
            apply(&mut node, &mut witness, op);
            witness.look(&mut node)?;
        }
        come_to_an_end(&mut node, &mut witness)?;
    }
}
