//! Golden bytes: what each revision looks like on the wire. A change here is a new revision, never an
//! edit of an old line. Then: no mutated frame panics, and what still opens was left unchanged.
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "a test fails by panicking"
)]

use holdfast_protocol::bounded::{Bytes, List, Text};
use holdfast_protocol::down::{Ack, Cancel, Command, Down, HelloReply, Rotation};
use holdfast_protocol::enrol::{
    self, Activate, EnrolRefusal, Outcome, Renewal, Reply, ReplyError, Request,
};
use holdfast_protocol::frame::Raw;
use holdfast_protocol::report::{Cell, Content, Report, Row, Table};
use holdfast_protocol::seal::{Address, KeyCertificate, Opener, SealError, Sealer};
use holdfast_protocol::up::{
    Answer, Bound, Event, Gap, GapReason, Hello, InvocationState, InvocationUpdate, OutputChunk,
    OutputStream, Platform, Presence, Record, Stamp, StepResult, StepState, StreamHead, Up,
    stored_to_frame,
};
use holdfast_protocol::{ActivationId, CommandId, FrameError, NodeId, OutboxId};
use proptest::prelude::*;
use ring::signature::Ed25519KeyPair;

fn key(seed: u8) -> Ed25519KeyPair {
    Ed25519KeyPair::from_seed_unchecked(&[seed; 32]).unwrap()
}

fn address() -> Address {
    Address {
        node: NodeId::from_random([0x11; 9]),
        outbox: OutboxId(7),
    }
}

fn sealer(serial: u32) -> Sealer {
    let signing = u8::try_from(serial).unwrap() + 100;
    let public = enrol::public_key(&key(signing)).unwrap();
    Sealer::new(key(signing), KeyCertificate::issue(&key(1), serial, public))
}

fn opener() -> Opener {
    Opener::new(enrol::public_key(&key(1)).unwrap(), 0)
}

fn stamp() -> Stamp {
    Stamp {
        boot: 3,
        uptime_ms: 4000,
        unix_ms: None,
    }
}

fn ups() -> Vec<(&'static str, Up)> {
    let command = CommandId::from_random([0x22; 16]);
    let text = |text: &str| Text::new(text).unwrap();
    let record = |sequence, record| Up::Record {
        outbox: OutboxId(7),
        sequence,
        record: Box::new(record),
    };
    let row = Row::new(vec![Cell::new("bash").unwrap(), Cell::new("5.2").unwrap()]).unwrap();
    let hello = Hello {
        agent_version: "0.1.0".try_into().unwrap(),
        revisions: (1, 1),
        stamp: stamp(),
        outbox: OutboxId(7),
        streams: [StreamHead { head: 2, acked: 1 }; 4],
        counter: 9,
        signing_serial: 1,
        token: Some(Bytes::new([5; 4]).unwrap()),
        nonce: [6; 16],
        bases: List::default(),
        platform: Platform {
            name: Text::new("Debian").unwrap(),
            ..Platform::default()
        },
    };
    let step = StepResult {
        name: text("one"),
        action: Text::new("aws:runShellScript").unwrap(),
        state: StepState::Failed,
        exit_code: 2,
        started: Some(stamp()),
        ended: None,
        stdout_bytes: 300,
        stderr_bytes: 0,
        detail: Text::default(),
    };
    let update = InvocationUpdate {
        command,
        state: InvocationState::Failed,
        stamp: stamp(),
        steps: List::new(vec![step]).unwrap(),
        detail: Text::default(),
    };
    let chunk = OutputChunk {
        command,
        step: 0,
        stream: OutputStream::Stderr,
        offset: 16,
        bytes: Bytes::new(*b"hi").unwrap(),
    };
    let event = || Event {
        stamp: stamp(),
        name: "started".try_into().unwrap(),
        detail: Text::new("0.1.0").unwrap(),
    };
    let table = |row| Table::new(1, &["Name", "Version"], vec![row]).unwrap();
    let report = |content| Report {
        type_name: "AWS:Application".try_into().unwrap(),
        captured: stamp(),
        content,
    };
    let newer = ["bash", "5.3"].map(|text| Cell::new(text).unwrap());
    let (base, next) = (table(row), table(Row::new(newer.into()).unwrap()));
    let delta = Content::Delta(next.delta_from(&base).unwrap());
    vec![
        ("hello", Up::Hello(Box::new(hello))),
        (
            "busy",
            Up::Answer(Answer::Busy {
                command,
                bound: Bound::Commands(8),
            }),
        ),
        (
            "presence",
            Up::Presence(Presence {
                online: true,
                connection: 300,
            }),
        ),
        ("invocation", record(1, Record::Invocation(update))),
        ("output", record(2, Record::Output(chunk))),
        ("audit", record(3, Record::Audit(event()))),
        (
            "report",
            record(4, Record::Report(report(Content::Whole(base)))),
        ),
        ("delta", record(4, Record::Report(report(delta)))),
        ("log", record(5, Record::Log(event()))),
        (
            "gap",
            record(
                600,
                Record::Gap(Gap {
                    first: 6,
                    reason: GapReason::Evicted,
                }),
            ),
        ),
    ]
}

