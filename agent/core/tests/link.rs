//! Link, session, streams, time and certificates, through the core's public surface.

#![allow(
    clippy::wildcard_enum_match_arm,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test looks at the one variant that it expects"
)]

mod harness;

use harness::{DAY, NOW, Node, command, document, id, node_id, pair, type_name};
use holdfast_agent_core::{
    CertificateLife, Effect, Gathering, Input, LinkFault, LinkIdentity, LinkState, Monotonic,
    PersistRefusal, Write,
};
use holdfast_protocol::CommandId;
use holdfast_protocol::bounded::{Bytes, List, Text};
use holdfast_protocol::down::{
    Ack, Cancel, Down, FloorReset, HelloRefusal, HelloRefusalReason, Resync, Rotation,
};
use holdfast_protocol::enrol::{Outcome, Renewal, Reply, public_key};
use holdfast_protocol::limits::REVISION;
use holdfast_protocol::report::{Cell, Content, Row, Table};
use holdfast_protocol::seal::{Address, KeyCertificate, Sealer};
use holdfast_protocol::topic::Topic;
use holdfast_protocol::up::{Answer, Bound, Class, InvocationState, Record, Up};

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

fn table(rows: &[(&str, &str)]) -> Table {
    let row = |(name, version): &(&str, &str)| {
        Row::new(vec![Cell::cut(name), Cell::cut(version)]).unwrap()
    };
    Table::new(1, &["Name", "Version"], rows.iter().map(row).collect()).unwrap()
}

#[test]
fn a_bridge_that_reads_only_an_older_revision_is_written_to_in_it() {
    for revision in [REVISION, 1] {
        let mut node = Node::new();
        node.revision = revision;
        // On disk before anyone knows who will read it.
        report(&mut node, &[("a", "1")]);
        node.connect();
        node.accept_hello([0; 4]);
        let is_report = |(_, up): &(Topic, Up)| matches!(up, Up::Record { record, .. } if matches!(**record, Record::Report(_)));
        let at = node.sent.iter().position(is_report).unwrap();
        assert_eq!(node.written_as[at], revision);
        assert_eq!(node.written_as[0], 1, "a hello is what it always was");
    }
}

fn report(node: &mut Node, rows: &[(&str, &str)]) {
    node.step(Input::Reported {
        origin: None,
        type_name: type_name("AWS:Application"),
        table: table(rows),
    });
}

fn contents(node: &Node) -> Vec<Content> {
    let content = |record| match record {
        Record::Report(report) => report.content,
        other => panic!("{other:?}"),
    };
    node.disk
        .records(Class::State)
        .into_iter()
        .map(content)
        .collect()
}

#[test]
fn a_report_is_whole_until_acknowledged_then_a_delta_or_unchanged() {
    let mut node = Node::online();
    let (old, new) = (&[("a", "1"), ("b", "1")], &[("a", "2"), ("b", "1")]);
    report(&mut node, old);
    report(&mut node, old);
    node.acknowledge();
    report(&mut node, old);
    report(&mut node, new);
    let found = contents(&node);
    assert_eq!(
        found[..2],
        [Content::Whole(table(old)), Content::Whole(table(old))]
    );
    assert_eq!(found[2], Content::Unchanged(table(old).hash()));
    let Content::Delta(delta) = &found[3] else {
        panic!("{:?}", found[3]);
    };
    assert_eq!(table(old).apply(delta), Ok(table(new)));
}

#[test]
fn bases_outlive_the_process_and_the_bridge_can_ask_for_the_whole() {
    let mut node = Node::online();
    report(&mut node, &[("a", "1")]);
    node.acknowledge();
    node.crash(true);
    let bases = node.connect().bases.into_vec();
    assert_eq!(
        bases,
        [(type_name("AWS:Application"), table(&[("a", "1")]).hash())]
    );
    node.accept_hello(node.disk.released);
    let reports = List::new(vec![type_name("AWS:Application")]).unwrap();
    node.receive(&Down::Resync(Resync { reports }));
    assert_eq!(
        contents(&node).last(),
        Some(&Content::Whole(table(&[("a", "1")])))
    );
    report(&mut node, &[("a", "2")]);
    assert_eq!(
        contents(&node).last(),
        Some(&Content::Whole(table(&[("a", "2")])))
    );
}

