//! The real agent on journals that the medium damaged, one bit or one cut each: it always starts and says what
//! is missing. Never repairs anything by hand.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test fails by panicking"
)]

use holdfast_e2e::commands::{self, Gate, Marks};
use holdfast_e2e::figures::{self, Bound};
use holdfast_e2e::{Agent, AgentOptions, PATIENCE, Random, World, cases, say, until};
use serde_json::Value;
use std::path::{Path, PathBuf};

/// Results that wait in the journal.
const RESULTS: usize = 12;

/// The state directory of a node that ended with results to tell, and how many records those are.
fn template(world: &World) -> (PathBuf, u64) {
    let mut node = world.online_node(&AgentOptions::default()).unwrap();
    let gate = Gate::at(&world.path("gate"));
    let marks = Marks::at(world.path("marks"));
    for number in 0..RESULTS {
        // Output that imitates the journal's own records, magic and all.
        let script = format!(
            "{}; head -c 3000 '{}'/journal/*/segment-00000000; {}",
            gate.line(),
            node.agent.state_dir().display(),
            marks.line(&number.to_string())
        );
        commands::send_script(&world.api, &[&node.id], &script, &Value::Null).unwrap();
    }
    until("the agent holds every command", PATIENCE, || {
        let status = node.agent.status()?;
        let held = status["commands"].as_array().map_or(0, Vec::len);
        Ok((held == RESULTS).then_some(()))
    })
    .unwrap();
    world.link.cut();
    gate.open().unwrap();
    until("every command has ended", PATIENCE, || {
        let status = node.agent.status()?;
        Ok(status["commands"]
            .as_array()
            .is_some_and(Vec::is_empty)
            .then_some(()))
    })
    .unwrap();
    node.agent.kill().unwrap();
    let records = results(&node.agent.status().unwrap());
    assert!(records >= RESULTS as u64);
    (node.agent.state_dir().to_owned(), records)
}

fn results(status: &Value) -> u64 {
    status["queues"][0]["records"].as_u64().unwrap()
}

fn copy(from: &Path, to: &Path) {
    std::fs::create_dir(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let target = to.join(entry.file_name());
        let kind = entry.file_type().unwrap();
        if kind.is_dir() {
            copy(&entry.path(), &target);
        } else if kind.is_file() {
            std::fs::copy(entry.path(), &target).unwrap();
        }
    }
    let mode = std::fs::metadata(from).unwrap().permissions();
    std::fs::set_permissions(to, mode).unwrap();
}

/// Bytes looked at together.
const BLOCK: usize = 64;

/// The blocks of the journal's files in which something is written: segments are long and mostly empty.
fn used(state: &Path) -> Vec<(PathBuf, usize)> {
    let journals = std::fs::read_dir(state.join("journal")).unwrap();
    let journal = journals.map(|entry| entry.unwrap().path()).next().unwrap();
    let mut blocks = Vec::new();
    for entry in std::fs::read_dir(journal).unwrap() {
        let path = entry.unwrap().path();
        let bytes = std::fs::read(&path).unwrap();
        for (number, block) in bytes.chunks(BLOCK).enumerate() {
            if block.iter().any(|byte| *byte != 0) {
                blocks.push((path.clone(), number * BLOCK));
            }
        }
    }
    blocks.sort();
    blocks
}

/// Damages one place of what is used; says which.
fn damage(random: &mut Random, state: &Path, blocks: &[(PathBuf, usize)], flip: bool) -> String {
    let (file, block) = random.of_these(blocks).unwrap();
    let journals = std::fs::read_dir(state.join("journal")).unwrap();
    let journal = journals.map(|entry| entry.unwrap().path()).next().unwrap();
    let path = journal.join(file.file_name().unwrap());
    let mut bytes = std::fs::read(&path).unwrap();
    let at = (block + random.below(BLOCK)).min(bytes.len() - 1);
    if flip {
        bytes[at] ^= 1 << random.below(8);
    } else {
        bytes.truncate(at);
    }
    std::fs::write(&path, bytes).unwrap();
    format!("{} at {at}", path.file_name().unwrap().display())
}

