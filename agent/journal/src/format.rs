//! The bytes on disk: segment headers, record headers, checksums keyed by salt and place.
//! It never reads or writes a file, and never takes bytes of another segment or place for its own.
//!
//! ```text
//! segment   | header, 64 B of a 512 B sector | records … | header again, in the last sector |
//! record    | magic 4 | length 4 | sequence 8 | key 2 | flags 2 | payload CRC 4 | header CRC 4 | payload, padded to 4 |
//! ```
//! All integers are little-endian. Both CRCs are CRC-32C started from the segment's random salt; the
//! header's covers its own offset too, so neither output that imitates records, nor a record copied
//! elsewhere, nor what a recycled segment held before passes. One flipped bit hits a header or a
//! payload: the other still tells which sequence is lost. After the last record of each batch stands
//! a *commit*, a header without payload that repeats the batch's last sequence, so that the last
//! record of a log cannot vanish unnoticed either.

/// The format this code writes, and the highest it reads. Each segment and each cursor slot carries
/// its own, so that a journal moves on by itself: a reader of the older version stays in this file,
/// chosen by the header; what is appended goes to segments of the new version, and the old ones are
/// emptied by acknowledgement, eviction and the ledger's compaction. Higher ones are refused before
/// anything is changed ([`crate::OpenError::NewerVersion`]), never recycled or deleted.
pub(crate) const VERSION: u16 = 1;
/// The unit a device writes whole: nothing shares a sector with a segment's header.
pub(crate) const SECTOR: u32 = 512;
/// Where the records of a segment start.
pub(crate) const DATA_START: u32 = SECTOR;
/// Length of a record's header, and of a commit.
pub(crate) const RECORD_HEADER: u32 = 28;
/// Length of a segment's header.
pub(crate) const SEGMENT_HEADER: usize = 64;
/// Records start at multiples of this.
pub(crate) const ALIGN: u32 = 4;
/// Blocks that were allocated but never written cost the file system a commit of its own journal at
/// their first write, so zeros are written ahead of the records, up to the next multiple of this.
/// Longer steps mean fewer such commits, and more zeros in front of records that never come.
pub(crate) const AHEAD: u32 = 128 * 1024;
/// Zeros are written in pieces of at most this length: a block, since the program carries them.
pub(crate) static ZEROS: [u8; 4096] = [0; 4096];
/// The longest payload of a record: 256 KiB.
pub const MAX_RECORD: usize = 256 * 1024;

const SEGMENT_MAGIC: [u8; 8] = *b"HFjrnl\r\n";
const RECORD_MAGIC: u32 = 0x7AC5_9E1D;
const FIRST_OF_BATCH: u16 = 1;
const COMMIT: u16 = 2;
const AFTER_CUT: u16 = 4;
const HEADER_CRC_AT: usize = 24;
const SEGMENT_CRC_AT: usize = 60;

/// What a segment says of itself, twice.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct SegmentHeader {
    pub(crate) stream: u8,
    /// File length in bytes.
    pub(crate) bytes: u32,
    /// Place in the order in which all segments of the journal were begun.
    pub(crate) ordinal: u64,
    pub(crate) salt: u64,
    /// Sequence of its first record.
    pub(crate) first_seq: u64,
    /// Bytes that the journal had written in all when this segment was begun.
    pub(crate) written_bytes: u64,
}

/// What a stretch of bytes is, read as a segment header.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum HeaderRead {
    Valid(SegmentHeader),
    Newer(u16),
    Invalid,
}

