//! Streams: what is sent, how much at once, and what an acknowledgement may say.

use crate::harness::{Node, command, document};
use crate::reports::report;
use holdfast_agent_core::{Effect, Input, LinkFault, LinkState, Write};
use holdfast_protocol::down::{Ack, Down};
use holdfast_protocol::up::{Class, Record};

#[test]
fn records_wait_for_acknowledgement_and_are_sent_again_from_there() {
    let mut node = Node::online();
    node.send_command(command(1, &document(&[""])));
    node.end(1, 0, 0);
    assert_eq!(node.sequences(Class::Result), [1, 2]);
    node.receive(&Down::Ack(Ack { acks: [1, 0, 0, 0] }));
    assert_eq!(node.disk.released[0], 1);
    node.disconnect(LinkFault::Lost);
    node.wait(1_000);
    node.sent.clear();
    node.connect();
    node.accept_hello([1, 0, 0, 0]);
    assert_eq!(node.sequences(Class::Result), [2]);
}

#[test]
fn no_more_than_the_window_is_in_flight() {
    let mut node = Node::online();
    node.disconnect(LinkFault::Lost);
    for n in 0..300_u16 {
        report(&mut node, &[("a", &n.to_string())]);
    }
    node.wait(1_000);
    let attempt = {
        node.connect();
        node.attempt.unwrap()
    };
    node.accept_hello([0; 4]);
    let window = node.limits.in_flight_max as usize;
    assert_eq!(node.sequences(Class::State).len(), window);
    node.step(Input::PubAcked { attempt, count: 3 });
    assert_eq!(
        node.sequences(Class::State).len(),
        window,
        "half a window at a time"
    );
    let count = node.limits.in_flight_max / 2;
    for _ in 0..4 {
        node.step(Input::PubAcked { attempt, count });
    }
    assert_eq!(node.sequences(Class::State), (1..=300).collect::<Vec<_>>());
}

#[test]
fn an_acknowledgement_above_what_was_sent_is_refused_and_recorded() {
    let mut node = Node::online();
    node.receive(&Down::Ack(Ack { acks: [7, 0, 0, 0] }));
    assert_eq!(node.disk.released[0], 0);
    let audit = node.disk.records(Class::Audit);
    let Some(Record::Audit(event)) = audit.last() else {
        panic!("{audit:?}");
    };
    assert_eq!(event.name.as_str(), "acknowledgement-refused");
}

#[test]
fn a_rolled_back_disk_begins_another_life_of_the_outbox() {
    let mut node = Node::new();
    let old = node.connect().outbox;
    node.accept_hello([9, 0, 0, 0]);
    assert!(
        node.seen
            .iter()
            .any(|effect| matches!(effect, Effect::Disconnect { .. }))
    );
    assert_eq!(node.disk.released[0], 0);
    node.disconnect(LinkFault::Asked);
    node.wait(1_000);
    let hello = node.connect();
    assert_ne!(hello.outbox, old);
    node.accept_hello([0; 4]);
    assert_eq!(node.core.status(node.now).link.state, LinkState::Online);
}

#[test]
fn acknowledgements_that_stand_still_end_the_connection() {
    let mut node = Node::online();
    node.send_command(command(1, &document(&[""])));
    node.wait(50_000);
    let gone = |effect: &Effect| matches!(effect, Effect::Disconnect { .. });
    assert!(!node.seen.iter().any(gone));
    node.wait(11_000);
    assert!(node.seen.iter().any(gone));
}

#[test]
fn events_that_the_disk_does_not_take_are_bounded_and_counted() {
    const EVENTS: usize = 3_000;
    let mut node = Node::online();
    let before = node.disk.records(Class::Audit).len();
    node.hold = true;
    for _ in 0..EVENTS {
        let acks = [u64::MAX; 4];
        node.receive(&Down::Ack(Ack { acks }));
    }
    let bytes: usize = node
        .writes
        .iter()
        .flat_map(|(_, writes)| writes)
        .map(|write| match write {
            Write::Append { stored, .. } => stored.len(),
            _ => 0,
        })
        .sum();
    assert!(bytes < 66 << 10, "{bytes} bytes wait");
    node.let_go();
    let records = node.disk.records(Class::Audit).split_off(before);
    let named = |name: &str| {
        let event = |record: &Record| match record {
            Record::Audit(event) if event.name == name => Some(event.detail.to_string()),
            _ => None,
        };
        records.iter().filter_map(event).collect::<Vec<_>>()
    };
    let recorded = named("acknowledgement-refused").len();
    let lost = EVENTS - recorded;
    let expected = format!("{lost} events were not recorded: the disk took no more");
    assert_eq!(named("events-lost"), [expected]);
}
