//! Admission: what is taken in, refused, answered as known or stale, or expires while it waits.

use crate::harness::{NOW, Node, command, document, id};
use InvocationState::{InProgress, Interrupted, Refused, Success};
use holdfast_agent_core::{Limits, LinkFault, PersistRefusal};
use holdfast_protocol::down::{Cancel, Down};
use holdfast_protocol::up::{Answer, Bound, InvocationState, RefusalReason};

fn one() -> String {
    document(&[""])
}

#[test]
fn the_transport_is_acknowledged_only_after_the_command_is_durable() {
    let mut node = Node::online();
    node.hold = true;
    let delivery = node.send_command(command(1, &one()));
    assert!(!node.is_acked(delivery) && node.runs().is_empty());
    node.let_go();
    assert!(node.is_acked(delivery));
    assert_eq!(node.runs(), [(id(1), 0)]);
}

#[test]
fn a_command_whose_time_passed_while_the_disk_failed_does_not_begin() {
    let mut node = Node::online();
    let mut short = command(1, &one());
    short.expires_unix_ms = NOW + 10_000;
    node.hold = true;
    node.send_command(short);
    node.persist_one();
    node.wait(20_000);
    node.let_go();
    assert!(node.runs().is_empty());
    assert_eq!(
        node.states(1),
        [InProgress, Refused(RefusalReason::Expired)]
    );
}

#[test]
fn a_known_command_is_answered_with_its_state_and_never_begins_again() {
    let mut node = Node::online();
    node.send_command(command(1, &one()));
    let again = node.send_command(command(1, &one()));
    assert!(node.is_acked(again));
    node.end(1, 0, 0);
    node.crash(false);
    node.connect();
    node.accept_hello([0; 4]);
    node.send_command(command(1, &one()));
    assert_eq!(
        node.answers(),
        [
            Answer::Known {
                command: id(1),
                state: InProgress
            },
            Answer::Known {
                command: id(1),
                state: Success
            },
        ]
    );
    assert!(node.runs().is_empty());
}

#[test]
fn a_stale_counter_is_answered_stale_unless_the_command_is_known() {
    let mut node = Node::online();
    node.send_command(command(1, &one()));
    let seen = node.counter;
    node.receive_under(1, &Down::Command(Box::new(command(2, &one()))));
    node.receive_under(1, &Down::Command(Box::new(command(1, &one()))));
    assert_eq!(
        node.answers(),
        [
            Answer::Stale {
                command: Some(id(2)),
                counter: seen
            },
            Answer::Known {
                command: id(1),
                state: InProgress
            },
        ]
    );
}

#[test]
fn a_cancel_under_a_stale_counter_is_asked_for_again() {
    let mut node = Node::online();
    node.send_command(command(1, &one()));
    let seen = node.counter;
    node.receive_under(1, &Down::Cancel(Cancel { command: id(1) }));
    assert_eq!(
        node.answers(),
        [Answer::Stale {
            command: Some(id(1)),
            counter: seen
        }]
    );
}

#[test]
fn a_replayed_counter_stays_stale_after_a_restart() {
    let mut node = Node::online();
    node.send_command(command(1, &one()));
    let seen = node.counter;
    node.crash(true);
    assert_eq!(node.connect().counter, seen);
}

#[test]
fn full_is_answered_busy_with_the_bound() {
    let mut node = Node::new();
    node.limits.commands_max = 1;
    node.crash(false);
    node.connect();
    node.accept_hello([0; 4]);
    node.send_command(command(1, &one()));
    let delivery = node.send_command(command(2, &one()));
    assert!(node.is_acked(delivery));
    assert_eq!(
        node.answers(),
        [Answer::Busy {
            command: id(2),
            bound: Bound::Commands(1)
        }]
    );
}

#[test]
fn the_worst_result_is_reserved_before_a_command_is_taken() {
    let mut node = Node::new();
    node.disk.cap_bytes[0] = Limits::default().result_bytes_reserved * 2;
    node.crash(false);
    node.connect();
    node.accept_hello([0; 4]);
    for n in 1..=3 {
        node.send_command(command(n, &one()));
    }
    let cap = node.disk.cap_bytes[0];
    assert_eq!(
        node.runs().len(),
        1,
        "the update that says it has begun takes of the room"
    );
    assert_eq!(
        node.answers()[0],
        Answer::Busy {
            command: id(2),
            bound: Bound::ResultBytes(cap)
        }
    );
}

#[test]
fn a_refused_inbox_write_is_answered_busy_and_acknowledged() {
    let mut node = Node::online();
    node.hold = true;
    let delivery = node.send_command(command(1, &one()));
    node.refuse(PersistRefusal::Disk {
        why: "no space".into(),
    });
    assert!(node.is_acked(delivery));
    assert_eq!(
        node.answers(),
        [Answer::Busy {
            command: id(1),
            bound: Bound::Disk
        }]
    );
    node.let_go();
    node.send_command(command(1, &one()));
    assert_eq!(node.runs(), [(id(1), 0)]);
}

#[test]
fn what_has_expired_is_refused_and_never_begins() {
    let mut node = Node::online();
    let mut late = command(1, &one());
    late.expires_unix_ms = NOW - 1;
    node.send_command(late);
    assert_eq!(node.states(1), [Refused(RefusalReason::Expired)]);
    assert!(node.runs().is_empty());
}

