//! Time that can be trusted: signed by the bridge, carried on by the monotonic clock, never below a durable floor.
//! Never looks at the operating system's date; a clock at 1970 changes nothing here.

use crate::input::Monotonic;
use holdfast_protocol::limits::CERTIFICATES_END_UNIX_MS;
use holdfast_protocol::up::Stamp;
use serde::{Deserialize, Serialize};

/// How far signed time may run ahead of the durable floor before the floor is written again.
const FLOOR_STEP_MS: u64 = 3_600_000;

/// A signed time that contradicts the connection which brought it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error(
    "{unix_ms} ms since 1970 is after the end of the bridge's own certificate at {until_unix_ms}: it is not taken over; check the bridge's clock"
)]
pub(crate) struct Beyond {
    /// The time that was told.
    pub(crate) unix_ms: u64,
    /// End of the certificate.
    pub(crate) until_unix_ms: u64,
}

/// What the node knows of time; part of its durable record.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Clock {
    /// Which boot this is, counted since registration.
    boot: u32,
    boot_id: [u8; 16],
    /// Milliseconds since 1970 that have certainly passed.
    floor_unix_ms: u64,
    /// Date of this boot by signed time, in milliseconds since 1970; unknown until a hello is answered.
    booted_unix_ms: Option<i64>,
}

impl Clock {
    /// The first clock of a node.
    pub(crate) fn new(boot_id: [u8; 16], registered_unix_ms: u64) -> Self {
        Self {
            boot: 1,
            boot_id,
            floor_unix_ms: registered_unix_ms,
            booted_unix_ms: None,
        }
    }

    /// A process begins. In another boot the monotonic clock began anew, so signed time is lost.
    pub(crate) fn restart(&mut self, boot_id: [u8; 16], built_unix_ms: u64) {
        if self.boot_id != boot_id {
            self.boot_id = boot_id;
            self.boot = self.boot.saturating_add(1);
            self.booted_unix_ms = None;
        }
        self.floor_unix_ms = self.floor_unix_ms.max(built_unix_ms);
        // Above it no certificate is good, and nothing could set the floor back.
        self.floor_unix_ms = self.floor_unix_ms.min(CERTIFICATES_END_UNIX_MS);
    }

    pub(crate) fn boot(&self) -> u32 {
        self.boot
    }

    pub(crate) fn floor_unix_ms(&self) -> u64 {
        self.floor_unix_ms
    }

    /// Signed time, where it is known in this boot.
    pub(crate) fn trusted(&self, now: Monotonic) -> Option<u64> {
        let booted = self.booted_unix_ms?;
        let unix = u64::try_from(booted.saturating_add_unsigned(now.0)).unwrap_or(0);
        // Nor does elapsed time carry the floor to where no connection is trusted any more.
        Some(unix.min(CERTIFICATES_END_UNIX_MS).max(self.floor_unix_ms))
    }

    /// The latest date that has certainly passed.
    pub(crate) fn certain(&self, now: Monotonic) -> u64 {
        self.trusted(now).unwrap_or(self.floor_unix_ms)
    }

    /// Takes over signed time, up to the end of the certificate that the bridge showed on the
    /// connection that brought it. A later one is wrong, whoever signed it: as a floor it would end
    /// the trust in this very connection, and in each that could set the floor back.
    pub(crate) fn learn(
        &mut self,
        now: Monotonic,
        unix_ms: u64,
        until_unix_ms: u64,
    ) -> Result<(), Beyond> {
        let until_unix_ms = until_unix_ms.min(CERTIFICATES_END_UNIX_MS);
        let beyond = Beyond {
            unix_ms,
            until_unix_ms,
        };
        if unix_ms > until_unix_ms {
            return Err(beyond);
        }
        let unix = i64::try_from(unix_ms).map_err(|_| beyond)?;
        self.booted_unix_ms = Some(unix.saturating_sub_unsigned(now.0));
        self.raise(now);
        Ok(())
    }

    /// Lifts the floor to signed time; the caller makes it durable.
    pub(crate) fn raise(&mut self, now: Monotonic) {
        self.floor_unix_ms = self.certain(now);
    }

    /// Whether the floor lags so far that it is worth a write.
    pub(crate) fn lags(&self, now: Monotonic) -> bool {
        self.certain(now) - self.floor_unix_ms > FLOOR_STEP_MS
    }

    /// When [`Self::lags`] turns true.
    pub(crate) fn lags_at(&self, now: Monotonic) -> Option<Monotonic> {
        self.when(now, self.floor_unix_ms.saturating_add(FLOOR_STEP_MS + 1))
    }

    /// When signed time reaches this date, where it is known.
    pub(crate) fn when(&self, now: Monotonic, unix_ms: u64) -> Option<Monotonic> {
        let trusted = self.trusted(now)?;
        Some(now.after(unix_ms.saturating_sub(trusted)))
    }

