//! Fills a step's references and decides whether it runs here.
//! Never resolves more than the plan's bound, and never parses a value as part of the language.

use super::{
    Disposition, Inventory, PatchBaseline, PlanError, PlannedStep, RunScript, SkipReason,
    StepInputs,
};
use crate::bind::BoundParameters;
use crate::document::{Document, Schema};
use crate::error::DocumentPath;
use crate::input::{
    FromInput, Input, InventoryInputs, OptionalText, PatchBaselineInputs, RebootOption,
    ScriptInputs, Switch, Timeout, Typed,
};
use crate::limits::{PLAN_BYTES_MAX, TIMEOUT_SECONDS_DEFAULT};
use crate::parameter::Interpolation;
use crate::step::{Action, Inputs, Operand, Platform, Step};
use crate::template::Segment;
use crate::value::ParameterValue;

/// One document's steps with one set of values on one platform, and what may still be resolved.
pub(super) struct Resolver<'a> {
    document: &'a Document,
    bound: &'a BoundParameters,
    platform: Platform,
    bytes_left: usize,
}

impl<'a> Resolver<'a> {
    pub(super) fn new(
        document: &'a Document,
        bound: &'a BoundParameters,
        platform: Platform,
    ) -> Self {
        Self {
            document,
            bound,
            platform,
            bytes_left: PLAN_BYTES_MAX,
        }
    }

    pub(super) fn step(&mut self, step: &Step) -> Result<PlannedStep, PlanError> {
        let timeout = self.typed(step.timeout.as_ref())?;
        Ok(PlannedStep {
            name: step.name.clone(),
            action: step.action,
            timeout_seconds: timeout.map_or(TIMEOUT_SECONDS_DEFAULT, |Timeout(seconds)| seconds),
            on_failure: step.on_failure,
            on_success: step.on_success,
            finally: step.finally,
            disposition: match self.skip(step)? {
                Some(reason) => Disposition::Skip(reason),
                None => Disposition::Run(self.inputs(step)?),
            },
        })
    }

    fn skip(&mut self, step: &Step) -> Result<Option<SkipReason>, PlanError> {
        if let Some(condition) = &step.precondition {
            let left = self.operand(&condition.left)?;
            let right = self.operand(&condition.right)?;
            if left != right {
                return Ok(Some(SkipReason::Precondition));
            }
        }
        if step.action.platforms().contains(&self.platform) {
            return Ok(None);
        }
        let (action, platform) = (step.action, self.platform);
        match self.document.schema() {
            Schema::V2_2 => Ok(Some(SkipReason::Platform { action, platform })),
            schema @ (Schema::V1_2 | Schema::V2_0) => Err(PlanError::InvalidPlatform {
                step: step.name.clone(),
                action,
                platform,
                schema,
            }),
        }
    }

    fn operand(&mut self, operand: &Operand) -> Result<String, PlanError> {
        match operand {
            Operand::PlatformType => Ok(self.platform.as_str().to_owned()),
            Operand::Text(input) => self.text(input),
        }
    }

    fn inputs(&mut self, step: &Step) -> Result<StepInputs, PlanError> {
        match (&step.inputs, step.action) {
            (Inputs::Script(inputs), Action::RunPowerShellScript) => self
                .script(inputs, |name| format!("${{env:{name}}}"))
                .map(StepInputs::RunPowerShellScript),
            (Inputs::Script(inputs), _) => self
                .script(inputs, |name| format!("${{{name}}}"))
                .map(StepInputs::RunShellScript),
            (Inputs::Inventory(inputs), _) => {
                self.inventory(inputs).map(StepInputs::SoftwareInventory)
            }
            (Inputs::PatchBaseline(inputs), _) => {
                self.patch_baseline(inputs).map(StepInputs::PatchBaseline)
            }
        }
    }

    fn script(
        &mut self,
        inputs: &ScriptInputs,
        variable: fn(&str) -> String,
    ) -> Result<RunScript, PlanError> {
        let mut commands = Vec::new();
        for line in &inputs.run_command {
            match self.sole_list(line)? {
                Some(items) => {
                    self.spend(&line.path, items.iter().map(String::len).sum())?;
                    commands.extend_from_slice(items);
                }
                None => commands.push(self.line(line, variable)?),
            }
        }
        Ok(RunScript {
            commands,
            working_directory: self.optional_text(inputs.working_directory.as_ref())?,
            env: self.environment(&inputs.path)?,
        })
    }

    fn inventory(&mut self, inputs: &InventoryInputs) -> Result<Inventory, PlanError> {
        let mut types = Vec::new();
        for (kind, switch) in &inputs.switches {
            if self.typed(Some(switch))? == Some(Switch(true)) {
                types.push(*kind);
            }
        }
        Ok(Inventory {
            types,
            files: self.optional_text(inputs.files.as_ref())?,
            windows_registry: self.optional_text(inputs.windows_registry.as_ref())?,
        })
    }

