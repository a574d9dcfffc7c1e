//! Bad input at the command lines: a clear error with the next step, the documented exit code, and
//! nothing lost.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test fails by panicking"
)]

use holdfast_e2e::commands::{self, text};
use holdfast_e2e::{Activation, Agent, AgentOptions, BridgeOptions, Exit, World, until};
use serde_json::{Value, json};
use std::net::SocketAddr;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::process::Command;
use std::time::Duration;

/// Exit codes of the agent, as its help states them.
const FAILED: i32 = 1;
const USAGE: i32 = 2;
const UNREACHABLE: i32 = 4;
const DENIED: i32 = 5;

fn register(agent: &Agent, bridge: SocketAddr, activation: &Activation, more: &[&str]) -> Exit {
    let bridge = format!("mqtts://{bridge}");
    let arguments = [
        "register",
        "--bridge",
        &bridge,
        "--activation-id",
        &activation.id,
        "--activation-code",
        &activation.code,
        "--ca-sha256",
        &activation.ca_sha256,
    ];
    agent.verb(&[&arguments, more].concat()).unwrap()
}

/// It failed with this code and says each of these.
fn says(exit: &Exit, code: i32, words: &[&str]) {
    assert_eq!(exit.code, code, "{exit:?}");
    for word in words {
        assert!(
            exit.stderr.contains(word),
            "`{word}` is not in: {}",
            exit.stderr
        );
    }
    assert!(!exit.stderr.contains("panicked"), "{}", exit.stderr);
}

#[test]
fn a_wrong_activation_is_refused_and_a_right_one_still_works() {
    let world = World::start().unwrap();
    let agent = world.stranger("agent", AgentOptions::default());
    let activation = world.bridge.activation(&[]).unwrap();
    let with = |change: fn(&mut Activation)| {
        let mut wrong = activation.clone();
        change(&mut wrong);
        wrong
    };
    let wrong = with(|wrong| wrong.code = "0".repeat(32));
    let refused = register(&agent, world.bridge.mqtt, &wrong, &[]);
    says(&refused, DENIED, &["the bridge refuses", "activation"]);
    assert!(!refused.stderr.contains(&wrong.code), "the code is shown");
    let wrong = with(|wrong| wrong.id = "11111111-2222-4333-8444-555555555555".into());
    says(
        &register(&agent, world.bridge.mqtt, &wrong, &[]),
        DENIED,
        &["the bridge refuses"],
    );
    let wrong = with(|wrong| wrong.ca_sha256 = "0".repeat(64));
    let refused = register(&agent, world.bridge.mqtt, &wrong, &[]);
    says(&refused, DENIED, &["--ca-sha256", "activation create"]);
    let wrong = with(|wrong| wrong.ca_sha256 = "12".into());
    says(
        &register(&agent, world.bridge.mqtt, &wrong, &[]),
        USAGE,
        &["64 hexadecimal digits"],
    );
    let nowhere = SocketAddr::from(([127, 0, 0, 1], 9));
    says(
        &register(&agent, nowhere, &activation, &[]),
        UNREACHABLE,
        &["127.0.0.1:9"],
    );
    // Nothing of all that was held against it.
    let registered = register(&agent, world.bridge.mqtt, &activation, &[]);
    assert_eq!(registered.code, 0, "{registered:?}");
}

