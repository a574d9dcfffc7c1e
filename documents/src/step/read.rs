//! Reads steps: `mainSteps` of schemas 2.0 and 2.2, `runtimeConfig` of schema 1.2.
//! Never accepts a step that the agent could not run as its document says.

use super::{Action, Inputs, OnFailure, OnSuccess, Operand, Platform, Precondition, Step};
use crate::cursor::{Cursor, Members};
use crate::error::DocumentError;
use crate::input::{Input, InventoryInputs, PatchBaselineInputs, ScriptInputs, Typed};
use crate::limits::{NAME_BYTES_MAX, STEPS_MAX};
use crate::parameter::Parameter;

/// Reads `mainSteps` of schemas 2.0 and 2.2.
pub(crate) fn main_steps(
    list: &Cursor<'_>,
    parameters: &[Parameter],
    preconditions: bool,
) -> Result<Vec<Step>, DocumentError> {
    let cursors = list.items(STEPS_MAX)?;
    let mut steps: Vec<Step> = Vec::with_capacity(cursors.len());
    for cursor in &cursors {
        let mut members = cursor.members()?;
        let name = members.required("name")?;
        let step = read_main_step(&mut members, parameters, preconditions)?;
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

fn read_main_step(
    members: &mut Members<'_>,
    parameters: &[Parameter],
    preconditions: bool,
) -> Result<Step, DocumentError> {
    let action = members.required("action")?;
    let action = Action::parse(&action, action.text()?)?;
    let name = read_name(&members.required("name")?)?;
    members.optional_text("description")?;
    // Asked for only where the schema has it, so that schema 2.0 refuses it instead of ignoring it.
    let precondition = if preconditions {
        members
            .optional("precondition")
            .map(|cursor| read_precondition(&cursor, parameters))
            .transpose()?
    } else {
        None
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
        on_failure: on_failure.map_or(Ok(OnFailure::default()), |c| read_on_failure(&c))?,
        on_success: on_success.map_or(Ok(OnSuccess::default()), |c| read_on_success(&c))?,
        finally: finally.map_or(Ok(false), |c| c.boolean())?,
        inputs: read_inputs(action, &mut inputs, parameters)?,
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

fn read_inputs(
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
fn read_name(cursor: &Cursor<'_>) -> Result<String, DocumentError> {
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

fn read_on_failure(cursor: &Cursor<'_>) -> Result<OnFailure, DocumentError> {
    match cursor.text()? {
        "exit" => Ok(OnFailure::Exit),
        "successAndExit" => Ok(OnFailure::SuccessAndExit),
        other => Err(cursor.not_allowed(other, "exit, successAndExit")),
    }
}

fn read_on_success(cursor: &Cursor<'_>) -> Result<OnSuccess, DocumentError> {
    match cursor.text()? {
        "exit" => Ok(OnSuccess::Exit),
        other => Err(cursor.not_allowed(other, "exit")),
    }
}

fn read_precondition(
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
        left: read_operand(left, parameters)?,
        right: read_operand(right, parameters)?,
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

fn read_operand(cursor: &Cursor<'_>, parameters: &[Parameter]) -> Result<Operand, DocumentError> {
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
pub(crate) fn runtime_config(
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
        if properties.is_list() {
            let sets = properties.items(STEPS_MAX)?;
            let alone = sets.len() == 1;
            for (index, set) in sets.iter().enumerate() {
                let name = if alone {
                    name.to_owned()
                } else {
                    format!("{index}.{name}")
                };
                steps.push(read_properties(set, name, action, parameters)?);
            }
        } else {
            steps.push(read_properties(
                &properties,
                name.to_owned(),
                action,
                parameters,
            )?);
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
fn read_properties(
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
        inputs: read_inputs(action, &mut members, parameters)?,
    };
    members.finish()?;
    Ok(step)
}