    fn patch_baseline(&mut self, inputs: &PatchBaselineInputs) -> Result<PatchBaseline, PlanError> {
        Ok(PatchBaseline {
            operation: self.resolve(&inputs.operation)?,
            reboot_option: self
                .typed(inputs.reboot_option.as_ref())?
                .unwrap_or(RebootOption::RebootIfNeeded),
            snapshot_id: self.optional_text(inputs.snapshot_id.as_ref())?,
            install_override_list: self.optional_text(inputs.install_override_list.as_ref())?,
            baseline_override: self.optional_text(inputs.baseline_override.as_ref())?,
            association_id: self.optional_text(inputs.association_id.as_ref())?,
        })
    }

    fn resolve<T: FromInput>(&mut self, typed: &Typed<T>) -> Result<T, PlanError> {
        match typed {
            Typed::Literal(value) => Ok(value.clone()),
            Typed::Reference(input) => {
                let text = self.text(input)?;
                T::from_input(&text).ok_or_else(|| PlanError::InvalidInput {
                    path: input.path.clone(),
                    allowed: T::ALLOWED,
                })
            }
        }
    }

    fn typed<T: FromInput>(&mut self, typed: Option<&Typed<T>>) -> Result<Option<T>, PlanError> {
        typed.map(|typed| self.resolve(typed)).transpose()
    }

    fn optional_text(
        &mut self,
        typed: Option<&Typed<OptionalText>>,
    ) -> Result<Option<String>, PlanError> {
        Ok(self.typed(typed)?.and_then(|OptionalText(text)| text))
    }

    /// Every parameter that scripts get through their environment. A script may use one without a
    /// reference that could be seen here, so each script gets them all; `path` is the script's.
    fn environment(&mut self, path: &DocumentPath) -> Result<Vec<(String, String)>, PlanError> {
        let mut variables = Vec::new();
        for parameter in self.document.parameters() {
            if parameter.interpolation() == Interpolation::EnvironmentVariable {
                let value = self.value(parameter.name())?.to_text();
                self.spend(path, value.len())?;
                variables.push((parameter.environment_name(), value));
            }
        }
        Ok(variables)
    }

    /// The items, if the line is nothing but a list parameter.
    fn sole_list(&self, line: &Input) -> Result<Option<&'a [String]>, PlanError> {
        let Some(name) = line.template.sole_parameter() else {
            return Ok(None);
        };
        Ok(match self.value(name)? {
            ParameterValue::StringList(items) => Some(items),
            ParameterValue::String(_)
            | ParameterValue::Boolean(_)
            | ParameterValue::Integer(_)
            | ParameterValue::StringMap(_)
            | ParameterValue::MapList(_) => None,
        })
    }

    /// Text that no shell reads: every parameter's own value.
    fn text(&mut self, input: &Input) -> Result<String, PlanError> {
        self.fill(input, |_| None)
    }

    /// Text that a shell reads: a parameter of the environment stays a name, so that no value of it
    /// is ever parsed as code.
    fn line(&mut self, input: &Input, variable: fn(&str) -> String) -> Result<String, PlanError> {
        let document = self.document;
        self.fill(input, |name| {
            document
                .parameter(name)
                .filter(|p| p.interpolation() == Interpolation::EnvironmentVariable)
                .map(|p| variable(&p.environment_name()))
        })
    }

    /// Puts values into their places, once: what a value holds is not looked at again.
    fn fill(
        &mut self,
        input: &Input,
        substitute: impl Fn(&str) -> Option<String>,
    ) -> Result<String, PlanError> {
        let mut out = String::new();
        for segment in &input.template.segments {
            let text = match segment {
                Segment::Literal(text) => text.clone(),
                Segment::Parameter(name) => match substitute(name) {
                    Some(text) => text,
                    None => self.value(name)?.to_text(),
                },
            };
            self.spend(&input.path, text.len())?;
            out.push_str(&text);
        }
        Ok(out)
    }

    fn spend(&mut self, path: &DocumentPath, bytes: usize) -> Result<(), PlanError> {
        self.bytes_left =
            self.bytes_left
                .checked_sub(bytes)
                .ok_or_else(|| PlanError::TooLarge {
                    path: path.clone(),
                    limit: PLAN_BYTES_MAX,
                })?;
        Ok(())
    }

    fn value(&self, name: &str) -> Result<&'a ParameterValue, PlanError> {
        self.bound.value(name).ok_or_else(|| PlanError::NotBound {
            name: name.to_owned(),
        })
    }
}
