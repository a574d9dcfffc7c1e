//! Steps that ask for a reboot: their place, their output, and what ends them instead.

use crate::harness::{Node, command, document, id};
use InvocationState::{Failed, InProgress, Interrupted, Success};
use holdfast_agent_core::{Effect, Input, StepEnd, StepExit};
use holdfast_protocol::up::{Class, InvocationState, OutputStream};

fn one() -> String {
    document(&[""])
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

fn ended(code: i32, stdout_bytes: u64) -> Input {
    Input::StepEnded {
        command: id(1),
        step: 0,
        end: StepEnd {
            exit: StepExit::Code(code),
            stdout_bytes,
            stderr_bytes: 0,
        },
    }
}

#[test]
fn a_step_that_is_stopped_before_it_goes_on_tells_what_it_wrote_before_its_reboot() {
    let mut node = Node::online();
    node.send_command(command(1, &document(&["", ""])));
    write(&mut node, 0, b"one ");
    node.step(ended(194, 4));
    node.boot_held();
    // That the process began is durable; that the step goes on is not yet.
    node.persist_one();
    node.step(Input::Stop);
    node.let_go();
    assert!(node.runs().is_empty());
    let update = node.updates(1).pop().unwrap();
    assert_eq!(update.state, Interrupted);
    let written: Vec<_> = update.steps.iter().map(|step| step.stdout_bytes).collect();
    assert_eq!(written, [4, 0]);
}

#[test]
fn output_goes_on_after_a_reboot_where_it_stopped() {
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
