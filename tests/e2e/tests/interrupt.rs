//! Ctrl-C of whoever runs the programs: what waits ends, nothing starts, and a second one kills.
//! One test, for an interrupt is the whole process's.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test fails by panicking"
)]

use holdfast_e2e::{Exit, Running, interrupt};
use std::io::{BufRead as _, BufReader};
use std::process::{Command, Stdio};

/// A shell that runs this.
fn shell(script: &str) -> Command {
    let mut command = Command::new("sh");
    command.args(["-c", script]).stdout(Stdio::piped());
    command
}

#[test]
fn an_interrupt_ends_what_is_waited_for_and_a_second_one_what_does_not_stop() {
    let mut stubborn = Running::start(&mut shell("trap '' TERM; echo on; exec sleep 600")).unwrap();
    let mut gentle = Running::start(&mut shell("exec sleep 600")).unwrap();
    let mut said = String::new();
    let stdout = stubborn.take_stdout().unwrap();
    BufReader::new(stdout).read_line(&mut said).unwrap();
    assert_eq!(said, "on\n");

    let verb = std::thread::spawn(|| Exit::of(&mut shell("exec sleep 600")));
    interrupt();
    let ended = verb.join().unwrap().unwrap_err().to_string();
    assert!(ended.contains("interrupted"), "{ended}");
    let refused = Running::start(&mut shell("true")).unwrap_err().to_string();
    assert!(refused.contains("interrupted"), "{refused}");

    assert!(gentle.stop().is_ok(), "what is being stopped is waited for");
    interrupt();
    let left = stubborn.stop().unwrap_err().to_string();
    assert!(left.contains("interrupted again"), "{left}");
}
