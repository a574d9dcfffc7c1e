//! Every figure, by name. Never a figure without a word on how it was measured.

mod agent;
mod connections;
mod fan_out;
mod history;
mod ingest;
mod journal;
mod mosquitto;
mod offline;
mod publisher;
mod reconnect;
mod reports;
mod scan;
mod storm;

use crate::ground::Ground;
use crate::table::Row;
use anyhow::Result;

/// One figure, or some that are measured together.
pub struct Figure {
    /// Its name on the command line.
    pub name: &'static str,
    /// What it measures.
    pub what: &'static str,
    /// Measures it.
    pub measure: fn(&Ground) -> Result<Vec<Row>>,
}

/// All of them, in the order in which they run.
pub const ALL: [Figure; 11] = [
    Figure {
        name: "scan",
        what: "patch scan beside `apt list --upgradable`",
        measure: scan::measure,
    },
    Figure {
        name: "agent",
        what: "size of the agent, and its memory when idle",
        measure: agent::measure,
    },
    Figure {
        name: "reports",
        what: "bytes of an inventory, whole and as a delta",
        measure: reports::measure,
    },
    Figure {
        name: "journal",
        what: "the agent's journal on this disk",
        measure: journal::measure,
    },
    Figure {
        name: "ingest",
        what: "durable QoS 1 ingest beside the raw log and mosquitto",
        measure: ingest::measure,
    },
    Figure {
        name: "connections",
        what: "the bridge's memory per connected node",
        measure: connections::measure,
    },
    Figure {
        name: "storm",
        what: "a fleet of 5,000 that comes back at once, and the API meanwhile",
        measure: storm::measure,
    },
    Figure {
        name: "history",
        what: "a killed bridge's start on a million stored invocations",
        measure: history::measure,
    },
    Figure {
        name: "fan-out",
        what: "one command to a fleet, until its last result",
        measure: fan_out::measure,
    },
    Figure {
        name: "reconnect",
        what: "from the link's return until all results are delivered, after short cuts",
        measure: reconnect::measure,
    },
    Figure {
        name: "offline",
        what: "the same after an hour without a link, by an injected clock",
        measure: offline::measure,
    },
];
