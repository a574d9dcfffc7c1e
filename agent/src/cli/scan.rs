//! `inventory` and `patch scan`: the gatherers' results for people or for scripts.
//! Never sends or stores them.

use super::{Exit, Failure, output, read};
use crate::inventory::Inventory;
use crate::inventory::application::Detail;
use crate::patch::{Baseline, scan};
use crate::plugin::gather::{self, INVENTORY_TYPES};
use crate::state::StateDir;
use serde_json::json;
use std::path::Path;

/// A baseline's file is not larger; the reader of baselines has its own bound below this.
const BASELINE_BYTES_MAX: usize = 1024 * 1024;

pub(super) fn inventory(state: &StateDir, full: bool, json: bool) -> Result<Exit, Failure> {
    let node = state.identity().map(|identity| identity.node.to_string());
    let detail = if full {
        Detail::Full
    } else {
        Detail::Essential
    };
    let (found, faults) = gather::inventory(
        Path::new("/"),
        &node.unwrap_or_default(),
        &INVENTORY_TYPES,
        detail,
    );
    if json {
        output::json(&json!({
            "items": found.iter().map(Inventory::to_json).collect::<Vec<_>>(),
            "faults": faults,
        }));
    } else {
        output::text(&gather::inventory_text(&found));
        for fault in &faults {
            output::failure(fault, false);
        }
    }
    Ok(if faults.is_empty() {
        Exit::Ok
    } else {
        Exit::Partial
    })
}

pub(super) fn patches(root: &Path, baseline: Option<&Path>, json: bool) -> Result<Exit, Failure> {
    let baseline = match baseline {
        None => Baseline::debian_default(),
        Some(path) => baseline_of(path)?,
    };
    let report = scan(root, &baseline).map_err(|error| Failure::new(Exit::Failed, &error))?;
    if json {
        output::json(&report);
    } else {
        output::text(&gather::patch_text(&report));
    }
    Ok(Exit::Ok)
}

fn baseline_of(path: &Path) -> Result<Baseline, Failure> {
    let failed = |error: &dyn std::error::Error| {
        let failure = Failure::new(Exit::Failed, error);
        Failure {
            text: format!("baseline {}: {}", path.display(), failure.text),
            ..failure
        }
    };
    let bytes = read::file(path, BASELINE_BYTES_MAX).map_err(|error| failed(&error))?;
    Baseline::from_json(&String::from_utf8_lossy(&bytes)).map_err(|error| failed(&error))
}
