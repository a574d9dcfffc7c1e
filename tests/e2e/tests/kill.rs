//! `kill -9` of agents and of the bridge under load, at moments that the seed picks.
//! Never believes a program about itself: scripts leave marks, and what the API once showed must stay.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test fails by panicking"
)]

use holdfast_e2e::commands::{self, Marks, text};
use holdfast_e2e::figures::{self, Bound};
use holdfast_e2e::{AgentOptions, ApiFailure, Node, PATIENCE, Random, World, cases, say, until};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::thread::park_timeout;
use std::time::{Duration, Instant};

/// A node remembers 1,024 commands until they have expired: the test sends about three for each kill.
const KILLS_A_NODE: usize = 250;

/// Every command that was sent, and what the API has shown of it.
struct Load {
    world: World,
    marks: Marks,
    /// By the mark that its script leaves: command and node. `None` where the bridge died before it
    /// answered, so that nobody knows whether it took the command.
    sent: BTreeMap<String, Option<(String, String)>>,
    /// Ends that were shown; nothing may replace them.
    shown: BTreeMap<String, String>,
}

impl Load {
    fn new() -> Self {
        let world = World::start().unwrap();
        let marks = Marks::at(world.path("marks"));
        Self {
            world,
            marks,
            sent: BTreeMap::new(),
            shown: BTreeMap::new(),
        }
    }

    /// Sends a script that leaves its mark, then takes `seconds`.
    fn send(&mut self, node: &str, seconds: f64) {
        let mark = format!("m{}", self.sent.len());
        let script = format!("{}; sleep {seconds}", self.marks.line(&mark));
        let sent = commands::send_script(&self.world.api, &[node], &script, &Value::Null);
        self.sent
            .insert(mark, Some((sent.unwrap(), node.to_owned())));
    }

    /// Sends to each of these while the bridge is killed at some moment.
    fn send_while_killed(&mut self, nodes: &[String], random: &mut Random) {
        let first = self.sent.len();
        let (api, marks) = (self.world.api.clone(), self.marks.clone());
        let targets = nodes.to_vec();
        let sender = std::thread::spawn(move || {
            let send = |(at, node): (usize, String)| {
                let mark = format!("m{}", first + at);
                let script = format!("{}; sleep 0.1", marks.line(&mark));
                let sent = commands::send_script(&api, &[&node], &script, &Value::Null);
                if let Err(error) = &sent {
                    // Refused by a bridge that lives would hide a fault of this test.
                    assert!(error.downcast_ref::<ApiFailure>().is_none(), "{error}");
                }
                (mark, sent.ok().map(|command| (command, node)))
            };
            targets
                .into_iter()
                .enumerate()
                .map(send)
                .collect::<Vec<_>>()
        });
        pause(random, 300);
        self.world.bridge.kill().unwrap();
        self.sent.extend(sender.join().unwrap());
    }

    /// Notes the ends that the API shows now, and that none has changed.
    fn look(&mut self) {
        for invocation in commands::invocations(&self.world.api, &Value::Null).unwrap() {
            let status = text(&invocation, "Status");
            // The API has no status for what was interrupted; the reason says it.
            let details = match text(&invocation, "TraceOutput") {
                reason if reason.starts_with("Interrupted: ") => "Interrupted",
                _ => text(&invocation, "StatusDetails"),
            };
            if commands::is_terminal(status) {
                let command = text(&invocation, "CommandId").to_owned();
                let before = self.shown.insert(command, details.to_owned());
                assert!(
                    before.is_none_or(|before| before == details),
                    "{invocation}"
                );
            }
        }
    }

    fn open(&self) -> usize {
        let sent = self.sent.values().flatten();
        sent.filter(|(command, _)| !self.shown.contains_key(command))
            .count()
    }

    /// Waits until every command has ended, then checks all of them.
    fn settle(&mut self) {
        until("every command has ended", PATIENCE * 3, || {
            self.look();
            Ok((self.open() == 0).then_some(()))
        })
        .unwrap();
        let ends = self.shown.clone();
        self.look();
        assert_eq!(ends, self.shown, "an end was replaced");
        let counts = self.marks.counts().unwrap();
        let mut by_end = BTreeMap::<&str, usize>::new();
        let (mut twice, mut never_ran) = (Vec::new(), Vec::new());
        for (mark, sent) in &self.sent {
            let runs = counts.get(mark).copied().unwrap_or(0);
            if runs > 1 {
                twice.push(mark);
            }
            let Some((command, _)) = sent else { continue };
            let end = self.shown[command].as_str();
            *by_end.entry(end).or_default() += 1;
            match end {
                "Success" if runs == 0 => never_ran.push(mark),
                // The agent died in it, and nobody can know how far it came.
                "Success" | "Interrupted" => {}
                other => panic!("{mark} ended {other}"),
            }
        }
        say(format!("{} commands: {by_end:?}", self.sent.len()));
        let none = Bound::Exactly(0.0);
        // Each of them has an end, and none of those that were shown is another now: see above.
        figures::record("acknowledged results lost", 0.0, "", none);
        figures::record("commands started twice", twice.len() as f64, "", none);
        assert!(twice.is_empty(), "{twice:?} were started more than once");
        assert!(never_ran.is_empty(), "{never_ran:?} are told a success");
    }
}

