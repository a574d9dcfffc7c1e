//! The link and the session: connecting, hello, and which frames are believed.

use crate::harness::{NOW, Node, command, document, id, node_id, pair};
use holdfast_agent_core::{Effect, Input, LinkFault, LinkState};
use holdfast_protocol::CommandId;
use holdfast_protocol::bounded::Text;
use holdfast_protocol::down::{Cancel, Down, HelloRefusal, HelloRefusalReason, Rotation};
use holdfast_protocol::enrol::public_key;
use holdfast_protocol::seal::{Address, KeyCertificate, Sealer};
use holdfast_protocol::up::Class;

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

fn wait_for_attempt(node: &mut Node) {
    let wait = node.core.status(node.now).link.next_try_in_ms.unwrap();
    node.wait(wait);
}

#[test]
fn while_tcp_fails_the_bridges_are_probed_in_turn_at_most_four_seconds_apart() {
    let mut node = Node::new();
    for _ in 0..50 {
        assert!(fail(&mut node, LinkFault::Tcp) <= 4_000);
        wait_for_attempt(&mut node);
    }
    let bridges = |node: &mut Node| {
        let bridge = node.core.status(node.now).link.bridge;
        fail(node, LinkFault::Tcp);
        wait_for_attempt(node);
        bridge
    };
    assert_ne!(bridges(&mut node), bridges(&mut node));
}

#[test]
fn what_fails_behind_tcp_backs_off_up_to_a_minute_and_success_resets_it() {
    let mut node = Node::new();
    let mut longest = 0;
    for _ in 0..12 {
        longest = longest.max(fail(&mut node, LinkFault::Tls));
        wait_for_attempt(&mut node);
    }
    assert!((30_000..=60_000).contains(&longest), "{longest}");
    node.connect();
    node.accept_hello([0; 4]);
    node.disconnect(LinkFault::Lost);
    assert!(node.core.status(node.now).link.next_try_in_ms.unwrap() <= 1_000);
    wait_for_attempt(&mut node);
    assert!(fail(&mut node, LinkFault::Mqtt) <= 1_000);
}

#[test]
fn nothing_but_the_hello_is_sent_before_the_token_of_its_reply_is_durable() {
    let mut node = Node::new();
    node.connect();
    assert_eq!(node.sent.len(), 1);
    node.hold = true;
    node.accept_hello([0; 4]);
    node.receive(&Down::Cancel(Cancel { command: id(3) }));
    assert_eq!(node.sent.len(), 1, "{:?}", node.sent);
    node.let_go();
    assert!(node.sent.len() > 2, "presence, and the answer that waited");
    node.crash(false);
    assert!(node.connect().token.is_some());
}

#[test]
fn a_reply_to_another_hello_opens_nothing() {
    let mut node = Node::new();
    node.connect();
    let mut reply = node.hello_reply([0; 4], NOW);
    reply.nonce = [9; 16];
    node.receive(&Down::HelloReply(reply));
    assert_eq!(node.core.status(node.now).link.state, LinkState::Greeting);
    node.wait(20_000);
    let gone = |effect: &Effect| matches!(effect, Effect::Disconnect { .. });
    assert!(
        node.seen.iter().any(gone),
        "an unanswered hello ends the connection"
    );
}

#[test]
fn frames_of_others_and_frames_before_the_reply_do_nothing() {
    let mut node = Node::new();
    node.connect();
    let early = command(1, &document(&[""]));
    node.send_command(early.clone());
    node.accept_hello([0; 4]);
    let address = Address {
        node: node_id(),
        outbox: node.outbox,
    };
    let stranger = Sealer::new(
        pair(5),
        KeyCertificate::issue(&pair(6), 9, public_key(&pair(5)).unwrap()),
    );
    let frame = stranger
        .seal(&address, 900, true, &Down::Command(Box::new(early)))
        .unwrap();
    node.deliver(frame, true);
    node.deliver(vec![1, 2, 3], true);
    assert!(node.runs().is_empty());
    assert_eq!(node.disk.records(Class::Log).len(), 2, "each is recorded");
}

#[test]
fn bad_frames_do_not_flood_the_log() {
    let mut node = Node::online();
    for _ in 0..100 {
        node.deliver(vec![0], true);
    }
    assert_eq!(node.disk.records(Class::Log).len(), 10);
}

