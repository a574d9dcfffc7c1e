//! AWS:AWSComponent: the agent itself.
//! Never lists anything else.

use super::Inventory;
use crate::package_manager::file::Warnings;

const COLUMNS: [&str; 6] = [
    "Name",
    "ApplicationType",
    "Publisher",
    "Version",
    "Architecture",
    "URL",
];

/// Lists this agent.
#[must_use]
pub fn gather() -> Inventory {
    let row = [
        "holdfast-agent",
        "admin",
        "Holdfast",
        env!("CARGO_PKG_VERSION"),
        std::env::consts::ARCH,
        "",
    ];
    let rows = vec![row.map(str::to_owned).to_vec()];
    Inventory::new("AWS:AWSComponent", 1, &COLUMNS, rows, Warnings::default())
}
