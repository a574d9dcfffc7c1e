//! Steps: which action with which inputs, on which platforms, and what follows success or failure.
//! Never decides whether a step ran well: exit codes are the agent's to judge.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::cursor::Cursor;
use crate::error::DocumentError;
use crate::input::{Input, InventoryInputs, PatchBaselineInputs, ScriptInputs, Timeout, Typed};

mod read;

pub(crate) use read::{main_steps, runtime_config};

/// A kind of operating system, in the API's names.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Platform {
    /// Linux.
    Linux,
    /// macOS.
    MacOS,
    /// Windows.
    Windows,
}

impl Platform {
    /// Every platform.
    pub const ALL: [Self; 3] = [Self::Linux, Self::MacOS, Self::Windows];

    /// The API's name.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Linux => "Linux",
            Self::MacOS => "MacOS",
            Self::Windows => "Windows",
        }
    }
}

impl fmt::Display for Platform {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// What a step does. A further action is a variant here, its inputs in `input`, its plan in `plan`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[non_exhaustive]
pub enum Action {
    /// `aws:runShellScript`
    #[serde(rename = "aws:runShellScript")]
    RunShellScript,
    /// `aws:runPowerShellScript`
    #[serde(rename = "aws:runPowerShellScript")]
    RunPowerShellScript,
    /// `aws:softwareInventory`
    #[serde(rename = "aws:softwareInventory")]
    SoftwareInventory,
    /// `holdfast:patchBaseline`, the node's own scan and installation. It has no counterpart in
    /// AWS, whose document downloads a script for it.
    #[serde(rename = "holdfast:patchBaseline")]
    PatchBaseline,
}

impl Action {
    const ALL: [Self; 4] = [
        Self::RunShellScript,
        Self::RunPowerShellScript,
        Self::SoftwareInventory,
        Self::PatchBaseline,
    ];

    /// The name documents use; also the plugin name that an invocation of schema 1.2 reports.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::RunShellScript => "aws:runShellScript",
            Self::RunPowerShellScript => "aws:runPowerShellScript",
            Self::SoftwareInventory => "aws:softwareInventory",
            Self::PatchBaseline => "holdfast:patchBaseline",
        }
    }

    /// The platforms that have the action.
    pub fn platforms(self) -> &'static [Platform] {
        match self {
            Self::RunShellScript => &[Platform::Linux, Platform::MacOS],
            Self::RunPowerShellScript => &[Platform::Windows],
            Self::SoftwareInventory => &Platform::ALL,
            Self::PatchBaseline => &[Platform::Linux],
        }
    }

    fn parse(cursor: &Cursor<'_>, name: &str) -> Result<Self, DocumentError> {
        Self::ALL
            .into_iter()
            .find(|action| action.as_str() == name)
            .ok_or_else(|| cursor.not_allowed(name, Self::ALL.map(Self::as_str).join(", ")))
    }
}

impl fmt::Display for Action {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// What follows a step that failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
pub enum OnFailure {
    /// The next step; the command still fails in the end.
    #[default]
    Continue,
    /// Nothing but a final step; the command fails.
    Exit,
    /// Nothing but a final step; the command succeeds, the step still shows as failed.
    SuccessAndExit,
}

/// What follows a step that succeeded.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
pub enum OnSuccess {
    /// The next step.
    #[default]
    Continue,
    /// Nothing but a final step.
    Exit,
}

/// One side of a comparison.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Operand {
    /// The node's platform.
    PlatformType,
    /// Text, with references or without.
    Text(Input),
}

/// A `StringEquals` of two operands.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Precondition {
    pub(crate) left: Operand,
    pub(crate) right: Operand,
}

#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Inputs {
    Script(ScriptInputs),
    Inventory(InventoryInputs),
    PatchBaseline(PatchBaselineInputs),
}

/// One step of a document.
#[derive(Debug, Clone, PartialEq)]
pub struct Step {
    pub(crate) name: String,
    pub(crate) action: Action,
    pub(crate) precondition: Option<Precondition>,
    pub(crate) timeout: Option<Typed<Timeout>>,
    pub(crate) on_failure: OnFailure,
    pub(crate) on_success: OnSuccess,
    pub(crate) finally: bool,
    pub(crate) inputs: Inputs,
}

impl Step {
    /// The step's name, unique in its document.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// What it does.
    pub fn action(&self) -> Action {
        self.action
    }

    /// Whether the step can run on `platform`, as far as the document alone tells.
    pub(crate) fn may_run_on(&self, platform: Platform) -> bool {
        let excluded = self.precondition.as_ref().is_some_and(|condition| {
            match (&condition.left, &condition.right) {
                (Operand::PlatformType, Operand::Text(input))
                | (Operand::Text(input), Operand::PlatformType) => input
                    .template
                    .literal()
                    .is_some_and(|text| text != platform.as_str()),
                (Operand::PlatformType, Operand::PlatformType)
                | (Operand::Text(_), Operand::Text(_)) => false,
            }
        });
        self.action.platforms().contains(&platform) && !excluded
    }
}
