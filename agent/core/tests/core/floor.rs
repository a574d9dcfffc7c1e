//! The floor of signed time: what raises it, what sets it back, and what may do neither.

use crate::harness::{DAY, NOW, Node, node_id, pair};
use holdfast_agent_core::{Effect, Input, LinkFault, LinkState};
use holdfast_protocol::bounded::Bytes;
use holdfast_protocol::down::{Down, FloorReset};
use holdfast_protocol::enrol::{Outcome, Renewal, Reply, public_key};
use holdfast_protocol::seal::Sealer;
use holdfast_protocol::up::{Class, Record};

/// The mutated time that once stranded an agent: in the year 119,312,578.
const FAR: u64 = 3_765_108_000_000_000_000;

/// A node on a connection whose bridge showed a certificate that ends then.
fn greeting(bridge_expires_unix_ms: u64) -> Node {
    let mut node = Node::new();
    node.wait(1);
    let attempt = node.connecting().unwrap();
    node.attempt = Some(attempt);
    node.step(Input::Connected {
        attempt,
        random: [4; 32],
        bridge_expires_unix_ms,
    });
    node
}

fn floor(node: &Node) -> u64 {
    node.core.status(node.now).floor_unix_ms
}

/// Details of the recorded events of that name.
fn told(node: &Node, wanted: &str) -> Vec<String> {
    let records = node.disk.records(Class::Log).into_iter();
    records
        .filter_map(|record| match record {
            Record::Log(event) if event.name.as_str() == wanted => {
                Some(event.detail.as_str().to_owned())
            }
            _ => None,
        })
        .collect()
}

fn names_both(told: &[String], unix_ms: u64, until_unix_ms: u64) -> bool {
    matches!(told, [detail] if detail.contains(&unix_ms.to_string())
        && detail.contains(&until_unix_ms.to_string()))
}

fn reset(node: &mut Node, unix_ms: u64) {
    let down = Down::FloorReset(FloorReset {
        nonce: node.hello().nonce,
        unix_ms,
    });
    let sealer = std::mem::replace(&mut node.sealer, Sealer::root(pair(1)));
    node.receive_under(0, &down);
    node.sealer = sealer;
}

#[test]
fn a_hellos_time_beyond_the_bridges_certificate_is_told_and_not_believed() {
    let end = NOW + DAY;
    for unix_ms in [end + 1, NOW + 20 * 365 * DAY, FAR, u64::MAX] {
        let mut node = greeting(end);
        let before = floor(&node);
        let reply = node.hello_reply([0; 4], unix_ms);
        node.receive(&Down::HelloReply(reply));
        // The link stays: over the same reply it would end each time.
        assert_eq!(node.core.link_state(), LinkState::Online);
        assert_eq!(floor(&node), before);
        assert_eq!(node.core.status(node.now).trusted_unix_ms, None);
        assert!(names_both(&told(&node, "time-refused"), unix_ms, end));
        node.disconnect(LinkFault::Lost);
        node.connect_again();
        node.accept_hello([0; 4]);
        assert!(floor(&node) >= NOW, "a good time is taken over again");
    }
}

#[test]
fn a_time_up_to_the_certificates_end_is_believed() {
    let mut node = greeting(NOW + DAY);
    let reply = node.hello_reply([0; 4], NOW + DAY);
    node.receive(&Down::HelloReply(reply));
    assert_eq!(floor(&node), NOW + DAY);
    assert_eq!(told(&node, "time-refused"), [""; 0]);
}

/// A node that asks for a certificate on a connection of its own, and the nonce of its request.
fn enrolling(end: u64) -> (Node, [u8; 16]) {
    let mut node = greeting(end);
    let reply = node.hello_reply([0; 4], NOW);
    node.receive(&Down::HelloReply(reply));
    node.disconnect(LinkFault::CertificateExpired);
    node.wait(2_000);
    let nonce = node.seen.iter().rev().find_map(|effect| match effect {
        Effect::MakeRenewal { nonce } => Some(*nonce),
        _ => None,
    });
    let nonce = nonce.expect("no renewal is made");
    let renewal = Renewal::new(nonce, node_id(), &pair(8), &pair(9)).unwrap();
    node.step(Input::RenewalReady {
        renewal: Box::new(renewal),
    });
    node.wait(2_000);
    let attempt = node.connecting().unwrap();
    node.attempt = Some(attempt);
    node.step(Input::Connected {
        attempt,
        random: [5; 32],
        bridge_expires_unix_ms: end,
    });
    (node, nonce)
}