#[test]
fn a_used_up_or_expired_activation_and_a_second_registration_are_refused() {
    let world = World::start().unwrap();
    let activation = world.bridge.activation(&["--limit", "1"]).unwrap();
    let first = world.stranger("first", AgentOptions::default());
    let id = first.register(world.bridge.mqtt, &activation).unwrap();
    let second = world.stranger("second", AgentOptions::default());
    let refused = register(&second, world.bridge.mqtt, &activation, &[]);
    says(&refused, DENIED, &["the bridge refuses", "activation"]);
    let again = register(&first, world.bridge.mqtt, &activation, &[]);
    says(&again, FAILED, &[&id, "--force", "--state-dir"]);
    let brief = world.bridge.activation(&["--expires", "1s"]).unwrap();
    let refused = until(
        "the activation has expired",
        Duration::from_secs(20),
        || {
            let late = world.stranger("late", AgentOptions::default());
            let exit = register(&late, world.bridge.mqtt, &brief, &["--force"]);
            Ok((exit.code != 0).then_some(exit))
        },
    );
    // It may have been used up before it expired: both are refusals of the same kind.
    says(&refused.unwrap(), DENIED, &["the bridge refuses"]);
    // With --force the first becomes another node.
    let fresh = world.bridge.activation(&[]).unwrap();
    let forced = register(&first, world.bridge.mqtt, &fresh, &["--force", "--json"]);
    assert_eq!(forced.code, 0, "{forced:?}");
    assert!(!forced.stdout.contains(&id), "{forced:?}");
}

#[test]
fn an_unknown_document_and_a_wrong_parameter_are_refused_by_name() {
    let world = World::start().unwrap();
    let node = world.nodes(1, &AgentOptions::default()).unwrap().remove(0);
    let refusal = |input: &Value| {
        let error = world.api.call("SendCommand", input).unwrap_err();
        error.to_string()
    };
    let found = refusal(&json!({"DocumentName": "No-Such-Document", "InstanceIds": [node.id]}));
    assert!(found.starts_with("InvalidDocument"), "{found}");
    let found = refusal(
        &json!({"DocumentName": "AWS-RunShellScript", "InstanceIds": [node.id],
        "Parameters": {"commandz": ["true"]}}),
    );
    assert!(
        found.starts_with("InvalidParameters") && found.contains("commandz"),
        "{found}"
    );
    let listed = commands::invocations(&world.api, &Value::Null).unwrap();
    assert!(listed.is_empty(), "{listed:?}");
}

#[test]
fn one_process_a_state_directory() {
    let world = World::start().unwrap();
    let node = world.online_node(&AgentOptions::default()).unwrap();
    let second = node.agent.verb(&["run"]).unwrap();
    says(
        &second,
        FAILED,
        &["another agent uses the state directory", "--state-dir"],
    );
    let second = world
        .bridge
        .verb(&["serve", "--http", "127.0.0.1:0", "--mqtt", "127.0.0.1:0"])
        .unwrap();
    says(&second, FAILED, &["already", "--state-dir"]);
    let activation = world.bridge.activation(&[]).unwrap();
    let forced = register(&node.agent, world.bridge.mqtt, &activation, &["--force"]);
    says(&forced, FAILED, &["another agent uses the state directory"]);
    // The first ones were not disturbed.
    let command = commands::send_script(&world.api, &[&node.id], "true", &Value::Null).unwrap();
    let invocation = commands::finished(&world.api, &command, &node.id).unwrap();
    assert_eq!(text(&invocation, "Status"), "Success");
}

#[test]
fn http_beyond_this_machine_needs_the_flag_that_says_what_it_risks() {
    let world = World::start().unwrap();
    let exit = Exit::of(
        Command::new(&world.binaries.bridge)
            .args([
                "serve",
                "--http",
                "0.0.0.0:0",
                "--mqtt",
                "127.0.0.1:0",
                "--state-dir",
            ])
            .arg(world.path("other")),
    )
    .unwrap();
    says(&exit, USAGE, &["not encrypted", "--insecure-http-address"]);
    assert!(!world.path("other").exists(), "it has begun all the same");
}