#[test]
fn a_step_ends_only_after_what_it_reported_is_durable() {
    let mut node = Node::online();
    node.send_command(command(1, &document(&[""])));
    node.hold = true;
    node.step(Input::Reported {
        origin: Some(id(1)),
        type_name: type_name("AWS:Application"),
        table: table(&[("a", "1")]),
    });
    node.end(1, 0, 0);
    assert_eq!(node.writes.len(), 1, "only the report is being written");
    node.let_go();
    let topics = node.sent.iter().filter_map(|(topic, _)| match topic {
        Topic::Stream(_, class) => Some(*class),
        _ => None,
    });
    assert_eq!(
        topics.collect::<Vec<_>>(),
        [Class::Audit, Class::Result, Class::State, Class::Result]
    );
    assert_eq!(node.states(1).len(), 2);
}

#[test]
fn records_wait_for_acknowledgement_and_are_sent_again_from_there() {
    let mut node = Node::online();
    node.send_command(command(1, &document(&[""])));
    node.end(1, 0, 0);
    assert_eq!(node.sequences(Class::Result), [1, 2]);
    node.receive(&Down::Ack(Ack { acks: [1, 0, 0, 0] }));
    assert_eq!(node.disk.released[0], 1);
    node.disconnect(LinkFault::Lost);
    node.wait(1_000);
    node.sent.clear();
    node.connect();
    node.accept_hello([1, 0, 0, 0]);
    assert_eq!(node.sequences(Class::Result), [2]);
}

#[test]
fn no_more_than_the_window_is_in_flight() {
    let mut node = Node::online();
    node.disconnect(LinkFault::Lost);
    for n in 0..100_u8 {
        report(&mut node, &[("a", &n.to_string())]);
    }
    node.wait(1_000);
    let attempt = {
        node.connect();
        node.attempt.unwrap()
    };
    node.accept_hello([0; 4]);
    assert_eq!(node.sequences(Class::State).len(), 20);
    node.step(Input::PubAcked { attempt, count: 3 });
    assert_eq!(
        node.sequences(Class::State).len(),
        20,
        "half a window at a time"
    );
    for _ in 0..20 {
        node.step(Input::PubAcked { attempt, count: 10 });
    }
    assert_eq!(node.sequences(Class::State), (1..=100).collect::<Vec<_>>());
}

#[test]
fn an_acknowledgement_above_what_was_sent_is_refused_and_recorded() {
    let mut node = Node::online();
    node.receive(&Down::Ack(Ack { acks: [7, 0, 0, 0] }));
    assert_eq!(node.disk.released[0], 0);
    let audit = node.disk.records(Class::Audit);
    let Some(Record::Audit(event)) = audit.last() else {
        panic!("{audit:?}");
    };
    assert_eq!(event.name.as_str(), "acknowledgement-refused");
}

#[test]
fn a_rolled_back_disk_begins_another_life_of_the_outbox() {
    let mut node = Node::new();
    let old = node.connect().outbox;
    node.accept_hello([9, 0, 0, 0]);
    assert!(
        node.seen
            .iter()
            .any(|effect| matches!(effect, Effect::Disconnect { .. }))
    );
    assert_eq!(node.disk.released[0], 0);
    node.disconnect(LinkFault::Asked);
    node.wait(1_000);
    let hello = node.connect();
    assert_ne!(hello.outbox, old);
    node.accept_hello([0; 4]);
    assert_eq!(node.core.status(node.now).link.state, LinkState::Online);
}