fn downs() -> Vec<(&'static str, Down)> {
    let command = CommandId::from_random([0x22; 16]);
    vec![
        (
            "hello-reply",
            Down::HelloReply(HelloReply {
                nonce: [6; 16],
                unix_ms: 1_800_000_000_000,
                revision: 1,
                token: Bytes::new([8; 4]).unwrap(),
                acks: [1, 2, 3, 4],
                resync: List::default(),
            }),
        ),
        (
            "command",
            Down::Command(Box::new(Command {
                id: command,
                document_name: Text::new("AWS-RunShellScript").unwrap(),
                document_version: Text::new("1").unwrap(),
                content: Text::new("{}").unwrap(),
                content_sha256: [3; 32],
                parameters: List::default(),
                expires_unix_ms: 1_800_000_000_000,
                operator: None,
            })),
        ),
        ("cancel", Down::Cancel(Cancel { command })),
        ("ack", Down::Ack(Ack { acks: [1, 2, 3, 4] })),
        ("rotation", Down::Rotation(Rotation { serial: 1 })),
    ]
}

fn golden() -> String {
    let up = ups()
        .into_iter()
        .map(|(name, up)| format!("{name} {}\n", hex::encode(up.encode().unwrap())));
    let down = downs().into_iter().map(|(name, down)| {
        let certified = name == "hello-reply";
        format!(
            "{name} {}\n",
            hex::encode(sealer(1).seal(&address(), 40, certified, &down).unwrap())
        )
    });
    up.chain(down).collect()
}

#[test]
fn what_is_written_now_is_revision_two() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/golden-2.txt");
    let found = golden();
    if std::env::var_os("HOLDFAST_BLESS").is_some() {
        std::fs::write(path, &found).unwrap();
    }
    assert_eq!(std::fs::read_to_string(path).unwrap(), found);
}

#[test]
fn each_revision_is_read_as_it_always_was() {
    for golden in [include_str!("golden-1.txt"), include_str!("golden-2.txt")] {
        is_read(golden);
    }
}

#[test]
fn who_reads_only_revision_one_is_written_to_as_ever() {
    let golden = include_str!("golden-1.txt").lines();
    for ((name, up), line) in ups().into_iter().zip(golden) {
        let Up::Record {
            outbox,
            sequence,
            record,
        } = up
        else {
            continue;
        };
        let stored = record.to_stored().unwrap();
        let frame = stored_to_frame(&stored, outbox, sequence, 1).unwrap();
        assert_eq!(format!("{name} {}", hex::encode(frame)), line);
    }
}