/// What an agent makes of it.
struct Found {
    /// Results in the queue, damaged ones included.
    records: u64,
    /// Records that it found damaged, of any stream.
    damaged: u64,
    /// It says that the end of a stream, or the cursor, is gone.
    renewed: bool,
}

/// The number after the words that name what is damaged.
fn damaged(log: &str) -> u64 {
    let number = log.split_once("journal-damaged: ").map(|(_, rest)| {
        let digits = rest.split(' ').next().unwrap();
        digits.parse().unwrap()
    });
    number.unwrap_or(0)
}

/// Starts an agent on a directory until it answers; `None` when it ends instead.
fn start(world: &World, state: &Path) -> Option<Found> {
    let log = state.with_extension("log");
    let options = AgentOptions {
        // Nobody listens there.
        more: vec!["--bridge".into(), "mqtts://127.0.0.1:1".into()],
        log: Some(log.clone()),
        ..AgentOptions::default()
    };
    let mut agent = Agent::new(&world.binaries, state, options);
    agent.start().unwrap();
    let status = until("it answers or ends", PATIENCE, || {
        if agent.ended()?.is_some() {
            return Ok(Some(None));
        }
        if !state.join("control.sock").exists() {
            return Ok(None);
        }
        let status = agent.status().ok();
        Ok(status.filter(|status| status["running"] == true).map(Some))
    })
    .unwrap()?;
    agent.kill().unwrap();
    let said = std::fs::read_to_string(&log).unwrap();
    std::fs::remove_file(&log).unwrap();
    Some(Found {
        records: results(&status),
        damaged: damaged(&said),
        renewed: said.contains("outbox-renewed"),
    })
}

#[test]
fn an_agent_starts_on_every_damaged_journal_and_says_what_is_missing() {
    let mut random =
        Random::of("an_agent_starts_on_every_damaged_journal_and_says_what_is_missing");
    let world = World::start().unwrap();
    let (template, before) = template(&world);
    let (none, blocks) = (Bound::Exactly(0.0), used(&template));
    for (what, flip) in [("single-bit flips", true), ("truncations", false)] {
        let count = cases(20, 1000);
        let (mut dead, mut silent, mut most) = (0, 0, 0);
        let (mut damaged, mut renewed, mut hits) = (0, 0, 0);
        for number in 0..count {
            let state = world.path(&format!("{number}"));
            copy(&template, &state);
            let place = damage(&mut random, &state, &blocks, flip);
            match start(&world, &state) {
                None => {
                    dead += 1;
                    say(format!("{what}: {place}: the agent ended"));
                }
                Some(found) => {
                    damaged += u64::from(found.damaged > 0);
                    renewed += u64::from(found.renewed);
                    hits += u64::from(found.damaged > 0 || found.renewed);
                    most = most.max(found.damaged);
                    if found.records < before && found.damaged == 0 && !found.renewed {
                        silent += 1;
                        say(format!("{what}: {place}: {} of {before}", found.records));
                    }
                }
            }
            std::fs::remove_dir_all(&state).unwrap();
        }
        say(format!(
            "{what}: {damaged} agents named damaged records, {renewed} began a new life of the outbox"
        ));
        figures::record(what, count as f64, "", Bound::None);
        figures::record(
            &format!("{what} that the agent named"),
            hits as f64,
            "",
            Bound::None,
        );
        figures::record(&format!("{what}: not started"), f64::from(dead), "", none);
        figures::record(
            &format!("{what}: lost silently"),
            f64::from(silent),
            "",
            none,
        );
        if flip {
            let one = Bound::AtMost(1.0);
            figures::record("records damaged by one flip", most as f64, "", one);
            assert!(most <= 1, "{most} records damaged by a flip");
        }
        assert_eq!((dead, silent), (0, 0), "{what}");
    }
}
