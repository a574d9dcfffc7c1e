//! What `run` may be told: bridges, bounds and intervals. Never beyond what is sensible on a device.

use crate::link::address::Address;
use holdfast_agent_core::{Intervals, Limits};
use holdfast_journal::{Config, StreamId};
use std::ops::RangeInclusive;

/// Commands held at once.
pub const MAX_COMMANDS: RangeInclusive<u64> = 1..=10_000;
/// Commands that run at once.
pub const MAX_RUNNING: RangeInclusive<u64> = 1..=64;
/// Bytes of results that wait for the bridge: room for one worst result at least.
pub const QUEUE_BYTES: RangeInclusive<u64> = 1 << 20..=4 << 30;
/// Seconds between two inventories or patch scans.
pub const EVERY_S: RangeInclusive<u64> = 60..=30 * 86_400;

/// Inbox bytes for each command held; most take a tenth of that.
const INBOX_BYTES_EACH: u64 = 32 << 10;

/// Settings of one agent; the defaults are the core's and the journal's.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Settings {
    /// Bridges instead of the identity's.
    pub bridges: Vec<Address>,
    /// Commands held, from the inbox to their results, within [`MAX_COMMANDS`].
    pub max_commands: Option<u64>,
    /// Commands that run at once, within [`MAX_RUNNING`].
    pub max_running: Option<u64>,
    /// Bytes of results, within [`QUEUE_BYTES`].
    pub queue_bytes: Option<u64>,
    /// Seconds between two inventories, within [`EVERY_S`].
    pub inventory_every_s: Option<u64>,
    /// Seconds between two patch scans, within [`EVERY_S`].
    pub patch_scan_every_s: Option<u64>,
}

impl Settings {
    /// The core's bounds.
    pub(super) fn limits(&self) -> Limits {
        let mut limits = Limits::default();
        if let Some(max) = self.max_commands {
            let count = usize::try_from(max).unwrap_or(usize::MAX);
            limits.commands_max = count;
            limits.inbox_bytes_max = max * INBOX_BYTES_EACH;
            // Those that ended are remembered until they expire: twice as many as can be held.
            limits.tombstones_max = limits.tombstones_max.max(count.saturating_mul(2));
        }
        if let Some(max) = self.max_running {
            limits.running_max = usize::try_from(max).unwrap_or(usize::MAX);
        }
        limits
    }

    /// The core's intervals.
    pub(super) fn intervals(&self) -> Intervals {
        let mut intervals = Intervals::default();
        if let Some(seconds) = self.inventory_every_s {
            intervals.inventory_ms = seconds * 1000;
        }
        if let Some(seconds) = self.patch_scan_every_s {
            intervals.patch_scan_ms = seconds * 1000;
        }
        intervals
    }

    /// The journal's bounds. The ledger holds the inbox: it grows with it.
    pub(super) fn journal(&self) -> Config {
        let mut config = Config::default();
        let inbox = self.limits().inbox_bytes_max;
        config.ledger_cap_bytes = config.ledger_cap_bytes.max(inbox.saturating_mul(2));
        let results = config
            .streams
            .iter_mut()
            .find(|stream| stream.stream == StreamId::RESULT);
        if let (Some(results), Some(bytes)) = (results, self.queue_bytes) {
            results.cap_bytes = bytes;
        }
        config
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn untold_settings_are_the_defaults() {
        let settings = Settings::default();
        assert_eq!(settings.limits(), Limits::default());
        assert_eq!(settings.intervals(), Intervals::default());
        let (ours, default) = (settings.journal(), Config::default());
        assert_eq!(ours.ledger_cap_bytes, default.ledger_cap_bytes);
    }

    #[test]
    fn more_commands_get_a_larger_inbox_and_a_ledger_that_holds_it() {
        let settings = Settings {
            max_commands: Some(2000),
            ..Settings::default()
        };
        let limits = settings.limits();
        assert_eq!(limits.commands_max, 2000);
        assert!(limits.tombstones_max >= 4000);
        assert!(settings.journal().ledger_cap_bytes > limits.inbox_bytes_max);
    }
}