impl SegmentHeader {
    pub(crate) fn encode(&self) -> [u8; SEGMENT_HEADER] {
        let mut bytes = [0; SEGMENT_HEADER];
        put(&mut bytes, 0, &SEGMENT_MAGIC);
        put(&mut bytes, 8, &VERSION.to_le_bytes());
        put(&mut bytes, 10, &[self.stream]);
        put(&mut bytes, 12, &self.bytes.to_le_bytes());
        put(&mut bytes, 16, &self.ordinal.to_le_bytes());
        put(&mut bytes, 24, &self.salt.to_le_bytes());
        put(&mut bytes, 32, &self.first_seq.to_le_bytes());
        put(&mut bytes, 40, &self.written_bytes.to_le_bytes());
        let crc = crc32c::crc32c(bytes.get(..SEGMENT_CRC_AT).unwrap_or_default());
        put(&mut bytes, SEGMENT_CRC_AT, &crc.to_le_bytes());
        bytes
    }

    /// Magic, version and CRC keep their places in every version, so that an older reader can tell
    /// a newer file from a damaged one.
    pub(crate) fn decode(bytes: &[u8]) -> HeaderRead {
        let Some(bytes) = bytes.get(..SEGMENT_HEADER) else {
            return HeaderRead::Invalid;
        };
        let crc = crc32c::crc32c(bytes.get(..SEGMENT_CRC_AT).unwrap_or_default());
        if bytes.get(..8) != Some(&SEGMENT_MAGIC) || u32_at(bytes, SEGMENT_CRC_AT) != crc {
            return HeaderRead::Invalid;
        }
        let version = u16_at(bytes, 8);
        if version > VERSION {
            return HeaderRead::Newer(version);
        }
        HeaderRead::Valid(Self {
            stream: bytes.get(10).copied().unwrap_or_default(),
            bytes: u32_at(bytes, 12),
            ordinal: u64_at(bytes, 16),
            salt: u64_at(bytes, 24),
            first_seq: u64_at(bytes, 32),
            written_bytes: u64_at(bytes, 40),
        })
    }

    /// Where the second copy starts; records end before it.
    pub(crate) fn copy_offset(&self) -> u32 {
        self.bytes.saturating_sub(SECTOR)
    }
}

/// The header of one record, or a commit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct RecordHeader {
    pub(crate) len: u32,
    pub(crate) seq: u64,
    pub(crate) key: u16,
    /// Everything of the stream before this record was durable when it was written.
    pub(crate) first_of_batch: bool,
    /// The first batch since an open that found damage which may be a write cut short: what was not
    /// known to be durable then is not known to be durable by this batch either.
    pub(crate) after_cut: bool,
    /// No record: everything up to `seq` was written before this.
    pub(crate) commit: bool,
    payload_crc: u32,
}

impl RecordHeader {
    pub(crate) fn record(
        salt: u64,
        seq: u64,
        key: u16,
        payload: &[u8],
        first_of_batch: bool,
    ) -> Self {
        Self {
            len: len_u32(payload),
            seq,
            key,
            first_of_batch,
            after_cut: false,
            commit: false,
            payload_crc: payload_crc(salt, seq, payload),
        }
    }

    pub(crate) fn commit(seq: u64) -> Self {
        Self {
            len: 0,
            seq,
            key: 0,
            first_of_batch: false,
            after_cut: false,
            commit: true,
            payload_crc: 0,
        }
    }

    /// Appends the header to `out`, as it stands at `offset` of its segment.
    pub(crate) fn encode(&self, salt: u64, offset: u32, out: &mut Vec<u8>) {
        let mut bytes = [0; RECORD_HEADER as usize];
        let flags = [
            (self.first_of_batch, FIRST_OF_BATCH),
            (self.commit, COMMIT),
            (self.after_cut, AFTER_CUT),
        ];
        let set = flags.iter().filter(|(is_set, _)| *is_set);
        let flags = set.fold(0, |flags, (_, flag)| flags | flag);
        put(&mut bytes, 0, &RECORD_MAGIC.to_le_bytes());
        put(&mut bytes, 4, &self.len.to_le_bytes());
        put(&mut bytes, 8, &self.seq.to_le_bytes());
        put(&mut bytes, 16, &self.key.to_le_bytes());
        put(&mut bytes, 18, &flags.to_le_bytes());
        put(&mut bytes, 20, &self.payload_crc.to_le_bytes());
        let crc = header_crc(salt, offset, &bytes);
        put(&mut bytes, HEADER_CRC_AT, &crc.to_le_bytes());
        out.extend_from_slice(&bytes);
    }

