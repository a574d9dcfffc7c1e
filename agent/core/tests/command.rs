//! The life of a command, through the core's public surface.

#![allow(
    clippy::wildcard_enum_match_arm,
    reason = "a test looks at the one variant that it expects"
)]

mod harness;

use InvocationState::{Cancelled, Failed, InProgress, Interrupted, Refused, Success, TimedOut};
use harness::{NOW, Node, command, document, id};
use holdfast_agent_core::{Effect, Input, KillReason, Limits, PersistRefusal, StepEnd, StepExit};
use holdfast_protocol::down::{Cancel, Down};
use holdfast_protocol::up::{
    Answer, Bound, Class, InvocationState, OutputStream, RefusalReason, StepState, Up,
};

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
fn a_step_begins_only_after_that_is_durable() {
    let mut node = Node::online();
    node.hold = true;
    node.send_command(command(1, &one()));
    let (ticket, _) = node.writes.pop_front().unwrap();
    let streams = node.disk.figures();
    node.step(Input::Persisted {
        ticket,
        appended: vec![],
        streams,
    });
    assert_eq!(node.writes.len(), 1, "that it begins is being written");
    assert!(node.runs().is_empty());
}

#[test]
fn a_result_is_told_after_its_output_and_reports_the_exit_code() {
    let mut node = Node::online();
    node.send_command(command(1, &one()));
    node.step(Input::Output {
        command: id(1),
        step: 0,
        stream: OutputStream::Stdout,
        bytes: b"hello".to_vec(),
    });
    node.end(1, 0, 3);
    assert_eq!(node.states(1), [InProgress, Failed]);
    let update = node.updates(1).pop().unwrap();
    assert_eq!(
        (update.steps[0].state, update.steps[0].exit_code),
        (StepState::Failed, 3)
    );
    let kinds: Vec<_> = node
        .sent
        .iter()
        .filter_map(|(_, up)| match up {
            Up::Record { record, .. } if record.class() == Some(Class::Result) => {
                Some(record.clone())
            }
            _ => None,
        })
        .collect();
    assert_eq!(kinds.len(), 3, "begun, output, result: {kinds:?}");
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
fn nothing_is_told_to_be_interrupted_while_it_may_still_run() {
    let mut node = Node::online();
    node.send_command(command(1, &one()));
    node.remains = true;
    node.crash(false);
    node.connect();
    node.accept_hello([0; 4]);
    node.send_command(command(2, &one()));
    node.wait(60_000);
    assert_eq!(node.states(1), [InProgress]);
    assert!(node.runs().is_empty(), "and nothing begins beside it");
    node.step(Input::RemainsEnded);
    assert_eq!(node.states(1), [InProgress, Interrupted]);
    assert_eq!(node.runs(), [(id(2), 0)]);
    // Told once, however often somebody says so.
    node.step(Input::RemainsEnded);
    assert_eq!(node.states(1), [InProgress, Interrupted]);
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
fn commands_run_side_by_side_up_to_the_bound_and_then_in_order() {
    let mut node = Node::online();
    for n in 1..=6 {
        node.send_command(command(n, &one()));
    }
    assert_eq!(node.runs(), [1, 2, 3, 4].map(|n| (id(n), 0)));
    node.end(2, 0, 0);
    assert_eq!(node.runs().last(), Some(&(id(5), 0)));
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
    node.step(harness::connected(attempt, [9; 32]));
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
fn a_result_that_was_durable_before_the_crash_is_not_replaced() {
    let mut node = Node::online();
    node.send_command(command(1, &one()));
    let ledger = node.disk.ledger.clone();
    node.end(1, 0, 0);
    // The stream was written, the ledger was not.
    node.disk.ledger = ledger;
    node.crash(false);
    assert_eq!(node.states(1), [InProgress, Success]);
    node.crash(false);
    assert_eq!(node.states(1), [InProgress, Success]);
    assert!(node.runs().is_empty());
}

#[test]
fn a_step_that_asks_for_a_reboot_goes_on_after_it() {
    let mut node = Node::online();
    node.send_command(command(1, &document(&["", ""])));
    node.end(1, 0, 0);
    node.end(1, 1, 194);
    assert!(node.seen.contains(&Effect::Reboot { command: id(1) }));
    node.crash(true);
    assert_eq!(node.runs(), [(id(1), 1)]);
    node.end(1, 1, 0);
    assert_eq!(node.states(1), [InProgress, Success]);
    assert_eq!(node.updates(1)[1].steps.len(), 2);
}

/// Where each piece of a command's standard output begins, and what it holds.
fn pieces(node: &Node) -> Vec<(u32, Vec<u8>)> {
    let piece = |record| match record {
        holdfast_protocol::up::Record::Output(chunk) => Some((chunk.offset, chunk.bytes.to_vec())),
        _ => None,
    };
    let records = node.disk.records(Class::Result);
    records.into_iter().filter_map(piece).collect()
}

fn write(node: &mut Node, step: u8, bytes: &[u8]) {
    node.step(Input::Output {
        command: id(1),
        step,
        stream: OutputStream::Stdout,
        bytes: bytes.to_vec(),
    });
}

#[test]
fn output_goes_on_after_a_reboot_where_it_stopped() {
    let ended = |code, stdout_bytes| Input::StepEnded {
        command: id(1),
        step: 0,
        end: StepEnd {
            exit: StepExit::Code(code),
            stdout_bytes,
            stderr_bytes: 0,
        },
    };
    let mut node = Node::online();
    node.send_command(command(1, &document(&["", ""])));
    write(&mut node, 0, b"one ");
    node.step(ended(194, 4));
    // Its place outlives a crash before the machine goes down, and more than one reboot.
    node.crash(false);
    node.crash(true);
    write(&mut node, 0, b"two ");
    node.step(ended(194, 4));
    node.crash(true);
    write(&mut node, 0, b"three");
    node.step(ended(0, 5));
    write(&mut node, 1, b"next");
    node.end(1, 1, 0);
    let expected: [(u32, &[u8]); 4] = [(0, b"one "), (4, b"two "), (8, b"three"), (0, b"next")];
    assert_eq!(
        pieces(&node),
        expected.map(|(at, bytes)| (at, bytes.to_vec()))
    );
    let update = node.updates(1).pop().unwrap();
    assert_eq!(update.state, Success);
    assert_eq!(update.steps[0].stdout_bytes, 13);
}

#[test]
fn a_place_that_an_older_agent_wrote_is_still_read() {
    let mut node = Node::online();
    node.send_command(command(1, &one()));
    node.end(1, 0, 194);
    let key = format!("command/{}", id(1));
    let value = node.disk.ledger.get_mut(&key).unwrap();
    // The layout's byte, the variant's index, and at the end what the older one did not have.
    assert_eq!(value[..2], [1, 4]);
    value[1] = 2;
    value.truncate(value.len() - 4);
    node.crash(true);
    assert_eq!(node.runs(), [(id(1), 0)]);
    node.end(1, 0, 0);
    assert_eq!(node.states(1), [InProgress, Success]);
}

#[test]
fn a_reboot_waits_for_the_others() {
    let mut node = Node::online();
    node.send_command(command(1, &one()));
    node.send_command(command(2, &one()));
    node.end(1, 0, 194);
    node.send_command(command(3, &one()));
    assert!(!node.seen.contains(&Effect::Reboot { command: id(1) }));
    assert_eq!(node.runs().len(), 2, "nothing begins before a reboot");
    node.end(2, 0, 0);
    assert!(node.seen.contains(&Effect::Reboot { command: id(1) }));
}

#[test]
fn a_machine_that_does_not_reboot_fails_the_command_and_goes_on() {
    let mut node = Node::online();
    node.send_command(command(1, &one()));
    node.end(1, 0, 194);
    node.send_command(command(2, &one()));
    assert_eq!(node.states(1), [InProgress]);
    let why = "this machine does not let the agent reboot it".to_owned();
    node.step(Input::RebootFailed { why });
    assert_eq!(node.states(1), [InProgress, Failed]);
    assert_eq!(node.runs().last(), Some(&(id(2), 0)));
    node.crash(true);
    assert_eq!(node.states(1), [InProgress, Failed]);
}

#[test]
fn exit_codes_and_options_choose_what_follows() {
    let states = |steps: &[&str], codes: &[i32]| {
        let mut node = Node::online();
        node.send_command(command(1, &document(steps)));
        for code in codes {
            let step = node.runs().last().unwrap().1;
            node.end(1, step, *code);
        }
        let update = node.updates(1).pop().unwrap();
        let steps: Vec<_> = update.steps.iter().map(|step| step.state).collect();
        (update.state, steps)
    };
    use StepState::{Failed as F, Skipped as S, Success as O};
    assert_eq!(states(&["", ""], &[1, 0]), (Failed, vec![F, O]));
    assert_eq!(
        states(&["\"onFailure\":\"exit\"", ""], &[1]),
        (Failed, vec![F, S])
    );
    assert_eq!(
        states(&["\"onFailure\":\"successAndExit\"", ""], &[1]),
        (Success, vec![F, S])
    );
    assert_eq!(
        states(&["\"onSuccess\":\"exit\"", ""], &[0]),
        (Success, vec![O, S])
    );
    assert_eq!(states(&["", ""], &[168]), (Success, vec![O, S]));
    assert_eq!(states(&["", ""], &[169]), (Failed, vec![F, S]));
    assert_eq!(
        states(&["", "", "\"finallyStep\":true"], &[169, 0]),
        (Failed, vec![F, S, O])
    );
}

#[test]
fn a_step_past_its_timeout_is_killed_and_says_so() {
    let mut node = Node::online();
    node.send_command(command(1, &one()));
    node.wait(59_000);
    assert!(
        !node
            .seen
            .iter()
            .any(|effect| matches!(effect, Effect::Kill { .. }))
    );
    node.wait(2_000);
    let kill = Effect::Kill {
        command: id(1),
        step: 0,
        why: KillReason::TimedOut,
    };
    assert!(node.seen.contains(&kill));
    let end = StepEnd {
        exit: StepExit::Signal(9),
        stdout_bytes: 1,
        stderr_bytes: 2,
    };
    node.step(Input::StepEnded {
        command: id(1),
        step: 0,
        end,
    });
    assert_eq!(node.states(1), [InProgress, TimedOut]);
}

#[test]
fn cancel_reaches_a_command_wherever_it_is() {
    let mut node = Node::online();
    for n in 1..=5 {
        node.send_command(command(n, &one()));
    }
    let cancel = |node: &mut Node, n| node.receive(&Down::Cancel(Cancel { command: id(n) }));
    cancel(&mut node, 5);
    assert_eq!(node.states(5), [Cancelled]);
    cancel(&mut node, 1);
    assert!(node.seen.contains(&Effect::Kill {
        command: id(1),
        step: 0,
        why: KillReason::Cancelled
    }));
    node.end(1, 0, 0);
    assert_eq!(node.states(1), [InProgress, Cancelled]);
    cancel(&mut node, 9);
    cancel(&mut node, 1);
    assert_eq!(
        node.answers(),
        [
            Answer::Unknown { command: id(9) },
            Answer::Known {
                command: id(1),
                state: Cancelled
            },
        ]
    );
    node.send_command(command(9, &one()));
    assert_eq!(node.states(9), [Cancelled]);
}

#[test]
fn a_cancel_while_it_is_being_taken_in_or_begun_ends_it() {
    let mut node = Node::online();
    node.hold = true;
    node.send_command(command(1, &one()));
    node.receive(&Down::Cancel(Cancel { command: id(1) }));
    node.let_go();
    assert_eq!(node.states(1), [Cancelled]);
    assert!(node.runs().is_empty());
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
fn output_past_the_bound_is_not_kept() {
    let mut node = Node::online();
    node.send_command(command(1, &one()));
    for _ in 0..40 {
        node.step(Input::Output {
            command: id(1),
            step: 0,
            stream: OutputStream::Stdout,
            bytes: vec![b'x'; 16 << 10],
        });
    }
    let kept: usize = node
        .disk
        .records(Class::Result)
        .iter()
        .filter_map(|record| match record {
            holdfast_protocol::up::Record::Output(chunk) => Some(chunk.bytes.len()),
            _ => None,
        })
        .sum();
    assert_eq!(kept, holdfast_protocol::limits::STDOUT_BYTES_MAX);
}

#[test]
fn a_result_that_the_journal_refuses_is_written_later() {
    let mut node = Node::online();
    node.send_command(command(1, &one()));
    node.hold = true;
    node.end(1, 0, 0);
    node.refuse(PersistRefusal::Ledger { cap_bytes: 1 });
    node.hold = false;
    node.wait(6_000);
    assert_eq!(node.states(1), [InProgress, Success]);
}

#[test]
fn stopping_ends_what_runs_and_tells_the_truth() {
    let mut node = Node::online();
    node.send_command(command(1, &one()));
    node.step(Input::Stop);
    assert!(node.seen.contains(&Effect::Kill {
        command: id(1),
        step: 0,
        why: KillReason::Stopping
    }));
    node.end(1, 0, 143);
    assert_eq!(node.states(1), [InProgress, Interrupted]);
    assert!(!node.seen.contains(&Effect::Stopped));
    node.disconnect(holdfast_agent_core::LinkFault::Asked);
    assert!(node.seen.contains(&Effect::Stopped));
    assert_eq!(node.core.next_deadline().filter(|at| *at <= node.now), None);
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