#[test]
fn a_kind_that_has_not_changed_is_no_newer_than_its_layout() {
    for (name, up) in ups() {
        let newest = Raw::read(&up.encode().unwrap()).unwrap().revision;
        let mut frame = up.encode().unwrap();
        assert_eq!(
            newest,
            if ["report", "delta"].contains(&name) {
                2
            } else {
                1
            }
        );
        frame[3] = 3;
        let refused = Up::decode(&frame).unwrap_err();
        assert!(
            matches!(refused, FrameError::Revision { found: 3, .. }),
            "{refused}"
        );
        assert!(
            refused
                .to_string()
                .ends_with(&format!("reads 1 to {newest}"))
        );
    }
}

fn is_read(golden: &str) {
    let lines = golden.lines();
    let bytes: Vec<_> = lines
        .map(|line| hex::decode(line.split_once(' ').unwrap().1).unwrap())
        .collect();
    let (up, down) = bytes.split_at(ups().len());
    for ((name, expected), bytes) in ups().into_iter().zip(up) {
        assert_eq!(Up::decode(bytes).as_ref(), Ok(&expected), "{name}");
    }
    let mut opener = opener();
    for ((name, expected), bytes) in downs().into_iter().zip(down) {
        let opened = opener.open(&address(), bytes).unwrap();
        assert_eq!((opened.down, opened.counter), (expected, 40), "{name}");
    }
}

#[test]
fn a_frame_for_another_node_outbox_or_root_is_refused() {
    let frame = sealer(1)
        .seal(&address(), 40, true, &Down::Ack(Ack { acks: [0; 4] }))
        .unwrap();
    let refused =
        |opener: &mut Opener, address: Address| opener.open(&address, &frame).unwrap_err();
    let node = Address {
        node: NodeId::from_random([0x12; 9]),
        ..address()
    };
    assert!(matches!(
        refused(&mut opener(), node),
        SealError::Signature { .. }
    ));
    let outbox = Address {
        outbox: OutboxId(8),
        ..address()
    };
    assert!(matches!(
        refused(&mut opener(), outbox),
        SealError::Signature { .. }
    ));
    let mut other_root = Opener::new(enrol::public_key(&key(2)).unwrap(), 0);
    assert_eq!(
        refused(&mut other_root, address()),
        SealError::Certificate { serial: 1 }
    );
}

#[test]
fn a_replaced_signing_key_is_refused_and_an_unknown_one_waits_for_its_certificate() {
    let (mut opener, ack) = (opener(), Down::Ack(Ack { acks: [0; 4] }));
    let seal = |serial, certified| sealer(serial).seal(&address(), 1, certified, &ack).unwrap();
    assert_eq!(
        opener.open(&address(), &seal(2, false)),
        Err(SealError::UnknownKey { serial: 2 })
    );
    assert!(opener.open(&address(), &seal(2, true)).is_ok());
    assert!(opener.open(&address(), &seal(2, false)).is_ok());
    assert_eq!(
        opener.open(&address(), &seal(1, true)),
        Err(SealError::Superseded {
            serial: 1,
            newest: 2
        })
    );
}

#[test]
fn only_the_root_lowers_the_floor_and_the_root_does_nothing_else() {
    let reset = Down::FloorReset(holdfast_protocol::down::FloorReset {
        nonce: [1; 16],
        unix_ms: 5,
    });
    let by_root = |down: &Down| {
        Sealer::root(key(1))
            .seal(&address(), 1, false, down)
            .unwrap()
    };
    assert!(opener().open(&address(), &by_root(&reset)).is_ok());
    let by_key = sealer(1).seal(&address(), 1, true, &reset).unwrap();
    assert!(matches!(
        opener().open(&address(), &by_key),
        Err(SealError::Key { serial: 1, .. })
    ));
    let ack = by_root(&Down::Ack(Ack { acks: [0; 4] }));
    assert!(matches!(
        opener().open(&address(), &ack),
        Err(SealError::Key { serial: 0, .. })
    ));
}

