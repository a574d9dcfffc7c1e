//! Commands whose records a medium has damaged: each is answered, none begins twice.

use crate::harness::{Node, command, document, id};
use holdfast_protocol::up::InvocationState::{InProgress, Interrupted, Success};
use holdfast_protocol::up::{Class, Record};

fn one() -> String {
    document(&[""])
}

fn key(n: u8) -> String {
    format!("command/{}", id(n))
}

fn audited(node: &Node, name: &str) -> usize {
    let records = node.disk.records(Class::Audit);
    let found = |record: &&Record| matches!(record, Record::Audit(event) if &*event.name == name);
    records.iter().filter(found).count()
}

/// Waits behind four others, so that it has not begun.
fn with_waiting() -> Node {
    let mut node = Node::online();
    for n in 1..=5 {
        node.send_command(command(n, &one()));
    }
    node
}

#[test]
fn a_command_that_may_have_begun_is_not_begun_again_and_ends_as_interrupted() {
    let mut node = with_waiting();
    node.disk.damage.doubtful.push(key(5));
    node.disk.damage.records = 1;
    node.crash(false);
    assert_eq!(node.states(5), [Interrupted]);
    assert!(node.runs().is_empty());
    assert_eq!(audited(&node, "command-damaged"), 1);
    assert_eq!(audited(&node, "journal-damaged"), 1);
}

#[test]
fn a_command_whose_only_entry_is_lost_is_answered_once() {
    let mut node = with_waiting();
    node.disk.ledger.remove(&key(5));
    node.disk.damage.doubtful.push(key(5));
    node.crash(false);
    assert_eq!(node.states(5), [Interrupted]);
    // The entry written since is newer than the damage.
    node.disk.damage.doubtful.clear();
    node.crash(false);
    assert_eq!(node.states(5), [Interrupted]);
}

#[test]
fn an_entry_that_nobody_can_read_costs_its_command_alone() {
    let mut node = with_waiting();
    let entry = node.disk.ledger.get_mut(&key(5)).unwrap();
    // The layout is known, what follows is not.
    entry[1] = 0x7f;
    node.crash(false);
    assert_eq!(node.states(5), [Interrupted]);
    assert_eq!(node.states(1), [InProgress, Interrupted]);
}

#[test]
fn a_lost_result_is_told_again_by_its_state() {
    let mut node = Node::online();
    node.send_command(command(1, &one()));
    node.end(1, 0, 0);
    assert_eq!(node.states(1), [InProgress, Success]);
    // Its terminal update becomes unreadable: another record stands for the gap.
    let results = &mut node.disk.streams[Class::Result.index()];
    let first = results[0].clone();
    *results.last_mut().unwrap() = first;
    node.disk.damage.lost_results.push(id(1));
    node.crash(false);
    assert_eq!(node.states(1), [InProgress, InProgress, Success]);
    // Damage stays on the medium until it is acknowledged; the answer is not repeated.
    node.crash(false);
    assert_eq!(node.states(1), [InProgress, InProgress, Success]);
    assert!(node.runs().is_empty());
}
