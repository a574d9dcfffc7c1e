//! Time that can be trusted: signed by the bridge, carried on by the monotonic clock, never below a durable floor.
//! Never looks at the operating system's date; a clock at 1970 changes nothing here.

use crate::input::Monotonic;
use holdfast_protocol::up::Stamp;
use serde::{Deserialize, Serialize};

/// How far signed time may run ahead of the durable floor before the floor is written again.
const FLOOR_STEP_MS: u64 = 3_600_000;

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
    pub(crate) fn new(boot_id: [u8; 16], built_unix_ms: u64) -> Self {
        Self {
            boot: 1,
            boot_id,
            floor_unix_ms: built_unix_ms,
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
        Some(unix.max(self.floor_unix_ms))
    }

    /// The latest date that has certainly passed.
    pub(crate) fn certain(&self, now: Monotonic) -> u64 {
        self.trusted(now).unwrap_or(self.floor_unix_ms)
    }

    /// Takes over signed time.
    pub(crate) fn learn(&mut self, now: Monotonic, unix_ms: u64) {
        let unix = i64::try_from(unix_ms).unwrap_or(i64::MAX);
        self.booted_unix_ms = Some(unix.saturating_sub_unsigned(now.0));
        self.raise(now);
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

    /// Sets time back by the root's word.
    pub(crate) fn reset(&mut self, now: Monotonic, unix_ms: u64) {
        self.floor_unix_ms = unix_ms;
        self.learn(now, unix_ms);
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

    #[test]
    fn a_new_boot_forgets_signed_time_and_keeps_the_floor() {
        let mut clock = Clock::new([1; 16], BUILT);
        clock.learn(Monotonic(5), BUILT + 1000);
        clock.restart([1; 16], BUILT);
        assert_eq!(clock.trusted(Monotonic(10)), Some(BUILT + 1005));
        clock.restart([2; 16], BUILT);
        assert_eq!(clock.trusted(Monotonic(10)), None);
        assert_eq!((clock.boot(), clock.floor_unix_ms()), (2, BUILT + 1000));
    }

    #[test]
    fn only_a_reset_lowers_the_floor() {
        let mut clock = Clock::new([1; 16], BUILT);
        clock.learn(Monotonic(0), BUILT * 2);
        clock.learn(Monotonic(1), BUILT);
        assert_eq!(clock.certain(Monotonic(1)), BUILT * 2);
        clock.reset(Monotonic(2), BUILT + 7);
        assert_eq!(clock.certain(Monotonic(3)), BUILT + 8);
    }

    proptest! {
        #[test]
        fn no_signed_time_panics_or_goes_back(times: Vec<u64>) {
            let mut clock = Clock::new([1; 16], BUILT);
            let mut last = 0;
            for (at, unix) in times.into_iter().enumerate() {
                let now = Monotonic(at as u64);
                clock.learn(now, unix);
                prop_assert!(clock.certain(now) >= last && !clock.lags(now));
                last = clock.certain(now);
            }
        }
    }
}