/// The bridge issues a certificate and tells its time.
fn issue(node: &mut Node, nonce: [u8; 16], unix_ms: u64) {
    let outcome = Outcome::Issued {
        node: node_id(),
        certificate: Bytes::new(vec![1, 2, 3]).unwrap(),
        unix_ms,
    };
    let key = public_key(&pair(9)).unwrap();
    let reply = Reply::new(nonce, key, &outcome, &node.sealer).unwrap();
    let attempt = node.attempt.unwrap();
    node.step(Input::Received {
        delivery: holdfast_agent_core::Delivery { attempt, packet: 1 },
        topic: holdfast_protocol::topic::Topic::EnrolReply(nonce),
        frame: reply.to_frame().unwrap(),
    });
    let certificate = vec![1, 2, 3];
    assert!(node.seen.contains(&Effect::Install { certificate }));
}

#[test]
fn a_certificate_that_was_on_its_way_for_too_long_is_installed_and_brings_no_time() {
    let (mut node, nonce) = enrolling(NOW + 2 * DAY);
    let before = floor(&node);
    node.now = node.now.after(85_000);
    issue(&mut node, nonce, NOW + DAY);
    assert_eq!(floor(&node), before);
}

#[test]
fn a_certificates_reply_cannot_push_time_beyond_the_bridges_certificate_either() {
    let end = NOW + DAY;
    let (mut node, nonce) = enrolling(end);
    let before = floor(&node);
    issue(&mut node, nonce, FAR);
    assert_eq!(floor(&node), before);
    assert!(names_both(&told(&node, "time-refused"), FAR, end));
}

#[test]
fn even_the_root_sets_no_floor_beyond_the_bridges_certificate() {
    let end = NOW + DAY;
    let mut node = greeting(end);
    let reply = node.hello_reply([0; 4], NOW);
    node.receive(&Down::HelloReply(reply));
    let before = floor(&node);
    reset(&mut node, FAR);
    assert_eq!(floor(&node), before);
    assert!(names_both(&told(&node, "floor-reset-refused"), FAR, end));
    assert_eq!(node.core.link_state(), LinkState::Online);
    reset(&mut node, NOW - DAY);
    assert_eq!(floor(&node), NOW - DAY);
}

#[test]
fn only_the_root_lowers_the_floor_and_only_for_this_hello() {
    let mut node = Node::online();
    let floor = node.core.status(node.now).floor_unix_ms;
    let nonce = node.hello().nonce;
    let reset = |nonce| {
        Down::FloorReset(FloorReset {
            nonce,
            unix_ms: NOW - DAY,
        })
    };
    node.receive(&reset(nonce));
    assert_eq!(
        node.core.status(node.now).floor_unix_ms,
        floor,
        "the bridge's key may not"
    );
    node.sealer = Sealer::root(pair(1));
    node.receive_under(0, &reset([1; 16]));
    assert_eq!(node.core.status(node.now).floor_unix_ms, floor);
    node.receive_under(0, &reset(nonce));
    assert_eq!(node.core.status(node.now).floor_unix_ms, NOW - DAY);
}

#[test]
fn a_reply_that_was_on_its_way_while_the_machine_slept_brings_no_time() {
    let mut node = Node::new();
    node.connect();
    let reply = node.hello_reply([0; 4], NOW);
    // Asleep: nothing ticks, and what came meanwhile is read first.
    node.now = node.now.after(85_000);
    node.receive(&Down::HelloReply(reply));
    let status = node.core.status(node.now);
    assert_eq!(status.trusted_unix_ms, None);
    let gone = |effect: &Effect| matches!(effect, Effect::Disconnect { .. });
    assert!(node.seen.iter().any(gone), "the next hello asks again");
    node.disconnect(LinkFault::Asked);
    node.connect_again();
    let reply = node.hello_reply([0; 4], NOW + 86_000);
    node.receive(&Down::HelloReply(reply));
    let status = node.core.status(node.now);
    assert_eq!(status.trusted_unix_ms, Some(NOW + 86_000));
}
