//! Errors as text: the one place of the agent that writes out a chain of sources.
//! Never adds a word of its own: each error says what, why and what next.

use std::error::Error;

/// An error and its sources on one line, outermost first.
#[must_use]
pub fn chain(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(source) = next {
        text.push_str(": ");
        text.push_str(&source.to_string());
        next = source.source();
    }
    text
}
