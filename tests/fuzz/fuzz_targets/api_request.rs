//! Any body for any operation: refused in the API's own terms, or validated.
#![no_main]

use holdfast_aws_api::{coverage, parse};
use libfuzzer_sys::fuzz_target;

// One byte for the operation, then the body.
fuzz_target!(|bytes: &[u8]| {
    let Some((&which, body)) = bytes.split_first() else {
        return;
    };
    let operations: Vec<_> = coverage().collect();
    let operation = &operations[usize::from(which) % operations.len()];
    let _ = parse(&format!("AmazonSSM.{}", operation.operation), body);
});
