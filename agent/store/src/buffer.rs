//! A ticket's way into the journal's buffer: refused before anything of it is there, or taken as a whole.
//! Never does a write twice, however often the device stops a ticket on its way.

use crate::{Store, class_of, stream_of};
use holdfast_agent_core::{PersistRefusal, Ticket, Write, chain};
use holdfast_journal::{Change, Refusal, Storage, StreamId};
use holdfast_protocol::CommandId;
use holdfast_protocol::up::Class;
use std::collections::VecDeque;

/// Class and sequence of each append of a ticket.
pub(crate) type Appended = Vec<(Class, u64)>;

/// A ticket that is not buffered as a whole.
pub(crate) struct Waiting {
    pub(crate) ticket: Ticket,
    /// The appends that are done.
    pub(crate) appended: Appended,
    /// What is left to do; ledger writes last, as they are made durable.
    writes: VecDeque<Write>,
    /// Every bound has room for all of it: only the device can stop it.
    admitted: bool,
}

/// Why a ticket was not buffered.
pub(crate) enum Stop {
    Refused(PersistRefusal),
    Device(String),
}

impl Waiting {
    pub(crate) fn new(ticket: Ticket, writes: Vec<Write>) -> Self {
        let (ledger, mut ordered): (Vec<_>, Vec<_>) = writes.into_iter().partition(of_ledger);
        ordered.extend(ledger);
        Self {
            ticket,
            appended: Vec::new(),
            writes: ordered.into(),
            admitted: false,
        }
    }
}

/// Whether it comes after what goes into a stream.
fn of_ledger(write: &Write) -> bool {
    match write {
        Write::Put { .. } | Write::Remove { .. } | Write::Unreserve { .. } => true,
        Write::Reserve { .. } | Write::Append { .. } => false,
    }
}

impl<S: Storage> Store<S> {
    /// Buffers what is left of a ticket.
    pub(crate) fn buffer(&mut self, waiting: &mut Waiting) -> Result<(), Stop> {
        if !waiting.admitted {
            self.admit(&waiting.writes)?;
            waiting.admitted = true;
        }
        while let Some(write) = waiting.writes.front() {
            let appended = self.make(write)?;
            waiting.appended.extend(appended);
            waiting.writes.pop_front();
        }
        Ok(())
    }

    /// Takes the room that a ticket reserves, and sees that there is room for the rest of it.
    fn admit(&mut self, writes: &VecDeque<Write>) -> Result<(), Stop> {
        let admitted = self.reserve_all(writes).and_then(|()| {
            let changes: Vec<_> = writes.iter().filter_map(|w| self.change(w)).collect();
            self.journal.admits(&changes).map_err(stop_of)
        });
        if admitted.is_err() {
            for write in writes {
                if let Write::Reserve { command, .. } = write {
                    self.unreserve(command);
                }
            }
        }
        admitted
    }

    fn reserve_all(&mut self, writes: &VecDeque<Write>) -> Result<(), Stop> {
        for write in writes {
            if let Write::Reserve { command, bytes } = write {
                self.reserve(*command, *bytes)?;
            }
        }
        Ok(())
    }

    /// What the journal is asked about a write.
    fn change<'a>(&'a self, write: &'a Write) -> Option<Change<'a>> {
        match write {
            Write::Append {
                class,
                key,
                stored,
                reserved,
            } => Some(Change::Append {
                stream: stream_of(*class),
                key: *key,
                payload_bytes: stored.len(),
                reservation: reserved.and_then(|command| self.reservations.get(&command)),
            }),
            Write::Put { key, value } => Some(Change::Put {
                key: key.as_bytes(),
                value_bytes: value.len(),
            }),
            Write::Remove { key } => Some(Change::Remove {
                key: key.as_bytes(),
            }),
            Write::Reserve { .. } | Write::Unreserve { .. } => None,
        }
    }

    /// Does one write in the journal's buffer; what is returned is that of an append.
    fn make(&mut self, write: &Write) -> Result<Option<(Class, u64)>, Stop> {
        match write {
            // Done when the ticket was admitted.
            Write::Reserve { .. } => {}
            Write::Append {
                class,
                key,
                stored,
                reserved,
            } => {
                let reservation = reserved.and_then(|command| self.reservations.get_mut(&command));
                let appended = match reservation {
                    Some(reservation) => self.journal.append_reserved(reservation, *key, stored),
                    None => self.journal.append_keyed(stream_of(*class), *key, stored),
                };
                return appended
                    .map(|sequence| Some((*class, sequence)))
                    .map_err(stop_of);
            }
            Write::Put { key, value } => {
                let put = self.journal.ledger().put(key.as_bytes(), value);
                put.map_err(stop_of)?;
            }
            Write::Remove { key } => {
                let removed = self.journal.ledger().remove(key.as_bytes());
                removed.map_err(stop_of)?;
            }
            Write::Unreserve { command } => self.unreserve(command),
        }
        Ok(None)
    }

    fn reserve(&mut self, command: CommandId, bytes: u64) -> Result<(), Stop> {
        self.unreserve(&command);
        let bytes = usize::try_from(bytes).unwrap_or(usize::MAX);
        let reservation = self
            .journal
            .reserve(StreamId::RESULT, bytes)
            .map_err(stop_of)?;
        self.reservations.insert(command, reservation);
        Ok(())
    }

    fn unreserve(&mut self, command: &CommandId) {
        if let Some(reservation) = self.reservations.remove(command) {
            self.journal.unreserve(reservation);
        }
    }
}

#[expect(clippy::needless_pass_by_value, reason = "it serves `map_err`")]
fn stop_of(refusal: Refusal) -> Stop {
    let why = chain(&refusal);
    match refusal {
        Refusal::Full {
            stream, cap_bytes, ..
        } => Stop::Refused(match class_of(stream) {
            Some(class) => PersistRefusal::Stream { class, cap_bytes },
            None => PersistRefusal::Ledger { cap_bytes },
        }),
        Refusal::DeviceFull { .. }
        | Refusal::TooLarge { .. }
        | Refusal::BadKey { .. }
        | Refusal::UnknownStream { .. } => Stop::Refused(PersistRefusal::Disk { why }),
        Refusal::Unsynced(_) | Refusal::Storage(_) => Stop::Device(why),
    }
}
