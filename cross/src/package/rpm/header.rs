//! RPM's header: an index of tags over a store of values, with a trailer that says what is immutable.
//! Never knows what a tag means.

use super::number;
use crate::package::PackageError;
use std::collections::BTreeMap;

/// The region of the header of digests.
pub(super) const SIGNATURES: u32 = 62;
/// The region of the header of tags.
pub(super) const IMMUTABLE: u32 = 63;

const MAGIC: [u8; 8] = [0x8e, 0xad, 0xe8, 1, 0, 0, 0, 0];
/// The type of a region's trailer.
const BINARY: u32 = 7;
/// Bytes of an index entry, and of the trailer that looks like one.
const ENTRY_BYTES: usize = 16;

/// The value of a tag.
#[derive(Debug, Clone)]
pub(super) enum Value {
    Int16(Vec<u16>),
    Int32(Vec<u32>),
    Text(String),
    Texts(Vec<String>),
    Translated(String),
}

impl Value {
    /// RPM's number of the type, and where its values must begin.
    fn kind(&self) -> (u32, usize) {
        match self {
            Self::Int16(_) => (3, 2),
            Self::Int32(_) => (4, 4),
            Self::Text(_) => (6, 1),
            Self::Texts(_) => (8, 1),
            Self::Translated(_) => (9, 1),
        }
    }

    fn count(&self) -> usize {
        match self {
            Self::Int16(values) => values.len(),
            Self::Int32(values) => values.len(),
            Self::Texts(values) => values.len(),
            Self::Text(_) | Self::Translated(_) => 1,
        }
    }

    fn store(&self, store: &mut Vec<u8>) {
        let text = |store: &mut Vec<u8>, text: &str| {
            store.extend(text.as_bytes());
            store.push(0);
        };
        match self {
            Self::Int16(values) => values
                .iter()
                .for_each(|value| store.extend(value.to_be_bytes())),
            Self::Int32(values) => values
                .iter()
                .for_each(|value| store.extend(value.to_be_bytes())),
            Self::Text(value) | Self::Translated(value) => text(store, value),
            Self::Texts(values) => values.iter().for_each(|value| text(store, value)),
        }
    }
}

/// A header being filled.
#[derive(Debug)]
pub(super) struct Header {
    region: u32,
    values: BTreeMap<u32, Value>,
}

impl Header {
    pub(super) fn new(region: u32) -> Self {
        Self {
            region,
            values: BTreeMap::new(),
        }
    }

    pub(super) fn push(&mut self, tag: u32, value: Value) {
        self.values.insert(tag, value);
    }

    /// The header as it stands in the file, without what aligns the next.
    pub(super) fn bytes(&self) -> Result<Vec<u8>, PackageError> {
        let (mut index, mut store) = (Vec::new(), Vec::new());
        let mut entry = |tag: u32, kind: u32, offset: u32, count: u32| {
            for field in [tag, kind, offset, count] {
                index.extend(field.to_be_bytes());
            }
        };
        let mut entries = Vec::new();
        for (tag, value) in &self.values {
            let (kind, align) = value.kind();
            store.resize(store.len().next_multiple_of(align), 0);
            entries.push((
                *tag,
                kind,
                number("the header", store.len())?,
                number("the header", value.count())?,
            ));
            value.store(&mut store);
        }
        let in_index = (self.values.len() + 1) * ENTRY_BYTES;
        entry(self.region, BINARY, number("the header", store.len())?, 16);
        for (tag, kind, offset, count) in entries {
            entry(tag, kind, offset, count);
        }
        // The trailer: how far back the index begins, as a negative number.
        let back = number("the header's index", in_index)?.wrapping_neg();
        for field in [self.region, BINARY, back, 16] {
            store.extend(field.to_be_bytes());
        }
        let mut bytes = MAGIC.to_vec();
        bytes.extend(number("the header's index", self.values.len() + 1)?.to_be_bytes());
        bytes.extend(number("the header", store.len())?.to_be_bytes());
        bytes.extend(index);
        bytes.extend(store);
        Ok(bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_aligned_and_the_trailer_points_back_to_the_index() {
        let mut header = Header::new(IMMUTABLE);
        header.push(1000, Value::Text("ab".into()));
        header.push(1001, Value::Int32(vec![7]));
        let bytes = header.bytes().unwrap();
        // Three index entries; a text of three bytes, one of nothing, a number, the trailer.
        let (index, store) = bytes[16..].split_at(3 * ENTRY_BYTES);
        assert_eq!(store.len(), 4 + 4 + 16);
        assert_eq!(store[..8], [b'a', b'b', 0, 0, 0, 0, 0, 7]);
        assert_eq!(index[8..12], 8u32.to_be_bytes());
        assert_eq!(store[16..20], (-48i32).to_be_bytes());
    }
}
