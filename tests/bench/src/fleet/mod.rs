//! What a whole fleet does to the bridge at once: comes back together, works while the bridge is killed, and leaves
//! a million invocations behind. Never decides what is good enough: figures and tests do.

pub mod history;
pub mod kills;
pub mod storm;
