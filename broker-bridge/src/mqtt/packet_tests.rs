//! Golden bytes of each packet, each refusal by name, and what no bytes may do.
//! Never opens a socket.

use super::super::encode;
use super::*;
use proptest::prelude::*;

const LIMIT: usize = 1024;

fn whole(bytes: &[u8]) -> Packet<'_> {
    match read(bytes, LIMIT).unwrap() {
        Progress::Packet {
            packet,
            bytes: taken,
        } => {
            assert_eq!(taken, bytes.len());
            packet
        }
        Progress::Need { bytes } => panic!("needs {bytes} bytes"),
    }
}

fn refused(bytes: &[u8]) -> PacketError {
    read(bytes, LIMIT).unwrap_err()
}

/// CONNECT with these flags and what follows the keep-alive.
fn connect_with(level: u8, flags: u8, rest: &[u8]) -> Vec<u8> {
    let mut packet = vec![0x10, 0, 0, 4, b'M', b'Q', b'T', b'T', level, flags, 0, 30];
    packet.extend_from_slice(rest);
    packet[1] = u8::try_from(packet.len() - 2).unwrap();
    packet
}

fn id(number: u16) -> PacketId {
    PacketId::new(number).unwrap()
}

#[test]
fn a_connect_reads_with_and_without_a_will() {
    let plain = connect_with(4, 0x02, b"\0\x02ab");
    assert_eq!(
        whole(&plain),
        Packet::Connect(Connect {
            client_id: "ab",
            clean_session: true,
            keep_alive: 30,
            will: None,
            has_user_name: false,
        })
    );
    let willing = connect_with(4, 0x0e, b"\0\x01a\0\x01t\0\x02\x00\xff");
    let Packet::Connect(connect) = whole(&willing) else {
        panic!()
    };
    let will = connect.will.unwrap();
    assert_eq!(
        (will.topic, will.payload, will.qos, will.retain),
        ("t", &b"\0\xff"[..], 1, false)
    );
    let named = connect_with(4, 0xc2, b"\0\x01a\0\x01u\0\x01p");
    assert!(matches!(whole(&named), Packet::Connect(connect) if connect.has_user_name));
}

#[test]
fn each_fault_of_a_connect_is_refused_by_name() {
    assert_eq!(
        refused(&connect_with(5, 2, b"\0\0")),
        PacketError::ProtocolLevel(5)
    );
    for flags in [0x01, 0x08, 0x20, 0x1c, 0x40] {
        assert_eq!(
            refused(&connect_with(4, flags, b"\0\0")),
            PacketError::ConnectFlags(flags)
        );
    }
    let mut named = connect_with(4, 2, b"\0\0");
    named[4..8].copy_from_slice(b"mqtt");
    assert_eq!(refused(&named), PacketError::ProtocolName);
    assert_eq!(
        refused(&connect_with(4, 2, b"\0\x02a")),
        PacketError::Truncated {
            packet: "CONNECT",
            field: "client id"
        }
    );
    assert_eq!(
        refused(&connect_with(4, 2, b"\0\x01a!")),
        PacketError::Trailing {
            packet: "CONNECT",
            bytes: 1
        }
    );
    for text in [&b"\0\x01\0"[..], b"\0\x01\xff"] {
        assert!(matches!(
            refused(&connect_with(4, 2, text)),
            PacketError::Text { .. }
        ));
    }
}

#[test]
fn publishes_read_by_quality_of_service() {
    assert_eq!(
        whole(b"\x30\x06\0\x01tabc"),
        Packet::Publish(Publish {
            topic: "t",
            id: None,
            payload: b"abc"
        })
    );
    assert_eq!(
        whole(b"\x3a\x05\0\x01t\0\x07"),
        Packet::Publish(Publish {
            topic: "t",
            id: Some(id(7)),
            payload: b""
        })
    );
    for (bytes, why) in [
        (&b"\x34\x05\0\x01t\0\x07"[..], PacketError::Qos2("PUBLISH")),
        (b"\x36\x05\0\x01t\0\x07", PacketError::Qos3("PUBLISH")),
        (b"\x31\x03\0\x01t", PacketError::Retained),
        (b"\x38\x03\0\x01t", PacketError::Duplicate),
        (b"\x30\x03\0\x01+", PacketError::TopicName),
        (b"\x30\x02\0\0", PacketError::TopicName),
        (b"\x32\x05\0\x01t\0\0", PacketError::PacketId("PUBLISH")),
    ] {
        assert_eq!(refused(bytes), why, "{bytes:?}");
    }
}

