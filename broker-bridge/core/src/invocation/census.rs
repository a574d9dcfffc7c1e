//! A command's status and counts over all of its invocations.
//! Never counts anything itself: what was counted comes in.

use super::{Status, StatusDetails};

/// A command's invocations by where they stand.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Census {
    counts: Vec<(StatusDetails, u32)>,
}

/// What a command shows of its invocations.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Summary {
    /// Where the command stands.
    pub details: StatusDetails,
    /// `TargetCount`.
    pub targets: u32,
    /// `CompletedCount`: invocations that ended, in whatever way.
    pub completed: u32,
    /// `ErrorCount`: those that count towards `MaxErrors`.
    pub errors: u32,
    /// `DeliveryTimedOutCount`.
    pub delivery_timed_out: u32,
    /// Whether every invocation has ended.
    pub finished: bool,
}

impl Census {
    /// Counts so many more of that kind.
    pub fn add(&mut self, details: StatusDetails, count: u32) {
        self.counts.push((details, count));
    }

    fn count(&self, which: impl Fn(StatusDetails) -> bool) -> u32 {
        let counts = self.counts.iter().filter(|(details, _)| which(*details));
        counts
            .map(|(_, count)| count)
            .fold(0, |sum, count| sum.saturating_add(*count))
    }

    /// The command's status and counts (the user guide's table of command statuses).
    #[must_use]
    pub fn summary(&self, errors_allowed: u32, cancel_requested: bool) -> Summary {
        let open = |details: StatusDetails| {
            matches!(
                details.status(),
                Status::Pending | Status::InProgress | Status::Delayed | Status::Cancelling
            )
        };
        let is = |wanted: StatusDetails| move |details| details == wanted;
        let targets = self.count(|_| true);
        let open_count = self.count(open);
        let errors = self.count(StatusDetails::counts_as_error);
        let delivery_timed_out = self.count(is(StatusDetails::DeliveryTimedOut));
        // Cancelled as a whole, or node by node until none was left.
        let cancelled_enough = if cancel_requested { 1 } else { targets };
        let details = if targets == 0 {
            StatusDetails::NoInstancesInTag
        } else if open_count > 0 {
            self.open_details(cancel_requested)
        } else if self.count(is(StatusDetails::Success)) == targets {
            StatusDetails::Success
        } else if errors > errors_allowed {
            let all_timed_out = self.count(is(StatusDetails::ExecutionTimedOut)) == errors;
            if all_timed_out {
                StatusDetails::ExecutionTimedOut
            } else {
                StatusDetails::Failed
            }
        } else if self.count(is(StatusDetails::Cancelled)) >= cancelled_enough {
            StatusDetails::Cancelled
        } else if delivery_timed_out > errors_allowed {
            StatusDetails::DeliveryTimedOut
        } else {
            StatusDetails::Incomplete
        };
        Summary {
            details,
            targets,
            completed: targets.saturating_sub(open_count),
            errors,
            delivery_timed_out,
            finished: open_count == 0,
        }
    }

    fn open_details(&self, cancel_requested: bool) -> StatusDetails {
        let unsent = |details| matches!(details, StatusDetails::Pending | StatusDetails::Delayed);
        if cancel_requested {
            StatusDetails::Cancelling
        } else if self.count(|details| !unsent(details)) > 0 {
            StatusDetails::InProgress
        } else if self.count(|details| details == StatusDetails::Pending) > 0 {
            StatusDetails::Pending
        } else {
            StatusDetails::Delayed
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn summary(counts: &[(StatusDetails, u32)], allowed: u32, cancel: bool) -> StatusDetails {
        let mut census = Census::default();
        counts
            .iter()
            .for_each(|(details, count)| census.add(*details, *count));
        census.summary(allowed, cancel).details
    }

    #[test]
    fn a_command_follows_its_invocations() {
        use StatusDetails as D;
        assert_eq!(summary(&[], 0, false), D::NoInstancesInTag);
        assert_eq!(summary(&[(D::Pending, 2)], 0, false), D::Pending);
        assert_eq!(summary(&[(D::Delayed, 2)], 0, false), D::Delayed);
        assert_eq!(
            summary(&[(D::Pending, 1), (D::Success, 1)], 0, false),
            D::InProgress
        );
        assert_eq!(summary(&[(D::Success, 3)], 0, false), D::Success);
        assert_eq!(
            summary(&[(D::Success, 3), (D::Failed, 1)], 0, false),
            D::Failed
        );
        assert_eq!(
            summary(&[(D::Success, 3), (D::Failed, 1)], 1, false),
            D::Incomplete
        );
        assert_eq!(
            summary(&[(D::Failed, 1), (D::Terminated, 4)], 0, false),
            D::Failed
        );
        assert_eq!(
            summary(&[(D::Cancelled, 1), (D::Success, 4)], 0, true),
            D::Cancelled
        );
        assert_eq!(summary(&[(D::Cancelled, 2)], 0, false), D::Cancelled);
        assert_eq!(
            summary(&[(D::Cancelled, 1), (D::Success, 1)], 0, false),
            D::Incomplete
        );
        assert_eq!(
            summary(&[(D::Cancelling, 1), (D::Success, 4)], 0, true),
            D::Cancelling
        );
        assert_eq!(
            summary(&[(D::DeliveryTimedOut, 1)], 0, false),
            D::DeliveryTimedOut
        );
    }

    #[test]
    fn counts_are_what_the_api_means() {
        let mut census = Census::default();
        census.add(StatusDetails::Success, 2);
        census.add(StatusDetails::Failed, 1);
        census.add(StatusDetails::DeliveryTimedOut, 3);
        census.add(StatusDetails::InProgress, 4);
        let summary = census.summary(0, false);
        assert_eq!(
            (
                summary.targets,
                summary.completed,
                summary.errors,
                summary.delivery_timed_out
            ),
            (10, 6, 1, 3)
        );
        assert!(!summary.finished);
    }
}
