//! The plan: ordered steps with every input resolved for one platform. The agent runs it as it stands.
//! Never goes over the wire: both sides make it from the same text and parameters.

use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::bind::BoundParameters;
use crate::document::{Document, Schema};
use crate::error::DocumentPath;
use crate::input::{
    FromInput, Input, InventoryInputs, InventoryType, Operation, OptionalText, PatchBaselineInputs,
    RebootOption, ScriptInputs, Switch, Timeout, Typed,
};
use crate::limits::{PLAN_BYTES_MAX, TIMEOUT_SECONDS_DEFAULT};
use crate::parameter::Interpolation;
use crate::step::{Action, Inputs, OnFailure, OnSuccess, Operand, Platform, Step};
use crate::template::Segment;
use crate::value::ParameterValue;

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
    /// All inputs resolved are above [`PLAN_BYTES_MAX`].
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
        let mut resolver = Resolver {
            document: self,
            bound,
            platform,
            bytes_left: PLAN_BYTES_MAX,
        };
        let steps = self.steps().iter().map(|step| resolver.step(step));
        Ok(Plan {
            schema: self.schema(),
            steps: steps.collect::<Result<_, _>>()?,
        })
    }
}

struct Resolver<'a> {
    document: &'a Document,
    bound: &'a BoundParameters,
    platform: Platform,
    bytes_left: usize,
}

impl<'a> Resolver<'a> {
    fn step(&mut self, step: &Step) -> Result<PlannedStep, PlanError> {
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
                    self.spend(line, items.iter().map(String::len).sum())?;
                    commands.extend_from_slice(items);
                }
                None => commands.push(self.line(line, variable)?),
            }
        }
        Ok(RunScript {
            commands,
            working_directory: self.optional_text(inputs.working_directory.as_ref())?,
            env: self.environment()?,
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

    /// Every parameter that scripts get through their environment.
    fn environment(&mut self) -> Result<Vec<(String, String)>, PlanError> {
        self.document
            .parameters()
            .iter()
            .filter(|parameter| parameter.interpolation() == Interpolation::EnvironmentVariable)
            .map(|parameter| {
                let value = self.value(parameter.name())?.to_text();
                Ok((parameter.environment_name(), value))
            })
            .collect()
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
            self.spend(input, text.len())?;
            out.push_str(&text);
        }
        Ok(out)
    }

    fn spend(&mut self, input: &Input, bytes: usize) -> Result<(), PlanError> {
        self.bytes_left =
            self.bytes_left
                .checked_sub(bytes)
                .ok_or_else(|| PlanError::TooLarge {
                    path: input.path.clone(),
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