#[test]
fn acknowledgements_that_stand_still_end_the_connection() {
    let mut node = Node::online();
    node.send_command(command(1, &document(&[""])));
    node.wait(50_000);
    let gone = |effect: &Effect| matches!(effect, Effect::Disconnect { .. });
    assert!(!node.seen.iter().any(gone));
    node.wait(11_000);
    assert!(node.seen.iter().any(gone));
}

#[test]
fn inventory_and_patch_scan_run_from_the_start_and_offline() {
    let mut node = Node::new();
    let count = |node: &Node, what| {
        node.seen
            .iter()
            .filter(|effect| **effect == Effect::Gather(what))
            .count()
    };
    node.wait(10_000);
    assert_eq!(
        (
            count(&node, Gathering::Inventory),
            count(&node, Gathering::Patches)
        ),
        (1, 1)
    );
    node.wait(3_000_000);
    assert_eq!(count(&node, Gathering::Inventory), 1, "never twice at once");
    for _ in 0..4 {
        node.step(Input::Gathered {
            what: Gathering::Inventory,
            fault: None,
        });
        node.wait(1_800_000);
    }
    assert!((4..=6).contains(&count(&node, Gathering::Inventory)));
    assert_eq!(count(&node, Gathering::Patches), 1);
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
    assert_eq!(node.core.status(node.now).link.state, LinkState::Greeting);
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
    node.step(harness::connected(attempt, [3; 32]));
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
    node.step(harness::connected(attempt, [3; 32]));
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

#[test]
fn a_state_directory_of_a_newer_version_is_refused_by_name() {
    let node = Node::online();
    let mut ledger: Vec<_> = node.disk.ledger.clone().into_iter().collect();
    for (_, value) in &mut ledger {
        value[0] = 2;
    }
    let restored = holdfast_agent_core::Restored {
        ledger,
        streams: node.disk.figures(),
        boot_id: [1; 16],
        random: [1; 32],
        sequences_lost: false,
        damage: holdfast_agent_core::LedgerDamage::default(),
        now: Monotonic(0),
    };
    let refused = holdfast_agent_core::Core::restore(harness::config(node.limits), restored);
    assert!(
        refused
            .unwrap_err()
            .to_string()
            .contains("start a newer agent")
    );
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
fn events_that_the_disk_does_not_take_are_bounded_and_counted() {
    const EVENTS: usize = 3_000;
    let mut node = Node::online();
    let before = node.disk.records(Class::Audit).len();
    node.hold = true;
    for _ in 0..EVENTS {
        let acks = [u64::MAX; 4];
        node.receive(&Down::Ack(Ack { acks }));
    }
    let bytes: usize = node
        .writes
        .iter()
        .flat_map(|(_, writes)| writes)
        .map(|write| match write {
            Write::Append { stored, .. } => stored.len(),
            _ => 0,
        })
        .sum();
    assert!(bytes < 66 << 10, "{bytes} bytes wait");
    node.let_go();
    let records = node.disk.records(Class::Audit).split_off(before);
    let named = |name: &str| {
        let event = |record: &Record| match record {
            Record::Audit(event) if event.name == name => Some(event.detail.to_string()),
            _ => None,
        };
        records.iter().filter_map(event).collect::<Vec<_>>()
    };
    let recorded = named("acknowledgement-refused").len();
    let lost = EVENTS - recorded;
    let expected = format!("{lost} events were not recorded: the disk took no more");
    assert_eq!(named("events-lost"), [expected]);
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

/// A process begins on a disk that takes nothing.
fn start_on_a_failing_disk(node: &mut Node) {
    node.writes.clear();
    node.seen.clear();
    node.attempt = None;
    node.hold = true;
    node.core = harness::restore(&node.disk, node.boot, node.now, node.limits);
    node.perform();
    let ticket = node.writes.front().unwrap().0;
    let why = "Read-only file system".to_owned();
    node.step(Input::PersistDelayed { ticket, why });
}

#[test]
fn on_a_disk_that_takes_nothing_the_node_connects_and_refuses_commands() {
    let mut node = Node::online();
    node.disconnect(LinkFault::Lost);
    let known = node.connect_again().token;
    assert!(known.is_some());
    let mut last = node.attempt;
    for n in 1..4 {
        node.wait(1_000);
        start_on_a_failing_disk(&mut node);
        let hello = node.connect();
        assert_eq!(hello.token, known, "no token is shown that is not on disk");
        assert!(node.attempt > last, "nor a number twice");
        last = node.attempt;
        node.accept_hello([0; 4]);
        let status = node.core.status(node.now);
        assert_eq!(status.link.state, LinkState::Online);
        assert_eq!(status.disk.as_deref(), Some("Read-only file system"));
        let delivery = node.send_command(command(n, &document(&[""])));
        let busy = Answer::Busy {
            command: id(n),
            bound: Bound::Disk,
        };
        assert_eq!(node.answers().last(), Some(&busy));
        assert!(node.is_acked(delivery) && node.runs().is_empty());
        // Nor after the link was lost.
        node.disconnect(LinkFault::Lost);
        assert_eq!(node.connect_again().token, known);
        last = last.max(node.attempt);
        node.accept_hello([0; 4]);
    }
    node.let_go();
    node.send_command(command(9, &document(&[""])));
    assert_eq!(node.runs(), [(id(9), 0)]);
    assert_eq!(node.core.status(node.now).disk, None);
    let told = node.disk.records(Class::Log);
    assert!(
        told.iter().any(|record| matches!(record, Record::Log(event)
            if event.name == "disk-failed" && event.detail.as_str() == "Read-only file system")),
        "the bridge learns why it was refused"
    );
}

#[test]
fn a_disk_that_fails_while_a_token_is_written_does_not_keep_the_session_shut() {
    let mut node = Node::new();
    node.connect();
    node.hold = true;
    node.accept_hello([0; 4]);
    let ticket = node.writes.front().unwrap().0;
    let why = "Input/output error".to_owned();
    node.step(Input::PersistDelayed { ticket, why });
    assert_eq!(node.core.status(node.now).link.state, LinkState::Online);
    // But that token may not be shown before it is on disk.
    node.disconnect(LinkFault::Lost);
    node.wait(10_000);
    assert_eq!(node.connecting(), None);
}

#[test]
fn a_device_without_room_for_a_command_is_shown_for_a_while() {
    let mut node = Node::online();
    node.hold = true;
    node.send_command(command(1, &document(&[""])));
    let why = "free some space".to_owned();
    node.refuse(PersistRefusal::Disk { why: why.clone() });
    assert_eq!(node.core.status(node.now).disk, Some(why));
    let later = Monotonic(node.now.0 + 60_000);
    assert_eq!(node.core.status(later).disk, None);
}

#[test]
fn a_start_that_the_disk_first_fails_and_then_refuses_is_written_again() {
    let mut node = Node::online();
    node.send_command(command(1, &document(&[""])));
    assert_eq!(node.runs(), [(id(1), 0)]);
    start_on_a_failing_disk(&mut node);
    node.refuse(PersistRefusal::Disk {
        why: "No space left on device".to_owned(),
    });
    // Nothing waits for the disk any more that could say that it answers again.
    assert_eq!(node.core.status(node.now).disk, None);
    node.let_go();
    node.wait(10_000);
    let ended = node.disk.records(Class::Result).into_iter().any(|record| {
        matches!(record, Record::Invocation(update)
            if update.command == id(1) && update.state == InvocationState::Interrupted)
    });
    assert!(ended, "what the last process left is not left for ever");
}

#[test]
fn a_start_that_is_on_disk_numbers_its_attempts_above_one_that_was_not() {
    let mut node = Node::online();
    let on_disk = node.attempt;
    node.wait(60_000);
    start_on_a_failing_disk(&mut node);
    node.connect();
    let not_on_disk = node.attempt;
    assert!(not_on_disk > on_disk);
    node.crash(false);
    node.connect();
    assert!(node.attempt > not_on_disk);
}
