//! What is old enough to go. Never deletes anything.

/// A day in milliseconds.
pub const DAY_MS: i64 = 24 * 60 * 60 * 1000;

/// How much history is kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Retention {
    /// Age at which a finished command goes, with its invocations and output.
    pub command_age_ms: i64,
    /// Commands kept at most, finished or not; the oldest finished go first.
    pub commands_max: i64,
    /// Age at which nodes' events and entries of the audit trail go.
    pub event_age_ms: i64,
    /// Events kept of one node at most.
    pub node_events_max: i64,
    /// Events kept of all nodes at most; the nodes with the most lose theirs first.
    pub events_max: i64,
    /// Entries of the audit trail kept at most.
    pub audit_max: i64,
}

impl Default for Retention {
    /// Thirty days, as the Run Command history has it, and bounds for a small disk.
    fn default() -> Self {
        Self {
            command_age_ms: 30 * DAY_MS,
            commands_max: 100_000,
            event_age_ms: 90 * DAY_MS,
            node_events_max: 10_000,
            events_max: 1_000_000,
            audit_max: 1_000_000,
        }
    }
}

impl Retention {
    /// Finished commands requested before this go.
    #[must_use]
    pub fn commands_before(&self, now: i64) -> i64 {
        now.saturating_sub(self.command_age_ms)
    }

    /// Events before this go.
    #[must_use]
    pub fn events_before(&self, now: i64) -> i64 {
        now.saturating_sub(self.event_age_ms)
    }

    /// How many of so many commands are over the bound.
    #[must_use]
    pub fn commands_over(&self, count: i64) -> i64 {
        count.saturating_sub(self.commands_max).max(0)
    }

    /// How many events each node may keep, when nodes have so many: the same for all, so that one
    /// that says much never costs another its own.
    #[must_use]
    pub fn events_each(&self, counts: &[i64]) -> i64 {
        let mut left = self.events_max.max(0);
        let mut sorted = counts.to_vec();
        sorted.sort_unstable();
        let mut nodes = i64::try_from(sorted.len()).unwrap_or(i64::MAX);
        for count in sorted {
            // Whoever has less than an equal share leaves the rest of it to the others.
            let share = left / nodes.max(1);
            if count > share {
                return share.min(self.node_events_max);
            }
            left -= count;
            nodes -= 1;
        }
        self.node_events_max
    }

    /// How many of so many entries of the audit trail are over the bound.
    #[must_use]
    pub fn audit_over(&self, count: i64) -> i64 {
        count.saturating_sub(self.audit_max).max(0)
    }
}

/// When an invocation cannot be running any more, milliseconds since 1970: its expiry, from which
/// the node must not begin it, and the longest run after that.
#[must_use]
pub fn holds_until(expires: i64, run_bound_ms: i64) -> i64 {
    expires.saturating_add(run_bound_ms)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_node_that_says_much_costs_the_others_none_of_their_events() {
        let retention = Retention {
            node_events_max: 100,
            events_max: 250,
            ..Retention::default()
        };
        assert_eq!(retention.events_each(&[]), 100);
        assert_eq!(retention.events_each(&[10, 90, 5000]), 100);
        // Together 250: 20 and 60 are kept whole, the two others keep 85 each.
        assert_eq!(retention.events_each(&[100, 20, 5000, 60]), 85);
        assert_eq!(retention.events_each(&[0; 1000]), 100);
        assert_eq!(retention.events_each(&[7; 1000]), 0);
    }

    #[test]
    fn age_and_number_are_bounds_of_their_own() {
        let retention = Retention {
            commands_max: 10,
            ..Retention::default()
        };
        assert_eq!(retention.commands_before(31 * DAY_MS), DAY_MS);
        assert_eq!(
            (retention.commands_over(9), retention.commands_over(12)),
            (0, 2)
        );
        assert_eq!(retention.commands_before(i64::MIN), i64::MIN);
    }
}
