//! MQTT 3.1.1 as a server hears it: each packet is read strictly or refused by name.
//! Never allocates by a length that a client claims, never reads past the packet, never panics.
//!
//! Section numbers are those of the OASIS standard "MQTT Version 3.1.1".

use std::num::NonZeroU16;

/// Filters of one SUBSCRIBE or UNSUBSCRIBE. A node has two, so this is generous.
pub(crate) const FILTERS_MAX: usize = 16;

/// Largest fixed header: type and flags, then four bytes of length (2.2.3).
const HEADER_BYTES_MAX: usize = 5;

/// Why a packet was refused. The connection closes; nothing of the packet was acted on.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PacketError {
    /// Longer than this connection may send.
    #[error("packet of {bytes} bytes: at most {max} are allowed")]
    TooLarge {
        /// Bytes claimed, fixed header included.
        bytes: usize,
        /// Bytes allowed.
        max: usize,
    },
    /// The remaining length goes on past four bytes (2.2.3).
    #[error("the remaining length does not end within four bytes")]
    Length,
    /// Types 0 and 15 are reserved (2.2.1).
    #[error("packet type {0} is reserved")]
    Reserved(u8),
    /// A packet that only a server sends.
    #[error("{0} is not a client's to send")]
    Misdirected(&'static str),
    /// Flags other than the standard fixes for the type (2.2.2).
    #[error("{packet} with flags {flags:#06b}")]
    Flags {
        /// The packet.
        packet: &'static str,
        /// Flags found.
        flags: u8,
    },
    /// Ends inside a field.
    #[error("{packet} ends inside its {field}")]
    Truncated {
        /// The packet.
        packet: &'static str,
        /// The field that is incomplete.
        field: &'static str,
    },
    /// Goes on after its last field.
    #[error("{packet} has {bytes} bytes left over")]
    Trailing {
        /// The packet.
        packet: &'static str,
        /// Bytes left over.
        bytes: usize,
    },
    /// Text that is not UTF-8 or holds U+0000 (1.5.3).
    #[error("{packet}: its {field} is not UTF-8 text without U+0000")]
    Text {
        /// The packet.
        packet: &'static str,
        /// The field.
        field: &'static str,
    },
    /// Another protocol than MQTT (3.1.2.1).
    #[error("CONNECT of another protocol than `MQTT`")]
    ProtocolName,
    /// Another version than 3.1.1 (3.1.2.2); answered by return code 1.
    #[error("protocol level {0}: this bridge speaks 4 (MQTT 3.1.1)")]
    ProtocolLevel(u8),
    /// Connect flags that contradict each other (3.1.2.3 to 3.1.2.9).
    #[error("CONNECT flags {0:#010b} are contradictory")]
    ConnectFlags(u8),
    /// Packet id 0 (2.3.1).
    #[error("{0} with packet id 0")]
    PacketId(&'static str),
    /// Quality of service 2 is not offered.
    #[error("{0}: QoS 2 is not offered; use QoS 1")]
    Qos2(&'static str),
    /// Quality of service 3 does not exist.
    #[error("{0}: QoS 3 does not exist")]
    Qos3(&'static str),
    /// Retained messages are not offered.
    #[error("PUBLISH with RETAIN: retained messages are not offered")]
    Retained,
    /// DUP on a publish of QoS 0 (3.3.1.1).
    #[error("PUBLISH of QoS 0 with DUP")]
    Duplicate,
    /// A topic name that is empty or holds a wildcard (3.3.2.1, 4.7).
    #[error("PUBLISH to an empty topic or one with a wildcard")]
    TopicName,
    /// No filter, or too many.
    #[error("{packet} with {count} filters: 1 to {FILTERS_MAX} are allowed")]
    Filters {
        /// The packet.
        packet: &'static str,
        /// Filters found; counting stops one above the bound.
        count: usize,
    },
}

/// Identifies a packet until it is acknowledged; never 0.
pub(crate) type PacketId = NonZeroU16;

/// What a client may send, borrowed from the connection's buffer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Packet<'a> {
    Connect(Connect<'a>),
    Publish(Publish<'a>),
    PubAck(PacketId),
    Subscribe {
        id: PacketId,
        /// Filters with the quality of service asked for.
        filters: Vec<(&'a str, u8)>,
    },
    Unsubscribe {
        id: PacketId,
        filters: Vec<&'a str>,
    },
    PingReq,
    Disconnect,
}

/// First packet of a client.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Connect<'a> {
    pub(crate) client_id: &'a str,
    pub(crate) clean_session: bool,
    /// Seconds; 0 is off.
    pub(crate) keep_alive: u16,
    pub(crate) will: Option<Will<'a>>,
    /// Whether a user name came; a certificate is the only identity here.
    pub(crate) has_user_name: bool,
}

/// What is published when the client vanishes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Will<'a> {
    pub(crate) topic: &'a str,
    pub(crate) payload: &'a [u8],
    pub(crate) qos: u8,
    pub(crate) retain: bool,
}

/// An application message. `id` is present for QoS 1 only.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Publish<'a> {
    pub(crate) topic: &'a str,
    pub(crate) id: Option<PacketId>,
    pub(crate) payload: &'a [u8],
}

/// How far a buffer goes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Progress<'a> {
    /// Not a whole packet yet. Once the header is read, `bytes` is the whole packet's length, at
    /// most the limit; before that it is what is needed to go on.
    Need { bytes: usize },
    /// A packet, and how many bytes of the buffer it took.
    Packet { packet: Packet<'a>, bytes: usize },
}

/// Reads the first packet of `buffer`, of which at most `limit` bytes may be one packet.
///
/// # Errors
/// [`PacketError`]; the length is refused as soon as the header is there, before it is buffered.
pub(crate) fn read(buffer: &[u8], limit: usize) -> Result<Progress<'_>, PacketError> {
    let Some((&first, rest)) = buffer.split_first() else {
        return Ok(Progress::Need { bytes: 2 });
    };
    let (remaining, length_bytes) = match remaining_length(rest)? {
        Some(found) => found,
        None => {
            return Ok(Progress::Need {
                bytes: buffer.len() + 1,
            });
        }
    };
    let header = 1 + length_bytes;
    let bytes = header + remaining;
    if bytes > limit {
        return Err(PacketError::TooLarge { bytes, max: limit });
    }
    match buffer.get(header..bytes) {
        Some(body) => Ok(Progress::Packet {
            packet: decode(first >> 4, first & 0x0f, body)?,
            bytes,
        }),
        None => Ok(Progress::Need { bytes }),
    }
}

/// The remaining length and the bytes it takes; `None` while it is incomplete.
fn remaining_length(bytes: &[u8]) -> Result<Option<(usize, usize)>, PacketError> {
    let mut length = 0_usize;
    for (at, byte) in bytes.iter().take(HEADER_BYTES_MAX - 1).enumerate() {
        length |= usize::from(byte & 0x7f) << (7 * at);
        if byte & 0x80 == 0 {
            return Ok(Some((length, at + 1)));
        }
    }
    if bytes.len() >= HEADER_BYTES_MAX - 1 {
        return Err(PacketError::Length);
    }
    Ok(None)
}

fn decode(kind: u8, flags: u8, body: &[u8]) -> Result<Packet<'_>, PacketError> {
    let (name, fixed_flags) = match kind {
        1 => ("CONNECT", 0),
        3 => return publish(flags, body),
        4 => ("PUBACK", 0),
        5..=7 => return Err(PacketError::Qos2("PUBREC, PUBREL or PUBCOMP")),
        8 => ("SUBSCRIBE", 0b0010),
        10 => ("UNSUBSCRIBE", 0b0010),
        12 => ("PINGREQ", 0),
        14 => ("DISCONNECT", 0),
        2 => return Err(PacketError::Misdirected("CONNACK")),
        9 => return Err(PacketError::Misdirected("SUBACK")),
        11 => return Err(PacketError::Misdirected("UNSUBACK")),
        13 => return Err(PacketError::Misdirected("PINGRESP")),
        other => return Err(PacketError::Reserved(other)),
    };
    if flags != fixed_flags {
        return Err(PacketError::Flags {
            packet: name,
            flags,
        });
    }
    let mut fields = Fields { packet: name, body };
    let packet = match kind {
        1 => Packet::Connect(connect(&mut fields)?),
        4 => Packet::PubAck(fields.packet_id()?),
        8 => subscribe(&mut fields)?,
        10 => unsubscribe(&mut fields)?,
        12 => Packet::PingReq,
        _ => Packet::Disconnect,
    };
    fields.end()?;
    Ok(packet)
}

