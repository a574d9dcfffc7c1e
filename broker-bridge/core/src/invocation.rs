//! The states of one invocation, what may follow what, and a command's status over all of them.
//! Never sends or stores anything, never asks what time it is: expiry comes in as an event.

use holdfast_protocol::up::{InvocationState, RefusalReason};
use std::fmt;

/// `Status` of an invocation or a command, as the API has it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Status {
    /// Not sent.
    Pending,
    /// Sent, without a result.
    InProgress,
    /// Not sent, or not known to have arrived: the node is away or has no room.
    Delayed,
    /// Every step that had to succeed did.
    Success,
    /// Cancelled on request.
    Cancelled,
    /// Not delivered, or not ended, in time.
    TimedOut,
    /// Ended otherwise.
    Failed,
    /// A cancel is on its way.
    Cancelling,
}

impl Status {
    /// The API's name.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Pending => "Pending",
            Self::InProgress => "InProgress",
            Self::Delayed => "Delayed",
            Self::Success => "Success",
            Self::Cancelled => "Cancelled",
            Self::TimedOut => "TimedOut",
            Self::Failed => "Failed",
            Self::Cancelling => "Cancelling",
        }
    }
}

macro_rules! details {
    ($($(#[$doc:meta])* $name:ident => $status:ident,)*) => {
        /// `StatusDetails`, from which the status follows.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        pub enum StatusDetails { $($(#[$doc])* $name,)* }

        impl StatusDetails {
            /// Every one of them.
            pub const ALL: &[Self] = &[$(Self::$name,)*];

            /// The API's name, as it is stored too.
            #[must_use]
            pub fn as_str(self) -> &'static str {
                match self { $(Self::$name => stringify!($name),)* }
            }

            /// The status that it is a detail of.
            #[must_use]
            pub fn status(self) -> Status {
                match self { $(Self::$name => Status::$status,)* }
            }
        }
    };
}

details! {
    /// Not sent.
    Pending => Pending,
    /// Sent, without a result.
    InProgress => InProgress,
    /// The node is away or has no room.
    Delayed => Delayed,
    /// Ended well.
    Success => Success,
    /// Cancelled on request.
    Cancelled => Cancelled,
    /// A cancel is on its way.
    Cancelling => Cancelling,
    /// A step failed; or, of a command, more invocations failed than `MaxErrors` allows.
    Failed => Failed,
    /// The agent or the machine died in a step; nobody can know how far it came.
    Interrupted => Failed,
    /// Not delivered before its expiry.
    DeliveryTimedOut => TimedOut,
    /// Begun, and not ended in time.
    ExecutionTimedOut => TimedOut,
    /// The node cannot be reached any more: it was deregistered.
    Undeliverable => Failed,
    /// `MaxErrors` was exceeded before it was sent.
    Terminated => Cancelled,
    /// The document is for other platforms.
    InvalidPlatform => Failed,
    /// The node demands an operator's signature, which is missing or wrong.
    AccessDenied => Failed,
    /// Of a command: tried on all nodes, not a success on all, not failed on more than allowed.
    Incomplete => Failed,
    /// Of a command: its targets name no node.
    NoInstancesInTag => Failed,
    /// Of a command: it is for more nodes than one command may be.
    RateExceeded => Failed,
}

impl StatusDetails {
    /// Reads [`Self::as_str`].
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL
            .iter()
            .copied()
            .find(|details| details.as_str() == name)
    }

    /// The status of a command with these details: a command has no `Delayed` of its own
    /// (`CommandStatus`), so one whose nodes are all away is `Pending`.
    #[must_use]
    pub fn command_status(self) -> Status {
        let status = self.status();
        if status == Status::Delayed {
            Status::Pending
        } else {
            status
        }
    }

    /// Whether it counts towards `MaxErrors`: what ran and did not end well does, what could not
    /// be delivered does not.
    #[must_use]
    pub fn counts_as_error(self) -> bool {
        matches!(
            self,
            Self::Failed | Self::Interrupted | Self::ExecutionTimedOut
        )
    }
}

