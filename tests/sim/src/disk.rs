//! A machine's disk: the shell's own store over simulated storage, with small bounds.
//! Never performs a write itself.

use crate::random::Random;
use holdfast_agent_core::chain;
use holdfast_agent_store::Store;
use holdfast_journal::{Config, Policy, Recovery, SimStorage, StreamConfig, StreamId};

/// Bound of each stream; small, so that full disks happen.
const STREAM_BYTES_MAX: u64 = 192 << 10;

/// Segments that a few records fill.
const NARROW_SEGMENT_BYTES: u32 = 4 << 10;

/// An open journal.
pub(crate) type Disk = Store<SimStorage>;

/// What differs between the disks of worlds.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Bounds {
    segment_bytes: u32,
    ledger_bytes: u64,
}

impl Default for Bounds {
    fn default() -> Self {
        Self {
            segment_bytes: 16 << 10,
            ledger_bytes: 256 << 10,
        }
    }
}

impl Bounds {
    pub(crate) fn is_narrow(&self) -> bool {
        self.segment_bytes == NARROW_SEGMENT_BYTES
    }

    /// Small segments, and a ledger that a few commands fill.
    pub(crate) fn narrow(random: &mut Random) -> Self {
        Self {
            segment_bytes: NARROW_SEGMENT_BYTES,
            ledger_bytes: random.between(3 << 10, 6 << 10),
        }
    }
}

fn config(bounds: Bounds) -> Config {
    let stream = |stream, policy| StreamConfig {
        stream,
        cap_bytes: STREAM_BYTES_MAX,
        policy,
    };
    Config {
        segment_bytes: bounds.segment_bytes,
        streams: vec![
            stream(StreamId::RESULT, Policy::Refuse),
            stream(StreamId::AUDIT, Policy::Refuse),
            stream(StreamId::STATE, Policy::NewestPerKey),
            stream(StreamId::LOG, Policy::OldestFirst),
        ],
        ledger_cap_bytes: bounds.ledger_bytes,
    }
}

/// Opens what a disk holds; the error is the device's.
pub(crate) fn open(
    storage: &SimStorage,
    bounds: Bounds,
    seed: u64,
) -> Result<(Disk, Recovery), String> {
    let mut salts = Random::new(seed);
    let salts = Box::new(move || salts.next());
    Store::open(storage.clone(), &config(bounds), salts).map_err(|why| chain(&why))
}
