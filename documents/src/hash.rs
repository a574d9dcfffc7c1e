//! The hash that names a document's exact text.
//! Never normalises: one changed byte is another document.

use std::fmt;
use std::str::FromStr;

use ring::digest;
use thiserror::Error;

/// SHA-256 over a document's content as given: the API's `DocumentHash` of type `Sha256`.
/// Shows and parses as 64 hexadecimal digits.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct DocumentHash([u8; 32]);

impl DocumentHash {
    /// The hash of `content`.
    pub fn of(content: &[u8]) -> Self {
        let mut bytes = [0; 32];
        for (to, from) in bytes
            .iter_mut()
            .zip(digest::digest(&digest::SHA256, content).as_ref())
        {
            *to = *from;
        }
        Self(bytes)
    }

    /// The 32 bytes.
    pub fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }
}

impl From<[u8; 32]> for DocumentHash {
    fn from(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }
}

impl fmt::Display for DocumentHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&hex::encode(self.0))
    }
}

impl fmt::Debug for DocumentHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// A text that is not a SHA-256 hash.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[error(
    "document hash has {found} characters or others than 0-9, a-f; a Sha256 hash is 64 of these"
)]
pub struct InvalidHash {
    /// Characters given.
    pub found: usize,
}

impl FromStr for DocumentHash {
    type Err = InvalidHash;

    fn from_str(text: &str) -> Result<Self, InvalidHash> {
        let mut bytes = [0; 32];
        hex::decode_to_slice(text, &mut bytes)
            .map(|()| Self(bytes))
            .map_err(|_| InvalidHash {
                found: text.chars().count(),
            })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hash_is_sha256_of_the_exact_bytes() {
        // FIPS 180-2, appendix B.1.
        let abc = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
        assert_eq!(DocumentHash::of(b"abc").to_string(), abc);
        assert_eq!(abc.to_uppercase().parse(), Ok(DocumentHash::of(b"abc")));
        assert_ne!(DocumentHash::of(b"abc\n"), DocumentHash::of(b"abc"));
    }

    #[test]
    fn what_is_no_hash_is_refused_with_its_length() {
        assert_eq!("abc".parse::<DocumentHash>(), Err(InvalidHash { found: 3 }));
        assert!("zz".repeat(32).parse::<DocumentHash>().is_err());
    }
}
