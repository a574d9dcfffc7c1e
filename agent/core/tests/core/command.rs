//! Steps and results: begun once, told once, cancelled and stopped.

use crate::harness::{Node, command, document, id};
use InvocationState::{Cancelled, Failed, InProgress, Interrupted, Success, TimedOut};
use holdfast_agent_core::{Effect, Input, KillReason, PersistRefusal, StepEnd, StepExit};
use holdfast_protocol::down::{Cancel, Down};
use holdfast_protocol::up::{Answer, Class, InvocationState, OutputStream, StepState, Up};

fn one() -> String {
    document(&[""])
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
