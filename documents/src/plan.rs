//! The plan: ordered steps with every input resolved for one platform. The agent runs it as it stands.
//! Never goes over the wire: both sides make it from the same text and parameters.

use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::bind::BoundParameters;
use crate::document::{Document, Schema};
use crate::error::DocumentPath;
use crate::input::{InventoryType, Operation, RebootOption};
use crate::step::{Action, OnFailure, OnSuccess, Platform};

mod resolve;

use resolve::Resolver;

/// What one command does on one node.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Plan {
    /// The document's schema version.
    pub schema: Schema,
    /// The steps in order; a `finally` step is the last.
    pub steps: Vec<PlannedStep>,
}

/// One step of a plan.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PlannedStep {
    /// Unique in the plan; safe as a file name. In schema 1.2 the plugin's name.
    pub name: String,
    /// What the step does.
    pub action: Action,
    /// Seconds it may run, counted from its own start.
    pub timeout_seconds: u32,
    /// What follows when it fails.
    pub on_failure: OnFailure,
    /// What follows when it succeeds.
    pub on_success: OnSuccess,
    /// Whether it runs even after an earlier step ended the command.
    pub finally: bool,
    /// Whether it runs at all.
    pub disposition: Disposition,
}

/// Run with these inputs, or skip for this reason.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Disposition {
    /// Run.
    Run(StepInputs),
    /// Skip.
    Skip(SkipReason),
}

/// Why a step is skipped.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, Error)]
#[non_exhaustive]
pub enum SkipReason {
    /// Its precondition does not hold here.
    #[error("its precondition does not hold on this node")]
    Precondition,
    /// Its action does not exist on this platform.
    #[error("{action} does not run on {platform}")]
    Platform {
        /// The action.
        action: Action,
        /// The node's platform.
        platform: Platform,
    },
}

/// Resolved inputs, one variant an action.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub enum StepInputs {
    /// `aws:runShellScript`
    RunShellScript(RunScript),
    /// `aws:runPowerShellScript`
    RunPowerShellScript(RunScript),
    /// `aws:softwareInventory`
    SoftwareInventory(Inventory),
    /// `holdfast:patchBaseline`
    PatchBaseline(PatchBaseline),
}

/// A script to run.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RunScript {
    /// The lines of the script; an entry may hold several.
    pub commands: Vec<String>,
    /// Where to run it; the agent's choice when not given.
    pub working_directory: Option<String>,
    /// Environment variables on top of the agent's own, name and value.
    pub env: Vec<(String, String)>,
}

/// Inventory to gather.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Inventory {
    /// The types that are switched on.
    pub types: Vec<InventoryType>,
    /// Which files to list, as the document's JSON text.
    pub files: Option<String>,
    /// Which registry keys to list, as the document's JSON text.
    pub windows_registry: Option<String>,
}

/// A scan against a patch baseline, or an installation of what it approves.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PatchBaseline {
    /// Scan or install.
    pub operation: Operation,
    /// Whether an installation may reboot; [`RebootOption::RebootIfNeeded`] when not given.
    pub reboot_option: RebootOption,
    /// The snapshot of the baseline that the whole command shares.
    pub snapshot_id: Option<String>,
    /// URL of a list of patches to install instead of the baseline's.
    pub install_override_list: Option<String>,
    /// URL of baselines to use instead of the node's.
    pub baseline_override: Option<String>,
    /// The association on whose behalf the step runs.
    pub association_id: Option<String>,
}

/// Why no plan can be made. None of these quotes a parameter's value.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum PlanError {
    /// A step of a schema without preconditions cannot run here: the invocation's `InvalidPlatform`.
    #[error(
        "step '{step}': {action} does not run on {platform}, and schema {schema} cannot skip a step"
    )]
    InvalidPlatform {
        /// The step.
        step: String,
        /// Its action.
        action: Action,
        /// The node's platform.
        platform: Platform,
        /// The document's schema.
        schema: Schema,
    },
    /// A value that was supplied is none that the input takes.
    #[error("{path}: the supplied value is not allowed here; allowed: {allowed}")]
    InvalidInput {
        /// The input.
        path: DocumentPath,
        /// What is allowed.
        allowed: &'static str,
    },
    /// All inputs resolved are above [`crate::limits::PLAN_BYTES_MAX`].
    #[error("{path}: with its parameters in place the document is above {limit} bytes")]
    TooLarge {
        /// The input at which the bound was reached.
        path: DocumentPath,
        /// The bound.
        limit: usize,
    },
    /// The parameters were bound to another document.
    #[error("parameter {name}: has no value; bind the parameters to this very document")]
    NotBound {
        /// The parameter.
        name: String,
    },
}

impl Document {
    /// Resolves every step for `platform`.
    ///
    /// # Errors
    /// [`PlanError`]; no step of the document may then run.
    pub fn plan(&self, bound: &BoundParameters, platform: Platform) -> Result<Plan, PlanError> {
        let mut resolver = Resolver::new(self, bound, platform);
        let steps = self.steps().iter().map(|step| resolver.step(step));
        Ok(Plan {
            schema: self.schema(),
            steps: steps.collect::<Result<_, _>>()?,
        })
    }
}
