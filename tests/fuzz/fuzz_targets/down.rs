//! Any bytes as a sealed frame: nothing opens that no key sealed.
#![no_main]

use holdfast_protocol::seal::{Address, Opener};
use holdfast_protocol::{NodeId, OutboxId};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let address = Address { node: NodeId::from_random([1; 9]), outbox: OutboxId(1) };
    assert!(Opener::new([0x42; 32], 0).open(&address, bytes).is_err());
});
