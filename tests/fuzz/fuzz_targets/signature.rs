//! Any request under SigV4: nothing that no key signed is let in.
#![no_main]

use holdfast_aws_api::sigv4::{KeyRecord, RequestParts, Secret, authenticate};
use libfuzzer_sys::fuzz_target;

/// The time that a seed was signed for.
const NOW: i64 = 1_767_225_600;

// Lines: method, path, query, `Name: value` …, an empty line; then the body.
fuzz_target!(|bytes: &[u8]| {
    let Ok(text) = std::str::from_utf8(bytes) else {
        return;
    };
    let (head, body) = text.split_once("\n\n").unwrap_or((text, ""));
    let mut lines = head.lines();
    let mut line = || lines.next().unwrap_or_default();
    let (method, path, query) = (line(), line(), line());
    let headers: Vec<_> = lines.filter_map(|line| line.split_once(": ")).collect();
    let request = RequestParts {
        method,
        path,
        query,
        headers: &headers,
        body: body.as_bytes(),
    };
    let record = |secret: &str| KeyRecord {
        secret: Secret::new(secret.to_owned()),
        enabled: true,
        name: "fuzz".to_owned(),
    };
    let now = jiff::Timestamp::from_second(NOW).expect("a time");
    let caller = authenticate(&request, now, |_| Some(record("not in any seed")));
    assert!(caller.is_err(), "a request without its key's signature is let in");
    assert!(authenticate(&request, now, |_| None).is_err());
});
