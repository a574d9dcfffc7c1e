//! Figures of Holdfast beside a peer's, measured in one run, and the swarm that makes a fleet of one process.
//! Never installs anything, and never measures a stand-in for one of the two programs.
//!
//! | module | does |
//! |---|---|
//! | [`figures`] | one module a figure |
//! | [`swarm`] | nodes that run the agent's core over real TLS, their state in memory |
//! | [`client`] | MQTT over TLS, as thin as a load generator must be |
//! | [`enrol`] | registers nodes over the real protocol |
//! | [`fleet`] | what a whole fleet does to the bridge at once |
//! | [`ground`] | programs, folders and a bridge to measure |
//! | [`measure`] | medians, memory and time of processes |
//! | `papers` | certificates of peers that are not Holdfast's |
//! | [`table`] | rows, verdicts, and how they are shown |
//! | [`tls_state`] | what TLS alone keeps of a connection |

pub mod client;
pub mod enrol;
pub mod figures;
pub mod fleet;
pub mod ground;
pub mod measure;
mod papers;
pub mod swarm;
pub mod table;
pub mod tls_state;
