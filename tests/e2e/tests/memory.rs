//! The agent in 16 MiB, with a long queue: it drains, and is never killed for its memory.
//! Never a limit on addresses (`RLIMIT_AS`): that counts what is mapped, not what is used.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test fails by panicking"
)]

use holdfast_e2e::figures::{self, Bound};
use holdfast_e2e::{AgentOptions, PATIENCE, World, cases, say, until};
use holdfast_journal::{Config, DirStorage, Journal, StreamId};
use holdfast_protocol::bounded::Bytes;
use holdfast_protocol::up::{OutputChunk, OutputStream, Record};
use std::path::{Path, PathBuf};
use std::time::Instant;

const LIMIT_BYTES: u64 = 16 << 20;
const QUEUE_BYTES: u64 = 64 << 20;
const MEBIBYTE: f64 = 1_048_576.0;

/// A control group with a limit of memory; gone when dropped.
struct Group {
    path: PathBuf,
    /// Of cgroup v1, else v2.
    first: bool,
}

impl Group {
    /// `None` where this machine lets nobody make one, or not this user.
    fn new() -> Option<Self> {
        let name = format!("holdfast-e2e-{}", std::process::id());
        for (root, first) in [("/sys/fs/cgroup/memory", true), ("/sys/fs/cgroup", false)] {
            let group = Self {
                path: Path::new(root).join(&name),
                first,
            };
            if std::fs::create_dir(&group.path).is_err() {
                continue;
            }
            let limit = if first {
                "memory.limit_in_bytes"
            } else {
                "memory.max"
            };
            let limited = std::fs::write(group.path.join(limit), LIMIT_BYTES.to_string());
            if limited.is_ok() {
                return Some(group);
            }
        }
        None
    }

    fn number(&self, first: &str, second: &str) -> u64 {
        let name = if self.first { first } else { second };
        let text = std::fs::read_to_string(self.path.join(name)).unwrap_or_default();
        text.trim().parse().unwrap_or(0)
    }

    /// The most that was used, files that the kernel keeps in memory included.
    fn peak_bytes(&self) -> u64 {
        self.number("memory.max_usage_in_bytes", "memory.peak")
    }

    /// Words before a program that put it into the group.
    fn wrapper(&self) -> Vec<String> {
        let script = format!(
            "echo $$ > '{}/cgroup.procs'; exec \"$@\"",
            self.path.display()
        );
        ["sh", "-ec", &script, "sh"].map(str::to_owned).to_vec()
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        // Its last process may be reaped a moment later than it ended.
        let _ = until("the group is empty", PATIENCE, || {
            Ok(std::fs::remove_dir(&self.path).ok())
        });
    }
}

/// Puts records into the journal of an agent that does not run, as it would have written them itself:
/// pieces of output of a command that the bridge has forgotten.
fn queue(state: &Path, node: &str, count: usize) {
    let mut config = Config::default();
    for stream in &mut config.streams {
        if stream.stream == StreamId::RESULT {
            stream.cap_bytes = QUEUE_BYTES;
        }
    }
    let storage = DirStorage::open(&state.join("journal").join(node)).unwrap();
    let (mut journal, _) = Journal::open(storage, &config, Box::new(|| 7)).unwrap();
    for number in 0..count {
        let chunk = OutputChunk {
            command: "11111111-2222-4333-8444-555555555555".parse().unwrap(),
            step: 0,
            stream: OutputStream::Stdout,
            offset: u32::try_from(number * 16).unwrap(),
            bytes: Bytes::new([b'x'; 16]).unwrap(),
        };
        let stored = Record::Output(chunk).to_stored().unwrap();
        journal.append(StreamId::RESULT, &stored).unwrap();
        if number % 64 == 63 {
            journal.sync().unwrap();
        }
    }
    journal.sync().unwrap();
}

#[test]
fn a_hundred_thousand_records_drain_within_16_mib() {
    let count = cases(3_000, 100_000);
    let name = format!("{count} records drained within 16 MiB");
    let Some(group) = Group::new() else {
        figures::not_run(
            &name,
            "this user may make no control group with a limit of memory",
        );
        return;
    };
    let world = World::start().unwrap();
    let queue_bytes = QUEUE_BYTES.to_string();
    let options = AgentOptions {
        more: vec!["--queue-bytes".into(), queue_bytes],
        wrapper: group.wrapper(),
        ..AgentOptions::default()
    };
    let mut node = world.online_node(&options).unwrap();
    node.agent.stop().unwrap();
    world.until_online(&node.id, false).unwrap();
    queue(node.agent.state_dir(), &node.id, count);
    node.agent.start().unwrap();
    let started = Instant::now();
    let mut most = 0;
    until("everything is acknowledged", PATIENCE * 10, || {
        assert_eq!(node.agent.ended()?, None, "the agent was killed");
        // Without it `status` would take the directory for a moment itself.
        if !node.agent.state_dir().join("control.sock").exists() {
            return Ok(None);
        }
        let status = node.agent.status()?;
        let waiting = status["queues"][0]["records"].as_u64().unwrap();
        most = most.max(waiting);
        Ok((most > 0 && waiting == 0 && status["link"]["state"] == "Online").then_some(()))
    })
    .unwrap();
    let seconds = started.elapsed().as_secs_f64();
    let peak = group.peak_bytes() as f64 / MEBIBYTE;
    say(format!(
        "{count} records: {seconds:.1} s; at most {peak:.2} MiB, kept files included"
    ));
    figures::record(&name, seconds, "s", Bound::None);
    figures::record("times the agent was killed", 0.0, "", Bound::Exactly(0.0));
    let resident = holdfast_e2e::resident_bytes(node.agent.id().unwrap()).unwrap() as f64;
    figures::record(
        "the agent, resident after it",
        resident / MEBIBYTE,
        "MiB",
        Bound::AtMost(16.0),
    );
    node.agent.stop().unwrap();
}