#[test]
fn an_unsigned_downward_frame_is_refused() {
    let hello = ups().remove(0).1.encode().unwrap();
    assert!(matches!(
        opener().open(&address(), &hello),
        Err(SealError::Unsigned { .. })
    ));
}

#[test]
fn an_enrolment_proves_code_and_key_and_its_reply_the_root() {
    let activation = ActivationId::from_random([1; 16]);
    let request = Activate::new(
        [9; 16],
        activation,
        "secret code",
        &key(5),
        Platform::default(),
        "0.1.0",
    )
    .unwrap();
    assert!(request.verify(&enrol::derive_key(&activation, "secret code")));
    assert!(!request.verify(&enrol::derive_key(&activation, "other code")));
    let mut moved = request.clone();
    moved.key = enrol::public_key(&key(6)).unwrap();
    assert!(!moved.verify(&enrol::derive_key(&activation, "secret code")));
    let sent = Up::Enrol(Box::new(Request::Activate(request.clone())));
    assert_eq!(Up::decode(&sent.encode().unwrap()), Ok(sent));

    let outcome = Outcome::Refused {
        reason: EnrolRefusal::Expired,
        detail: Text::default(),
    };
    let reply = Reply::new([9; 16], request.key, &outcome, &sealer(1)).unwrap();
    let reply = Reply::from_frame(&reply.to_frame().unwrap()).unwrap();
    let (root, other) = (
        enrol::public_key(&key(1)).unwrap(),
        enrol::public_key(&key(2)).unwrap(),
    );
    assert_eq!(reply.open(&[9; 16], &request.key, &root), Ok(outcome));
    assert_eq!(
        reply.open(&[9; 16], &request.key, &other),
        Err(ReplyError::Signature)
    );
    assert_eq!(
        reply.open(&[8; 16], &request.key, &root),
        Err(ReplyError::Mismatch)
    );
}

#[test]
fn a_renewal_is_signed_by_both_keys() {
    let renewal = Renewal::new([1; 16], NodeId::from_random([1; 9]), &key(3), &key(4)).unwrap();
    assert!(renewal.verify());
    let mut other_key = renewal.clone();
    other_key.old_key = renewal.key;
    assert!(!other_key.verify());
    let mut other_node = renewal;
    other_node.node = NodeId::from_random([2; 9]);
    assert!(!other_node.verify());
}

/// Flips, cuts or extends a frame.
fn mutate(frame: &[u8], at: usize, byte: u8, how: u8) -> Vec<u8> {
    let mut frame = frame.to_vec();
    let at = at % frame.len();
    match how % 3 {
        0 => frame[at] ^= byte.max(1),
        1 => frame.truncate(at),
        _ => frame.insert(at, byte),
    }
    frame
}

proptest! {
    #[test]
    fn mutated_upward_frames_are_refused_or_read_never_a_panic(which in 0..9_usize, at: usize, byte: u8, how: u8) {
        let frame = mutate(&ups()[which].1.encode().unwrap(), at, byte, how);
        let _: Result<Up, FrameError> = Up::decode(&frame);
    }

    #[test]
    fn a_mutated_sealed_frame_never_opens(which in 0..5_usize, at: usize, byte: u8, how: u8) {
        let frame = sealer(1).seal(&address(), 40, true, &downs()[which].1).unwrap();
        let mutated = mutate(&frame, at, byte, how);
        prop_assume!(mutated != frame);
        prop_assert!(opener().open(&address(), &mutated).is_err());
    }

    #[test]
    fn stored_records_survive_storage(which in 3..9_usize, sequence: u64) {
        let Up::Record { record, .. } = ups().swap_remove(which).1 else { unreachable!() };
        let stored = record.to_stored().unwrap();
        prop_assert_eq!(Record::from_stored(&stored).unwrap(), *record.clone());
        let frame = stored_to_frame(&stored, OutboxId(7), sequence, 2).unwrap();
        prop_assert_eq!(Up::decode(&frame), Ok(Up::Record { outbox: OutboxId(7), sequence, record }));
    }
}