#[test]
fn the_other_packets_read_as_the_standard_draws_them() {
    assert_eq!(whole(b"\x40\x02\0\x09"), Packet::PubAck(id(9)));
    assert_eq!(
        whole(b"\x82\x0a\0\x01\0\x01a\x01\0\x01#\x02"),
        Packet::Subscribe {
            id: id(1),
            filters: vec![("a", 1), ("#", 2)]
        }
    );
    assert_eq!(
        whole(b"\xa2\x05\0\x02\0\x01a"),
        Packet::Unsubscribe {
            id: id(2),
            filters: vec!["a"]
        }
    );
    assert_eq!(whole(b"\xc0\0"), Packet::PingReq);
    assert_eq!(whole(b"\xe0\0"), Packet::Disconnect);
}

#[test]
fn what_a_client_must_not_send_is_refused_by_name() {
    assert_eq!(refused(b"\x00\0"), PacketError::Reserved(0));
    assert_eq!(refused(b"\xf0\0"), PacketError::Reserved(15));
    assert_eq!(refused(b"\x20\0"), PacketError::Misdirected("CONNACK"));
    assert!(matches!(refused(b"\x62\x02\0\x01"), PacketError::Qos2(_)));
    assert!(matches!(refused(b"\xc1\0"), PacketError::Flags { .. }));
    assert!(matches!(
        refused(b"\x80\x06\0\x01\0\x01a\0"),
        PacketError::Flags { .. }
    ));
    assert_eq!(
        refused(b"\x82\x06\0\x01\0\x01a\x03"),
        PacketError::Qos3("SUBSCRIBE")
    );
    assert_eq!(
        refused(b"\x82\x02\0\x01"),
        PacketError::Filters {
            packet: "SUBSCRIBE",
            count: 0
        }
    );
    let mut many = vec![0xa2, 0, 0, 1];
    many.extend_from_slice(&b"\0\x01a".repeat(FILTERS_MAX + 1));
    many[1] = u8::try_from(many.len() - 2).unwrap();
    assert!(matches!(refused(&many), PacketError::Filters { .. }));
}

#[test]
fn a_length_is_refused_before_it_is_buffered() {
    assert_eq!(
        refused(b"\x30\xff\xff\xff\x7f"),
        PacketError::TooLarge {
            bytes: 268_435_460,
            max: LIMIT
        }
    );
    assert_eq!(refused(b"\x30\xff\xff\xff\xff"), PacketError::Length);
    assert_eq!(
        read(b"\x30\xff\xff\xff", LIMIT),
        Ok(Progress::Need { bytes: 5 })
    );
    assert_eq!(
        read(b"\x30\xfd\x07", LIMIT),
        Ok(Progress::Need { bytes: LIMIT })
    );
    assert!(read(b"\x30\xfe\x07", LIMIT).is_err());
}

#[test]
fn what_the_server_writes_is_what_the_standard_draws() {
    let mut out = Vec::new();
    encode::connack(&mut out, encode::ConnectCode::NotAuthorized);
    encode::puback(&mut out, id(0x102));
    encode::suback(&mut out, id(3), &[1, encode::SUBSCRIBE_REFUSED]);
    encode::unsuback(&mut out, id(4));
    encode::pingresp(&mut out);
    encode::publish(&mut out, "t", Some(id(5)), b"x");
    assert_eq!(
        out,
        b"\x20\x02\0\x05\x40\x02\x01\x02\x90\x04\0\x03\x01\x80\xb0\x02\0\x04\xd0\0\x32\x06\0\x01t\0\x05x"
    );
}

proptest! {
    #[test]
    fn no_bytes_panic_or_pass_the_limit(bytes in prop::collection::vec(any::<u8>(), 0..300), limit in 2_usize..400) {
        if let Ok(Progress::Packet { bytes: taken, .. } | Progress::Need { bytes: taken }) = read(&bytes, limit) {
            prop_assert!(taken <= limit.max(5));
        }
    }

    #[test]
    fn a_packet_reads_the_same_however_it_arrives(topic in "[a-z/]{1,40}", number in 1_u16.., payload in prop::collection::vec(any::<u8>(), 0..500)) {
        let mut out = Vec::new();
        encode::publish(&mut out, &topic, PacketId::new(number), &payload);
        for end in 0..out.len() {
            match read(&out[..end], LIMIT) {
                Ok(Progress::Need { bytes }) => prop_assert!(bytes > end && bytes <= out.len()),
                other => prop_assert!(false, "{:?}", other),
            }
        }
        let expected = Packet::Publish(Publish { topic: &topic, id: PacketId::new(number), payload: &payload });
        prop_assert_eq!(whole(&out), expected);
    }
}
