//! Any text as a document with parameters: refused by name or read, bound and planned.
#![no_main]

use holdfast_documents::{Document, Platform, supplied_from_json};
use libfuzzer_sys::fuzz_target;

// The document, then after a zero byte the parameters as JSON.
fuzz_target!(|bytes: &[u8]| {
    let mut parts = bytes.splitn(2, |byte| *byte == 0);
    let (content, parameters) = (parts.next().unwrap_or_default(), parts.next());
    let Ok(document) = Document::parse(content) else {
        return;
    };
    let supplied = parameters
        .and_then(|text| std::str::from_utf8(text).ok())
        .and_then(|text| supplied_from_json(text).ok())
        .unwrap_or_default();
    if let Ok(bound) = document.bind(&supplied) {
        for platform in [Platform::Linux, Platform::Windows, Platform::MacOS] {
            let first = document.plan(&bound, platform).ok();
            assert_eq!(first, document.plan(&bound, platform).ok(), "a plan is not a function");
        }
    }
});
