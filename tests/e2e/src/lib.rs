//! What every test and the demo start: the real bridge, real agents, a link that can be cut, and
//! a signed client of the API. Never a stand-in for any of the two programs.

mod agent;
mod api;
mod binaries;
mod bridge;
mod link;
mod process;
mod wait;

pub use agent::{Agent, AgentOptions};
pub use api::{Api, ApiFailure};
pub use binaries::Binaries;
pub use bridge::{AccessKey, Activation, Bridge, BridgeOptions};
pub use link::Link;
pub use process::{Exit, Running};
pub use wait::until;
