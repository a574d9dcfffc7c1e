//! What an idle agent's disk is given to write, by the counters of a loop device with ext4: what flash wears by.
//! Never an hour's wait: the reports of a day are made to come within minutes, and counted each by itself.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test fails by panicking"
)]

use holdfast_e2e::figures::{self, Bound};
use holdfast_e2e::{Agent, AgentOptions, Exit, Node, PATIENCE, World, cases, say, until};
use std::path::Path;
use std::process::Command;
use std::thread::park_timeout;
use std::time::{Duration, Instant};

const KIB: f64 = 1024.0;
const DAY_S: f64 = 86_400.0;
/// Inventories of a day, at the interval that an agent has by itself; scans: one.
const INVENTORIES: f64 = 48.0;
/// The shortest interval that the agent takes.
const EVERY_S: u64 = 60;

/// An agent on a file system of its own.
struct Ground {
    world: World,
    node: Node,
    device: String,
}

impl Ground {
    fn new(more: &[&str]) -> Self {
        let world = World::start().unwrap();
        let (image, disk) = (world.path("disk.img"), world.path("disk"));
        let file = std::fs::File::create(&image).unwrap();
        file.set_len(64 << 20).unwrap();
        let mut make = Command::new("mkfs.ext4");
        make.args(["-q", "-E", "lazy_itable_init=0,lazy_journal_init=0"]);
        Exit::of(make.arg(&image)).unwrap().success().unwrap();
        std::fs::create_dir(&disk).unwrap();
        // The mount ends with the agent's last process.
        let script = format!(
            "mountpoint -q '{1}' || mount -o loop '{0}' '{1}'; exec \"$@\"",
            image.display(),
            disk.display()
        );
        let wrapper = ["unshare", "--mount", "sh", "-e", "-c", &script, "sh"];
        let options = AgentOptions {
            wrapper: wrapper.map(str::to_owned).to_vec(),
            more: more.iter().map(|word| (*word).to_owned()).collect(),
            log: Some(world.path("agent.log")),
            ..AgentOptions::default()
        };
        let activation = world.bridge.activation(&[]).unwrap();
        let mut agent = Agent::new(&world.binaries, &disk.join("state"), options);
        let id = agent.register(world.link.address(), &activation).unwrap();
        agent.start().unwrap();
        world.until_online(&id, true).unwrap();
        let device = device_of(&image);
        Self {
            world,
            node: Node { id, agent },
            device,
        }
    }

    /// Bytes that the device was given so far: field 7 of its `stat`, sectors of 512 bytes.
    fn written(&self) -> f64 {
        let id = self.node.agent.id().unwrap().to_string();
        let mut sync = Command::new("nsenter");
        sync.args(["--target", &id, "--mount", "--", "sync", "-f"]);
        sync.arg(self.world.path("disk"));
        Exit::of(&mut sync).unwrap().success().unwrap();
        let stat = std::fs::read_to_string(format!("/sys/block/{}/stat", self.device)).unwrap();
        let sectors = stat.split_whitespace().nth(6).unwrap();
        sectors.parse::<f64>().unwrap() * 512.0
    }

    /// What is written in so many seconds.
    fn during(&self, window: Duration) -> f64 {
        let before = self.written();
        let end = Instant::now() + window;
        while let Some(left) = end.checked_duration_since(Instant::now()) {
            park_timeout(left);
        }
        self.written() - before
    }

    /// Waits until the first reports are told, and nothing waits any more.
    fn settle(&self) {
        let told = |status: &serde_json::Value| {
            let queues = status["queues"].as_array().unwrap();
            let empty = |queue: &serde_json::Value| queue["records"] == 0;
            let state = queues.iter().find(|queue| queue["class"] == "state");
            let reported = state.is_none_or(|queue| queue["acked"].as_u64() != Some(0));
            queues.iter().all(empty) && reported
        };
        until("the first reports are told", PATIENCE, || {
            let id = self.node.agent.id().unwrap().to_string();
            let mut ask = Command::new("nsenter");
            ask.args(["--target", &id, "--mount", "--"]);
            ask.arg(&self.world.binaries.agent);
            ask.args(["status", "--json", "--state-dir"]);
            let said = Exit::of(ask.arg(self.node.agent.state_dir()))?.success()?;
            Ok(told(&serde_json::from_str(&said)?).then_some(()))
        })
        .unwrap();
        park_timeout(Duration::from_secs(10));
    }
}

/// The loop device of an image.
fn device_of(image: &Path) -> String {
    let mut ask = Command::new("losetup");
    ask.args(["--noheadings", "--output", "NAME", "--associated"]);
    let said = Exit::of(ask.arg(image)).unwrap().success().unwrap();
    said.trim().trim_start_matches("/dev/").to_owned()
}

#[test]
fn an_idle_day_costs_the_disk_little() {
    let name = "written to the device on an idle day";
    if !rustix::process::geteuid().is_root() {
        figures::not_run(name, "only root may mount a disk image for the agent");
        return;
    }
    let quiet_s = cases(10, 300) as u64;
    let quiet = Ground::new(&[]);
    quiet.settle();
    let idle = quiet.during(Duration::from_secs(quiet_s));
    drop(quiet);
    let rounds = cases(0, 4) as u64;
    if rounds == 0 {
        // The shortest interval between two reports is a minute.
        say(format!(
            "{:.0} KiB in {quiet_s} s of quiet; a day is of the full counts",
            idle / KIB
        ));
        return;
    }
    let interval = EVERY_S.to_string();
    let every = [
        "--inventory-every",
        &interval,
        "--patch-scan-every",
        &interval,
    ];
    let busy = Ground::new(&every);
    busy.settle();
    let reports = busy.during(Duration::from_secs(EVERY_S * rounds));
    // Each round holds an inventory and a scan: together at most what both cost apart.
    let round =
        (reports - idle * (EVERY_S * rounds) as f64 / quiet_s as f64).max(0.0) / rounds as f64;
    let between = idle * DAY_S / quiet_s as f64;
    let day = between + round * (INVENTORIES + 1.0);
    say(format!(
        "{:.0} KiB in {quiet_s} s of quiet; {:.0} KiB for an inventory and a scan that found nothing new ({rounds} of each)",
        idle / KIB,
        round / KIB
    ));
    figures::record(name, day / KIB, "KiB", Bound::None);
}
