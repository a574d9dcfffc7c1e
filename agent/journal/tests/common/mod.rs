//! What the journal's tests share: a small configuration, seeds, payloads.
//! It never hides an assertion.
#![allow(
    dead_code,
    clippy::expect_used,
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::print_stdout,
    reason = "shared by several test binaries, each of which uses a part"
)]

use holdfast_journal::{Config, Policy, SaltSource, StreamConfig, StreamId};

pub(crate) const RESULT_CAP: u64 = 512 * 1024;
pub(crate) const LEDGER_CAP: u64 = 256 * 1024;

/// Segments of 16 KiB, so that tests cross many of them.
pub(crate) fn config() -> Config {
    let stream = |stream, cap_bytes, policy| StreamConfig {
        stream,
        cap_bytes,
        policy,
    };
    Config {
        segment_bytes: 16 * 1024,
        streams: vec![
            stream(StreamId::RESULT, RESULT_CAP, Policy::Refuse),
            stream(StreamId::AUDIT, 128 * 1024, Policy::Refuse),
            stream(StreamId::STATE, 64 * 1024, Policy::NewestPerKey),
            stream(StreamId::LOG, 64 * 1024, Policy::OldestFirst),
        ],
        ledger_cap_bytes: LEDGER_CAP,
    }
}

/// A generator as simple as it may be for tests: xorshift64*.
#[derive(Debug, Clone)]
pub(crate) struct Random(pub(crate) u64);

impl Random {
    pub(crate) fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_F491_4F6C_DD1D)
    }

    pub(crate) fn below(&mut self, bound: u64) -> u64 {
        self.next() % bound
    }
}

pub(crate) fn random(seed: u64) -> Random {
    Random(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1)
}

pub(crate) fn salts(seed: u64) -> SaltSource {
    let mut random = random(seed);
    Box::new(move || random.next())
}

/// Bytes that only this number and length have.
pub(crate) fn payload_of(number: u64, len: usize) -> Vec<u8> {
    let mut random = random(number.wrapping_add(77));
    (0..len).map(|_| random.next().to_le_bytes()[3]).collect()
}

/// The seed of this run, printed so that a failure can be repeated with `HOLDFAST_SEED`.
pub(crate) fn seed() -> u64 {
    let given = std::env::var("HOLDFAST_SEED").ok();
    let seed = given.map_or_else(
        || {
            use std::hash::{BuildHasher, RandomState};
            RandomState::new().hash_one(0u8) >> 16
        },
        |text| text.parse().unwrap(),
    );
    println!("HOLDFAST_SEED={seed}");
    seed
}

/// How many cases to try: `HOLDFAST_CASES`, else 1,000 with `HOLDFAST_FULL=1`, else this many.
pub(crate) fn cases(default: u64) -> u64 {
    let full = std::env::var("HOLDFAST_FULL").is_ok_and(|set| set == "1");
    let default = if full { default.max(1000) } else { default };
    std::env::var("HOLDFAST_CASES").map_or(default, |text| text.parse().unwrap())
}
