//! A whole machine: enrolled over its network, driven, killed in the middle of a command.
//! Never believes the agent about itself: scripts leave marks on the host.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test fails by panicking"
)]

use holdfast_e2e::commands::{self, text};
use holdfast_e2e::{PATIENCE, World, say, until};
use holdfast_guest::{Guest, Parts, Witness};
use serde_json::Value;

#[test]
fn a_machine_enrols_executes_and_survives_a_kill_of_qemu_mid_command() {
    let test = "a_machine_enrols_executes_and_survives_a_kill_of_qemu_mid_command";
    let Some(parts) = Parts::find(test) else {
        return;
    };
    let world = World::start().unwrap();
    let witness = Witness::start(|| 0).unwrap();
    let mut guest = Guest::new(&parts, &world.path("guest")).unwrap();
    let booted = guest.boot().unwrap();
    say(format!("{test}: up after {:.1} s", booted.as_secs_f64()));

    let activation = world.bridge.activation(&[]).unwrap();
    let node = guest.register(world.link.address(), &activation).unwrap();
    guest.start_agent().unwrap();
    world.until_online(&node, true).unwrap();
    let send = |script: &str| commands::send_script(&world.api, &[&node], script, &Value::Null);
    let greeting = send("uname -m; echo held").unwrap();
    let ended = commands::finished(&world.api, &greeting, &node).unwrap();
    assert_eq!(text(&ended, "Status"), "Success", "{ended}");
    assert_eq!(text(&ended, "StandardOutputContent"), "aarch64\nheld\n");

    // Killed in the middle of it, and with two that wait for the same machine.
    let script = |word: &str, seconds: u32| format!("{}; sleep {seconds}", witness.line(word));
    let cut_short = send(&script("cut-short", 3600)).unwrap();
    until("the script runs", PATIENCE, || {
        Ok((witness.times("cut-short") == 1).then_some(()))
    })
    .unwrap();
    guest.kill().unwrap();
    world.until_online(&node, false).unwrap();
    let later = send(&script("later", 0)).unwrap();
    guest.boot().unwrap();
    guest.start_agent().unwrap();
    let ended = commands::finished(&world.api, &cut_short, &node).unwrap();
    assert_eq!(text(&ended, "Status"), "Failed", "{ended}");
    let said =
        text(&ended, "StandardErrorContent").to_owned() + text(&ended, "StandardOutputContent");
    assert!(said.contains("Interrupted: "), "{ended}");
    let ended = commands::finished(&world.api, &later, &node).unwrap();
    assert_eq!(text(&ended, "Status"), "Success", "{ended}");
    guest.shut_down().unwrap();

    let words: Vec<String> = witness.marks().into_iter().map(|mark| mark.word).collect();
    assert_eq!(words, ["cut-short", "later"]);
}
