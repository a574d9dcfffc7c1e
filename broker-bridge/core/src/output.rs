//! What of a node's output is kept: each byte once, the first that came, within the bounds.
//! Never holds output: lengths and places come in.

use holdfast_protocol::limits::{
    INVOCATION_OUTPUT_BYTES_MAX, STDERR_BYTES_MAX, STDOUT_BYTES_MAX, STEPS_MAX,
};
use holdfast_protocol::up::OutputStream;
use std::collections::BTreeMap;
use std::ops::Range;

/// What is kept of one invocation's output.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Kept {
    ends: BTreeMap<(u8, bool), usize>,
    total: usize,
}

fn bound(stream: OutputStream) -> usize {
    match stream {
        OutputStream::Stdout => STDOUT_BYTES_MAX,
        OutputStream::Stderr => STDERR_BYTES_MAX,
    }
}

impl Kept {
    /// Takes up what is stored of one stream of a step: where it ends, and its bytes, which are
    /// fewer where some never came.
    pub fn stored(&mut self, step: u8, stream: OutputStream, end: usize, bytes: usize) {
        let ended = self
            .ends
            .entry((step, stream == OutputStream::Stderr))
            .or_default();
        *ended = end.max(*ended);
        self.total = self.total.saturating_add(bytes);
    }

    /// The part of a piece that is to be kept, in bytes from the piece's begin; `None` when none is.
    /// Pieces of one stream come in order, so what lies before the end of what is kept is there
    /// already or was given up: it is cut away, and so is what goes beyond a bound.
    pub fn take(
        &mut self,
        step: u8,
        stream: OutputStream,
        offset: usize,
        length: usize,
    ) -> Option<Range<usize>> {
        if usize::from(step) >= STEPS_MAX {
            return None;
        }
        let ended = self
            .ends
            .entry((step, stream == OutputStream::Stderr))
            .or_default();
        let begin = offset.max(*ended);
        let room = INVOCATION_OUTPUT_BYTES_MAX.saturating_sub(self.total);
        let end = offset
            .saturating_add(length)
            .min(bound(stream))
            .min(begin.saturating_add(room));
        if begin >= end {
            return None;
        }
        *ended = end;
        self.total += end - begin;
        Some(begin - offset..end - offset)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn piece() -> impl Strategy<Value = (u8, bool, usize, usize)> {
        let offset = prop_oneof![0..64_usize, 0..300_000_usize, Just(usize::MAX)];
        let length = prop_oneof![0..64_usize, 0..16_385_usize];
        (0..130_u8, any::<bool>(), offset, length)
    }

    proptest! {
        #[test]
        fn no_byte_is_kept_twice_and_no_bound_is_exceeded(
            pieces in proptest::collection::vec(piece(), 0..200),
        ) {
            let mut kept = Kept::default();
            let mut again = Kept::default();
            let mut last: BTreeMap<(u8, bool), usize> = BTreeMap::new();
            let mut total = 0;
            for (step, stderr, offset, length) in pieces {
                let stream = if stderr { OutputStream::Stderr } else { OutputStream::Stdout };
                let Some(part) = kept.take(step, stream, offset, length) else { continue };
                prop_assert!(part.start < part.end && part.end <= length);
                let (begin, end) = (offset + part.start, offset + part.end);
                let before = last.insert((step, stderr), end).unwrap_or(0);
                prop_assert!(begin >= before && end <= bound(stream));
                prop_assert!(usize::from(step) < STEPS_MAX);
                total += end - begin;
                prop_assert!(total <= INVOCATION_OUTPUT_BYTES_MAX);
                // A bridge that read it back from the store goes on from the same place.
                again.stored(step, stream, end, end - begin);
            }
            again.ends.retain(|_, end| *end > 0);
            kept.ends.retain(|_, end| *end > 0);
            prop_assert_eq!(again, kept);
        }

        #[test]
        fn an_output_in_order_is_kept_whole(lengths in proptest::collection::vec(1..4000_usize, 1..16)) {
            let (mut kept, mut offset) = (Kept::default(), 0);
            for length in lengths {
                let part = kept.take(3, OutputStream::Stderr, offset, length);
                prop_assert_eq!(part, Some(0..length));
                // Sent again after a resumption, it changes nothing.
                prop_assert_eq!(kept.take(3, OutputStream::Stderr, offset, length), None);
                offset += length;
            }
        }
    }

    #[test]
    fn the_first_bytes_win_and_the_rest_of_an_overlap_is_kept() {
        let mut kept = Kept::default();
        assert_eq!(kept.take(0, OutputStream::Stdout, 0, 10), Some(0..10));
        assert_eq!(kept.take(0, OutputStream::Stdout, 5, 10), Some(5..10));
        assert_eq!(kept.take(0, OutputStream::Stdout, 0, 15), None);
        assert_eq!(kept.take(0, OutputStream::Stderr, 0, 3), Some(0..3));
        let end = STDOUT_BYTES_MAX - 4;
        assert_eq!(kept.take(0, OutputStream::Stdout, end, 10), Some(0..4));
    }
}
