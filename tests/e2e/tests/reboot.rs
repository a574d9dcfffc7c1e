//! A step that asks for a reboot: its agent dies with the machine, and goes on in the next boot.
//! Never reboots this machine: the agent runs among mounts of its own, where `shutdown` leaves a mark.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test fails by panicking"
)]

use holdfast_e2e::commands::{self, Marks, text};
use holdfast_e2e::{AgentOptions, PATIENCE, World, until};
use serde_json::Value;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

/// A machine as the agent sees it: which boot this is, and the programs that end it.
struct Machine {
    boot_id: PathBuf,
    programs: PathBuf,
    asked: Marks,
}

impl Machine {
    fn new(world: &World) -> Self {
        let machine = Self {
            boot_id: world.path("boot-id"),
            programs: world.path("sbin"),
            asked: Marks::at(world.path("asked")),
        };
        fs::create_dir(&machine.programs).unwrap();
        let shutdown = machine.programs.join("shutdown");
        let script = format!("#!/bin/sh\n{}\n", machine.asked.line("$*"));
        fs::write(&shutdown, script).unwrap();
        fs::set_permissions(&shutdown, fs::Permissions::from_mode(0o755)).unwrap();
        machine.boot(1);
        machine
    }

    /// The next process of the agent finds itself in this boot.
    fn boot(&self, number: u8) {
        let id = format!("{number:08x}-0000-4000-8000-000000000000\n");
        fs::write(&self.boot_id, id).unwrap();
    }

    /// Words before the agent. Where a mount is refused it is not started at all.
    fn wrapper(&self) -> Vec<String> {
        let mut words = vec!["unshare".to_owned()];
        if !rustix::process::geteuid().is_root() {
            words.extend(["--user".to_owned(), "--map-root-user".to_owned()]);
        }
        let inside = "set -e; mount --bind \"$1\" /proc/sys/kernel/random/boot_id; \
                      mount --bind \"$2\" \"$(readlink -f /sbin)\"; shift 2; exec \"$@\"";
        words.extend(["--mount", "--", "sh", "-c", inside, "sh"].map(str::to_owned));
        let path = |path: &Path| path.display().to_string();
        words.extend([path(&self.boot_id), path(&self.programs)]);
        words
    }

    fn until_asked(&self, times: usize) {
        until("the machine is told to reboot", PATIENCE, || {
            Ok((self.asked.all()?.len() == times).then_some(()))
        })
        .unwrap();
    }
}

#[test]
fn a_step_goes_on_after_the_reboot_that_it_asked_for() {
    let world = World::start().unwrap();
    let machine = Machine::new(&world);
    let options = AgentOptions {
        wrapper: machine.wrapper(),
        ..AgentOptions::default()
    };
    let mut node = world.online_node(&options).unwrap();
    let marks = Marks::at(world.path("marks"));
    let script = format!(
        "{mark}\nruns=$(wc -l < '{marks}')\necho \"out $runs\"\necho \"error $runs\" >&2\n\
         [ \"$runs\" -ge 3 ] || exit 194",
        mark = marks.line("ran"),
        marks = world.path("marks").display(),
    );
    let command = commands::send_script(&world.api, &[&node.id], &script, &Value::Null).unwrap();
    machine.until_asked(1);
    // The agent dies, but the machine does not go down: it is told again, and nothing runs again.
    node.agent.kill().unwrap();
    node.agent.start().unwrap();
    machine.until_asked(2);
    assert_eq!(marks.all().unwrap(), ["ran"]);
    node.agent.kill().unwrap();
    machine.boot(2);
    node.agent.start().unwrap();
    machine.until_asked(3);
    node.agent.kill().unwrap();
    machine.boot(3);
    node.agent.start().unwrap();
    let ended = commands::finished(&world.api, &command, &node.id).unwrap();
    assert_eq!(text(&ended, "Status"), "Success", "{ended}");
    assert_eq!(ended["ResponseCode"], 0);
    assert_eq!(
        text(&ended, "StandardOutputContent"),
        "out 1\nout 2\nout 3\n"
    );
    assert_eq!(
        text(&ended, "StandardErrorContent"),
        "error 1\nerror 2\nerror 3\n"
    );
    assert_eq!(marks.all().unwrap(), ["ran", "ran", "ran"]);
    assert_eq!(machine.asked.all().unwrap(), ["-r now"; 3]);
}
