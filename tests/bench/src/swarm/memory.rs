//! A node's journal in memory: ledger and streams, durable the moment they are written.
//! Never refuses and never forgets but on release: what survives a crash is not the swarm's subject.

use holdfast_agent_core::{Entry, Input, StreamFigures, Ticket, Write, is_restored};
use holdfast_protocol::Class;
use std::collections::{BTreeMap, VecDeque};

const CAP_BYTES: u64 = 16 << 20;

#[derive(Debug, Clone, Default)]
struct Stream {
    released: u64,
    records: VecDeque<Vec<u8>>,
    bytes: u64,
}

impl Stream {
    fn head(&self) -> u64 {
        self.released + self.records.len() as u64
    }

    fn release(&mut self, up_to: u64) -> u64 {
        let before = self.released;
        while self.released < up_to
            && let Some(record) = self.records.pop_front()
        {
            self.released += 1;
            self.bytes -= record.len() as u64;
        }
        self.released - before
    }

    fn entries(&self, from: u64, up_to: u64, records: usize, bytes: usize) -> Vec<Entry> {
        let mut room = bytes;
        let skip = usize::try_from(from.saturating_sub(self.released + 1)).unwrap_or(usize::MAX);
        let sequences = self.released + 1 + skip as u64..=up_to;
        let found = sequences.zip(self.records.iter().skip(skip)).take(records);
        let mut entries = Vec::new();
        for (sequence, stored) in found {
            if stored.len() > room && !entries.is_empty() {
                break;
            }
            room = room.saturating_sub(stored.len());
            let stored = stored.clone();
            entries.push(Entry::Record { sequence, stored });
        }
        entries
    }
}

/// What one node keeps.
#[derive(Debug, Clone, Default)]
pub struct Memory {
    ledger: BTreeMap<String, Vec<u8>>,
    streams: [Stream; 4],
}

impl Memory {
    /// The ledger as [`holdfast_agent_core::Restored`] takes it.
    #[must_use]
    pub fn ledger(&self) -> Vec<(String, Vec<u8>)> {
        let entries = self.ledger.iter().filter(|(key, _)| is_restored(key));
        entries
            .map(|(key, value)| (key.clone(), value.clone()))
            .collect()
    }

    /// The streams as they are.
    #[must_use]
    pub fn figures(&self) -> [StreamFigures; 4] {
        self.streams.each_ref().map(|stream| StreamFigures {
            head: stream.head(),
            released: stream.released,
            used_bytes: stream.bytes,
            reserved_bytes: 0,
            cap_bytes: CAP_BYTES,
            records: stream.records.len() as u64,
            lost: 0,
        })
    }

    /// Appends a stored record; its sequence.
    pub fn append(&mut self, class: Class, stored: Vec<u8>) -> u64 {
        let Some(stream) = self.streams.get_mut(class.index()) else {
            return 0;
        };
        stream.bytes += stored.len() as u64;
        stream.records.push_back(stored);
        stream.head()
    }

    /// Writes a ticket and answers it.
    pub fn persist(&mut self, ticket: Ticket, writes: Vec<Write>) -> Input {
        let mut appended = Vec::new();
        for write in writes {
            match write {
                Write::Put { key, value } => drop(self.ledger.insert(key, value)),
                Write::Remove { key } => drop(self.ledger.remove(&key)),
                Write::Append { class, stored, .. } => appended.push(self.append(class, stored)),
                Write::Reserve { .. } | Write::Unreserve { .. } => {}
            }
        }
        Input::Persisted {
            ticket,
            appended,
            streams: self.figures(),
        }
    }

    /// Forgets what the bridge has; how many records that were.
    pub fn release(&mut self, class: Class, up_to: u64) -> u64 {
        let stream = self.streams.get_mut(class.index());
        stream.map_or(0, |stream| stream.release(up_to))
    }

    /// Reads records.
    #[must_use]
    pub fn read(
        &self,
        class: Class,
        (from, up_to): (u64, u64),
        records: usize,
        bytes: usize,
    ) -> Input {
        let stream = self.streams.get(class.index());
        let entries = stream.map(|stream| stream.entries(from, up_to, records, bytes));
        Input::Records {
            class,
            from,
            entries: entries.unwrap_or_default(),
        }
    }

    /// Reads one ledger value.
    #[must_use]
    pub fn load(&self, key: String) -> Input {
        let value = self.ledger.get(&key).cloned();
        Input::Loaded { key, value }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sequences(memory: &Memory, from: u64, records: usize, bytes: usize) -> Vec<u64> {
        let Input::Records { entries, .. } =
            memory.read(Class::Result, (from, u64::MAX), records, bytes)
        else {
            panic!("not records");
        };
        entries.iter().map(Entry::last).collect()
    }

    #[test]
    fn a_stream_is_read_from_any_place_and_forgotten_up_to_one() {
        let mut memory = Memory::default();
        for at in 1..=5 {
            assert_eq!(memory.append(Class::Result, vec![0; 10]), at);
        }
        assert_eq!(sequences(&memory, 2, 2, 1000), [2, 3]);
        assert_eq!(sequences(&memory, 1, 9, 25), [1, 2]);
        assert_eq!(sequences(&memory, 4, 9, 1), [4]);
        memory.release(Class::Result, 3);
        assert_eq!(sequences(&memory, 4, 9, 1000), [4, 5]);
        let figures = memory.figures()[Class::Result.index()];
        assert_eq!(
            (figures.head, figures.released, figures.used_bytes),
            (5, 3, 20)
        );
        assert_eq!(memory.append(Class::Result, vec![0]), 6);
    }
}