#[test]
fn each_program_refuses_the_others_directory_and_what_is_no_backup() {
    let world = World::start().unwrap();
    let activation = world.bridge.activation(&[]).unwrap();
    let on_the_bridges = Agent::new(
        &world.binaries,
        world.bridge.state_dir(),
        AgentOptions::default(),
    );
    let refused = register(&on_the_bridges, world.bridge.mqtt, &activation, &[]);
    says(
        &refused,
        FAILED,
        &["a bridge's state directory", "--state-dir"],
    );
    let agent = world.stranger("agent", AgentOptions::default());
    let refused = register(&agent, world.bridge.http, &activation, &[]);
    says(&refused, UNREACHABLE, &["does not speak TLS", "--mqtt"]);
    agent.register(world.bridge.mqtt, &activation).unwrap();
    let bridge = |words: &[&str]| {
        let mut command = Command::new(&world.binaries.bridge);
        Exit::of(
            command
                .args(words)
                .arg("--state-dir")
                .arg(agent.state_dir()),
        )
        .unwrap()
    };
    let serve = ["serve", "--http", "127.0.0.1:0", "--mqtt", "127.0.0.1:0"];
    for words in [&serve[..], &["access-key", "list"]] {
        says(&bridge(words), FAILED, &["an agent's state directory"]);
    }
    let nosuch = world.path("nosuch");
    let restored = world
        .bridge
        .verb(&["restore", &nosuch.display().to_string()]);
    says(
        &restored.unwrap(),
        FAILED,
        &["holds no holdfast.db", "`backup` made"],
    );
}

#[test]
fn a_state_directory_of_a_newer_agent_is_left_alone() {
    let world = World::start().unwrap();
    let node = world.nodes(1, &AgentOptions::default()).unwrap().remove(0);
    let path = node.agent.state_dir().join("identity.json");
    let old = std::fs::read_to_string(&path).unwrap();
    let newer = old.replace("\"version\": 1", "\"version\": 99");
    assert_ne!(old, newer);
    std::fs::write(&path, &newer).unwrap();
    for verb in ["run", "status"] {
        says(
            &node.agent.verb(&[verb]).unwrap(),
            FAILED,
            &["99", "newer agent"],
        );
    }
    let activation = world.bridge.activation(&[]).unwrap();
    let forced = register(&node.agent, world.bridge.mqtt, &activation, &["--force"]);
    says(&forced, FAILED, &["newer agent"]);
    assert_eq!(std::fs::read_to_string(&path).unwrap(), newer);
}

#[test]
fn a_state_directory_that_cannot_be_used_is_named() {
    let world = World::start().unwrap();
    let file = world.path("a-file");
    std::fs::write(&file, "").unwrap();
    let agent = Agent::new(
        &world.binaries,
        &file.join("state"),
        AgentOptions::default(),
    );
    let activation = world.bridge.activation(&[]).unwrap();
    let refused = register(&agent, world.bridge.mqtt, &activation, &[]);
    says(&refused, FAILED, &["a-file/state", "--state-dir"]);
    let unregistered = world.stranger("unregistered", AgentOptions::default());
    std::fs::create_dir(unregistered.state_dir()).unwrap();
    says(
        &unregistered.verb(&["run"]).unwrap(),
        FAILED,
        &["register this node first", "activation create"],
    );
    let exit = Exit::of(
        Command::new(&world.binaries.bridge)
            .args([
                "serve",
                "--http",
                "127.0.0.1:0",
                "--mqtt",
                "127.0.0.1:0",
                "--state-dir",
            ])
            .arg(file.join("bridge")),
    )
    .unwrap();
    says(&exit, FAILED, &["a-file/bridge"]);
}

#[test]
fn a_state_directory_that_others_can_write_is_refused_and_left_as_it_is() {
    let world = World::start().unwrap();
    let agent = world.stranger("shared", AgentOptions::default());
    let path = agent.state_dir().to_owned();
    let mode = |bits| std::fs::set_permissions(&path, std::fs::Permissions::from_mode(bits));
    std::fs::create_dir(&path).unwrap();
    mode(0o777).unwrap();
    let activation = world.bridge.activation(&["--limit", "1"]).unwrap();
    let refused = register(&agent, world.bridge.mqtt, &activation, &[]);
    says(&refused, FAILED, &["0777", "chmod go-w", "--state-dir"]);
    assert_eq!(std::fs::read_dir(&path).unwrap().count(), 0);
    mode(0o755).unwrap();
    agent.register(world.bridge.mqtt, &activation).unwrap();
    assert_eq!(std::fs::metadata(&path).unwrap().mode() & 0o777, 0o755);
    mode(0o775).unwrap();
    says(
        &agent.verb(&["run"]).unwrap(),
        FAILED,
        &["0775", "chmod go-w"],
    );
}