    /// `None` where the bytes at `offset` are no header of this segment at this place.
    pub(crate) fn decode(bytes: &[u8], salt: u64, offset: u32) -> Option<Self> {
        if u32_at(bytes, 0) != RECORD_MAGIC
            || u32_at(bytes, HEADER_CRC_AT) != header_crc(salt, offset, bytes)
        {
            return None;
        }
        let flags = u16_at(bytes, 18);
        let header = Self {
            len: u32_at(bytes, 4),
            seq: u64_at(bytes, 8),
            key: u16_at(bytes, 16),
            first_of_batch: flags & FIRST_OF_BATCH != 0,
            after_cut: flags & AFTER_CUT != 0,
            commit: flags & COMMIT != 0,
            payload_crc: u32_at(bytes, 20),
        };
        (header.len as usize <= MAX_RECORD && header.seq > 0).then_some(header)
    }

    pub(crate) fn matches(&self, salt: u64, payload: &[u8]) -> bool {
        self.commit || payload_crc(salt, self.seq, payload) == self.payload_crc
    }

    /// By how much the payload misses its checksum; 0 where it is whole.
    pub(crate) fn syndrome(&self, salt: u64, payload: &[u8]) -> u32 {
        payload_crc(salt, self.seq, payload) ^ self.payload_crc
    }

    /// Bytes from this header to the next.
    pub(crate) fn stride(&self) -> u32 {
        RECORD_HEADER.saturating_add(self.len.next_multiple_of(ALIGN))
    }
}

/// A header that does not pass its checksum, as whoever looks for the flipped bit needs it.
pub(crate) struct HeaderDoubt {
    bytes: [u8; RECORD_HEADER as usize],
    /// By how much it misses its checksum.
    pub(crate) syndrome: u32,
    /// Bytes from its start on that the checksum covers.
    pub(crate) covered: usize,
}

impl HeaderDoubt {
    pub(crate) fn of(bytes: &[u8; RECORD_HEADER as usize], salt: u64, offset: u32) -> Self {
        Self {
            bytes: *bytes,
            syndrome: header_crc(salt, offset, bytes) ^ u32_at(bytes, HEADER_CRC_AT),
            covered: HEADER_CRC_AT,
        }
    }

    /// The header with `bit` flipped back; `None`: where the bit is not one of the checksum's own.
    pub(crate) fn corrected(&self, bit: Option<usize>) -> Option<[u8; RECORD_HEADER as usize]> {
        let own = self.syndrome.is_power_of_two();
        let bit = bit
            .or_else(|| own.then(|| HEADER_CRC_AT * 8 + self.syndrome.trailing_zeros() as usize))?;
        let mut bytes = self.bytes;
        *bytes.get_mut(bit / 8)? ^= 1 << (bit % 8);
        Some(bytes)
    }
}

/// Bytes a payload takes at most: header, padding and a commit of its own.
pub(crate) fn framed(payload_len: usize) -> u32 {
    let len = u32::try_from(payload_len).unwrap_or(u32::MAX - 4 * RECORD_HEADER);
    len.next_multiple_of(ALIGN) + 2 * RECORD_HEADER
}

/// The length of a slice that is known to be shorter than 4 GiB.
pub(crate) fn len_u32(bytes: &[u8]) -> u32 {
    u32::try_from(bytes.len()).unwrap_or(u32::MAX)
}

fn header_crc(salt: u64, offset: u32, header: &[u8]) -> u32 {
    let seed = crc32c::crc32c_append(crc32c::crc32c(&salt.to_le_bytes()), &offset.to_le_bytes());
    crc32c::crc32c_append(seed, header.get(..HEADER_CRC_AT).unwrap_or_default())
}

