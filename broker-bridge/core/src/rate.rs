//! Rate control of a command: how many invocations may be out at once, and when errors stop the
//! rest. Never counts anything itself: the tally comes in.

use std::fmt;
use std::str::FromStr;

/// A number, or a percentage of the command's nodes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Amount {
    Count(u32),
    Percent(u32),
}

impl Amount {
    fn parse(text: &str) -> Option<Self> {
        let (digits, percent) = match text.strip_suffix('%') {
            Some(digits) => (digits, true),
            None => (text, false),
        };
        let plain = !digits.is_empty()
            && digits.len() <= 7
            && digits.bytes().all(|byte| byte.is_ascii_digit())
            && (digits == "0" || !digits.starts_with('0'));
        let number = digits.parse().ok().filter(|_| plain)?;
        match (percent, number) {
            (false, count) => Some(Self::Count(count)),
            (true, 0..=100) => Some(Self::Percent(number)),
            (true, _) => None,
        }
    }
}

impl fmt::Display for Amount {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Count(count) => write!(f, "{count}"),
            Self::Percent(percent) => write!(f, "{percent}%"),
        }
    }
}

/// A text that is no `MaxConcurrency` or `MaxErrors`.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{found}` is not {what}: expected a number from {least}, or a percentage up to 100%")]
pub struct InvalidRate {
    /// What was found, cut to 16 characters.
    pub found: String,
    /// What it should have been.
    pub what: &'static str,
    /// Least number allowed.
    pub least: u32,
}

/// Invocations that may be out at once: `^([1-9][0-9]*|[1-9][0-9]%|[1-9]%|100%)$`, at most seven
/// characters; 50 when not given.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MaxConcurrency(Amount);

/// Errors after which nothing new is sent: as [`MaxConcurrency`], and `0`, `0%`; 0 when not given.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MaxErrors(Amount);

fn parse(text: &str, what: &'static str, least: u32) -> Result<Amount, InvalidRate> {
    Amount::parse(text)
        .filter(|amount| match amount {
            Amount::Count(number) | Amount::Percent(number) => *number >= least,
        })
        .filter(|_| text.len() <= 7)
        .ok_or_else(|| InvalidRate {
            found: text.chars().take(16).collect(),
            what,
            least,
        })
}

impl FromStr for MaxConcurrency {
    type Err = InvalidRate;
    fn from_str(text: &str) -> Result<Self, InvalidRate> {
        parse(text, "a MaxConcurrency", 1).map(Self)
    }
}

impl FromStr for MaxErrors {
    type Err = InvalidRate;
    fn from_str(text: &str) -> Result<Self, InvalidRate> {
        parse(text, "a MaxErrors", 0).map(Self)
    }
}

impl Default for MaxConcurrency {
    fn default() -> Self {
        Self(Amount::Count(50))
    }
}

impl Default for MaxErrors {
    fn default() -> Self {
        Self(Amount::Count(0))
    }
}

impl fmt::Display for MaxConcurrency {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl fmt::Display for MaxErrors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

fn share(percent: u32, nodes: u32) -> u64 {
    u64::from(percent) * u64::from(nodes)
}

impl MaxConcurrency {
    /// Slots for a command to that many nodes: a percentage rounds up, and is never none.
    #[must_use]
    pub fn slots(&self, nodes: u32) -> u32 {
        match self.0 {
            Amount::Count(count) => count,
            Amount::Percent(percent) => u32::try_from(share(percent, nodes).div_ceil(100))
                .unwrap_or(u32::MAX)
                .max(1),
        }
    }
}

impl MaxErrors {
    /// Errors that a command to that many nodes may meet: a percentage rounds down. Of 50 nodes
    /// and 10%, the sixth error stops the rest (the Run Command guide's example).
    #[must_use]
    pub fn allowed(&self, nodes: u32) -> u32 {
        match self.0 {
            Amount::Count(count) => count,
            Amount::Percent(percent) => {
                u32::try_from(share(percent, nodes) / 100).unwrap_or(u32::MAX)
            }
        }
    }
}

/// A command's bounds, resolved for its nodes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Invocations that may be out at once.
    pub slots: u32,
    /// Errors it may meet.
    pub errors_allowed: u32,
}

/// A command's invocations, counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Tally {
    /// Waiting to be sent.
    pub waiting: u32,
    /// Holding a slot: sent, without a result, and not past expiry and run bound.
    pub held: u32,
    /// Ended in a way that counts towards `MaxErrors`.
    pub errors: u32,
}

/// What may happen to those that wait.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Admission {
    /// At most so many may be sent now; never 0.
    Send(u32),
    /// None now.
    Hold,
    /// None ever: they become `Terminated`.
    Terminate,
}

