//! Whether a record of a node's stream is new, a repeat, or comes too early.
//! Never holds a record: what was applied last comes in.

use holdfast_protocol::up::StreamHead;

/// What to do with a record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Acceptance {
    /// Apply it; its sequence is then the last.
    Apply,
    /// It is a gap: so many records will never come; its sequence is then the last.
    Gap {
        /// Records missing.
        missing: u64,
    },
    /// It was applied before: acknowledge it again, do nothing.
    Duplicate,
    /// Records before it are missing: answer with the acknowledgement as it stands, from which
    /// the node sends again.
    Hole,
    /// No stream has such a record.
    Invalid,
}

/// Decides about a record by its sequence. `gap`: the first sequence missing, where it is a gap.
#[must_use]
pub fn accept(last: u64, sequence: u64, gap: Option<u64>) -> Acceptance {
    let first = gap.unwrap_or(sequence);
    if sequence == 0 || first == 0 || first > sequence || i64::try_from(sequence).is_err() {
        Acceptance::Invalid
    } else if sequence <= last {
        Acceptance::Duplicate
    } else if first > last + 1 {
        Acceptance::Hole
    } else if gap.is_some() {
        // What of it was applied before is not missing.
        Acceptance::Gap {
            missing: sequence - last,
        }
    } else {
        Acceptance::Apply
    }
}

/// A stream at hello.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Opened {
    /// Last sequence applied, from which to go on.
    pub last: u64,
    /// Records that the node has forgotten on an acknowledgement that this bridge does not
    /// remember: it was restored from an older state.
    pub lost: u64,
    /// Whether the node holds less than was applied: its disk was rolled back within one life of
    /// its outbox. It refuses the acknowledgement and begins a new life.
    pub regressed: bool,
}

/// Joins what the bridge has applied of a stream with what the node says of it at hello. A life
/// of the outbox that is not known begins where the node's acknowledgement stands; what was
/// acknowledged above `before`, the last sequence applied of the life that was known last, was
/// acknowledged to a bridge that this one does not remember to be.
/// `None`: the head is impossible.
#[must_use]
pub fn open(applied: Option<u64>, before: u64, head: StreamHead) -> Option<Opened> {
    if head.acked > head.head || i64::try_from(head.head).is_err() {
        return None;
    }
    Some(Opened {
        last: applied.unwrap_or(0).max(head.acked),
        lost: head.acked.saturating_sub(applied.unwrap_or(before)),
        regressed: applied.is_some_and(|applied| applied > head.head),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn each_case_is_told_apart() {
        assert_eq!(accept(4, 5, None), Acceptance::Apply);
        assert_eq!(accept(4, 4, None), Acceptance::Duplicate);
        assert_eq!(accept(4, 6, None), Acceptance::Hole);
        assert_eq!(accept(4, 9, Some(5)), Acceptance::Gap { missing: 5 });
        assert_eq!(accept(4, 9, Some(3)), Acceptance::Gap { missing: 5 });
        assert_eq!(accept(4, 4, Some(3)), Acceptance::Duplicate);
        assert_eq!(accept(4, 9, Some(6)), Acceptance::Hole);
        assert_eq!(accept(4, 9, Some(10)), Acceptance::Invalid);
        assert_eq!(accept(0, 0, None), Acceptance::Invalid);
        assert_eq!(accept(0, u64::MAX, Some(1)), Acceptance::Invalid);
    }

    #[test]
    fn a_restored_bridge_counts_what_it_can_never_get() {
        let head = StreamHead {
            head: 12,
            acked: 10,
        };
        assert_eq!(
            open(Some(7), 0, head),
            Some(Opened {
                last: 10,
                lost: 3,
                regressed: false
            })
        );
        assert_eq!(
            open(None, 0, head),
            Some(Opened {
                last: 10,
                lost: 10,
                regressed: false
            })
        );
        assert_eq!(
            open(Some(11), 0, head),
            Some(Opened {
                last: 11,
                lost: 0,
                regressed: false
            })
        );
        assert_eq!(
            open(Some(13), 0, head),
            Some(Opened {
                last: 13,
                lost: 0,
                regressed: true
            })
        );
        assert_eq!(open(None, 0, StreamHead { head: 1, acked: 2 }), None);
    }

    #[test]
    fn a_new_life_of_the_outbox_has_lost_nothing_that_an_older_one_acknowledged() {
        let head = StreamHead {
            head: 12,
            acked: 10,
        };
        let lost = |before| open(None, before, head).unwrap().lost;
        assert_eq!(lost(15), 0);
        assert_eq!(lost(10), 0);
        assert_eq!(lost(7), 3);
    }

    proptest! {
        /// Repeats, reordering and rewinds in any mixture: each record is applied once, in order.
        #[test]
        fn every_record_is_applied_once_and_in_order(
            arrivals in proptest::collection::vec(1_u64..20, 0..200),
        ) {
            let (mut last, mut applied) = (0, Vec::new());
            for sequence in arrivals {
                if accept(last, sequence, None) == Acceptance::Apply {
                    last = sequence;
                    applied.push(sequence);
                }
            }
            let expected: Vec<_> = (1..=last).collect();
            prop_assert_eq!(applied, expected);
        }

        #[test]
        fn gaps_and_records_account_for_every_sequence(
            arrivals in proptest::collection::vec((1_u64..30, 0_u64..4), 0..100),
        ) {
            let (mut last, mut accounted) = (0, 0);
            for (sequence, span) in arrivals {
                let gap = (span > 0).then(|| sequence.saturating_sub(span).max(1));
                match accept(last, sequence, gap) {
                    Acceptance::Apply => { accounted += 1; last = sequence; }
                    Acceptance::Gap { missing } => { accounted += missing; last = sequence; }
                    Acceptance::Duplicate | Acceptance::Hole | Acceptance::Invalid => {}
                }
                prop_assert_eq!(accounted, last);
            }
        }
    }
}
