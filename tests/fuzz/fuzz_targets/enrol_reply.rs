//! Any bytes as the reply to an enrolment: nothing opens that the root did not certify.
#![no_main]

use holdfast_protocol::enrol::Reply;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    if let Ok(reply) = Reply::from_frame(bytes) {
        assert!(reply.open(&reply.nonce, &reply.key, &[0x42; 32]).is_err());
    }
});