#[test]
fn a_refusal_is_shown_and_waited_out() {
    let mut node = Node::new();
    let nonce = node.connect().nonce;
    let refuse = |node: &mut Node, nonce, reason| {
        let detail = Text::cut("see node list");
        node.receive(&Down::HelloRefusal(HelloRefusal {
            nonce,
            reason,
            detail,
        }));
        node.disconnect(LinkFault::Asked);
    };
    refuse(&mut node, nonce, HelloRefusalReason::Quarantined);
    let status = node.core.status(node.now);
    assert_eq!(
        status.refused.as_deref(),
        Some("quarantined: see node list")
    );
    assert!(status.link.next_try_in_ms.unwrap() >= 7 * 60_000);
    wait_for_attempt(&mut node);
    let nonce = node.connect().nonce;
    refuse(&mut node, nonce, HelloRefusalReason::Later(30_000));
    let wait = node.core.status(node.now).link.next_try_in_ms.unwrap();
    assert!((30_000..31_000).contains(&wait), "{wait}");
    wait_for_attempt(&mut node);
    node.connect();
    node.accept_hello([0; 4]);
    assert_eq!(node.core.status(node.now).refused, None);
}

#[test]
fn an_older_signing_key_is_refused_also_after_a_restart() {
    let mut node = Node::online();
    let newer = pair(3);
    let certificate = KeyCertificate::issue(&pair(1), 2, public_key(&newer).unwrap());
    let older = std::mem::replace(&mut node.sealer, Sealer::new(newer, certificate));
    node.receive(&Down::Rotation(Rotation { serial: 2 }));
    node.crash(true);
    assert_eq!(node.connect().signing_serial, 2);
    node.sealer = older;
    node.accept_hello([0; 4]);
    assert_eq!(node.core.status(node.now).link.state, LinkState::Waiting);
}

#[test]
fn a_command_that_a_new_key_overtook_is_left_to_be_sent_again() {
    let mut node = Node::online();
    let newer = pair(3);
    let certificate = KeyCertificate::issue(&pair(1), 2, public_key(&newer).unwrap());
    let older = std::mem::replace(&mut node.sealer, Sealer::new(newer, certificate));
    node.receive(&Down::Rotation(Rotation { serial: 2 }));
    let newer = std::mem::replace(&mut node.sealer, older);
    let wanted = command(1, &document(&[""]));
    let delivery = node.receive(&Down::Command(Box::new(wanted.clone())));
    assert!(!node.is_acked(delivery) && node.runs().is_empty());
    node.disconnect(LinkFault::Asked);
    node.sealer = newer;
    node.connect_again();
    node.accept_hello([0; 4]);
    node.send_command(wanted);
    assert_eq!(node.runs(), [(id(1), 0)]);
}

#[test]
fn a_command_under_a_key_that_is_not_known_yet_is_left_to_be_sent_again() {
    let mut node = Node::online();
    let newer = pair(3);
    let certificate = KeyCertificate::issue(&pair(1), 2, public_key(&newer).unwrap());
    node.sealer = Sealer::new(newer, certificate);
    let address = Address {
        node: node_id(),
        outbox: node.outbox,
    };
    let wanted = command(1, &document(&[""]));
    let down = Down::Command(Box::new(wanted.clone()));
    let frame = node.sealer.seal(&address, 900, false, &down).unwrap();
    let delivery = node.deliver(frame, true);
    assert!(!node.is_acked(delivery));
    node.disconnect(LinkFault::Asked);
    node.counter = 900;
    // The longest wait after a connection that was refused.
    node.wait(5 * 60_000);
    node.connect();
    node.accept_hello([0; 4]);
    let again = node.send_command(wanted);
    assert!(node.is_acked(again));
    assert_eq!(node.runs(), [(id(1), 0)]);
}

#[test]
fn no_hello_names_a_token_that_the_disk_does_not_hold() {
    let mut node = Node::new();
    node.connect();
    node.hold = true;
    node.accept_hello([0; 4]);
    node.disconnect(LinkFault::Lost);
    node.wait(10_000);
    assert_eq!(
        node.connecting(),
        None,
        "the token is still being written: after a crash the disk would have an older one"
    );
    node.let_go();
    node.wait(2_000);
    assert!(node.connect().token.is_some());
}

#[test]
fn more_answers_than_may_wait_end_the_connection_instead_of_vanishing() {
    let mut node = Node::new();
    node.connect();
    node.hello();
    node.hold = true;
    node.accept_hello([0; 4]);
    // The token is being written; each of these is answered that it is unknown.
    for n in 0..300_u16 {
        let [a, b] = n.to_le_bytes();
        let command = CommandId::from_random([a, b, 9, 9, 9, 9, 9, 9, 9, 9, 9, 9, 9, 9, 9, 9]);
        node.receive(&Down::Cancel(Cancel { command }));
    }
    let closed = node.seen.iter().find_map(|effect| match effect {
        Effect::Disconnect { why, .. } => Some(why.clone()),
        _ => None,
    });
    assert!(closed.unwrap().starts_with("256 answers wait"));
}