    /// Sets time back by the root's word, within the same bound.
    pub(crate) fn reset(
        &mut self,
        now: Monotonic,
        unix_ms: u64,
        until_unix_ms: u64,
    ) -> Result<(), Beyond> {
        let before = std::mem::replace(&mut self.floor_unix_ms, 0);
        let learned = self.learn(now, unix_ms, until_unix_ms);
        if learned.is_err() {
            self.floor_unix_ms = before;
        }
        learned
    }

    pub(crate) fn stamp(&self, now: Monotonic) -> Stamp {
        Stamp {
            boot: self.boot,
            uptime_ms: now.0,
            unix_ms: self.trusted(now),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const BUILT: u64 = 1_700_000_000_000;
    const END: u64 = CERTIFICATES_END_UNIX_MS;

    #[test]
    fn a_new_boot_forgets_signed_time_and_keeps_the_floor() {
        let mut clock = Clock::new([1; 16], BUILT);
        clock.learn(Monotonic(5), BUILT + 1000, END).unwrap();
        clock.restart([1; 16], BUILT);
        assert_eq!(clock.trusted(Monotonic(10)), Some(BUILT + 1005));
        clock.restart([2; 16], BUILT);
        assert_eq!(clock.trusted(Monotonic(10)), None);
        assert_eq!((clock.boot(), clock.floor_unix_ms()), (2, BUILT + 1000));
    }

    #[test]
    fn only_a_reset_lowers_the_floor() {
        let mut clock = Clock::new([1; 16], BUILT);
        clock.learn(Monotonic(0), BUILT * 2, END).unwrap();
        clock.learn(Monotonic(1), BUILT, END).unwrap();
        assert_eq!(clock.certain(Monotonic(1)), BUILT * 2);
        clock.reset(Monotonic(2), BUILT + 7, END).unwrap();
        assert_eq!(clock.certain(Monotonic(3)), BUILT + 8);
    }

    #[test]
    fn what_lies_beyond_the_bridges_certificate_is_not_learned_and_no_reset() {
        let mut clock = Clock::new([1; 16], BUILT);
        let (now, until_unix_ms) = (Monotonic(7), BUILT + 1000);
        let beyond = |unix_ms| {
            Err(Beyond {
                unix_ms,
                until_unix_ms,
            })
        };
        assert_eq!(
            clock.learn(now, BUILT + 1001, until_unix_ms),
            beyond(BUILT + 1001)
        );
        assert_eq!(clock.trusted(now), None);
        assert_eq!(clock.learn(now, BUILT + 1000, until_unix_ms), Ok(()));
        for unix_ms in [BUILT + 1001, u64::MAX] {
            let before = clock.clone();
            assert_eq!(clock.learn(now, unix_ms, until_unix_ms), beyond(unix_ms));
            assert_eq!(clock.reset(now, unix_ms, until_unix_ms), beyond(unix_ms));
            assert_eq!(clock, before);
        }
    }

    #[test]
    fn elapsed_time_stops_at_the_end_of_all_certificates() {
        let mut clock = Clock::new([1; 16], BUILT);
        clock.learn(Monotonic(0), END, u64::MAX).unwrap();
        let later = Monotonic(10 * FLOOR_STEP_MS);
        clock.raise(later);
        assert_eq!((clock.certain(later), clock.lags(later)), (END, false));
    }

    #[test]
    fn a_floor_that_an_older_agent_let_run_away_is_brought_back_within_reach() {
        let mut clock = Clock::new([1; 16], u64::MAX - 1);
        clock.booted_unix_ms = Some(i64::MAX);
        clock.restart([1; 16], BUILT);
        assert_eq!(clock.certain(Monotonic(1)), END);
        clock.reset(Monotonic(1), BUILT, END).unwrap();
        assert_eq!(clock.certain(Monotonic(1)), BUILT);
    }

    #[test]
    fn a_restart_does_not_undo_the_roots_word() {
        let mut clock = Clock::new([1; 16], BUILT * 2);
        clock.restart([1; 16], BUILT);
        assert_eq!(clock.certain(Monotonic(1)), BUILT * 2);
        clock.reset(Monotonic(1), BUILT + 7, END).unwrap();
        clock.restart([2; 16], BUILT);
        assert_eq!(clock.certain(Monotonic(1)), BUILT + 7);
    }

    proptest! {
        #[test]
        fn no_signed_time_panics_goes_back_or_passes_the_end(times: Vec<(u64, u64)>) {
            let mut clock = Clock::new([1; 16], BUILT);
            let mut last = 0;
            for (at, (unix, until)) in times.into_iter().enumerate() {
                let now = Monotonic(at as u64);
                prop_assert_eq!(clock.learn(now, unix, until).is_ok(), unix <= until.min(END));
                prop_assert!(clock.certain(now) >= last && !clock.lags(now));
                prop_assert!(clock.certain(now) <= END);
                last = clock.certain(now);
            }
        }
    }
}