/// What the running agent says of itself: nothing to run, nothing to tell.
fn is_idle(status: &Value) -> bool {
    status["commands"] == json!([]) && status["queues"][0]["records"] == 0
}

/// What the agent's disk says about its commands after a kill. That a result was acknowledged is
/// made durable late: an idle agent's disk looks as if it had results to tell.
fn states(status: &Value) -> Vec<&'static str> {
    let commands = status["commands"].as_array().cloned().unwrap_or_default();
    let any = |state: &str| {
        commands
            .iter()
            .any(|command| text(command, "state") == state)
    };
    let unacknowledged = status["queues"][0]["records"].as_u64().unwrap_or(0) > 0;
    let mut found = Vec::new();
    if any("Pending") {
        found.push("held, not begun");
    }
    if any("InProgress") {
        found.push("in progress");
    }
    if unacknowledged && commands.is_empty() {
        found.push("finished, not acknowledged");
    }
    found
}

/// Brings the agent near one of the states, so that each is met; the moment within is the seed's.
fn approach(load: &mut Load, random: &mut Random, node: &Node, state: usize) {
    match state {
        // More than run at once: some wait.
        0 => (0..7).for_each(|_| load.send(&node.id, 0.2)),
        1 => (0..2).for_each(|_| load.send(&node.id, 0.3)),
        // They end while nobody can be told.
        2 => {
            let before = load.marks.all().unwrap().len();
            (0..2).for_each(|_| load.send(&node.id, 0.05));
            until("both have begun", PATIENCE, || {
                Ok((load.marks.all()?.len() >= before + 2).then_some(()))
            })
            .unwrap();
            load.world.link.cut();
            until("the agent holds results only", PATIENCE, || {
                let status = node.agent.status()?;
                Ok((status["commands"] == json!([])).then_some(()))
            })
            .unwrap();
        }
        _ => {
            load.send(&node.id, 0.0);
            until("nothing is left to do", PATIENCE, || {
                load.look();
                Ok((load.open() == 0 && is_idle(&node.agent.status()?)).then_some(()))
            })
            .unwrap();
        }
    }
    pause(random, 250);
}

/// Up to so many milliseconds: the moment of the kill is what this test varies.
fn pause(random: &mut Random, milliseconds_max: usize) {
    let end = Instant::now() + Duration::from_millis(random.below(milliseconds_max) as u64);
    while let Some(left) = end.checked_duration_since(Instant::now()) {
        park_timeout(left);
    }
}

#[test]
fn killed_agents_lose_nothing_and_start_nothing_twice() {
    let kills = cases(12, 1000);
    let mut random = Random::of("killed_agents_lose_nothing_and_start_nothing_twice");
    let mut load = Load::new();
    let mut nodes = load
        .world
        .nodes(kills.div_ceil(KILLS_A_NODE), &AgentOptions::default())
        .unwrap();
    let mut node = nodes.pop().unwrap();
    node.agent.start().unwrap();
    load.world.until_online(&node.id, true).unwrap();
    let mut met = BTreeMap::<&str, usize>::new();
    for kill in 0..kills {
        if kill > 0 && kill % KILLS_A_NODE == 0 {
            load.settle();
            node = nodes.pop().unwrap();
            node.agent.start().unwrap();
            load.world.until_online(&node.id, true).unwrap();
            say(format!("{kill} of {kills} kills"));
        }
        approach(&mut load, &mut random, &node, kill % 4);
        let idle = is_idle(&node.agent.status().unwrap());
        node.agent.kill().unwrap();
        let disk = node.agent.status().unwrap();
        for state in if idle { vec!["idle"] } else { states(&disk) } {
            *met.entry(state).or_default() += 1;
        }
        load.world.link.restore();
        node.agent.start().unwrap();
        load.world.until_online(&node.id, true).unwrap();
        load.look();
    }
    load.settle();
    figures::record("kill -9 of the agent", kills as f64, "", Bound::None);
    say(format!(
        "{kills} kills of the agent, states on disk at the kill: {met:?}"
    ));
    let least = if kills >= 100 { 5 } else { 1 };
    for state in [
        "held, not begun",
        "in progress",
        "finished, not acknowledged",
        "idle",
    ] {
        let times = met.get(state).copied().unwrap_or(0);
        assert!(
            kills < 12 || times >= least,
            "{state}: met {times} times of {least}"
        );
    }
}