/// CONNECT, section 3.1.
fn connect<'a>(fields: &mut Fields<'a>) -> Result<Connect<'a>, PacketError> {
    if fields.binary("protocol name")? != b"MQTT" {
        return Err(PacketError::ProtocolName);
    }
    let level = fields.byte("protocol level")?;
    if level != 4 {
        return Err(PacketError::ProtocolLevel(level));
    }
    let flags = fields.byte("connect flags")?;
    let bit = |at: u8| flags >> at & 1 == 1;
    let (has_will, will_qos, will_retain) = (bit(2), flags >> 3 & 3, bit(5));
    let (has_password, has_user_name) = (bit(6), bit(7));
    let stray_will = !has_will && (will_qos != 0 || will_retain);
    if bit(0) || stray_will || will_qos == 3 || has_password && !has_user_name {
        return Err(PacketError::ConnectFlags(flags));
    }
    let keep_alive = fields.number("keep-alive")?;
    let client_id = fields.text("client id")?;
    let will = if has_will {
        Some(Will {
            topic: fields.text("will topic")?,
            payload: fields.binary("will message")?,
            qos: will_qos,
            retain: will_retain,
        })
    } else {
        None
    };
    if has_user_name {
        fields.text("user name")?;
    }
    if has_password {
        fields.binary("password")?;
    }
    Ok(Connect {
        client_id,
        clean_session: bit(1),
        keep_alive,
        will,
        has_user_name,
    })
}

