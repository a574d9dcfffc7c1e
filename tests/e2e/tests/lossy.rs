//! A link of 64 kbit/s that loses 30 % of its packets each way and flaps: results that waited arrive once and in
//! order. Never asserts how long that takes: the figure is printed beside what the bandwidth alone needs.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test fails by panicking"
)]

#[path = "support/order.rs"]
mod order;

use holdfast_e2e::commands::{self, Gate, Marks};
use holdfast_e2e::figures::{self, Bound};
use holdfast_e2e::namespace::{self, Namespace};
use holdfast_e2e::{AgentOptions, Link, Node, PATIENCE, Random, World, cases, say, until};
use serde_json::json;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::park_timeout;
use std::time::{Duration, Instant};

const KILOBITS: u32 = 64;
const LOSS_PERCENT: u32 = 30;
/// What the bandwidth moves in a second.
const BYTES_A_SECOND: f64 = KILOBITS as f64 * 1000.0 / 8.0;

struct Ground {
    network: Namespace,
    world: World,
    link: Link,
    node: Node,
}

impl Ground {
    fn new(count: usize) -> Self {
        let network = Namespace::new().unwrap();
        let world = World::start().unwrap();
        let link = Link::at(namespace::BRIDGE, world.bridge.mqtt).unwrap();
        // One at a time: then the order of the marks is the order of the results.
        let more = [
            "--max-commands",
            &(count + 8).to_string(),
            "--max-running",
            "1",
            "--queue-bytes",
            &(count as u64 * 512 * 1024).max(8 << 20).to_string(),
        ];
        let options = AgentOptions {
            wrapper: network.wrapper(),
            more: more.map(str::to_owned).to_vec(),
            ..AgentOptions::default()
        };
        let activation = world.bridge.activation(&[]).unwrap();
        let mut agent = world.stranger("agent", options);
        let id = agent.register(link.address(), &activation).unwrap();
        agent.start().unwrap();
        world.until_online(&id, true).unwrap();
        let node = Node { id, agent };
        Self {
            network,
            world,
            link,
            node,
        }
    }

    /// Commands that end while the cable is out; in the order in which they ran.
    fn queue(&self, count: usize, round: &str) -> (Vec<String>, Vec<String>) {
        let gate = Gate::at(&self.world.path(&format!("gate-{round}")));
        let marks = Marks::at(self.world.path(&format!("marks-{round}")));
        let lasting = json!({"TimeoutSeconds": 86_400});
        let send = |number: usize| {
            let script = format!("{}; {}", gate.line(), marks.line(&number.to_string()));
            commands::send_script(&self.world.api, &[&self.node.id], &script, &lasting).unwrap()
        };
        let sent: Vec<String> = (0..count).map(send).collect();
        let state = |what: &str, held: usize| {
            until(what, PATIENCE * 10, || {
                let status = self.node.agent.status()?;
                let found = status["commands"].as_array().map_or(0, Vec::len);
                Ok((found == held).then_some(()))
            })
            .unwrap();
        };
        state("the agent holds every command", count);
        self.network.cut().unwrap();
        gate.open().unwrap();
        state("every command has ended", 0);
        let ran = marks.all().unwrap();
        assert_eq!(ran.len(), count, "once each");
        (sent, ran)
    }
}

/// Pulls the cable so many times, for up to two seconds each, until all is done.
fn flap(network: &Namespace, random: &mut Random, flaps: usize, done: &AtomicBool) -> usize {
    let mut flapped = 0;
    let mut pause = |most: usize| {
        park_timeout(Duration::from_millis(200 + random.below(most) as u64));
    };
    while flapped < flaps && !done.load(Ordering::Relaxed) {
        pause(2500);
        network.cut().unwrap();
        pause(1800);
        network.restore().unwrap();
        flapped += 1;
    }
    flapped
}

#[test]
fn results_come_once_and_in_order_over_a_slow_link_that_loses_packets_and_flaps() {
    let test = "results_come_once_and_in_order_over_a_slow_link_that_loses_packets_and_flaps";
    if !Namespace::enter(test).unwrap() {
        return;
    }
    let (count, flaps) = (cases(20, 1000), cases(2, 50));
    let mut random = Random::of(test);
    let ground = Ground::new(count);
    let (sent, ran) = ground.queue(count, "flaps");
    ground.network.shape(KILOBITS, LOSS_PERCENT).unwrap();
    ground.network.restore().unwrap();
    let done = AtomicBool::new(false);
    let begun = Instant::now();
    let flapped = std::thread::scope(|scope| {
        let flapping = scope.spawn(|| flap(&ground.network, &mut random, flaps, &done));
        order::until_drained(&ground.world, &sent, &ran);
        done.store(true, Ordering::Relaxed);
        flapping.join().unwrap()
    });
    say(format!(
        "{count} results over {flapped} flaps: {:.0} s",
        begun.elapsed().as_secs_f64()
    ));
    figures::record("results, once and in order", count as f64, "", Bound::None);
    figures::record("flaps meanwhile", flapped as f64, "", Bound::None);
}

#[test]
fn a_slow_link_that_loses_packets_is_used_as_well_as_tcp_can() {
    let test = "a_slow_link_that_loses_packets_is_used_as_well_as_tcp_can";
    if !Namespace::enter(test).unwrap() {
        return;
    }
    let count = cases(20, 1000);
    // With loss it takes minutes.
    let losses: &[u32] = if count < 100 {
        &[0]
    } else {
        &[0, LOSS_PERCENT]
    };
    for loss in losses.iter().copied() {
        let ground = Ground::new(count);
        let (sent, ran) = ground.queue(count, "drain");
        ground.network.shape(KILOBITS, loss).unwrap();
        let (stream, packets) = (ground.link.bytes(), ground.network.sent_bytes().unwrap());
        ground.network.restore().unwrap();
        let up = Instant::now();
        order::until_drained(&ground.world, &sent, &ran);
        let seconds = up.elapsed().as_secs_f64();
        let stream = (ground.link.bytes() - stream) as f64;
        let packets = ground.network.sent_bytes().unwrap() - packets;
        let needed = stream / BYTES_A_SECOND;
        say(format!(
            "{count} results at {KILOBITS} kbit/s, {loss} % lost: {seconds:.1} s; {stream} bytes of TLS need {needed:.1} s, and took {packets} bytes of packets"
        ));
        let name = format!("drained, {loss} % loss, over what the bandwidth needs");
        figures::record(&name, seconds / needed, "×", Bound::AtMost(2.0));
    }
}