impl fmt::Display for StatusDetails {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// How far an invocation is on the bridge.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Stage {
    /// Not sent, or taken back.
    Waiting,
    /// Sent; a result is awaited.
    Sent,
    /// Ended.
    Closed,
}

impl Stage {
    /// The number under which it is stored.
    #[must_use]
    pub fn number(self) -> i64 {
        match self {
            Self::Waiting => 0,
            Self::Sent => 1,
            Self::Closed => 2,
        }
    }

    /// Reads [`Self::number`].
    #[must_use]
    pub fn from_number(number: i64) -> Option<Self> {
        [Self::Waiting, Self::Sent, Self::Closed]
            .into_iter()
            .find(|stage| stage.number() == number)
    }
}

/// One invocation, as far as decisions need it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Invocation {
    /// How far it is.
    pub stage: Stage,
    /// Whether it holds one of its command's slots.
    pub slot: bool,
    /// Whether the node is known to have it.
    pub delivered: bool,
    /// Whether a cancel was asked for.
    pub cancelling: bool,
    /// Whether its end is the bridge's guess from the clock, which a late result replaces once.
    pub inferred: bool,
    /// Whether its result came after such an end.
    pub late: bool,
    /// Where it stands.
    pub details: StatusDetails,
}

/// What happens to an invocation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Event {
    /// It was given a slot, and its first send is recorded.
    Sent,
    /// It is sent again, on a new connection.
    Resent,
    /// The link had no room: it never left.
    NotSent,
    /// The node acknowledged the transport.
    Delivered,
    /// The node's connection is gone.
    LinkLost,
    /// The node is back.
    LinkUp,
    /// The node has no room for it.
    Busy,
    /// The node has it, without a result yet.
    Progress,
    /// The node's result; a state that is not terminal is taken for [`Event::Progress`].
    Result(InvocationState),
    /// Somebody asked to cancel it.
    Cancel,
    /// The node does not know it, in answer to a cancel.
    UnknownToNode,
    /// `MaxErrors` is exceeded.
    Terminate,
    /// Its delivery time has passed.
    DeliveryExpired,
    /// Its delivery time and the longest run after it have passed: it cannot be running.
    BoundPassed,
    /// Its node was deregistered.
    Deregistered,
}

/// What a node's terminal state is called.
fn outcome(state: InvocationState) -> Option<StatusDetails> {
    Some(match state {
        InvocationState::Pending | InvocationState::InProgress => return None,
        InvocationState::Success => StatusDetails::Success,
        InvocationState::Failed => StatusDetails::Failed,
        InvocationState::TimedOut => StatusDetails::ExecutionTimedOut,
        InvocationState::Cancelled => StatusDetails::Cancelled,
        InvocationState::Interrupted => StatusDetails::Interrupted,
        InvocationState::Refused(reason) => match reason {
            RefusalReason::Expired => StatusDetails::DeliveryTimedOut,
            RefusalReason::InvalidDocument | RefusalReason::InvalidParameters => {
                StatusDetails::Failed
            }
            RefusalReason::InvalidPlatform => StatusDetails::InvalidPlatform,
            RefusalReason::OperatorSignature => StatusDetails::AccessDenied,
        },
    })
}

impl Invocation {
    /// A new invocation of a node that is connected or not.
    #[must_use]
    pub fn new(online: bool) -> Self {
        Self {
            stage: Stage::Waiting,
            slot: false,
            delivered: false,
            cancelling: false,
            inferred: false,
            late: false,
            details: if online {
                StatusDetails::Pending
            } else {
                StatusDetails::Delayed
            },
        }
    }

    /// Whether it waits to be sent.
    #[must_use]
    pub fn is_waiting(&self) -> bool {
        self.stage == Stage::Waiting
    }

