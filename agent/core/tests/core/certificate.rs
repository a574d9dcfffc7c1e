//! Certificates: renewed in time, enrolled again after their end.

use crate::harness::{DAY, NOW, Node, node_id, pair};
use holdfast_agent_core::{CertificateLife, Effect, Input, LinkFault, LinkIdentity};
use holdfast_protocol::bounded::Bytes;
use holdfast_protocol::down::{Down, FloorReset};
use holdfast_protocol::enrol::{Outcome, Renewal, Reply, public_key};
use holdfast_protocol::seal::Sealer;
use holdfast_protocol::topic::Topic;
use holdfast_protocol::up::Up;

fn fail(node: &mut Node, fault: LinkFault) -> u64 {
    node.wait(1);
    let attempt = node.connecting().expect("no attempt to connect");
    node.step(Input::LinkFailed {
        attempt,
        fault,
        why: "test".into(),
    });
    node.core.status(node.now).link.next_try_in_ms.unwrap()
}

fn renewal(nonce: [u8; 16]) -> Box<Renewal> {
    Box::new(Renewal::new(nonce, node_id(), &pair(8), &pair(9)).unwrap())
}

fn made(node: &mut Node) -> [u8; 16] {
    let nonce = node.seen.iter().rev().find_map(|effect| match effect {
        Effect::MakeRenewal { nonce } => Some(*nonce),
        _ => None,
    });
    let nonce = nonce.expect("no renewal is made");
    node.step(Input::RenewalReady {
        renewal: renewal(nonce),
    });
    nonce
}

fn issued(node: &Node, nonce: [u8; 16]) -> Reply {
    let outcome = Outcome::Issued {
        node: node_id(),
        certificate: Bytes::new(vec![1, 2, 3]).unwrap(),
        unix_ms: NOW + 20 * DAY,
    };
    Reply::new(nonce, public_key(&pair(9)).unwrap(), &outcome, &node.sealer).unwrap()
}

#[test]
fn a_certificate_is_renewed_at_two_thirds_of_its_life_by_signed_time() {
    let mut node = Node::online();
    let is_made = |effect: &Effect| matches!(effect, Effect::MakeRenewal { .. });
    for _ in 0..18 {
        node.wait(DAY);
        assert!(!node.seen.iter().any(is_made));
        node.acknowledge();
    }
    node.wait(DAY + 60_000);
    let nonce = made(&mut node);
    let asked = |(topic, _): &(Topic, Up)| *topic == Topic::Renewal(node_id());
    if !node.sent.iter().any(asked) {
        node.attempt = Some(node.core.status(node.now).link.attempt);
        node.disconnect(LinkFault::Lost);
        node.wait(1_000);
        node.connect();
        node.accept_hello(node.disk.released);
    }
    assert!(node.sent.iter().any(asked));
    let reply = issued(&node, nonce);
    node.receive(&Down::Renewed(reply));
    assert!(node.seen.contains(&Effect::Install {
        certificate: vec![1, 2, 3]
    }));
    let certificate = CertificateLife {
        issued_unix_ms: NOW + 20 * DAY,
        expires_unix_ms: NOW + 50 * DAY,
    };
    node.step(Input::Installed { certificate });
    assert_eq!(node.core.status(node.now).certificate, certificate);
}

/// Enrols again for a certificate that ends then; the connections tried afterwards are those of a node.
fn enrolled_again(expires_unix_ms: u64) -> Node {
    let mut node = Node::new();
    fail(&mut node, LinkFault::CertificateExpired);
    node.wait(1);
    let nonce = made(&mut node);
    node.wait(2_000);
    let connect = node.seen.iter().rev().find_map(|effect| match effect {
        Effect::Connect {
            attempt, identity, ..
        } => Some((*attempt, identity.clone())),
        _ => None,
    });
    let (attempt, identity) = connect.expect("no attempt");
    assert_eq!(identity, LinkIdentity::Enrol { nonce });
    node.attempt = Some(attempt);
    node.step(crate::harness::connected(attempt, [3; 32]));
    assert_eq!(node.sent.last().unwrap().0, Topic::EnrolRequest(nonce));
    let frame = issued(&node, nonce).to_frame().unwrap();
    node.step(Input::Received {
        delivery: holdfast_agent_core::Delivery { attempt, packet: 1 },
        topic: Topic::EnrolReply(nonce),
        frame,
    });
    assert!(node.seen.contains(&Effect::Install {
        certificate: vec![1, 2, 3]
    }));
    let certificate = CertificateLife {
        issued_unix_ms: NOW,
        expires_unix_ms,
    };
    node.step(Input::Installed { certificate });
    node.disconnect(LinkFault::Asked);
    node.wait(1_000);
    let as_node = |effect: &&Effect| {
        let node = |identity: &LinkIdentity| matches!(identity, LinkIdentity::Node { .. });
        matches!(effect, Effect::Connect { identity, .. } if node(identity))
    };
    node.seen.retain(|effect| as_node(&effect));
    assert_eq!(node.seen.len(), 1);
    node
}

#[test]
fn an_expired_certificate_is_replaced_by_enrolling_again() {
    enrolled_again(NOW + 90 * DAY);
}

#[test]
fn a_floor_that_stands_ahead_does_not_keep_the_roots_word_away() {
    // The certificate had expired by the floor when it was issued.
    let mut node = enrolled_again(NOW + 10 * DAY);
    node.connect();
    node.accept_hello([0; 4]);
    node.seen.clear();
    node.wait(1_000);
    let is_made = |effect: &Effect| matches!(effect, Effect::MakeRenewal { .. });
    assert!(!node.seen.iter().any(is_made), "asked for another at once");
    let reset = Down::FloorReset(FloorReset {
        nonce: node.hello().nonce,
        unix_ms: NOW,
    });
    let sealer = std::mem::replace(&mut node.sealer, Sealer::root(pair(1)));
    node.receive_under(0, &reset);
    node.sealer = sealer;
    assert_eq!(node.core.status(node.now).floor_unix_ms, NOW);
    node.wait(DAY);
    assert!(!node.seen.iter().any(is_made));
    node.wait(7 * DAY);
    assert!(node.seen.iter().any(is_made), "not renewed in time");
}

#[test]
fn an_enrolment_without_an_answer_is_given_up_and_tried_again() {
    let mut node = Node::new();
    fail(&mut node, LinkFault::CertificateExpired);
    node.wait(1);
    made(&mut node);
    node.wait(2_000);
    let attempt = node.connecting().unwrap();
    node.attempt = Some(attempt);
    node.step(crate::harness::connected(attempt, [3; 32]));
    node.wait(30_000);
    assert!(
        node.seen
            .iter()
            .any(|effect| matches!(effect, Effect::Disconnect { .. }))
    );
    node.disconnect(LinkFault::Asked);
    node.seen.clear();
    node.wait(11 * 60_000);
    made(&mut node);
}
