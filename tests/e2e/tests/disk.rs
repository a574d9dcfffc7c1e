//! Disks that are full or read-only under a running or a starting agent: nothing is told that is not
//! durable, the reason is shown, commands are refused until it passes, and then all goes on.
//! Never touches a mount of this machine: the agent has mounts of its own, and they end with it.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test fails by panicking"
)]

use holdfast_e2e::commands::{self, Marks, text};
use holdfast_e2e::{Agent, AgentOptions, Exit, Node, PATIENCE, World, say, until};
use serde_json::{Value, json};
use std::path::Path;
use std::process::Command;
use std::time::Instant;

/// Words before the agent that give it a disk of its own over the parent of its state directory: what
/// `mount` makes of the image, which outlives the agent.
fn own_disk(world: &World, mount: &str) -> AgentOptions {
    let disk = world.path("disk");
    std::fs::create_dir(&disk).unwrap();
    let script = format!("{mount} '{}'; exec \"$@\"", disk.display());
    let wrapper = ["unshare", "--mount", "sh", "-e", "-c", &script, "sh"];
    AgentOptions {
        wrapper: wrapper.map(str::to_owned).to_vec(),
        log: Some(world.path("agent.log")),
        ..AgentOptions::default()
    }
}

/// Runs a script among the mounts of the running agent.
fn beside(node: &Node, script: &str) {
    let id = node.agent.id().unwrap().to_string();
    let mut command = Command::new("nsenter");
    command.args(["--target", &id, "--mount", "--", "sh", "-c", script]);
    Exit::of(&mut command).unwrap().success().unwrap();
}

/// The same disk, mounted once more in another way before the agent starts.
fn then_remounted(world: &World, options: &AgentOptions, how: &str) -> AgentOptions {
    let disk = world.path("disk").display().to_string();
    let then = format!("; mount -o remount,{how} '{disk}'; exec");
    let wrapper = options.wrapper.iter();
    AgentOptions {
        wrapper: wrapper.map(|word| word.replace("; exec", &then)).collect(),
        ..options.clone()
    }
}

/// `None` while the agent is being started.
fn status(node: &Node) -> Option<Value> {
    let id = node.agent.id().unwrap().to_string();
    let program = std::fs::read_link(format!("/proc/{id}/exe")).unwrap();
    if !program.ends_with("holdfast-agent") {
        return None;
    }
    let mut command = Command::new("nsenter");
    command.args(["--target", &id, "--mount", "--"]);
    command
        .arg(program)
        .args(["status", "--json", "--state-dir"]);
    let exit = Exit::of(command.arg(node.agent.state_dir())).unwrap();
    Some(serde_json::from_str(&exit.success().ok()?).unwrap())
}

fn until_disk(node: &Node, wanted: Option<&str>) -> Value {
    until("the status says how the disk is", PATIENCE, || {
        let Some(status) = status(node) else {
            return Ok(None);
        };
        let said = status["disk"].as_str();
        let is_so = match wanted {
            Some(words) => said.is_some_and(|why| why.contains(words)),
            None => said.is_none(),
        };
        Ok(is_so.then_some(status))
    })
    .unwrap()
}

/// Whether this test can be run at all: no one else may mount a disk image.
fn may_mount() -> bool {
    let root = rustix::process::geteuid().is_root();
    if !root {
        say("not run: only root may mount a disk image for the agent");
    }
    root
}

fn image(world: &World, mebibytes: u32) -> String {
    let image = world.path("disk.img");
    let file = std::fs::File::create(&image).unwrap();
    file.set_len(u64::from(mebibytes) << 20).unwrap();
    let mut make = Command::new("mkfs.ext4");
    make.args(["-q", "-m", "0"]).arg(&image);
    Exit::of(&mut make).unwrap().success().unwrap();
    image.display().to_string()
}

fn state_on(world: &World) -> std::path::PathBuf {
    world.path("disk").join("state")
}

fn online(world: &World, options: AgentOptions) -> Node {
    let activation = world.bridge.activation(&[]).unwrap();
    let mut agent = Agent::new(&world.binaries, Path::new(&state_on(world)), options);
    let id = agent.register(world.link.address(), &activation).unwrap();
    agent.start().unwrap();
    world.until_online(&id, true).unwrap();
    Node { id, agent }
}

/// Commands with much output, each with a mark of its own.
fn load(world: &World, node: &Node, marks: &Marks, count: usize) -> Vec<String> {
    (0..count)
        .map(|number| {
            let script = format!(
                "{}\nhead -c 100000 /dev/zero | tr '\\0' x",
                marks.line(&number.to_string())
            );
            commands::send_script(&world.api, &[&node.id], &script, &Value::Null).unwrap()
        })
        .collect()
}

fn each_ran_once(world: &World, node: &Node, marks: &Marks, commands: &[String]) {
    for command in commands {
        let ended = commands::finished(&world.api, command, &node.id).unwrap();
        assert_eq!(text(&ended, "Status"), "Success", "{ended}");
    }
    let counts = marks.counts().unwrap();
    assert_eq!(counts.len(), commands.len(), "{counts:?}");
    assert!(counts.values().all(|times| *times == 1), "{counts:?}");
}

