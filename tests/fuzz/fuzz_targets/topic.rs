//! Any text as a topic: what parses prints the same.
#![no_main]

use holdfast_protocol::topic::Topic;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    if let Ok(topic) = text.parse::<Topic>() {
        assert_eq!(topic.to_string(), text);
    }
});
