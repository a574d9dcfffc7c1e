//! Any bytes as what an agent kept in its ledger: its core begins with them or says why not.
#![no_main]

use holdfast_agent_core::{
    CertificateLife, Config, Core, Input, Intervals, LedgerDamage, Limits, Monotonic, Restored,
    StreamFigures,
};
use holdfast_protocol::up::Platform;
use holdfast_protocol::{CommandId, NodeId};
use libfuzzer_sys::fuzz_target;

fn config() -> Config {
    Config {
        node: NodeId::from_random([1; 9]),
        root: [0x42; 32],
        bridges: 1,
        certificate: CertificateLife {
            issued_unix_ms: 0,
            expires_unix_ms: u64::MAX,
        },
        agent_version: heapless::String::new(),
        platform: Platform::default(),
        document_platform: holdfast_documents::Platform::Linux,
        built_unix_ms: 0,
        registered_unix_ms: 0,
        limits: Limits::default(),
        intervals: Intervals::default(),
    }
}

// Entries: which key, the value's length in two bytes, the value.
fuzz_target!(|bytes: &[u8]| {
    let mut ledger = Vec::new();
    let mut rest = bytes;
    while let [which, low, high, more @ ..] = rest {
        let length = usize::from(u16::from_le_bytes([*low, *high])).min(more.len());
        let (value, left) = more.split_at(length);
        let key = match which % 4 {
            0 => "node".to_owned(),
            1 => format!("report/AWS:{which}"),
            _ => format!("command/{}", CommandId::from([*which; 16])),
        };
        ledger.push((key, value.to_vec()));
        rest = left;
    }
    let restored = Restored {
        ledger,
        streams: [StreamFigures { head: 7, cap_bytes: 1 << 20, ..StreamFigures::default() }; 4],
        boot_id: [1; 16],
        random: [2; 32],
        sequences_lost: false,
        damage: LedgerDamage::default(),
        now: Monotonic(5_000),
    };
    if let Ok(mut core) = Core::restore(config(), restored) {
        for second in 0..20 {
            while core.poll_effect().is_some() {}
            core.step(Monotonic(5_000 + second * 60_000), Input::Tick);
        }
    }
});
