//! Inventory and patch scans as report tables and as text for people; steps, schedules and the
//! command line share it. Never decides in which process: [`super::gatherer`] does.

use super::gatherer::{self, Wanted};
use super::output::Captured;
use super::{End, Job, StepOutcome, Stop};
use crate::error::chain;
use crate::inventory::application::{self, Detail};
use crate::inventory::{Inventory, component, instance, network, service};
use crate::package_manager::file::Warnings;
use crate::patch::{Baseline, PatchReport, PatchState, scan};
use holdfast_documents::{InventoryType, Operation, PatchBaseline};
use holdfast_protocol::report::{Table, TableError, TypeName};
use serde::{Deserialize, Serialize};
use std::fmt::Write as _;
use std::path::Path;
use tokio::sync::oneshot;

/// A report's type and table.
pub type Report = (TypeName, Table);

/// What gathering came to.
#[derive(Debug, Default, Serialize, Deserialize)]
pub struct Gathered {
    /// Reports.
    pub tables: Vec<Report>,
    /// For people.
    pub text: String,
    /// What could not be gathered, a line each.
    pub faults: Vec<String>,
}

/// What a patch scan is part of, if of anything.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Occasion {
    /// `SnapshotId`.
    pub snapshot: Option<String>,
    /// `AssociationId`.
    pub association: Option<String>,
    /// The command; empty for none.
    pub command: String,
}

impl Gathered {
    /// Nothing but a fault.
    pub(super) fn failed(fault: String) -> Self {
        Self {
            faults: vec![fault],
            ..Self::default()
        }
    }

    fn push(&mut self, type_name: &str, table: Result<Table, TableError>) {
        match (TypeName::try_from(type_name), table) {
            (Ok(name), Ok(table)) => self.tables.push((name, table)),
            (Err(_), Ok(_)) => self
                .faults
                .push(format!("{type_name}: the name is too long")),
            (_, Err(error)) => self.faults.push(format!("{type_name}: {}", chain(&error))),
        }
    }

    fn into_outcome(self, bytes_max: (usize, usize)) -> StepOutcome {
        let failed = !self.faults.is_empty();
        StepOutcome {
            end: End::Exited(i32::from(failed)),
            stdout: Captured::of_text(&self.text, bytes_max.0),
            stderr: Captured::of_text(&self.faults.join("\n"), bytes_max.1),
            detail: String::new(),
            tables: self.tables,
        }
    }
}

/// The inventory types that need no parameters.
pub const INVENTORY_TYPES: [InventoryType; 4] = [
    InventoryType::Application,
    InventoryType::AwsComponent,
    InventoryType::Network,
    InventoryType::Service,
];

/// Gathers what of `types` exists on this platform, and what the node is. Blocks.
///
/// # Errors
/// A fault, in words, for each type that could not be gathered; the others are there.
#[must_use]
pub fn inventory(
    root: &Path,
    node: &str,
    types: &[InventoryType],
    detail: Detail,
) -> (Vec<Inventory>, Vec<String>) {
    let mut faults = Vec::new();
    let mut found = vec![instance::gather(root, node)];
    for kind in types {
        match kind {
            InventoryType::Application => match application::gather(root, detail) {
                Ok(packages) => found.push(packages),
                Err(error) => faults.push(chain(&error)),
            },
            InventoryType::AwsComponent => found.push(component::gather()),
            InventoryType::Network => found.push(network::gather(root)),
            InventoryType::Service => found.push(service::gather(root)),
            // Of other platforms, of clouds, or with parameters of its own: nothing to gather here.
            InventoryType::BillingInfo
            | InventoryType::Custom
            | InventoryType::InstanceDetailedInformation
            | InventoryType::WindowsRole
            | InventoryType::WindowsUpdate
            | _ => {}
        }
    }
    (found, faults)
}

/// One line a type.
#[must_use]
pub fn inventory_text(found: &[Inventory]) -> String {
    let mut text = String::new();
    for Inventory {
        type_name,
        rows,
        warnings,
        ..
    } in found
    {
        // Writing to a string cannot fail.
        let _ = writeln!(text, "{type_name:<24} {:>6} items", rows.len());
        warn(&mut text, warnings);
    }
    text
}

fn warn(text: &mut String, warnings: &Warnings) {
    for warning in &warnings.list {
        let _ = writeln!(text, "  warning: {}: {}", warning.path, warning.problem);
    }
    if warnings.omitted > 0 {
        let _ = writeln!(text, "  and {} more warnings", warnings.omitted);
    }
}

/// Inventory as reports. Blocks.
#[must_use]
pub fn inventory_reports(node: &str, types: &[InventoryType]) -> Gathered {
    let (found, faults) = inventory(Path::new("/"), node, types, Detail::Essential);
    let mut gathered = Gathered {
        text: inventory_text(&found),
        faults,
        ..Gathered::default()
    };
    for part in &found {
        gathered.push(part.type_name, part.table());
    }
    gathered
}

/// `aws:softwareInventory`.
pub(super) async fn run_inventory(
    types: Vec<InventoryType>,
    job: &Job,
    stop: oneshot::Receiver<Stop>,
) -> StepOutcome {
    let node = job.environment.node.clone();
    stoppable(Wanted::Inventory { node, types }, job, stop).await
}