#[test]
fn what_a_killed_agent_left_running_is_ended_before_it_is_told_to_be_interrupted() {
    let world = World::start().unwrap();
    let mut node = world.online_node(&AgentOptions::default()).unwrap();
    let marks = Marks::at(world.path("marks"));
    // The step's leader and another of its group, which asks for no mercy.
    let script = format!(
        "echo told; (trap '' TERM; {}; while :; do sleep 0.05; done) & {}; sleep 1000",
        marks.line("other $(sh -c 'echo $PPID')"),
        marks.line("leader $$"),
    );
    let command = commands::send_script(&world.api, &[&node.id], &script, &Value::Null).unwrap();
    let pids = until("both of the step run", PATIENCE, || {
        let lines = marks.all()?;
        let pids = lines.iter().filter_map(|line| line.rsplit_once(' '));
        let pids: Vec<String> = pids.map(|(_, pid)| pid.to_owned()).collect();
        Ok((pids.len() == 2).then_some(pids))
    })
    .unwrap();
    let runs = |pid: &String| {
        let stat = std::fs::read_to_string(format!("/proc/{pid}/stat"));
        stat.is_ok_and(|stat| !stat.contains(") Z "))
    };
    node.agent.kill().unwrap();
    assert!(pids.iter().all(runs), "a kill of the agent spares them");
    node.agent.start().unwrap();
    let ended = commands::finished(&world.api, &command, &node.id).unwrap();
    assert!(!pids.iter().any(runs), "they run after {ended}");
    assert_eq!(text(&ended, "Status"), "Failed");
    // What a step wrote is recorded when it ends, and this one never did.
    assert_eq!(text(&ended, "StandardOutputContent"), "");
    let next = commands::send_script(&world.api, &[&node.id], "true", &Value::Null).unwrap();
    let next = commands::finished(&world.api, &next, &node.id).unwrap();
    assert_eq!(text(&next, "Status"), "Success");
    let again = commands::invocation(&world.api, &command, &node.id).unwrap();
    assert_eq!(again, ended, "it is told once");
    assert_eq!(marks.all().unwrap().len(), 2, "it was begun once");
}

#[test]
fn a_killed_bridge_loses_nothing_and_starts_nothing_twice() {
    let kills = cases(12, 200);
    let mut random = Random::of("a_killed_bridge_loses_nothing_and_starts_nothing_twice");
    let mut load = Load::new();
    let mut nodes = load.world.nodes(3, &AgentOptions::default()).unwrap();
    for node in &mut nodes {
        node.agent.start().unwrap();
        load.world.until_online(&node.id, true).unwrap();
    }
    let ids: Vec<String> = nodes.iter().map(|node| node.id.clone()).collect();
    let mut met = BTreeMap::<String, usize>::new();
    for _ in 0..kills {
        let mut targets = |count: usize| -> Vec<String> {
            let some = 0..random.below(count);
            some.filter_map(|_| random.of_these(&ids).cloned())
                .collect()
        };
        let (before, during) = (targets(6), targets(10));
        for target in before {
            load.send(&target, 0.1);
        }
        load.send_while_killed(&during, &mut random);
        load.world.bridge.restart().unwrap();
        // As the bridge finds it: nobody is back yet, so nothing has moved.
        for invocation in commands::invocations(&load.world.api, &Value::Null).unwrap() {
            if !load.shown.contains_key(text(&invocation, "CommandId")) {
                *met.entry(text(&invocation, "StatusDetails").to_owned())
                    .or_default() += 1;
            }
        }
        load.look();
        for id in &ids {
            load.world.until_online(id, true).unwrap();
        }
    }
    load.settle();
    let unanswered = load.sent.values().filter(|sent| sent.is_none()).count();
    figures::record("kill -9 of the bridge", kills as f64, "", Bound::None);
    say(format!(
        "{kills} kills of the bridge, invocations found after them: {met:?}; {unanswered} sends unanswered"
    ));
}
