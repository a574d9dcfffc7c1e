//! A disk that fails, and what a node does on it.

use crate::harness::{Node, command, document, id};
use holdfast_agent_core::{Input, LinkFault, LinkState, Monotonic, PersistRefusal};
use holdfast_protocol::up::{Answer, Bound, Class, InvocationState, Record};

#[test]
fn a_state_directory_of_a_newer_version_is_refused_by_name() {
    let node = Node::online();
    let mut ledger: Vec<_> = node.disk.ledger.clone().into_iter().collect();
    for (_, value) in &mut ledger {
        value[0] = 2;
    }
    let restored = holdfast_agent_core::Restored {
        ledger,
        streams: node.disk.figures(),
        secured: true,
        boot_id: [1; 16],
        random: [1; 32],
        sequences_lost: false,
        damage: holdfast_agent_core::LedgerDamage::default(),
        now: Monotonic(0),
    };
    let refused = holdfast_agent_core::Core::restore(crate::harness::config(node.limits), restored);
    assert!(
        refused
            .unwrap_err()
            .to_string()
            .contains("start a newer agent")
    );
}

/// A process begins on a disk that takes nothing.
fn start_on_a_failing_disk(node: &mut Node) {
    node.writes.clear();
    node.seen.clear();
    node.attempt = None;
    node.hold = true;
    node.core = crate::harness::restore(&node.disk, node.boot, node.now, node.limits);
    node.perform();
    let ticket = node.writes.front().unwrap().0;
    let why = "Read-only file system".to_owned();
    node.step(Input::PersistDelayed { ticket, why });
}

#[test]
fn on_a_disk_that_takes_nothing_the_node_connects_and_refuses_commands() {
    let mut node = Node::online();
    node.disconnect(LinkFault::Lost);
    let known = node.connect_again().token;
    assert!(known.is_some());
    let mut last = node.attempt;
    for n in 1..4 {
        node.wait(1_000);
        start_on_a_failing_disk(&mut node);
        let hello = node.connect();
        assert_eq!(hello.token, known, "no token is shown that is not on disk");
        assert!(node.attempt > last, "nor a number twice");
        last = node.attempt;
        node.accept_hello([0; 4]);
        let status = node.core.status(node.now);
        assert_eq!(status.link.state, LinkState::Online);
        assert_eq!(status.disk.as_deref(), Some("Read-only file system"));
        let delivery = node.send_command(command(n, &document(&[""])));
        let busy = Answer::Busy {
            command: id(n),
            bound: Bound::Disk,
        };
        assert_eq!(node.answers().last(), Some(&busy));
        assert!(node.is_acked(delivery) && node.runs().is_empty());
        // Nor after the link was lost.
        node.disconnect(LinkFault::Lost);
        assert_eq!(node.connect_again().token, known);
        last = last.max(node.attempt);
        node.accept_hello([0; 4]);
    }
    node.let_go();
    node.send_command(command(9, &document(&[""])));
    assert_eq!(node.runs(), [(id(9), 0)]);
    assert_eq!(node.core.status(node.now).disk, None);
    let told = node.disk.records(Class::Log);
    assert!(
        told.iter().any(|record| matches!(record, Record::Log(event)
            if event.name == "disk-failed" && event.detail.as_str() == "Read-only file system")),
        "the bridge learns why it was refused"
    );
}

#[test]
fn nothing_that_a_power_cut_may_still_take_is_told_of() {
    let mut node = Node::online();
    node.send_command(command(1, &document(&[""])));
    node.disconnect(LinkFault::Lost);
    node.disk.unsecured = true;
    start_on_a_failing_disk(&mut node);
    node.wait(60_000);
    assert_eq!(node.connecting(), None, "a hello would show the token");
    let why = node.core.status(node.now).disk.unwrap();
    assert!(why.contains("nothing connects"), "{why}");
    node.let_go();
    node.connect_again();
}

#[test]
fn a_new_life_of_the_outbox_is_durable_before_it_is_told_and_before_the_journal_looks_whole() {
    let mut node = Node::online();
    node.disconnect(LinkFault::Lost);
    let before = node.disk.checkpoints;
    node.disk.sequences_lost = true;
    start_on_a_failing_disk(&mut node);
    node.wait(60_000);
    assert_eq!(node.connecting(), None, "a hello would name the outbox");
    assert_eq!(node.disk.checkpoints, before);
    node.let_go();
    node.connect_again();
    assert_eq!(node.disk.checkpoints, before + 1);
}

#[test]
fn a_disk_that_fails_while_a_token_is_written_does_not_keep_the_session_shut() {
    let mut node = Node::new();
    node.connect();
    node.hold = true;
    node.accept_hello([0; 4]);
    let ticket = node.writes.front().unwrap().0;
    let why = "Input/output error".to_owned();
    node.step(Input::PersistDelayed { ticket, why });
    assert_eq!(node.core.status(node.now).link.state, LinkState::Online);
    // But that token may not be shown before it is on disk.
    node.disconnect(LinkFault::Lost);
    node.wait(10_000);
    assert_eq!(node.connecting(), None);
}

#[test]
fn a_device_without_room_for_a_command_is_shown_for_a_while() {
    let mut node = Node::online();
    node.hold = true;
    node.send_command(command(1, &document(&[""])));
    let why = "free some space".to_owned();
    node.refuse(PersistRefusal::Disk { why: why.clone() });
    assert_eq!(node.core.status(node.now).disk, Some(why));
    let later = Monotonic(node.now.0 + 60_000);
    assert_eq!(node.core.status(later).disk, None);
}

#[test]
fn a_start_that_the_disk_first_fails_and_then_refuses_is_written_again() {
    let mut node = Node::online();
    node.send_command(command(1, &document(&[""])));
    assert_eq!(node.runs(), [(id(1), 0)]);
    start_on_a_failing_disk(&mut node);
    node.refuse(PersistRefusal::Disk {
        why: "No space left on device".to_owned(),
    });
    // Nothing waits for the disk any more that could say that it answers again.
    assert_eq!(node.core.status(node.now).disk, None);
    node.let_go();
    node.wait(10_000);
    let ended = node.disk.records(Class::Result).into_iter().any(|record| {
        matches!(record, Record::Invocation(update)
            if update.command == id(1) && update.state == InvocationState::Interrupted)
    });
    assert!(ended, "what the last process left is not left for ever");
}

#[test]
fn a_start_that_is_on_disk_numbers_its_attempts_above_one_that_was_not() {
    let mut node = Node::online();
    let on_disk = node.attempt;
    node.wait(60_000);
    start_on_a_failing_disk(&mut node);
    node.connect();
    let not_on_disk = node.attempt;
    assert!(not_on_disk > on_disk);
    node.crash(false);
    node.connect();
    assert!(node.attempt > not_on_disk);
}
