//! File systems that never answer, under a script and under the agent: others go on, and the agent ends.
//! Never leaves a mount or a tracer behind: both end with the test's own processes.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test fails by panicking"
)]

use holdfast_e2e::commands::{self, Marks, text};
use holdfast_e2e::{AgentOptions, Node, PATIENCE, Running, World, until};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};
use std::process::{Command, ExitStatus, Stdio};

/// Words before a program that make `directory` a mount whose server never answers.
fn hanging(directory: &str) -> Vec<String> {
    let mut words = vec!["unshare".to_owned()];
    if !rustix::process::geteuid().is_root() {
        words.extend(["--user".to_owned(), "--map-root-user".to_owned()]);
    }
    let inside = "set -e; exec 3<>/dev/fuse; \
                  mount -i -t fuse -o fd=3,rootmode=40000,user_id=0,group_id=0 hangs \"$1\"; \
                  shift; exec \"$@\"";
    words.extend(["--mount", "--", "sh", "-c", inside, "sh", directory].map(str::to_owned));
    words
}

#[test]
fn a_working_directory_that_hangs_holds_up_nothing_but_its_step() {
    let world = World::start().unwrap();
    let directory = world.path("hangs");
    std::fs::create_dir(&directory).unwrap();
    let directory = directory.display().to_string();
    let options = AgentOptions {
        wrapper: hanging(&directory),
        ..AgentOptions::default()
    };
    let mut node = world.online_node(&options).unwrap();
    let marks = Marks::at(world.path("marks"));
    let hangs = |more: &str| {
        let parameters = json!({"Parameters": {
            "commands": [marks.line("began")],
            "workingDirectory": [directory],
            "executionTimeout": [more],
        }});
        commands::send_script(&world.api, &[&node.id], "", &parameters).unwrap()
    };
    let late = hangs("5");
    let cancelled = hangs("3600");
    for command in [&late, &cancelled] {
        commands::until_details(&world.api, command, &node.id, "InProgress").unwrap();
    }
    let other = commands::send_script(&world.api, &[&node.id], "true", &Value::Null).unwrap();
    let ended = commands::finished(&world.api, &other, &node.id).unwrap();
    assert_eq!(text(&ended, "Status"), "Success", "{ended}");
    let cancel = json!({"CommandId": cancelled});
    world.api.call("CancelCommand", &cancel).unwrap();
    let ended = commands::finished(&world.api, &cancelled, &node.id).unwrap();
    assert_eq!(text(&ended, "Status"), "Cancelled", "{ended}");
    let ended = commands::finished(&world.api, &late, &node.id).unwrap();
    assert_eq!(text(&ended, "Status"), "TimedOut", "{ended}");
    assert!(world.is_online(&node.id).unwrap());
    // Two of its threads still hang, and it ends all the same, with everything on disk.
    let status = node.agent.stop().unwrap().unwrap();
    assert_eq!(status.code(), Some(0));
    assert_eq!(marks.all().unwrap(), [""; 0]);
}

/// From now on no write of the agent comes to an end.
fn hold_syncs(node: &Node) -> Running {
    let id = node.agent.id().unwrap().to_string();
    let mut command = Command::new("strace");
    command
        .args([
            "-f",
            "-qq",
            "-o",
            "/dev/null",
            "-e",
            "trace=fdatasync,fsync",
        ])
        .args(["-e", "inject=fdatasync,fsync:delay_enter=3600000000"])
        .args(["-p", &id])
        .stdout(Stdio::null());
    let mut strace = Running::start(&mut command)
        .expect("this test needs `strace`, and the right to trace its own processes");
    until("the agent is traced", PATIENCE, || {
        assert!(strace.ended()?.is_none(), "`strace -p` was refused");
        let status = std::fs::read_to_string(format!("/proc/{id}/status"))?;
        let traced = status.lines().any(|line| {
            line.strip_prefix("TracerPid:")
                .is_some_and(|tracer| tracer.trim() != "0")
        });
        Ok(traced.then_some(()))
    })
    .unwrap();
    strace
}

/// An agent with a write under way that never ends, told to stop so many times.
fn stopped(times: usize) -> (ExitStatus, String) {
    let world = World::start().unwrap();
    let mut node = world.online_node(&AgentOptions::default()).unwrap();
    let strace = hold_syncs(&node);
    let command = commands::send_script(&world.api, &[&node.id], "true", &Value::Null).unwrap();
    // It has arrived, and what follows from it cannot become durable: the link lives on.
    until("the command is held", PATIENCE, || {
        let status = node.agent.status()?;
        let held = status.pointer("/commands").and_then(Value::as_array);
        Ok(held.is_some_and(|held| held.len() == 1).then_some(()))
    })
    .unwrap();
    let pid = Pid::from_raw(i32::try_from(node.agent.id().unwrap()).unwrap()).unwrap();
    let log = world.path("agent-1.log");
    for _ in 0..times {
        kill_process(pid, Signal::TERM).unwrap();
        // Two at once could be one.
        until("it was told to stop", PATIENCE, || {
            let log = std::fs::read_to_string(&log)?;
            Ok(log.contains("told to stop").then_some(()))
        })
        .unwrap();
    }
    until("it ends", PATIENCE, || {
        let log = std::fs::read_to_string(&log)?;
        Ok(log
            .contains("ended before everything was on disk")
            .then_some(()))
    })
    .unwrap();
    // The kernel gives a traced thread's end to its tracer first.
    drop(strace);
    let status = until("it has ended", PATIENCE, || node.agent.ended()).unwrap();
    let log = std::fs::read_to_string(&log).unwrap();
    // Nothing was told that was not durable, so nothing is lost: the command still comes.
    node.agent.kill().unwrap();
    node.agent.start().unwrap();
    let ended = commands::finished(&world.api, &command, &node.id).unwrap();
    assert_eq!(text(&ended, "Status"), "Success", "{ended}");
    (status, log)
}

#[test]
fn a_disk_that_does_not_answer_does_not_keep_the_agent_from_ending() {
    let (status, log) = stopped(1);
    assert_eq!(status.code(), Some(1));
    assert!(
        log.contains("because the disk took longer than 15 s"),
        "{log}"
    );
}

#[test]
fn a_second_stop_ends_it_at_once() {
    let (status, log) = stopped(2);
    assert_eq!(status.code(), Some(1));
    assert!(log.contains("because it was told to stop twice"), "{log}");
}