/// Words before a program that give it mounts of its own, which `script` makes before `exec "$@"`.
fn with_mounts(script: &str) -> AgentOptions {
    let mut wrapper = vec!["unshare".to_owned()];
    if !rustix::process::geteuid().is_root() {
        wrapper.extend(["--user", "--map-root-user"].map(str::to_owned));
    }
    wrapper.extend(["--mount", "sh", "-c", script, "sh"].map(str::to_owned));
    AgentOptions {
        wrapper,
        ..AgentOptions::default()
    }
}

/// The disk has room for the key, and none for what the bridge sends back.
#[test]
fn a_disk_that_fills_up_before_the_reply_loses_nothing() {
    let world = World::start().unwrap();
    let activation = world.bridge.activation(&["--limit", "1"]).unwrap();
    let full = world.path("filling");
    std::fs::create_dir(&full).unwrap();
    let script = format!(
        "mount -t tmpfs -o size=4k,mode=700 tmpfs '{0}'; \"$@\" && exit 70; \
         mount -o remount,size=1m '{0}'; exec \"$@\"",
        full.display()
    );
    let agent = Agent::new(&world.binaries, &full, with_mounts(&script));
    let twice = register(&agent, world.bridge.mqtt, &activation, &[]);
    says(&twice, 0, &["identity.json", "have room"]);
    assert!(twice.stdout.contains("Registered as mi-"), "{twice:?}");
    let known = world
        .api
        .call("DescribeInstanceInformation", &json!({}))
        .unwrap();
    assert_eq!(
        known["InstanceInformationList"].as_array().unwrap().len(),
        1
    );
}

#[test]
fn a_read_only_state_directory_is_named_and_the_activation_is_not_used_up() {
    let world = World::start().unwrap();
    let activation = world.bridge.activation(&["--limit", "1"]).unwrap();
    let path = world.path("read-only");
    std::fs::create_dir(&path).unwrap();
    let script = format!(
        "mount -t tmpfs -o ro,mode=700 tmpfs '{}'; exec \"$@\"",
        path.display()
    );
    let agent = Agent::new(&world.binaries, &path, with_mounts(&script));
    let refused = register(&agent, world.bridge.mqtt, &activation, &[]);
    says(
        &refused,
        FAILED,
        &["read-only/lock", "Read-only file system"],
    );
    let healthy = world.stranger("healthy", AgentOptions::default());
    healthy.register(world.bridge.mqtt, &activation).unwrap();
}

/// Mounts need root in a namespace of mounts: the verb runs within one of its own.
#[test]
fn a_full_disk_is_named_and_the_activation_is_not_used_up() {
    let world = World::with(BridgeOptions::default()).unwrap();
    let activation = world.bridge.activation(&["--limit", "1"]).unwrap();
    let full = world.path("full");
    std::fs::create_dir(&full).unwrap();
    let script = format!(
        "mount -t tmpfs -o size=16k tmpfs '{0}' && head -c 1000000 /dev/zero > '{0}/ballast'; exec \"$@\"",
        full.display()
    );
    let options = with_mounts(&script);
    let agent = Agent::new(&world.binaries, &full.join("state"), options);
    let refused = register(&agent, world.bridge.mqtt, &activation, &[]);
    says(&refused, FAILED, &["full/state", "room"]);
    let healthy = world.stranger("healthy", AgentOptions::default());
    healthy.register(world.bridge.mqtt, &activation).unwrap();
}
