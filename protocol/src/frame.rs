//! The envelope of every message: `[version][flags][kind][revision varint][sequence varint][body]`.
//! Never interprets a body and never inflates one past [`limits::BODY_BYTES_MAX`].

use crate::limits::{self, BODY_BYTES_MAX, DEFLATE_FROM_BYTES, FRAME_BYTES_MAX};
use miniz_oxide::deflate::core::{CompressorOxide, TDEFLFlush, TDEFLStatus, compress};
use miniz_oxide::{DataFormat, inflate};
use std::borrow::Cow;

/// Version of the envelope itself.
pub const VERSION: u8 = 1;

/// Body is raw deflate (RFC 1951).
const DEFLATE: u8 = 1;
/// Body begins with a seal, see [`crate::seal`].
pub(crate) const SIGNED: u8 = 2;
/// The seal is preceded by the certificate of its signing key.
pub(crate) const CERTIFIED: u8 = 4;
const KNOWN_FLAGS: u8 = DEFLATE | SIGNED | CERTIFIED;
/// Of 10: above it a report takes more time and hardly less room.
const DEFLATE_LEVEL: u8 = 8;

/// What a body is. Numbers are the wire's and never reused; from `0x80` on they go down.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum Kind {
    /// [`crate::up::Hello`].
    Hello = 0x01,
    /// [`crate::up::Answer`].
    Answer = 0x02,
    /// [`crate::up::Presence`].
    Presence = 0x03,
    /// [`crate::enrol::Renewal`], by a connected node.
    Renewal = 0x04,
    /// [`crate::enrol::Request`].
    EnrolRequest = 0x05,
    /// [`crate::up::InvocationUpdate`], stream *result*.
    Invocation = 0x10,
    /// [`crate::up::OutputChunk`], stream *result*.
    Output = 0x11,
    /// [`crate::up::Event`], stream *audit*.
    Audit = 0x12,
    /// [`crate::report::Report`], stream *state*.
    Report = 0x13,
    /// [`crate::up::Event`], stream *log*.
    Log = 0x14,
    /// [`crate::up::Gap`], any stream.
    Gap = 0x15,
    /// [`crate::down::HelloReply`].
    HelloReply = 0x80,
    /// [`crate::down::HelloRefusal`].
    HelloRefusal = 0x81,
    /// [`crate::down::Command`].
    Command = 0x82,
    /// [`crate::down::Cancel`].
    Cancel = 0x83,
    /// [`crate::down::Ack`].
    Ack = 0x84,
    /// [`crate::down::Resync`].
    Resync = 0x86,
    /// [`crate::down::Rotation`].
    Rotation = 0x87,
    /// [`crate::enrol::Reply`], to a renewal on the node's own topic.
    Renewed = 0x88,
    /// [`crate::down::FloorReset`], signed by the root.
    FloorReset = 0x89,
    /// [`crate::enrol::Reply`].
    EnrolReply = 0x8a,
}

impl Kind {
    /// Every kind, in the wire's order.
    pub const ALL: [Self; 21] = [
        Self::Hello,
        Self::Answer,
        Self::Presence,
        Self::Renewal,
        Self::EnrolRequest,
        Self::Invocation,
        Self::Output,
        Self::Audit,
        Self::Report,
        Self::Log,
        Self::Gap,
        Self::HelloReply,
        Self::HelloRefusal,
        Self::Command,
        Self::Cancel,
        Self::Ack,
        Self::Resync,
        Self::Rotation,
        Self::Renewed,
        Self::FloorReset,
        Self::EnrolReply,
    ];

    /// Revision in which its layout changed last.
    #[must_use]
    pub const fn revision(self) -> u16 {
        match self {
            Self::Report => limits::REVISION,
            Self::Hello
            | Self::Answer
            | Self::Presence
            | Self::Renewal
            | Self::EnrolRequest
            | Self::Invocation
            | Self::Output
            | Self::Audit
            | Self::Log
            | Self::Gap
            | Self::HelloReply
            | Self::HelloRefusal
            | Self::Command
            | Self::Cancel
            | Self::Ack
            | Self::Resync
            | Self::Rotation
            | Self::Renewed
            | Self::FloorReset
            | Self::EnrolReply => 1,
        }
    }

