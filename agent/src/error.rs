//! Errors as text, where the shell looks for it; the core has the one piece that does it.
//! Never adds a word of its own: each error says what, why and what next.

pub use holdfast_agent_core::chain;
