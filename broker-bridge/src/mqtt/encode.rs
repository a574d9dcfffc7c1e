//! MQTT 3.1.1 as a server speaks it: the packets that go to a client.
//! Never writes a packet that the limits of the wire do not allow; the caller checked the sizes.

use super::packet::PacketId;

/// Return codes of CONNACK (3.2.2.3).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum ConnectCode {
    Accepted = 0,
    ProtocolLevel = 1,
    ClientId = 2,
    Unavailable = 3,
    UserName = 4,
    NotAuthorized = 5,
}

/// SUBACK's word for a filter that is refused (3.9.3).
pub(crate) const SUBSCRIBE_REFUSED: u8 = 0x80;

/// CONNACK. There is never a session: hello sends again what is needed.
pub(crate) fn connack(out: &mut Vec<u8>, code: ConnectCode) {
    out.extend_from_slice(&[0x20, 2, 0, code as u8]);
}

/// PUBACK.
pub(crate) fn puback(out: &mut Vec<u8>, id: PacketId) {
    acknowledge(out, 0x40, id, &[]);
}

/// SUBACK, with a code for each filter.
pub(crate) fn suback(out: &mut Vec<u8>, id: PacketId, codes: &[u8]) {
    acknowledge(out, 0x90, id, codes);
}

/// UNSUBACK.
pub(crate) fn unsuback(out: &mut Vec<u8>, id: PacketId) {
    acknowledge(out, 0xb0, id, &[]);
}

/// PINGRESP.
pub(crate) fn pingresp(out: &mut Vec<u8>) {
    out.extend_from_slice(&[0xd0, 0]);
}

/// PUBLISH: QoS 1 with a packet id, QoS 0 without.
pub(crate) fn publish(out: &mut Vec<u8>, topic: &str, id: Option<PacketId>, payload: &[u8]) {
    let id_bytes = if id.is_some() { 2 } else { 0 };
    out.push(if id.is_some() { 0x32 } else { 0x30 });
    remaining_length(out, 2 + topic.len() + id_bytes + payload.len());
    number(out, topic.len());
    out.extend_from_slice(topic.as_bytes());
    if let Some(id) = id {
        out.extend_from_slice(&id.get().to_be_bytes());
    }
    out.extend_from_slice(payload);
}

fn acknowledge(out: &mut Vec<u8>, first: u8, id: PacketId, codes: &[u8]) {
    out.push(first);
    remaining_length(out, 2 + codes.len());
    out.extend_from_slice(&id.get().to_be_bytes());
    out.extend_from_slice(codes);
}

/// A length before text; topics here are under a hundred bytes.
fn number(out: &mut Vec<u8>, number: usize) {
    let number = u16::try_from(number).unwrap_or(u16::MAX);
    out.extend_from_slice(&number.to_be_bytes());
}

fn remaining_length(out: &mut Vec<u8>, mut length: usize) {
    loop {
        let [low, ..] = length.to_le_bytes();
        length >>= 7;
        if length == 0 {
            out.push(low & 0x7f);
            return;
        }
        out.push(low | 0x80);
    }
}
