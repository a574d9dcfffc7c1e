//! The API's statuses and their details, of invocations and of commands.
//! Never says which may follow which.

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

            /// Its name, as it is stored.
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

    /// The API's name (`StatusDetails`). It has none for what was interrupted: a reason in the output says so.
    #[must_use]
    pub fn api_name(self) -> &'static str {
        if self == Self::Interrupted {
            return Self::Failed.as_str();
        }
        self.as_str()
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_read_back() {
        for details in StatusDetails::ALL {
            assert_eq!(StatusDetails::from_name(details.as_str()), Some(*details));
        }
    }
}
