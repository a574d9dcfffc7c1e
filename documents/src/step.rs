//! Steps: which action with which inputs, on which platforms, and what follows success or failure.
//! Never decides whether a step ran well: exit codes are the agent's to judge.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::cursor::{Cursor, Members};
use crate::error::DocumentError;
use crate::input::{Input, InventoryInputs, PatchBaselineInputs, ScriptInputs, Timeout, Typed};
use crate::limits::{NAME_BYTES_MAX, STEPS_MAX};
use crate::parameter::Parameter;

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

/// Reads `mainSteps` of schemas 2.0 and 2.2.
pub(crate) fn parse_main_steps(
    list: &Cursor<'_>,
    parameters: &[Parameter],
    preconditions: bool,
) -> Result<Vec<Step>, DocumentError> {
    let cursors = list.items(STEPS_MAX)?;
    let mut steps: Vec<Step> = Vec::with_capacity(cursors.len());
    for cursor in &cursors {
        let mut members = cursor.members()?;
        let name = members.required("name")?;
        let step = parse_main_step(&mut members, parameters, preconditions)?;
        members.finish()?;
        if steps.iter().any(|earlier| earlier.name == step.name) {
            return Err(name.not_allowed(&step.name, "a name that no other step has"));
        }
        if let Some(earlier) = steps.last()
            && earlier.finally
        {
            return Err(cursor.not_allowed(
                &step.name,
                format!("no step after '{}', which is the finallyStep", earlier.name),
            ));
        }
        steps.push(step);
    }
    if steps.is_empty() {
        return Err(list.wrong_type("a list of one step or more"));
    }
    Ok(steps)
}

fn parse_main_step(
    members: &mut Members<'_>,
    parameters: &[Parameter],
    preconditions: bool,
) -> Result<Step, DocumentError> {
    let action = members.required("action")?;
    let action = Action::parse(&action, action.text()?)?;
    let name = parse_name(&members.required("name")?)?;
    members.optional_text("description")?;
    let precondition = match members.optional("precondition").filter(|_| preconditions) {
        Some(cursor) => Some(parse_precondition(&cursor, parameters)?),
        None => None,
    };
    let inputs = members.required("inputs")?;
    let mut inputs = inputs.members()?;
    let timeout = either(members, &mut inputs, "timeoutSeconds")?;
    let on_failure = either(members, &mut inputs, "onFailure")?;
    let on_success = either(members, &mut inputs, "onSuccess")?;
    let finally = either(members, &mut inputs, "finallyStep")?;
    let step = Step {
        name,
        action,
        precondition,
        timeout: timeout.map(|c| Typed::parse(&c, parameters)).transpose()?,
        on_failure: on_failure.map_or(Ok(OnFailure::default()), |c| parse_on_failure(&c))?,
        on_success: on_success.map_or(Ok(OnSuccess::default()), |c| parse_on_success(&c))?,
        finally: finally.map_or(Ok(false), |c| c.boolean())?,
        inputs: parse_inputs(action, &mut inputs, parameters)?,
    };
    inputs.finish()?;
    Ok(step)
}

/// A member that documents put beside `inputs` as well as into it.
fn either<'a>(
    step: &mut Members<'a>,
    inputs: &mut Members<'a>,
    name: &'static str,
) -> Result<Option<Cursor<'a>>, DocumentError> {
    match (step.optional(name), inputs.optional(name)) {
        (Some(outer), Some(inner)) => Err(DocumentError::Conflict {
            path: inner.path,
            other: outer.path,
        }),
        (outer, inner) => Ok(outer.or(inner)),
    }
}

fn parse_inputs(
    action: Action,
    inputs: &mut Members<'_>,
    parameters: &[Parameter],
) -> Result<Inputs, DocumentError> {
    match action {
        Action::RunShellScript | Action::RunPowerShellScript => {
            ScriptInputs::parse(inputs, parameters).map(Inputs::Script)
        }
        Action::SoftwareInventory => {
            InventoryInputs::parse(inputs, parameters).map(Inputs::Inventory)
        }
        Action::PatchBaseline => {
            PatchBaselineInputs::parse(inputs, parameters).map(Inputs::PatchBaseline)
        }
    }
}

/// A step's name also names its output files, hence no separators and no leading dot.
fn parse_name(cursor: &Cursor<'_>) -> Result<String, DocumentError> {
    let name = cursor.text()?;
    let opens = |c: u8| c.is_ascii_alphanumeric() || c == b'_';
    let goes_on = |c: u8| opens(c) || matches!(c, b'-' | b'.' | b':');
    if name.len() <= NAME_BYTES_MAX
        && name.bytes().next().is_some_and(opens)
        && name.bytes().all(goes_on)
    {
        Ok(name.to_owned())
    } else {
        Err(cursor.not_allowed(
            name,
            "a name of 1 to 128 of a-z A-Z 0-9 _ - . : that starts with a letter, a digit or _",
        ))
    }
}