/// PUBLISH, section 3.3.
fn publish(flags: u8, body: &[u8]) -> Result<Packet<'_>, PacketError> {
    let mut fields = Fields {
        packet: "PUBLISH",
        body,
    };
    let (duplicate, qos, retain) = (flags & 8 != 0, flags >> 1 & 3, flags & 1 != 0);
    match qos {
        0 if duplicate => return Err(PacketError::Duplicate),
        0 | 1 => {}
        2 => return Err(PacketError::Qos2("PUBLISH")),
        _ => return Err(PacketError::Qos3("PUBLISH")),
    }
    if retain {
        return Err(PacketError::Retained);
    }
    let topic = fields.text("topic")?;
    if topic.is_empty() || topic.contains(['+', '#']) {
        return Err(PacketError::TopicName);
    }
    let id = if qos == 1 {
        Some(fields.packet_id()?)
    } else {
        None
    };
    Ok(Packet::Publish(Publish {
        topic,
        id,
        payload: fields.body,
    }))
}

/// SUBSCRIBE, section 3.8.
fn subscribe<'a>(fields: &mut Fields<'a>) -> Result<Packet<'a>, PacketError> {
    let id = fields.packet_id()?;
    let filters = fields.filters(|fields| {
        let filter = fields.text("topic filter")?;
        match fields.byte("requested QoS")? {
            qos @ 0..=2 => Ok((filter, qos)),
            _ => Err(PacketError::Qos3("SUBSCRIBE")),
        }
    })?;
    Ok(Packet::Subscribe { id, filters })
}

/// UNSUBSCRIBE, section 3.10.
fn unsubscribe<'a>(fields: &mut Fields<'a>) -> Result<Packet<'a>, PacketError> {
    let id = fields.packet_id()?;
    let filters = fields.filters(|fields| fields.text("topic filter"))?;
    Ok(Packet::Unsubscribe { id, filters })
}

/// The fields of a packet that are not read yet.
struct Fields<'a> {
    packet: &'static str,
    body: &'a [u8],
}

impl<'a> Fields<'a> {
    fn take(&mut self, bytes: usize, field: &'static str) -> Result<&'a [u8], PacketError> {
        let (taken, rest) = self
            .body
            .split_at_checked(bytes)
            .ok_or(PacketError::Truncated {
                packet: self.packet,
                field,
            })?;
        self.body = rest;
        Ok(taken)
    }

    fn byte(&mut self, field: &'static str) -> Result<u8, PacketError> {
        Ok(self.take(1, field)?.first().copied().unwrap_or_default())
    }

    fn number(&mut self, field: &'static str) -> Result<u16, PacketError> {
        let bytes = self.take(2, field)?;
        Ok(bytes
            .iter()
            .fold(0, |number, byte| number << 8 | u16::from(*byte)))
    }

    fn binary(&mut self, field: &'static str) -> Result<&'a [u8], PacketError> {
        let bytes = self.number(field)?;
        self.take(usize::from(bytes), field)
    }

    fn text(&mut self, field: &'static str) -> Result<&'a str, PacketError> {
        let wrong = PacketError::Text {
            packet: self.packet,
            field,
        };
        match str::from_utf8(self.binary(field)?) {
            Ok(text) if !text.contains('\0') => Ok(text),
            _ => Err(wrong),
        }
    }

    fn packet_id(&mut self) -> Result<PacketId, PacketError> {
        PacketId::new(self.number("packet id")?).ok_or(PacketError::PacketId(self.packet))
    }

    fn filters<T>(
        &mut self,
        mut filter: impl FnMut(&mut Self) -> Result<T, PacketError>,
    ) -> Result<Vec<T>, PacketError> {
        let mut filters = Vec::new();
        while !self.body.is_empty() && filters.len() <= FILTERS_MAX {
            filters.push(filter(self)?);
        }
        if filters.is_empty() || filters.len() > FILTERS_MAX {
            return Err(PacketError::Filters {
                packet: self.packet,
                count: filters.len(),
            });
        }
        Ok(filters)
    }

    fn end(&self) -> Result<(), PacketError> {
        if self.body.is_empty() {
            return Ok(());
        }
        Err(PacketError::Trailing {
            packet: self.packet,
            bytes: self.body.len(),
        })
    }
}

#[cfg(test)]
#[path = "packet_tests.rs"]
mod tests;