    fn from_number(number: u8) -> Result<Self, FrameError> {
        Self::ALL
            .into_iter()
            .find(|kind| *kind as u8 == number)
            .ok_or(FrameError::UnknownKind { kind: number })
    }
}

/// Why a frame was refused. Each says which value and what is allowed; nothing of it was acted on.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum FrameError {
    /// Longer than the wire allows.
    #[error("frame of {bytes} bytes: at most {max} are allowed")]
    TooLarge {
        /// Bytes found.
        bytes: usize,
        /// Bytes allowed.
        max: usize,
    },
    /// Ends before its header does.
    #[error("frame ends inside its {part}")]
    Truncated {
        /// The part that is incomplete.
        part: &'static str,
    },
    /// Another envelope than this build knows.
    #[error("envelope version {found}: this build reads {VERSION}")]
    Version {
        /// Version found.
        found: u8,
    },
    /// A flag without a meaning here.
    #[error("unknown flags {found:#010b}")]
    Flags {
        /// All flags found.
        found: u8,
    },
    /// A kind without a meaning here.
    #[error("unknown kind {kind:#04x}")]
    UnknownKind {
        /// Number found.
        kind: u8,
    },
    /// A kind that does not belong in this place or direction.
    #[error("{kind:?} does not belong here")]
    Misplaced {
        /// Kind found.
        kind: Kind,
    },
    /// A layout that this build cannot read.
    #[error("{kind:?} of revision {found}: this build reads {oldest} to {newest}", oldest = limits::REVISION_OLDEST, newest = .kind.revision())]
    Revision {
        /// Kind found.
        kind: Kind,
        /// Revision found.
        found: u16,
    },
    /// The body does not inflate, or inflates past the bound.
    #[error("{kind:?}: body does not inflate within {BODY_BYTES_MAX} bytes")]
    Inflate {
        /// Kind found.
        kind: Kind,
    },
    /// The body is not what its kind says, breaks a bound, or has bytes left over.
    #[error("{kind:?}: body is malformed: {why}")]
    Malformed {
        /// Kind found.
        kind: Kind,
        /// What the decoder found.
        why: String,
    },
    /// A value does not fit the wire's bound while a frame is being made.
    #[error("{kind:?}: cannot be encoded: {why}")]
    Encode {
        /// Kind to be written.
        kind: Kind,
        /// What the encoder found.
        why: String,
    },
}

/// A frame's header and its body as it travelled.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Raw<'a> {
    /// Flags, all known.
    pub(crate) flags: u8,
    /// Kind of the body.
    pub kind: Kind,
    /// Revision of the body's layout, one that this build reads.
    pub revision: u16,
    /// Sequence in its stream (up) or counter (down).
    pub sequence: u64,
    /// Body as it travelled: perhaps sealed, perhaps deflated.
    pub(crate) body: &'a [u8],
}

impl<'a> Raw<'a> {
    /// Reads the envelope.
    ///
    /// # Errors
    /// Every [`FrameError`] that concerns the envelope.
    pub fn read(frame: &'a [u8]) -> Result<Self, FrameError> {
        if frame.len() > FRAME_BYTES_MAX {
            return Err(FrameError::TooLarge {
                bytes: frame.len(),
                max: FRAME_BYTES_MAX,
            });
        }
        let &[version, flags, kind, ref rest @ ..] = frame else {
            return Err(FrameError::Truncated { part: "header" });
        };
        if version != VERSION {
            return Err(FrameError::Version { found: version });
        }
        if flags & !KNOWN_FLAGS != 0 {
            return Err(FrameError::Flags { found: flags });
        }
        let kind = Kind::from_number(kind)?;
        let (revision, rest) = varint(rest, "revision")?;
        let revision = u16::try_from(revision).unwrap_or(u16::MAX);
        if !(limits::REVISION_OLDEST..=kind.revision()).contains(&revision) {
            return Err(FrameError::Revision {
                kind,
                found: revision,
            });
        }
        let (sequence, body) = varint(rest, "sequence")?;
        Ok(Self {
            flags,
            kind,
            revision,
            sequence,
            body,
        })
    }

