//! The link in the agent's log: connected to what, lost or not made why, tried again when.
//! Never more than some lines in ten minutes, however the link flaps, and none that says nothing new.

use holdfast_agent_core::Monotonic;
use std::fmt::Display;

/// Within which [`LINES_MAX`] lines are written.
const WINDOW_MS: u64 = 10 * 60_000;
const LINES_MAX: u32 = 20;

/// What was said last, and how often of late.
#[derive(Debug, Default)]
pub(super) struct LinkLog {
    is_online: bool,
    said: Option<(Monotonic, String)>,
    since: Monotonic,
    lines: u32,
    unsaid: u32,
}

impl LinkLog {
    /// Whether the bridge has accepted this node; says so where that is new.
    pub(super) fn online(&mut self, now: Monotonic, is_online: bool, bridge: impl Display) {
        if is_online && !self.is_online {
            self.said = None;
            if let Some(unsaid) = self.may_say(now) {
                tracing::info!(%bridge, unsaid, "connected");
            }
        }
        // That it ended is said with the reason.
        self.is_online |= is_online;
    }

    /// A connection was not made, or has ended. The same again is said once in ten minutes.
    pub(super) fn ended(&mut self, now: Monotonic, why: &str, next_try_ms: Option<u64>) {
        let was_online = std::mem::take(&mut self.is_online);
        if let Some((at, said)) = &self.said
            && said == why
            && now.since(*at) < WINDOW_MS
        {
            return;
        }
        self.said = Some((now, why.to_owned()));
        let Some(unsaid) = self.may_say(now) else {
            return;
        };
        let next_try_s = next_try_ms.map(|ms| ms.div_ceil(1000));
        if was_online {
            tracing::info!(why, next_try_s, unsaid, "the link is lost");
        } else {
            tracing::info!(why, next_try_s, unsaid, "not connected");
        }
    }

    /// How many lines were left out before this one; `None` when it is to be left out too.
    fn may_say(&mut self, now: Monotonic) -> Option<u32> {
        if now.since(self.since) >= WINDOW_MS || self.since == Monotonic::default() {
            (self.since, self.lines) = (now, 0);
        }
        if self.lines >= LINES_MAX {
            self.unsaid += 1;
            return None;
        }
        self.lines += 1;
        Some(std::mem::take(&mut self.unsaid))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flapping_link_is_bounded_and_the_rest_is_counted() {
        let mut log = LinkLog::default();
        let mut now = Monotonic(5);
        for flap in 0..100 {
            log.online(now, true, "a:1");
            log.ended(now, &format!("reset {flap}"), None);
        }
        assert_eq!((log.lines, log.unsaid), (LINES_MAX, 180));
        now = now.after(WINDOW_MS);
        assert_eq!(log.may_say(now), Some(180));
        assert_eq!((log.lines, log.unsaid), (1, 0));
    }

    #[test]
    fn the_same_reason_is_said_again_only_after_a_while_or_a_connection() {
        let mut log = LinkLog::default();
        let mut now = Monotonic(5);
        let mut refused = |log: &mut LinkLog, ms| {
            now = now.after(ms);
            let before = log.lines;
            log.ended(now, "refused", Some(100));
            log.lines != before
        };
        assert!(refused(&mut log, 0));
        assert!(!refused(&mut log, 4_000));
        log.online(Monotonic(4_500), true, "a:1");
        assert!(refused(&mut log, 1_000));
        assert!(!refused(&mut log, WINDOW_MS - 1));
        assert!(refused(&mut log, 1));
    }
}