    /// Advances by one event. An event that does not fit the state changes nothing.
    /// Returns whether anything changed.
    pub fn apply(&mut self, event: Event) -> bool {
        let before = *self;
        match event {
            Event::Result(state) => self.result(state),
            Event::Progress => self.progress(),
            Event::Cancel => self.cancel(),
            Event::Sent | Event::Resent | Event::NotSent | Event::Delivered | Event::Busy => {
                self.link(event);
            }
            Event::LinkLost | Event::LinkUp => self.presence(event == Event::LinkUp),
            Event::UnknownToNode if self.stage == Stage::Sent && self.cancelling => {
                self.close(StatusDetails::Cancelled, false);
            }
            Event::UnknownToNode => {}
            Event::Terminate if self.is_waiting() => self.close(StatusDetails::Terminated, false),
            Event::Terminate => {}
            Event::DeliveryExpired => self.expire(),
            Event::BoundPassed => self.bound(),
            Event::Deregistered if self.stage != Stage::Closed => {
                self.close(StatusDetails::Undeliverable, false);
            }
            Event::Deregistered => self.slot = false,
        }
        before != *self
    }

    fn close(&mut self, details: StatusDetails, inferred: bool) {
        self.stage = Stage::Closed;
        self.details = details;
        self.inferred = inferred;
        self.slot = false;
    }

    fn link(&mut self, event: Event) {
        match (event, self.stage) {
            (Event::Sent, Stage::Waiting) => {
                self.stage = Stage::Sent;
                self.slot = true;
                self.delivered = false;
                self.details = StatusDetails::InProgress;
            }
            (Event::Resent, Stage::Sent) if !self.cancelling => {
                self.details = StatusDetails::InProgress;
            }
            (Event::NotSent, Stage::Sent) if !self.delivered => self.take_back(),
            (Event::Busy, Stage::Sent) => self.take_back(),
            (Event::Delivered, Stage::Sent) => {
                self.delivered = true;
                if !self.cancelling {
                    self.details = StatusDetails::InProgress;
                }
            }
            _ => {}
        }
    }

    /// The node has nothing of it: it waits again, or is cancelled where that was asked for.
    fn take_back(&mut self) {
        if self.cancelling {
            self.close(StatusDetails::Cancelled, false);
        } else {
            self.stage = Stage::Waiting;
            self.slot = false;
            self.delivered = false;
            self.details = StatusDetails::Delayed;
        }
    }

    fn presence(&mut self, online: bool) {
        let shown = if online {
            StatusDetails::Pending
        } else {
            StatusDetails::Delayed
        };
        match self.stage {
            Stage::Waiting => self.details = shown,
            Stage::Sent if !online && !self.delivered && !self.cancelling => {
                self.details = StatusDetails::Delayed;
            }
            Stage::Sent | Stage::Closed => {}
        }
    }

    fn progress(&mut self) {
        if self.stage == Stage::Closed {
            return;
        }
        // A restored bridge may hear of a command that it does not remember sending: it is out.
        self.stage = Stage::Sent;
        self.slot = true;
        self.delivered = true;
        if !self.cancelling {
            self.details = StatusDetails::InProgress;
        }
    }

    fn result(&mut self, state: InvocationState) {
        let Some(details) = outcome(state) else {
            return self.progress();
        };
        if self.stage == Stage::Closed && !self.inferred {
            return;
        }
        self.late = self.stage == Stage::Closed;
        self.delivered = true;
        self.close(details, false);
    }

    fn cancel(&mut self) {
        match self.stage {
            Stage::Waiting => self.close(StatusDetails::Cancelled, false),
            Stage::Sent => {
                self.cancelling = true;
                self.details = StatusDetails::Cancelling;
            }
            Stage::Closed => {}
        }
    }

    fn expire(&mut self) {
        match self.stage {
            Stage::Waiting => self.close(StatusDetails::DeliveryTimedOut, true),
            // The acknowledgement may be lost: it may run, so the slot stays until it cannot.
            Stage::Sent if !self.delivered => {
                let slot = self.slot;
                self.close(StatusDetails::DeliveryTimedOut, true);
                self.slot = slot;
            }
            Stage::Sent | Stage::Closed => {}
        }
    }