/// Decides what may happen next to those that wait.
#[must_use]
pub fn admit(limits: Limits, tally: Tally) -> Admission {
    let free = limits.slots.saturating_sub(tally.held).min(tally.waiting);
    if tally.waiting == 0 {
        Admission::Hold
    } else if tally.errors > limits.errors_allowed {
        Admission::Terminate
    } else if free == 0 {
        Admission::Hold
    } else {
        Admission::Send(free)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::invocation::{Event, Invocation};
    use holdfast_protocol::up::InvocationState;
    use proptest::prelude::*;

    #[test]
    fn texts_follow_the_service_model() {
        for good in ["1", "50", "1%", "10%", "99%", "100%", "9999999"] {
            assert_eq!(good.parse::<MaxConcurrency>().unwrap().to_string(), good);
        }
        for bad in [
            "", "0", "0%", "101%", "01", "-1", "1.5", "50 ", "%", "10000000", "٣",
        ] {
            assert!(bad.parse::<MaxConcurrency>().is_err(), "{bad}");
        }
        assert_eq!("0".parse::<MaxErrors>().unwrap().allowed(9), 0);
        assert_eq!("0%".parse::<MaxErrors>().unwrap().allowed(9), 0);
    }

    #[test]
    fn percentages_round_as_documented() {
        let slots = |text: &str, nodes| text.parse::<MaxConcurrency>().unwrap().slots(nodes);
        assert_eq!(
            (slots("10%", 50), slots("10%", 51), slots("1%", 3)),
            (5, 6, 1)
        );
        let allowed = |text: &str, nodes| text.parse::<MaxErrors>().unwrap().allowed(nodes);
        assert_eq!(
            (allowed("10%", 50), allowed("10%", 59), allowed("10%", 9)),
            (5, 5, 0)
        );
    }

    #[test]
    fn errors_above_the_bound_terminate_the_rest() {
        let limits = Limits {
            slots: 2,
            errors_allowed: 1,
        };
        let tally = |held, errors| Tally {
            waiting: 5,
            held,
            errors,
        };
        assert_eq!(admit(limits, tally(0, 1)), Admission::Send(2));
        assert_eq!(admit(limits, tally(2, 1)), Admission::Hold);
        assert_eq!(admit(limits, tally(1, 2)), Admission::Terminate);
        assert_eq!(admit(limits, Tally::default()), Admission::Hold);
    }

    fn tally(invocations: &[Invocation]) -> Tally {
        let count = |which: fn(&Invocation) -> bool| {
            u32::try_from(invocations.iter().filter(|i| which(i)).count()).unwrap()
        };
        Tally {
            waiting: count(Invocation::is_waiting),
            held: count(|i| i.slot),
            errors: count(|i| i.details.counts_as_error()),
        }
    }

    proptest! {
        /// Whatever order results, losses, refusals and clocks come in, what is out stays within
        /// the slots, and nothing is sent once errors are over their bound.
        #[test]
        fn slots_held_never_exceed_max_concurrency(
            slots in 1_u32..6, errors_allowed in 0_u32..4,
            events in proptest::collection::vec((0_usize..12, 0_u8..11), 1..200),
        ) {
            let limits = Limits { slots, errors_allowed };
            let mut invocations = vec![Invocation::new(true); 12];
            for (at, event) in events {
                let event = match event {
                    0 => Event::LinkLost,
                    1 => Event::LinkUp,
                    2 => Event::Busy,
                    3 => Event::Delivered,
                    4 => Event::Deregistered,
                    5 => Event::Result(InvocationState::Success),
                    6 => Event::Result(InvocationState::Failed),
                    7 => Event::Cancel,
                    8 => Event::DeliveryExpired,
                    9 => Event::BoundPassed,
                    _ => Event::Resent,
                };
                // A node says nothing of what was never sent to it.
                if !(invocations[at].is_waiting() && matches!(event, Event::Result(_))) {
                    invocations[at].apply(event);
                }
                let before = tally(&invocations);
                match admit(limits, before) {
                    Admission::Send(n) => {
                        prop_assert!(before.errors <= errors_allowed);
                        invocations.iter_mut().filter(|i| i.is_waiting()).take(n as usize)
                            .for_each(|i| { i.apply(Event::Sent); });
                    }
                    Admission::Terminate => {
                        invocations.iter_mut().for_each(|i| { i.apply(Event::Terminate); });
                    }
                    Admission::Hold => {}
                }
                prop_assert!(tally(&invocations).held <= slots);
            }
        }
    }
}