    /// The body, inflated where it travelled deflated.
    ///
    /// # Errors
    /// [`FrameError::Inflate`].
    pub(crate) fn inflated(&self) -> Result<Cow<'a, [u8]>, FrameError> {
        inflate(self.kind, self.flags, self.body)
    }
}

/// Undoes what [`pack`] did.
pub(crate) fn inflate(kind: Kind, flags: u8, body: &[u8]) -> Result<Cow<'_, [u8]>, FrameError> {
    if flags & DEFLATE == 0 {
        return Ok(Cow::Borrowed(body));
    }
    inflate::decompress_to_vec_with_limit(body, BODY_BYTES_MAX)
        .map(Cow::Owned)
        .map_err(|_| FrameError::Inflate { kind })
}

/// Deflates a body when that makes it smaller; returns it with the flag that says so.
pub(crate) fn pack(body: &[u8]) -> (u8, Cow<'_, [u8]>) {
    if body.len() >= DEFLATE_FROM_BYTES {
        // Made where it stays, since a stack keeps for ever what it once grew by: this is 65 KiB.
        let mut compressor = Box::<CompressorOxide>::default();
        compressor.set_format_and_level(DataFormat::Raw, DEFLATE_LEVEL);
        // What does not fit is not smaller.
        let mut packed = vec![0; body.len() - 1];
        let (status, _, bytes) = compress(&mut compressor, body, &mut packed, TDEFLFlush::Finish);
        if status == TDEFLStatus::Done {
            packed.truncate(bytes);
            return (DEFLATE, Cow::Owned(packed));
        }
    }
    (0, Cow::Borrowed(body))
}

/// Writes a whole frame.
///
/// # Errors
/// [`FrameError::TooLarge`].
pub(crate) fn write(
    flags: u8,
    (kind, revision): (Kind, u16),
    sequence: u64,
    body: &[&[u8]],
) -> Result<Vec<u8>, FrameError> {
    let bytes = body.iter().map(|part| part.len()).sum::<usize>();
    let mut frame = Vec::with_capacity(bytes + 16);
    frame.extend_from_slice(&[VERSION, flags, kind as u8]);
    put_varint(&mut frame, u64::from(revision));
    put_varint(&mut frame, sequence);
    for part in body {
        frame.extend_from_slice(part);
    }
    if frame.len() > FRAME_BYTES_MAX {
        return Err(FrameError::TooLarge {
            bytes: frame.len(),
            max: FRAME_BYTES_MAX,
        });
    }
    Ok(frame)
}

/// Decodes a postcard body that must be used up entirely.
///
/// # Errors
/// [`FrameError::Malformed`].
pub(crate) fn decode<'de, T: serde::Deserialize<'de>>(
    kind: Kind,
    body: &'de [u8],
) -> Result<T, FrameError> {
    match postcard::take_from_bytes(body) {
        Ok((value, [])) => Ok(value),
        Ok((_, rest)) => Err(FrameError::Malformed {
            kind,
            why: format!("{} bytes are left over", rest.len()),
        }),
        Err(why) => Err(FrameError::Malformed {
            kind,
            why: why.to_string(),
        }),
    }
}

/// Encodes a body with postcard.
///
/// # Errors
/// [`FrameError::Encode`] when it is over [`BODY_BYTES_MAX`].
pub(crate) fn encode<T: serde::Serialize>(kind: Kind, value: &T) -> Result<Vec<u8>, FrameError> {
    let body = postcard::to_stdvec(value).map_err(|why| FrameError::Encode {
        kind,
        why: why.to_string(),
    })?;
    if body.len() > BODY_BYTES_MAX {
        let why = format!("{} bytes, at most {BODY_BYTES_MAX} are allowed", body.len());
        return Err(FrameError::Encode { kind, why });
    }
    Ok(body)
}

