//! Node, command, activation and outbox ids: types that cannot hold a wrong value.
//! Never generates one: randomness comes from the caller.

use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error as _};
use std::{fmt, str::FromStr};

/// A text is not the id it was taken for.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{value}` is not {what}: expected {form}")]
pub struct InvalidId {
    /// What was found, cut to 64 characters.
    pub value: String,
    /// What it should have been.
    pub what: &'static str,
    /// The form it must have.
    pub form: &'static str,
}

fn invalid(value: &str, what: &'static str, form: &'static str) -> InvalidId {
    InvalidId {
        value: value.chars().take(64).collect(),
        what,
        form,
    }
}

/// A managed node: `mi-` and 17 lower-case hexadecimal digits, as the SSM API has it.
///
/// It is also the node's MQTT client id and the common name of its certificate.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct NodeId([u8; NodeId::LEN]);

impl NodeId {
    /// Length of the text form in bytes.
    pub const LEN: usize = 20;
    const FORM: &'static str = "`mi-` and 17 lower-case hexadecimal digits";

    /// Makes an id from randomness; 68 of the bits are used.
    #[must_use]
    pub fn from_random(random: [u8; 9]) -> Self {
        let mut text = [0; Self::LEN];
        let digits = hex::encode(random);
        for (to, from) in text.iter_mut().zip(b"mi-".iter().chain(digits.as_bytes())) {
            *to = *from;
        }
        Self(text)
    }

    /// The text form.
    #[must_use]
    pub fn as_str(&self) -> &str {
        // Only ASCII gets in, so the default is never taken.
        str::from_utf8(&self.0).unwrap_or_default()
    }

    /// The bucket in the node's topics, 0 to 63: FNV-1a (32 bit) of the text form, its low six bits.
    /// Several bridges share a fleet by bucket.
    #[must_use]
    pub fn bucket(&self) -> u8 {
        let hash = self.0.iter().fold(0x811c_9dc5_u32, |hash, byte| {
            (hash ^ u32::from(*byte)).wrapping_mul(0x0100_0193)
        });
        (hash & 63) as u8
    }
}

impl FromStr for NodeId {
    type Err = InvalidId;
    fn from_str(text: &str) -> Result<Self, InvalidId> {
        let is_digit = |byte: &u8| matches!(byte, b'0'..=b'9' | b'a'..=b'f');
        let bytes: [u8; Self::LEN] = text
            .as_bytes()
            .try_into()
            .map_err(|_| invalid(text, "a node id", Self::FORM))?;
        match bytes.split_at(3) {
            (b"mi-", digits) if digits.iter().all(is_digit) => Ok(Self(bytes)),
            _ => Err(invalid(text, "a node id", Self::FORM)),
        }
    }
}

impl fmt::Display for NodeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

impl fmt::Debug for NodeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl Serialize for NodeId {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.as_str())
    }
}

impl<'de> Deserialize<'de> for NodeId {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = heapless::String::<{ NodeId::LEN }>::deserialize(deserializer)?;
        text.parse().map_err(D::Error::custom)
    }
}

macro_rules! uuid_id {
    ($(#[$doc:meta])* $name:ident, $what:literal) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        pub struct $name([u8; 16]);

        impl $name {
            /// Makes a version 4 UUID (RFC 9562) from 16 random bytes.
            #[must_use]
            pub fn from_random(mut random: [u8; 16]) -> Self {
                random[6] = random[6] & 0x0f | 0x40;
                random[8] = random[8] & 0x3f | 0x80;
                Self(random)
            }

            /// The 16 bytes.
            #[must_use]
            pub fn as_bytes(&self) -> &[u8; 16] {
                &self.0
            }
        }

        impl From<[u8; 16]> for $name {
            fn from(bytes: [u8; 16]) -> Self {
                Self(bytes)
            }
        }

        impl FromStr for $name {
            type Err = InvalidId;
            fn from_str(text: &str) -> Result<Self, InvalidId> {
                let wrong = || invalid(text, $what, "a UUID in lower case, 8-4-4-4-12");
                let dashes = [8, 13, 18, 23];
                let placed = text.len() == 36
                    && text.bytes().enumerate().all(|(at, byte)| match byte {
                        b'-' => dashes.contains(&at),
                        b'0'..=b'9' | b'a'..=b'f' => !dashes.contains(&at),
                        _ => false,
                    });
                if !placed {
                    return Err(wrong());
                }
                let mut bytes = [0; 16];
                hex::decode_to_slice(text.replace('-', ""), &mut bytes).map_err(|_| wrong())?;
                Ok(Self(bytes))
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                for (at, byte) in self.0.iter().enumerate() {
                    if matches!(at, 4 | 6 | 8 | 10) {
                        f.write_str("-")?;
                    }
                    write!(f, "{byte:02x}")?;
                }
                Ok(())
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Display::fmt(self, f)
            }
        }
    };
}

uuid_id!(
    /// One command; each of its invocations is a command id and a node id.
    CommandId,
    "a command id"
);
uuid_id!(
    /// One activation.
    ActivationId,
    "an activation id"
);

/// One life of an agent's outbox. A rolled-back or restored disk begins a new one, so that a
/// sequence number is never used twice for different records.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct OutboxId(pub u64);

impl fmt::Display for OutboxId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

/// Sixteen random bytes, used once.
pub type Nonce = [u8; 16];

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_node_id_is_what_the_api_has() {
        let id = NodeId::from_random([0xab; 9]);
        assert_eq!(id.as_str(), "mi-ababababababababa");
        assert_eq!(id.as_str().parse(), Ok(id));
        for wrong in [
            "",
            "mi-",
            "mi-ABABABABABABABABA",
            "i-ababababababababab",
            "mi-ababababababababab",
        ] {
            assert!(wrong.parse::<NodeId>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn the_bucket_of_a_node_never_moves() {
        assert_eq!(
            "mi-0123456789abcdef0".parse::<NodeId>().unwrap().bucket(),
            62
        );
        assert_eq!(
            "mi-ffffffffffffffff0".parse::<NodeId>().unwrap().bucket(),
            14
        );
    }

    proptest! {
        #[test]
        fn command_ids_round_trip(random: [u8; 16]) {
            let id = CommandId::from_random(random);
            prop_assert_eq!(id.to_string().parse::<CommandId>(), Ok(id));
        }

        #[test]
        fn no_text_panics(text in ".{0,64}") {
            let _ = text.parse::<NodeId>();
            let _ = text.parse::<CommandId>();
        }
    }
}
