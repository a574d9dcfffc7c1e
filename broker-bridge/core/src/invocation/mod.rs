//! The states of one invocation, what may follow what, and a command's status over all of them.
//! Never sends or stores anything, never asks what time it is: expiry comes in as an event.

mod census;
mod status;

pub use census::{Census, Summary};
pub use status::{Status, StatusDetails};

use holdfast_protocol::up::{InvocationState, RefusalReason};

/// Whether a command may go to a node now, for the first time or again; all in milliseconds since 1970.
///
/// After its time it may not, and before the time when it was asked for it may not either: then the
/// clock was set back since. Within its time by that clock it may have run and been forgotten.
#[must_use]
pub fn may_send(now_ms: i64, requested_ms: i64, expires_ms: i64) -> bool {
    (requested_ms..expires_ms).contains(&now_ms)
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
    /// The node acknowledged the transport.
    Delivered,
    /// The node did not take it: its frame came under a counter that was used up.
    Stale,
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

    /// Whether it was sent, and its node is still to run it.
    #[must_use]
    pub fn awaits_node(&self) -> bool {
        self.stage == Stage::Sent && !self.cancelling
    }

    /// Whether it was sent, and its node is still to stop it.
    #[must_use]
    pub fn awaits_cancel(&self) -> bool {
        self.stage == Stage::Sent && self.cancelling
    }

    /// Whether a new connection has it sent again, within its time: `known`, also what its node is
    /// known to have. A node that lost that could run it a second time.
    #[must_use]
    pub fn is_sent_again(&self, known: bool) -> bool {
        self.awaits_node() && (known || !self.delivered)
    }

    /// Advances by one event. An event that does not fit the state changes nothing.
    /// Returns whether anything changed.
    pub fn apply(&mut self, event: Event) -> bool {
        let before = *self;
        match event {
            Event::Result(state) => self.result(state),
            Event::Progress => self.progress(),
            Event::Cancel => self.cancel(),
            Event::Sent | Event::Resent | Event::Delivered | Event::Stale | Event::Busy => {
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
                // What was sent may run on: nobody will say when it ends, so the clock does.
                let slot = self.slot;
                self.close(StatusDetails::Undeliverable, false);
                self.slot = slot;
            }
            Event::Deregistered => {}
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
            (Event::Stale, Stage::Sent) => self.delivered = false,
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
    fn a_command_goes_out_between_its_request_and_its_expiry() {
        let allowed = [9, 10, 19, 20].map(|now| may_send(now, 10, 20));
        assert_eq!(allowed, [false, true, true, false]);
    }

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
    fn what_a_deregistered_node_was_sent_keeps_its_slot_until_it_cannot_be_running() {
        let mut sent = after(&[Event::Sent, Event::Delivered, Event::Deregistered]);
        assert_eq!(
            (sent.details, sent.slot),
            (StatusDetails::Undeliverable, true)
        );
        sent.apply(Event::BoundPassed);
        assert_eq!(
            (sent.details, sent.slot),
            (StatusDetails::Undeliverable, false)
        );
        assert!(!after(&[Event::Deregistered]).slot);
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
}