#[test]
fn a_disk_that_fills_up_under_load_loses_nothing_and_is_used_again_when_it_has_room() {
    if !may_mount() {
        return;
    }
    let world = World::start().unwrap();
    let image = image(&world, 32);
    let node = online(
        &world,
        own_disk(&world, &format!("mount -o loop '{image}'")),
    );
    let marks = Marks::at(world.path("marks"));
    let disk = world.path("disk").display().to_string();
    beside(
        &node,
        &format!("cat /dev/zero > '{disk}/ballast' 2>/dev/null; true"),
    );
    let sent = load(&world, &node, &marks, 40);
    let shown = until_disk(&node, Some("device"));
    assert_eq!(shown["link"]["state"], "Online", "{shown}");
    beside(&node, &format!("rm '{disk}/ballast'"));
    let freed = Instant::now();
    until_disk(&node, None);
    say(format!(
        "written again {:.1} s after there was room",
        freed.elapsed().as_secs_f64()
    ));
    each_ran_once(&world, &node, &marks, &sent);
}

#[test]
fn a_disk_that_turns_read_only_under_the_agent_is_shown_and_the_link_lives_on() {
    if !may_mount() {
        return;
    }
    let world = World::start().unwrap();
    let image = image(&world, 64);
    let mut node = online(
        &world,
        own_disk(&world, &format!("mount -o loop '{image}'")),
    );
    let marks = Marks::at(world.path("marks"));
    let before = load(&world, &node, &marks, 1);
    each_ran_once(&world, &node, &marks, &before);
    let disk = world.path("disk").display().to_string();
    // As ext4 does by itself after an error of the device.
    beside(&node, &format!("mount -o remount,abort '{disk}'"));
    let open = load(&world, &node, &marks, 3);
    let shown = until_disk(&node, Some("Read-only"));
    assert_eq!(shown["link"]["state"], "Online", "{shown}");
    for command in &open {
        let open = commands::invocation(&world.api, command, &node.id).unwrap();
        assert!(!commands::is_terminal(text(&open, "Status")), "{open}");
    }
    assert_eq!(
        marks.all().unwrap().len(),
        1,
        "nothing began that is not durable"
    );
    // Only a new mount takes writes again. What was not durable was not told: it comes again.
    let stopped = node.agent.stop().unwrap().unwrap();
    assert_eq!(stopped.code(), Some(1));
    node.agent.start().unwrap();
    each_ran_once_more(&world, &node, &marks, &open);
}

/// The marks of a second load begin at 0 again.
fn each_ran_once_more(world: &World, node: &Node, marks: &Marks, commands: &[String]) {
    for command in commands {
        let ended = commands::finished(&world.api, command, &node.id).unwrap();
        assert_eq!(text(&ended, "Status"), "Success", "{ended}");
    }
    let counts = marks.counts().unwrap();
    assert_eq!(
        counts,
        [("0".into(), 2), ("1".into(), 1), ("2".into(), 1)].into()
    );
}

#[test]
fn an_agent_on_a_read_only_directory_connects_says_why_and_refuses_commands() {
    if !may_mount() {
        return;
    }
    let world = World::start().unwrap();
    let image = image(&world, 64);
    let options = own_disk(&world, &format!("mount -o loop '{image}'"));
    let mut node = online(&world, options.clone());
    node.agent.stop().unwrap();
    world.until_online(&node.id, false).unwrap();
    let disk = world.path("disk").display().to_string();
    let read_only = then_remounted(&world, &options, "ro");
    let state = state_on(&world);
    let mut agent = Agent::new(&world.binaries, &state, read_only);
    let id = node.id.clone();
    // Twice: what a hello brings is not on disk, and the next one is accepted all the same.
    for _ in 0..2 {
        agent.start().unwrap();
        world.until_online(&id, true).unwrap();
        let started = Node {
            id: id.clone(),
            agent,
        };
        let shown = until_disk(&started, Some("Read-only"));
        assert_eq!(shown["link"]["state"], "Online", "{shown}");
        agent = started.agent;
        agent.kill().unwrap();
        world.until_online(&id, false).unwrap();
    }
    agent.start().unwrap();
    world.until_online(&id, true).unwrap();
    let started = Node { id, agent };
    // The link breaks and comes back: still the token that is on disk.
    world.link.cut();
    world.until_online(&started.id, false).unwrap();
    world.link.restore();
    world.until_online(&started.id, true).unwrap();
    let marks = Marks::at(world.path("marks"));
    let sent = load(&world, &started, &marks, 2);
    until("every command is refused as busy", PATIENCE, || {
        let all = commands::invocations(&world.api, &json!({}))?;
        let delayed = all
            .iter()
            .filter(|one| text(one, "StatusDetails") == "Delayed");
        Ok((delayed.count() == sent.len()).then_some(()))
    })
    .unwrap();
    assert!(marks.all().unwrap().is_empty());
    beside(&started, &format!("mount -o remount,rw '{disk}'"));
    until_disk(&started, None);
    each_ran_once(&world, &started, &marks, &sent);
}

#[test]
fn an_agent_started_on_a_disk_that_met_an_error_waits_for_the_next_mount() {
    if !may_mount() {
        return;
    }
    let world = World::start().unwrap();
    let image = image(&world, 64);
    let options = own_disk(&world, &format!("mount -o loop '{image}'"));
    let mut node = online(&world, options.clone());
    node.agent.stop().unwrap();
    world.until_online(&node.id, false).unwrap();
    // Such a disk refuses every sync: nobody can say what of it a power cut would take.
    let failed = then_remounted(&world, &options, "abort");
    let mut agent = Agent::new(&world.binaries, &state_on(&world), failed);
    agent.start().unwrap();
    let id = node.id.clone();
    let mut started = Node { id, agent };
    let shown = until_disk(&started, Some("nothing connects"));
    assert_ne!(shown["link"]["state"], "Online", "{shown}");
    started.agent.stop().unwrap();
    node.agent.start().unwrap();
    world.until_online(&node.id, true).unwrap();
    until_disk(&node, None);
}