fn parse_on_failure(cursor: &Cursor<'_>) -> Result<OnFailure, DocumentError> {
    match cursor.text()? {
        "exit" => Ok(OnFailure::Exit),
        "successAndExit" => Ok(OnFailure::SuccessAndExit),
        other => Err(cursor.not_allowed(other, "exit, successAndExit")),
    }
}

fn parse_on_success(cursor: &Cursor<'_>) -> Result<OnSuccess, DocumentError> {
    match cursor.text()? {
        "exit" => Ok(OnSuccess::Exit),
        other => Err(cursor.not_allowed(other, "exit")),
    }
}

fn parse_precondition(
    cursor: &Cursor<'_>,
    parameters: &[Parameter],
) -> Result<Precondition, DocumentError> {
    let mut members = cursor.members()?;
    let equals = members.required("StringEquals")?;
    members.finish()?;
    let operands = equals.items(2)?;
    let [left, right] = operands.as_slice() else {
        return Err(equals.wrong_type("a list of two operands"));
    };
    let condition = Precondition {
        left: parse_operand(left, parameters)?,
        right: parse_operand(right, parameters)?,
    };
    match (&condition.left, &condition.right) {
        (Operand::PlatformType, Operand::Text(input)) => check_platform(right, input)?,
        (Operand::Text(input), Operand::PlatformType) => check_platform(left, input)?,
        (Operand::Text(a), Operand::Text(b))
            if a.template.literal().is_none() || b.template.literal().is_none() => {}
        (Operand::Text(_), Operand::Text(_)) | (Operand::PlatformType, Operand::PlatformType) => {
            return Err(
                equals.not_allowed("two constants", "platformType or a parameter on one side")
            );
        }
    }
    Ok(condition)
}

fn parse_operand(cursor: &Cursor<'_>, parameters: &[Parameter]) -> Result<Operand, DocumentError> {
    if cursor.text()? == "platformType" {
        Ok(Operand::PlatformType)
    } else {
        Input::scalar(cursor, parameters).map(Operand::Text)
    }
}

/// A platform written out must be one there is: a typing error would skip the step for ever.
fn check_platform(cursor: &Cursor<'_>, input: &Input) -> Result<(), DocumentError> {
    match input.template.literal() {
        Some(text)
            if !Platform::ALL
                .iter()
                .any(|platform| platform.as_str() == text) =>
        {
            Err(cursor.not_allowed(text, Platform::ALL.map(Platform::as_str).join(", ")))
        }
        Some(_) | None => Ok(()),
    }
}

/// Reads `runtimeConfig` of schema 1.2: for each plugin one set of properties, or several in order.
pub(crate) fn parse_runtime_config(
    map: &Cursor<'_>,
    parameters: &[Parameter],
) -> Result<Vec<Step>, DocumentError> {
    let mut steps = Vec::new();
    for (name, plugin) in map.entries(STEPS_MAX)? {
        let action = Action::parse(&plugin, name)?;
        let mut members = plugin.members()?;
        members.optional_text("description")?;
        let properties = members.required("properties")?;
        members.finish()?;
        match properties.items(STEPS_MAX) {
            Ok(sets) => {
                let alone = sets.len() == 1;
                for (index, set) in sets.iter().enumerate() {
                    let name = if alone {
                        name.to_owned()
                    } else {
                        format!("{index}.{name}")
                    };
                    steps.push(parse_properties(set, name, action, parameters)?);
                }
            }
            Err(DocumentError::WrongType { .. }) => {
                steps.push(parse_properties(
                    &properties,
                    name.to_owned(),
                    action,
                    parameters,
                )?);
            }
            Err(error) => return Err(error),
        }
        if steps.len() > STEPS_MAX {
            return Err(DocumentError::TooMany {
                path: map.path.clone(),
                count: steps.len(),
                limit: STEPS_MAX,
            });
        }
    }
    if steps.is_empty() {
        return Err(map.wrong_type("a map of one plugin or more, each with its properties"));
    }
    Ok(steps)
}

/// Schema 1.2 knows no step names; an invocation reports the plugin's, so the step has that name.
fn parse_properties(
    set: &Cursor<'_>,
    name: String,
    action: Action,
    parameters: &[Parameter],
) -> Result<Step, DocumentError> {
    let mut members = set.members()?;
    members.optional_text("id")?;
    let step = Step {
        name,
        action,
        precondition: None,
        timeout: Typed::optional(&mut members, "timeoutSeconds", parameters)?,
        on_failure: OnFailure::default(),
        on_success: OnSuccess::default(),
        finally: false,
        inputs: parse_inputs(action, &mut members, parameters)?,
    };
    members.finish()?;
    Ok(step)
}
