//! A machine's disk: the shell's own store over simulated storage, with small bounds.
//! Never performs a write itself.

use crate::random::Random;
use holdfast_agent_core::chain;
use holdfast_agent_store::Store;
use holdfast_journal::{Config, Policy, SimStorage, StreamConfig, StreamId};

/// Bound of each stream; small, so that full disks happen.
const STREAM_BYTES_MAX: u64 = 192 << 10;

/// An open journal.
pub(crate) type Disk = Store<SimStorage>;

fn config() -> Config {
    let stream = |stream, policy| StreamConfig {
        stream,
        cap_bytes: STREAM_BYTES_MAX,
        policy,
    };
    Config {
        segment_bytes: 16 << 10,
        streams: vec![
            stream(StreamId::RESULT, Policy::Refuse),
            stream(StreamId::AUDIT, Policy::Refuse),
            stream(StreamId::STATE, Policy::NewestPerKey),
            stream(StreamId::LOG, Policy::OldestFirst),
        ],
        ledger_cap_bytes: 256 << 10,
    }
}

/// Opens what a disk holds; the error is the device's.
pub(crate) fn open(storage: &SimStorage, seed: u64) -> Result<Disk, String> {
    let mut salts = Random::new(seed);
    let salts = Box::new(move || salts.next());
    let opened = Store::open(storage.clone(), &config(), salts);
    opened.map(|(disk, _)| disk).map_err(|why| chain(&why))
}