fn payload_crc(salt: u64, seq: u64, payload: &[u8]) -> u32 {
    let seed = crc32c::crc32c_append(crc32c::crc32c(&salt.to_le_bytes()), &seq.to_le_bytes());
    crc32c::crc32c_append(seed, payload)
}

/// Writes `field` at `at`; a field outside is a slip of this file that its tests would show.
pub(crate) fn put(bytes: &mut [u8], at: usize, field: &[u8]) {
    if let Some(place) = bytes.get_mut(at..at + field.len()) {
        place.copy_from_slice(field);
    }
}

fn array_at<const N: usize>(bytes: &[u8], at: usize) -> [u8; N] {
    bytes
        .get(at..at + N)
        .and_then(|field| field.try_into().ok())
        .unwrap_or([0; N])
}

pub(crate) fn u16_at(bytes: &[u8], at: usize) -> u16 {
    u16::from_le_bytes(array_at(bytes, at))
}

pub(crate) fn u32_at(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes(array_at(bytes, at))
}

pub(crate) fn u64_at(bytes: &[u8], at: usize) -> u64 {
    u64::from_le_bytes(array_at(bytes, at))
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEADER: SegmentHeader = SegmentHeader {
        stream: 3,
        bytes: 1 << 20,
        ordinal: 7,
        salt: 0xFEED,
        first_seq: 42,
        written_bytes: 0x0A0B_0C0D,
    };

    #[test]
    fn a_segment_header_round_trips_and_no_flipped_bit_passes() {
        let bytes = HEADER.encode();
        assert_eq!(SegmentHeader::decode(&bytes), HeaderRead::Valid(HEADER));
        for bit in 0..bytes.len() * 8 {
            let mut flipped = bytes;
            flipped[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(
                SegmentHeader::decode(&flipped),
                HeaderRead::Invalid,
                "bit {bit}"
            );
        }
    }

    #[test]
    fn a_newer_header_is_told_from_a_damaged_one() {
        let mut bytes = HEADER.encode();
        put(&mut bytes, 8, &(VERSION + 1).to_le_bytes());
        let crc = crc32c::crc32c(&bytes[..SEGMENT_CRC_AT]);
        put(&mut bytes, SEGMENT_CRC_AT, &crc.to_le_bytes());
        assert_eq!(
            SegmentHeader::decode(&bytes),
            HeaderRead::Newer(VERSION + 1)
        );
    }

    #[test]
    fn a_record_header_is_valid_only_under_its_salt_and_at_its_place() {
        let header = RecordHeader::record(9, 5, 1, b"payload", true);
        let mut bytes = Vec::new();
        header.encode(9, 512, &mut bytes);
        assert_eq!(RecordHeader::decode(&bytes, 9, 512), Some(header));
        assert_eq!(RecordHeader::decode(&bytes, 8, 512), None);
        assert_eq!(RecordHeader::decode(&bytes, 9, 516), None);
        assert!(header.matches(9, b"payload") && !header.matches(9, b"Payload"));
    }

    #[test]
    fn the_format_of_version_1_is_frozen() {
        let mut bytes = Vec::new();
        RecordHeader::record(0x0102, 3, 4, b"abc", true).encode(0x0102, 512, &mut bytes);
        assert_eq!(hex(&bytes), GOLDEN_RECORD);
        assert_eq!(hex(&HEADER.encode()), GOLDEN_SEGMENT);
    }

    const GOLDEN_RECORD: &str = "1d9ec57a0300000003000000000000000400010036703127a2863ac4";
    const GOLDEN_SEGMENT: &str = "48466a726e6c0d0a01000300000010000700000000000000edfe0000000000002a000000000000000d0c0b0a00000000000000000000000000000000815b6244";

    fn hex(bytes: &[u8]) -> String {
        bytes.iter().map(|byte| format!("{byte:02x}")).collect()
    }
}