/// The bridge's clock was years ahead, and is set back: what had expired is within its time again.
#[test]
fn an_ended_command_is_remembered_past_its_time_until_its_result_is_acknowledged() {
    let mut node = Node::online();
    node.send_command(command(1, &one()));
    node.end(1, 0, 0);
    let known = Answer::Known {
        command: id(1),
        state: Success,
    };
    for restarts in [false, true] {
        node.disconnect(LinkFault::Lost);
        node.wait(3 * 3_600_000);
        if restarts {
            node.crash(false);
        }
        node.connect_again();
        node.accept_hello([0; 4]);
        node.send_command(command(1, &one()));
        assert_eq!(node.answers().last(), Some(&known), "restarts: {restarts}");
    }
    assert_eq!(node.states(1), [InProgress, Success]);
    let remembers = |node: &Node| {
        node.disk
            .ledger
            .keys()
            .any(|key| key.starts_with("command/"))
    };
    assert!(remembers(&node));
    node.acknowledge();
    assert_eq!(node.states(1), [InProgress, Success], "it was on its way");
    node.wait(3 * 3_600_000);
    assert!(!remembers(&node));
}

#[test]
fn an_earlier_process_had_told_it_or_not_and_only_what_it_had_is_told_again() {
    let mut node = Node::online();
    node.send_command(command(1, &one()));
    node.end(1, 0, 0);
    node.acknowledge();
    let acks = node.disk.released;
    node.send_command(command(2, &one()));
    node.end(2, 0, 0);
    node.crash(false);
    node.connect();
    node.accept_hello(acks);
    for n in [1, 2] {
        node.send_command(command(n, &one()));
        assert_eq!(node.states(n), [InProgress, Success], "not clear yet");
    }
    node.acknowledge();
    assert_eq!(node.states(1), [InProgress, Success, Success]);
    assert_eq!(node.states(2), [InProgress, Success], "it was on its way");
}

#[test]
fn a_bridge_that_asks_for_a_result_that_it_had_is_told_it_again() {
    let mut node = Node::online();
    for n in [1, 2] {
        node.send_command(command(n, &one()));
        node.end(n, 0, 0);
    }
    // It may not have come yet: once is enough.
    node.send_command(command(1, &one()));
    assert_eq!(node.states(1), [InProgress, Success]);
    node.acknowledge();
    let (counter, old) = (node.counter, command(1, &one()));
    node.receive_under(counter, &Down::Command(Box::new(old)));
    assert_eq!(node.states(1), [InProgress, Success], "a replayed frame");
    for _ in 0..3 {
        node.send_command(command(1, &one()));
        node.receive(&Down::Cancel(Cancel { command: id(2) }));
    }
    for n in [1, 2] {
        assert_eq!(node.states(n), [InProgress, Success, Success]);
    }
    node.acknowledge();
    node.crash(false);
    node.connect();
    let acks = node.disk.released;
    node.accept_hello(acks);
    node.send_command(command(1, &one()));
    assert_eq!(node.states(1), [InProgress, Success, Success, Success]);
    assert_eq!(node.runs(), []);
}

#[test]
fn a_waiting_command_expires_by_signed_time() {
    let mut node = Node::online();
    for n in 1..=4 {
        node.send_command(command(n, &one()));
    }
    let mut waiting = command(5, &one());
    waiting.expires_unix_ms = NOW + 10_000;
    node.send_command(waiting);
    node.wait(30_000);
    assert_eq!(node.states(5), [Refused(RefusalReason::Expired)]);
}

#[test]
fn a_waiting_command_of_an_earlier_boot_waits_for_signed_time() {
    let mut node = Node::online();
    for n in 1..=5 {
        node.send_command(command(n, &one()));
    }
    node.crash(true);
    assert_eq!(node.states(1), [InProgress, Interrupted]);
    node.wait(60_000);
    assert!(
        node.runs().is_empty(),
        "nobody knows whether it has expired"
    );
    node.connecting();
    let attempt = node.core.status(node.now).link.attempt;
    node.attempt = Some(attempt);
    node.step(crate::harness::connected(attempt, [9; 32]));
    node.accept_hello([0; 4]);
    assert_eq!(node.runs(), [(id(5), 0)]);
}

#[test]
fn a_waiting_command_of_the_same_boot_goes_on_without_the_bridge() {
    let mut node = Node::online();
    for n in 1..=5 {
        node.send_command(command(n, &one()));
    }
    node.crash(false);
    assert_eq!(node.runs(), [(id(5), 0)]);
}

#[test]
fn a_command_that_cannot_be_planned_is_refused_with_its_reason() {
    let mut node = Node::online();
    let mut wrong_hash = command(1, &one());
    wrong_hash.content_sha256 = [0; 32];
    node.send_command(wrong_hash);
    node.send_command(command(2, "{"));
    assert_eq!(node.states(1), [Refused(RefusalReason::InvalidDocument)]);
    assert_eq!(node.states(2), [Refused(RefusalReason::InvalidDocument)]);
    assert!(!node.updates(2)[0].detail.is_empty());
}

#[test]
fn what_waits_expires_without_the_bridge_too() {
    let mut node = Node::online();
    for n in 1..=5 {
        let mut soon = command(n, &one());
        soon.expires_unix_ms = NOW + 3_600_000 + u64::from(n);
        node.send_command(soon);
    }
    node.wait(5_400_000);
    assert_eq!(node.states(5), [Refused(RefusalReason::Expired)]);
}