/// `holdfast:patchBaseline`.
pub(super) async fn run_patch_baseline(
    inputs: PatchBaseline,
    job: &Job,
    stop: oneshot::Receiver<Stop>,
) -> StepOutcome {
    let refused = match (&inputs.operation, &inputs.baseline_override) {
        (Operation::Install, _) => Some(
            "Operation=Install: this version of the agent scans and does not install; \
             use Operation=Scan",
        ),
        (Operation::Scan, Some(_)) => Some(
            "BaselineOverride: this version of the agent scans by the platform's default \
             baseline; leave it empty",
        ),
        (Operation::Scan, None) => None,
    };
    if let Some(why) = refused {
        return StepOutcome::failed(why.into());
    }
    let occasion = Occasion {
        snapshot: inputs.snapshot_id,
        association: inputs.association_id,
        command: job.environment.command.clone(),
    };
    stoppable(Wanted::Patches(occasion), job, stop).await
}

/// A scan of this machine by the default baseline, as reports. Blocks.
#[must_use]
pub fn patch_reports(occasion: &Occasion) -> Gathered {
    let report = match scan(Path::new("/"), &Baseline::debian_default()) {
        Ok(report) => report,
        Err(error) => return Gathered::failed(chain(&error)),
    };
    let mut gathered = Gathered {
        text: patch_text(&report),
        ..Gathered::default()
    };
    gathered.push("AWS:PatchSummary", summary_table(&report, occasion));
    gathered.push("AWS:PatchState", state_table(&report));
    gathered
}

fn table(columns: &[&str], rows: impl Iterator<Item = Vec<String>>) -> Result<Table, TableError> {
    crate::inventory::table::table(1, columns, rows)
}

/// `InstancePatchState`. Times stay empty: the bridge dates a report by its stamp.
fn summary_table(report: &PatchReport, occasion: &Occasion) -> Result<Table, TableError> {
    let counts = &report.counts;
    let (execution, kind) = match (&occasion.association, occasion.command.as_str()) {
        (Some(association), _) => (association.clone(), "Association"),
        (None, "") => (String::new(), ""),
        (None, command) => (command.to_owned(), "Command"),
    };
    let columns = [
        ("BaselineId", report.baseline_id.clone()),
        ("SnapshotId", occasion.snapshot.clone().unwrap_or_default()),
        ("Operation", "Scan".to_owned()),
        ("InstalledCount", counts.installed.to_string()),
        ("InstalledOtherCount", counts.installed_other.to_string()),
        (
            "InstalledPendingRebootCount",
            counts.installed_pending_reboot.to_string(),
        ),
        (
            "InstalledRejectedCount",
            counts.installed_rejected.to_string(),
        ),
        ("MissingCount", counts.missing.to_string()),
        ("FailedCount", counts.failed.to_string()),
        ("NotApplicableCount", counts.not_applicable.to_string()),
        (
            "CriticalNonCompliantCount",
            counts.critical_non_compliant.to_string(),
        ),
        (
            "SecurityNonCompliantCount",
            counts.security_non_compliant.to_string(),
        ),
        (
            "OtherNonCompliantCount",
            counts.other_non_compliant.to_string(),
        ),
        ("RebootOption", "NoReboot".to_owned()),
        ("ExecutionId", execution),
        ("ExecutionType", kind.to_owned()),
    ];
    let names = columns.each_ref().map(|(name, _)| *name);
    let row = columns.into_iter().map(|(_, value)| value).collect();
    table(&names, std::iter::once(row))
}

/// `PatchComplianceData`; the installed time is in seconds since 1970, by the clock of then.
fn state_table(report: &PatchReport) -> Result<Table, TableError> {
    let columns = [
        "Title",
        "Arch",
        "KBId",
        "Classification",
        "Severity",
        "State",
        "InstalledTime",
        "CVEIds",
    ];
    let rows = report.patches.iter().map(|patch| {
        vec![
            patch.title(),
            patch.architecture.clone(),
            format!("{}.{}", patch.name, patch.architecture),
            patch.classification.clone(),
            patch.severity.clone(),
            patch.state.as_str().to_owned(),
            patch
                .installed_seconds
                .map_or_else(String::new, |seconds| seconds.to_string()),
            patch.cve_ids.join(","),
        ]
    });
    table(&columns, rows)
}

/// A scan in words: counts, what is missing, and how old the knowledge is.
#[must_use]
pub fn patch_text(report: &PatchReport) -> String {
    let counts = &report.counts;
    let mut text = String::new();
    let _ = writeln!(
        text,
        "{} against {} ({})",
        report.product, report.baseline_name, report.baseline_id
    );
    for (name, count) in [
        ("missing", counts.missing),
        ("installed", counts.installed),
        ("installed, other", counts.installed_other),
        ("installed, rejected", counts.installed_rejected),
        ("not applicable", counts.not_applicable),
    ] {
        let _ = writeln!(text, "{count:>8} {name}");
    }
    let missing = report.patches.iter();
    for patch in missing.filter(|patch| patch.state == PatchState::Missing) {
        let _ = writeln!(
            text,
            "missing  {} (installed {}){}{}",
            patch.title(),
            patch.installed_version,
            if patch.security { ", security" } else { "" },
            if patch.held { ", held" } else { "" },
        );
    }
    for source in &report.sources {
        let _ = writeln!(
            text,
            "list     {} {} of {}",
            source.site, source.suite, source.date
        );
    }
    warn(&mut text, &report.warnings);
    text
}

/// Gathers until it is done or stopped.
async fn stoppable(wanted: Wanted, job: &Job, stop: oneshot::Receiver<Stop>) -> StepOutcome {
    tokio::select! {
        gathered = gatherer::gather(wanted, &job.environment) => {
            gathered.into_outcome(job.output_bytes_max)
        }
        stop = super::stopped(stop, job.limit) => StepOutcome {
            end: End::Stopped(stop),
            ..StepOutcome::failed(String::new())
        },
    }
}