    fn bound(&mut self) {
        match self.stage {
            Stage::Waiting => self.close(StatusDetails::DeliveryTimedOut, true),
            Stage::Sent if !self.delivered => self.close(StatusDetails::DeliveryTimedOut, true),
            Stage::Sent => self.close(StatusDetails::ExecutionTimedOut, true),
            Stage::Closed => self.slot = false,
        }
    }
}

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
        } else if cancel_requested && self.count(is(StatusDetails::Cancelled)) > 0 {
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

    fn after(events: &[Event]) -> Invocation {
        let mut invocation = Invocation::new(true);
        for event in events {
            invocation.apply(*event);
        }
        invocation
    }

    const SUCCESS: Event = Event::Result(InvocationState::Success);
    const FAILED: Event = Event::Result(InvocationState::Failed);

    #[test]
    fn nothing_replaces_a_result() {
        let ended = after(&[Event::Sent, SUCCESS]);
        for event in [
            FAILED,
            Event::Progress,
            Event::Cancel,
            Event::DeliveryExpired,
            Event::BoundPassed,
            Event::LinkLost,
            Event::Busy,
            Event::Terminate,
            Event::Deregistered,
        ] {
            let mut invocation = ended;
            assert!(!invocation.apply(event), "{event:?}");
        }
    }

    #[test]
    fn a_late_result_replaces_a_guess_once_and_is_marked() {
        let guess = after(&[Event::Sent, Event::DeliveryExpired]);
        assert_eq!(
            (guess.details, guess.slot),
            (StatusDetails::DeliveryTimedOut, true)
        );
        let mut late = guess;
        late.apply(SUCCESS);
        assert_eq!(
            (late.details, late.late, late.slot),
            (StatusDetails::Success, true, false)
        );
        assert!(!late.apply(FAILED));
    }

    #[test]
    fn an_undelivered_send_keeps_its_slot_until_it_cannot_be_running() {
        let mut sent = after(&[Event::Sent, Event::LinkLost, Event::DeliveryExpired]);
        assert!(sent.slot);
        sent.apply(Event::BoundPassed);
        assert!(!sent.slot);
        let unsent = after(&[Event::LinkLost, Event::DeliveryExpired]);
        assert_eq!(
            (unsent.details, unsent.slot),
            (StatusDetails::DeliveryTimedOut, false)
        );
    }

    #[test]
    fn an_offline_node_shows_delayed_and_a_returned_one_in_progress() {
        let away = after(&[Event::LinkLost]);
        assert_eq!(away.details, StatusDetails::Delayed);
        let sent_away = after(&[Event::Sent, Event::LinkLost]);
        assert_eq!(sent_away.details, StatusDetails::Delayed);
        let back = after(&[Event::Sent, Event::LinkLost, Event::Resent]);
        assert_eq!(back.details, StatusDetails::InProgress);
        let delivered = after(&[Event::Sent, Event::Delivered, Event::LinkLost]);
        assert_eq!(delivered.details, StatusDetails::InProgress);
    }

    #[test]
    fn a_busy_node_gives_the_slot_back() {
        let busy = after(&[Event::Sent, Event::Delivered, Event::Busy]);
        assert!(busy.is_waiting() && !busy.slot);
        assert_eq!(busy.details, StatusDetails::Delayed);
        let cancelled = after(&[Event::Sent, Event::Cancel, Event::Busy]);
        assert_eq!(cancelled.details, StatusDetails::Cancelled);
    }

    #[test]
    fn cancel_ends_what_waits_and_asks_the_node_for_the_rest() {
        assert_eq!(after(&[Event::Cancel]).details, StatusDetails::Cancelled);
        let asked = after(&[Event::Sent, Event::Cancel]);
        assert_eq!(
            (asked.details, asked.slot),
            (StatusDetails::Cancelling, true)
        );
        assert_eq!(
            after(&[Event::Sent, Event::Cancel, Event::UnknownToNode]).details,
            StatusDetails::Cancelled
        );
        // It was quicker than the cancel.
        assert_eq!(
            after(&[Event::Sent, Event::Cancel, SUCCESS]).details,
            StatusDetails::Success
        );
    }

    #[test]
    fn names_read_back() {
        for details in StatusDetails::ALL {
            assert_eq!(StatusDetails::from_name(details.as_str()), Some(*details));
        }
    }

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
