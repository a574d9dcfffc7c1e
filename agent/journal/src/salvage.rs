//! Tells what a damaged record was where one flipped bit explains the damage: a CRC says which bit.
//! It never makes a record of it: what is found here names whose entry is lost, and is not its value.

use std::io;

use crate::{
    Storage,
    format::{HeaderDoubt, RECORD_HEADER, RecordHeader},
    segment::Segment,
};

/// The generator of CRC-32C, reflected.
const POLYNOMIAL: u32 = 0x82F6_3B78;

/// The payload of the one record `seq` that stood at `offset`, as it was before a bit flipped.
/// `None` where more than one bit is wrong: then nobody can say what it was.
///
/// # Errors
/// The device's own, when reading.
pub(crate) fn payload<S: Storage>(
    storage: &S,
    segment: &Segment,
    offset: u32,
    seq: u64,
) -> io::Result<Option<Vec<u8>>> {
    let file = storage.open(&segment.name())?;
    let mut bytes = [0; RECORD_HEADER as usize];
    storage.read_at(&file, u64::from(offset), &mut bytes)?;
    let salt = segment.header.salt;
    let intact = RecordHeader::decode(&bytes, salt, offset);
    let header = intact.or_else(|| {
        let doubt = HeaderDoubt::of(&bytes, salt, offset);
        bytes = doubt.corrected(flipped_bit(doubt.syndrome, doubt.covered))?;
        RecordHeader::decode(&bytes, salt, offset)
    });
    let Some(header) = header.filter(|header| header.seq == seq && !header.commit) else {
        return Ok(None);
    };
    let mut payload = vec![0; header.len as usize];
    let start = u64::from(offset + RECORD_HEADER);
    let got = storage.read_at(&file, start, &mut payload)?;
    payload.truncate(got);
    if header.matches(salt, &payload) {
        return Ok(Some(payload));
    }
    // A second bit, in the payload of a header that was wrong already, is no single flip.
    let bit = intact.and_then(|header| {
        let syndrome = header.syndrome(salt, &payload);
        flipped_bit(syndrome, payload.len())
    });
    let Some(bit) = bit else {
        return Ok(None);
    };
    if let Some(byte) = payload.get_mut(bit / 8) {
        *byte ^= 1 << (bit % 8);
    }
    Ok(header.matches(salt, &payload).then_some(payload))
}

/// Which bit of `len` bytes, flipped alone, changes their CRC-32C by `syndrome`.
fn flipped_bit(syndrome: u32, len: usize) -> Option<usize> {
    // The last bit changes it by the polynomial; each bit before by one more step of the register.
    let mut change = POLYNOMIAL;
    for bit in (0..len * 8).rev() {
        if change == syndrome {
            return Some(bit);
        }
        let carry = if change & 1 == 1 { POLYNOMIAL } else { 0 };
        change = change >> 1 ^ carry;
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_one_flipped_bit_is_found_and_two_are_not_taken_for_one() {
        let bytes: Vec<u8> = (0..200).collect();
        let whole = crc32c::crc32c(&bytes);
        for bit in 0..bytes.len() * 8 {
            let mut flipped = bytes.clone();
            flipped[bit / 8] ^= 1 << (bit % 8);
            let syndrome = crc32c::crc32c(&flipped) ^ whole;
            assert_eq!(flipped_bit(syndrome, bytes.len()), Some(bit));
            flipped[(bit / 8 + 7) % 200] ^= 4;
            let syndrome = crc32c::crc32c(&flipped) ^ whole;
            assert_eq!(flipped_bit(syndrome, bytes.len()), None, "bit {bit}");
        }
    }
}
