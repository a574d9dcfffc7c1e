//! What every test and the demo start: the real bridge, real agents, a link that can be cut, and
//! a signed client of the API. Never a stand-in for any of the two programs.

mod agent;
mod api;
mod binaries;
mod bridge;
pub mod commands;
pub mod figures;
mod link;
mod memory;
pub mod mutate;
pub mod namespace;
mod process;
mod random;
mod say;
mod wait;
mod world;

pub use agent::{Agent, AgentOptions};
pub use api::{Api, ApiConnection, ApiFailure};
pub use binaries::Binaries;
pub use bridge::{AccessKey, Activation, Bridge, BridgeOptions};
pub use link::Link;
pub use memory::resident_bytes;
pub use namespace::Namespace;
pub use process::{Exit, Running};
pub use random::{Random, cases};
pub use say::say;
pub use wait::{interrupt, until};
pub use world::{Node, PATIENCE, World};
