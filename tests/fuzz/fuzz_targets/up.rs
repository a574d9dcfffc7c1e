//! Any bytes from a node: refused by name or read, and what is read is written back the same.
#![no_main]

use holdfast_protocol::up::Up;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    if let Ok(up) = Up::decode(bytes) {
        let written = up.encode().expect("what was read fits the bounds");
        assert_eq!(Up::decode(&written).as_ref(), Ok(&up));
    }
});