fn put_varint(frame: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        frame.push((value & 0x7f) as u8 | 0x80);
        value >>= 7;
    }
    frame.push((value & 0x7f) as u8);
}

/// LEB128 as postcard has it, at most ten bytes, only the shortest form.
fn varint<'a>(bytes: &'a [u8], part: &'static str) -> Result<(u64, &'a [u8]), FrameError> {
    let mut value = 0_u64;
    for (at, byte) in (0_u32..10).zip(bytes) {
        let bits = u64::from(byte & 0x7f);
        let shift = 7 * at;
        if shift == 63 && bits > 1 {
            break;
        }
        value |= bits << shift;
        if byte & 0x80 == 0 {
            if *byte == 0 && at > 0 {
                break;
            }
            return Ok((value, bytes.get(at as usize + 1..).unwrap_or_default()));
        }
    }
    Err(FrameError::Truncated { part })
}

#[cfg(test)]
mod tests {
    use super::*;
    use miniz_oxide::deflate::compress_to_vec;
    use proptest::prelude::*;

    #[test]
    fn each_fault_of_an_envelope_is_refused_by_name() {
        let good = write(0, (Kind::Hello, 1), 0, &[b"body"]).unwrap();
        let with = |at: usize, byte: u8| {
            let mut frame = good.clone();
            frame[at] = byte;
            Raw::read(&frame).unwrap_err()
        };
        assert_eq!(with(0, 9), FrameError::Version { found: 9 });
        assert_eq!(with(1, 0x40), FrameError::Flags { found: 0x40 });
        assert_eq!(with(2, 0x7f), FrameError::UnknownKind { kind: 0x7f });
        assert_eq!(
            with(3, 2),
            FrameError::Revision {
                kind: Kind::Hello,
                found: 2
            }
        );
        assert_eq!(
            Raw::read(&good[..2]),
            Err(FrameError::Truncated { part: "header" })
        );
        assert_eq!(
            Raw::read(&good[..4]),
            Err(FrameError::Truncated { part: "sequence" })
        );
        let huge = vec![1; FRAME_BYTES_MAX + 1];
        assert!(matches!(Raw::read(&huge), Err(FrameError::TooLarge { .. })));
    }

    proptest! {
        #[test]
        fn a_body_is_packed_only_where_that_makes_it_smaller(
            word in proptest::collection::vec(any::<u8>(), 1..200),
            times in 1_usize..40,
        ) {
            let body = word.repeat(times);
            let whole = compress_to_vec(&body, DEFLATE_LEVEL);
            let (flags, packed) = pack(&body);
            if body.len() >= DEFLATE_FROM_BYTES && whole.len() < body.len() {
                prop_assert_eq!((flags, &*packed), (DEFLATE, &*whole));
            } else {
                prop_assert_eq!((flags, &*packed), (0, &*body));
            }
        }
    }

    #[test]
    fn a_bomb_stops_at_the_bound() {
        let bomb = compress_to_vec(&vec![0; BODY_BYTES_MAX + 1], 9);
        let frame = write(DEFLATE, (Kind::Log, 1), 1, &[&bomb]).unwrap();
        assert_eq!(
            Raw::read(&frame).unwrap().inflated(),
            Err(FrameError::Inflate { kind: Kind::Log })
        );
    }

    proptest! {
        #[test]
        fn envelopes_round_trip(kind in 0..Kind::ALL.len(), sequence: u64, body in proptest::collection::vec(any::<u8>(), 0..2000)) {
            let kind = Kind::ALL[kind];
            let (flags, packed) = pack(&body);
            let frame = write(flags, (kind, kind.revision()), sequence, &[&packed]).unwrap();
            let raw = Raw::read(&frame).unwrap();
            prop_assert_eq!((raw.kind, raw.sequence), (kind, sequence));
            prop_assert_eq!(&*raw.inflated().unwrap(), &*body);
        }

        #[test]
        fn no_bytes_panic(frame in proptest::collection::vec(any::<u8>(), 0..200)) {
            if let Ok(raw) = Raw::read(&frame) {
                let _ = raw.inflated();
            }
        }
    }
}
