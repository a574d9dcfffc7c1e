//! Which refusals are told to the log: some a minute, and how many were left out before.
//! Never decides what is refused, and never reads a clock.

use std::sync::{Mutex, PoisonError};

/// Lines of one minute: enough to see who asks, few enough that strangers fill no disk.
const LINES_PER_MINUTE: u32 = 20;

#[derive(Debug, Default)]
struct Minute {
    number: u64,
    lines: u32,
    left_out: u64,
}

/// Refusals within the current minute.
#[derive(Debug, Default)]
pub(super) struct Refusals(Mutex<Minute>);

impl Refusals {
    /// Whether one that comes now is told: how many before it were not.
    pub(super) fn tell(&self, now_unix_ms: u64) -> Option<u64> {
        let mut minute = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let number = now_unix_ms / 60_000;
        if minute.number != number {
            (minute.number, minute.lines) = (number, 0);
        }
        if minute.lines >= LINES_PER_MINUTE {
            minute.left_out += 1;
            return None;
        }
        minute.lines += 1;
        Some(std::mem::take(&mut minute.left_out))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flood_leaves_some_lines_a_minute_and_their_number() {
        let refusals = Refusals::default();
        let told = |at| (0..1000).filter(|_| refusals.tell(at).is_some()).count();
        assert_eq!(told(0), 20);
        assert_eq!(told(59_999), 0);
        assert_eq!(refusals.tell(60_000), Some(1980));
        assert_eq!(refusals.tell(60_001), Some(0));
    }
}
