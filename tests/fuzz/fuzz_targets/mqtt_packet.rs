//! Any bytes as MQTT packets: each is refused by name or read, and what is read lies within its bytes.
#![no_main]

use libfuzzer_sys::fuzz_target;

#[allow(
    dead_code,
    reason = "the file is the product's own, and only its parser is called here"
)]
#[path = "../../../broker-bridge/src/mqtt/packet.rs"]
mod packet;

use packet::Progress;

const LIMIT: usize = 64 * 1024;

fuzz_target!(|bytes: &[u8]| {
    let mut rest = bytes;
    loop {
        match packet::read(rest, LIMIT) {
            Ok(Progress::Packet { bytes, .. }) => {
                assert!((2..=LIMIT).contains(&bytes), "a packet of {bytes} bytes");
                let whole = packet::read(&rest[..bytes], LIMIT);
                assert_eq!(whole, packet::read(rest, LIMIT), "what follows is looked at");
                rest = &rest[bytes..];
            }
            Ok(Progress::Need { bytes }) => {
                assert!(bytes > rest.len() && bytes <= LIMIT, "{bytes} bytes asked for");
                return;
            }
            Err(_) => return,
        }
    }
});
