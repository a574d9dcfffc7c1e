//! The few places on the wire to one node: who holds one, and what is looked for when one comes free.
//! Never forgets that something was held back: whoever frees a place is told, and then sees to it.

use holdfast_protocol::CommandId;

/// Commands that are on the wire to one node without its PUBACK.
pub const PLACES: usize = 4;

/// What a place is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Send {
    /// A command's first send to this node.
    First,
    /// A command that was sent on an earlier connection.
    Again,
}

/// What was held back for want of a place.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[must_use = "nobody else is told what the place is for"]
pub struct Wanted {
    /// Commands that were never sent to this node.
    pub first: bool,
    /// Commands of earlier connections.
    pub again: bool,
}

impl Wanted {
    /// Nothing was held back.
    pub const NOTHING: Self = Self {
        first: false,
        again: false,
    };
    /// Commands of earlier connections were.
    pub const AGAIN: Self = Self {
        first: false,
        again: true,
    };

    /// Both together.
    pub fn and(self, other: Self) -> Self {
        Self {
            first: self.first || other.first,
            again: self.again || other.again,
        }
    }
}

/// The places of one connection. Each delivery on it has a number of its own.
#[derive(Debug, Default)]
pub struct Places {
    held: Vec<(u64, CommandId)>,
    next: u64,
    /// Only while a place is held, so that somebody frees one.
    wanted: Wanted,
}

impl Places {
    /// Takes a place: the delivery's number. `None` where every place is held, or one is and the link
    /// has no `room`; that is then wanted. Without any that is held one may always be taken, for only
    /// a place that comes free has the next command looked for.
    pub fn take(&mut self, command: CommandId, send: Send, room: bool) -> Option<u64> {
        if self.held.len() >= PLACES || (!self.held.is_empty() && !room) {
            match send {
                Send::First => self.wanted.first = true,
                Send::Again => self.wanted.again = true,
            }
            return None;
        }
        let delivery = self.next;
        self.next += 1;
        self.held.push((delivery, command));
        Some(delivery)
    }

    /// The node acknowledged a delivery: its command, and what the place is for now. `None` where its
    /// place was given back before.
    pub fn acknowledge(&mut self, delivery: u64) -> Option<(CommandId, Wanted)> {
        let at = self.held.iter().position(|(held, _)| *held == delivery)?;
        let (_, command) = self.held.swap_remove(at);
        Some((command, self.free()))
    }

    /// Gives the place of a delivery back that was not sent after all.
    pub fn withdraw(&mut self, delivery: u64) -> Wanted {
        let freed = self.acknowledge(delivery);
        freed.map_or(Wanted::NOTHING, |(_, wanted)| wanted)
    }

    /// Gives the places of a command back that was not taken: a PUBACK that is still to come says
    /// nothing of it.
    pub fn give_back(&mut self, command: CommandId) -> Wanted {
        let before = self.held.len();
        self.held.retain(|(_, held)| *held != command);
        if self.held.len() == before {
            return Wanted::NOTHING;
        }
        self.free()
    }

    /// Frees every place, for a hello asks for everything anew.
    pub fn clear(&mut self) {
        self.held = Vec::new();
        self.wanted = Wanted::NOTHING;
    }

    fn free(&mut self) -> Wanted {
        if self.held.is_empty() {
            // An idle connection keeps no list.
            self.held = Vec::new();
        }
        std::mem::take(&mut self.wanted)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn command(n: u8) -> CommandId {
        CommandId::from_random([n; 16])
    }

    #[test]
    fn one_may_always_go_and_without_room_no_second() {
        let mut places = Places::default();
        let first = places.take(command(1), Send::First, false).unwrap();
        assert_eq!(places.take(command(2), Send::Again, false), None);
        assert_eq!(places.acknowledge(first), Some((command(1), Wanted::AGAIN)));
        assert_eq!(places.acknowledge(first), None);
    }

    #[test]
    fn a_place_given_back_is_for_what_was_held_back_and_its_puback_says_nothing() {
        let mut places = Places::default();
        let taken: Vec<_> = (0..4)
            .map(|n| places.take(command(n), Send::First, true).unwrap())
            .collect();
        assert_eq!(places.take(command(9), Send::First, true), None);
        let wanted = Wanted {
            first: true,
            again: false,
        };
        assert_eq!(places.give_back(command(8)), Wanted::NOTHING);
        assert_eq!(places.give_back(command(2)), wanted);
        assert_eq!(places.acknowledge(taken[2]), None);
    }

    #[test]
    fn a_place_withdrawn_leaves_the_other_of_its_command() {
        let mut places = Places::default();
        let mut take = |room| places.take(command(1), Send::First, room);
        let (sent, not_sent) = (take(true).unwrap(), take(true).unwrap());
        assert_eq!(take(false), None);
        let wanted = Wanted {
            first: true,
            again: false,
        };
        assert_eq!(places.withdraw(not_sent), wanted);
        assert_eq!(places.withdraw(not_sent), Wanted::NOTHING);
        assert_eq!(
            places.acknowledge(sent),
            Some((command(1), Wanted::NOTHING))
        );
    }

    #[derive(Debug, Clone, Copy)]
    enum Act {
        Take(u8, bool, bool),
        Acknowledge(u64),
        GiveBack(u8),
    }

    fn act() -> impl Strategy<Value = Act> {
        prop_oneof![
            (0..8_u8, any::<bool>(), any::<bool>()).prop_map(|(n, a, r)| Act::Take(n, a, r)),
            (0..40_u64).prop_map(Act::Acknowledge),
            (0..8_u8).prop_map(Act::GiveBack),
        ]
    }

    proptest! {
        /// What was held back is told once, by the next place that comes free; and while it is not
        /// told, a place is held that will come free.
        #[test]
        fn whatever_was_held_back_is_told_by_the_next_place_that_comes_free(
            acts in proptest::collection::vec(act(), 0..200),
        ) {
            let (mut places, mut owed) = (Places::default(), Wanted::NOTHING);
            for act in acts {
                let before = places.held.len();
                let told = match act {
                    Act::Take(n, again, room) => {
                        let send = if again { Send::Again } else { Send::First };
                        if places.take(command(n), send, room).is_none() {
                            owed = owed.and(Wanted { first: !again, again });
                        }
                        None
                    }
                    Act::Acknowledge(delivery) => places.acknowledge(delivery).map(|(_, told)| told),
                    Act::GiveBack(n) => Some(places.give_back(command(n))),
                };
                if places.held.len() < before {
                    prop_assert_eq!(told, Some(owed));
                    owed = Wanted::NOTHING;
                }
                prop_assert!(places.held.len() <= PLACES);
                prop_assert!(owed == Wanted::NOTHING || !places.held.is_empty());
            }
        }
    }
}
