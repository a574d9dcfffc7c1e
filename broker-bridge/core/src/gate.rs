//! How fast a fleet that comes back together is let in: connections at a steady pace, hellos a few
//! at once, and those that would wait too long are told when to come again.
//! Never turns a node away without saying when, and never reads a clock.

/// Connections let in at a steady rate, with room for a short burst.
#[derive(Debug, Clone)]
pub struct Pace {
    /// Time that one connection costs, in microseconds.
    each_us: u64,
    /// Time that may be saved up for a burst, in microseconds.
    burst_us: u64,
    /// When the connections let in so far are paid for, in microseconds.
    paid_us: u64,
}

impl Pace {
    /// So many a second, and at once up to a tenth of that.
    #[must_use]
    pub fn new(per_second: u32) -> Self {
        let each_us = 1_000_000 / u64::from(per_second.max(1));
        Self {
            each_us,
            burst_us: (100_000).max(each_us),
            paid_us: 0,
        }
    }

    /// Milliseconds until the next may come; 0: now. `now_ms` never goes back.
    #[must_use]
    pub fn wait_ms(&self, now_ms: u64) -> u64 {
        let now_us = now_ms.saturating_mul(1000);
        let earliest_us = (self.paid_us + self.each_us).saturating_sub(self.burst_us);
        earliest_us.saturating_sub(now_us).div_ceil(1000)
    }

    /// One came.
    pub fn count(&mut self, now_ms: u64) {
        let now_us = now_ms.saturating_mul(1000);
        self.paid_us = self.paid_us.max(now_us) + self.each_us;
    }
}

/// Bounds of the hellos that wait for their commit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Hellos {
    /// Handed to the store at once: what an API request that writes may find before it.
    pub at_once: usize,
    /// Waiting behind these at most.
    pub waiting: usize,
}

/// What becomes of a hello that comes now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Entry {
    /// It waits for its turn, which may be at once.
    Wait,
    /// Come again in so many milliseconds.
    Later(u32),
}

/// Shortest time after which a node that was put off comes again, in milliseconds.
const LATER_MS: u32 = 2_000;

impl Hellos {
    /// Decides about a hello while `waiting` others wait. `random` spreads those put off over as
    /// much time again, so that they do not come back together.
    #[must_use]
    pub fn enter(&self, waiting: usize, random: u16) -> Entry {
        if waiting < self.waiting {
            Entry::Wait
        } else {
            Entry::Later(later_ms(random))
        }
    }
}

/// When a node may try again that could not be served: 2 to 4 s, spread by `random`.
#[must_use]
pub fn later_ms(random: u16) -> u32 {
    LATER_MS + u32::from(random) % LATER_MS
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Lets in whoever may come, each millisecond of this many.
    fn let_in(pace: &mut Pace, from_ms: u64, for_ms: u64) -> u64 {
        let mut count = 0;
        for now in from_ms..from_ms + for_ms {
            while pace.wait_ms(now) == 0 {
                pace.count(now);
                count += 1;
            }
        }
        count
    }

    #[test]
    fn a_crowd_is_let_in_at_the_rate_and_a_tenth_of_a_second_at_once() {
        let mut pace = Pace::new(500);
        let at_once = let_in(&mut pace, 10_000, 1);
        assert_eq!(at_once, 50);
        let later = let_in(&mut pace, 10_001, 10_000);
        assert!((4_995..=5_005).contains(&later), "{later}");
    }

    #[test]
    fn a_quiet_hour_saves_up_no_more_than_one_burst() {
        let mut pace = Pace::new(100);
        let_in(&mut pace, 0, 1);
        assert_eq!(let_in(&mut pace, 3_600_000, 1), 10);
    }

    #[test]
    fn the_wait_is_as_long_as_the_next_place_takes() {
        let mut pace = Pace::new(10);
        pace.count(0);
        assert_eq!(pace.wait_ms(0), 100);
        assert_eq!(pace.wait_ms(99), 1);
        assert_eq!(pace.wait_ms(100), 0);
    }

    #[test]
    fn hellos_wait_up_to_their_bound_and_are_then_told_when_to_come() {
        let hellos = Hellos {
            at_once: 2,
            waiting: 10,
        };
        assert_eq!(hellos.enter(9, 7), Entry::Wait);
        for random in [0, 7, 1999, u16::MAX] {
            let Entry::Later(after) = hellos.enter(10, random) else {
                panic!("one more than may wait");
            };
            assert!((2_000..4_000).contains(&after), "{after}");
        }
    }
}
