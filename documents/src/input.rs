//! The inputs of each action, typed: what is written out is checked when the document is read, what
//! refers to a parameter when it is resolved. Never keeps an input that no action understands.

use serde::{Deserialize, Serialize};

use crate::cursor::{Cursor, Members};
use crate::error::{DocumentError, DocumentPath};
use crate::limits;
use crate::parameter::{Parameter, ParameterType};
use crate::template::{BadReference, Braces, Template};

/// A text of the document with its references, and its place.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Input {
    pub(crate) path: DocumentPath,
    pub(crate) template: Template,
}

impl Input {
    /// Reads one value; a list or map parameter alone cannot stand for it.
    pub(crate) fn scalar(
        cursor: &Cursor<'_>,
        parameters: &[Parameter],
    ) -> Result<Self, DocumentError> {
        let text = cursor.scalar_text()?;
        let input = Self::parse(cursor, &text, Braces::Document, parameters)?;
        input.refuse_alone(parameters, |kind| {
            matches!(
                kind,
                ParameterType::StringList | ParameterType::StringMap | ParameterType::MapList
            )
        })?;
        Ok(input)
    }

    /// Reads one line of a script; a list of texts alone stands for as many lines.
    fn line(cursor: &Cursor<'_>, parameters: &[Parameter]) -> Result<Self, DocumentError> {
        let input = Self::parse(cursor, cursor.text()?, Braces::Script, parameters)?;
        input.refuse_alone(parameters, |kind| {
            matches!(kind, ParameterType::StringMap | ParameterType::MapList)
        })?;
        Ok(input)
    }

    fn parse(
        cursor: &Cursor<'_>,
        text: &str,
        braces: Braces,
        parameters: &[Parameter],
    ) -> Result<Self, DocumentError> {
        let declared = |name: &str| parameters.iter().any(|p| p.name() == name);
        let path = cursor.path.clone();
        match Template::parse(text, braces, declared) {
            Ok(template) => Ok(Self { path, template }),
            Err(BadReference::Unsupported(reference)) => Err(DocumentError::UnsupportedReference {
                path,
                reference: limits::excerpt(&reference),
            }),
            Err(BadReference::Undeclared(reference)) => Err(DocumentError::UndeclaredReference {
                path,
                reference: limits::excerpt(&reference),
                declared: crate::document::names_of(parameters),
            }),
        }
    }

    fn refuse_alone(
        &self,
        parameters: &[Parameter],
        refused: impl Fn(ParameterType) -> bool,
    ) -> Result<(), DocumentError> {
        let alone = self.template.sole_parameter();
        match parameters.iter().find(|p| Some(p.name()) == alone) {
            Some(parameter) if refused(parameter.kind()) => Err(DocumentError::NotScalar {
                path: self.path.clone(),
                name: parameter.name().to_owned(),
                found: parameter.kind(),
            }),
            Some(_) | None => Ok(()),
        }
    }
}

/// A type that an input's text becomes.
pub(crate) trait FromInput: Clone {
    /// What texts are allowed, for errors.
    const ALLOWED: &'static str;

    fn from_input(text: &str) -> Option<Self>;
}

/// An input of type `T`: known since the document was read, or known when its parameters are.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Typed<T> {
    Literal(T),
    Reference(Input),
}

impl<T: FromInput> Typed<T> {
    pub(crate) fn parse(
        cursor: &Cursor<'_>,
        parameters: &[Parameter],
    ) -> Result<Self, DocumentError> {
        let input = Input::scalar(cursor, parameters)?;
        match input.template.literal() {
            None => Ok(Self::Reference(input)),
            Some(text) => T::from_input(text)
                .map(Self::Literal)
                .ok_or_else(|| cursor.not_allowed(text, T::ALLOWED)),
        }
    }

    pub(crate) fn optional(
        members: &mut Members<'_>,
        name: &'static str,
        parameters: &[Parameter],
    ) -> Result<Option<Self>, DocumentError> {
        members
            .optional(name)
            .map(|cursor| Self::parse(&cursor, parameters))
            .transpose()
    }
}

/// Seconds a step may run; an empty text means the default.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Timeout(pub(crate) u32);

impl FromInput for Timeout {
    const ALLOWED: &'static str = "whole seconds from 1 to 172800";

    fn from_input(text: &str) -> Option<Self> {
        match text.trim() {
            "" => Some(Self(limits::TIMEOUT_SECONDS_DEFAULT)),
            digits => digits
                .parse()
                .ok()
                .filter(|seconds| (1..=limits::TIMEOUT_SECONDS_MAX).contains(seconds))
                .map(Self),
        }
    }
}

/// Free text; an empty one means not given.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct OptionalText(pub(crate) Option<String>);

impl FromInput for OptionalText {
    const ALLOWED: &'static str = "any text";

    fn from_input(text: &str) -> Option<Self> {
        Some(Self((!text.is_empty()).then(|| text.to_owned())))
    }
}

/// `Enabled` or `Disabled`; an empty text means not enabled.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Switch(pub(crate) bool);

impl FromInput for Switch {
    const ALLOWED: &'static str = "Enabled, Disabled";

    fn from_input(text: &str) -> Option<Self> {
        match text {
            "Enabled" => Some(Self(true)),
            "Disabled" | "" => Some(Self(false)),
            _ => None,
        }
    }
}

/// What a patch baseline run does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Operation {
    /// Compares what is installed with the baseline, and changes nothing.
    Scan,
    /// Installs what the baseline approves and the node lacks.
    Install,
}

impl FromInput for Operation {
    const ALLOWED: &'static str = "Scan, Install";

    fn from_input(text: &str) -> Option<Self> {
        match text {
            "Scan" => Some(Self::Scan),
            "Install" => Some(Self::Install),
            _ => None,
        }
    }
}

/// Whether an installation may reboot the node.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum RebootOption {
    /// When something was installed that needs it.
    RebootIfNeeded,
    /// Never.
    NoReboot,
}

impl FromInput for RebootOption {
    const ALLOWED: &'static str = "RebootIfNeeded, NoReboot";

    fn from_input(text: &str) -> Option<Self> {
        match text {
            "RebootIfNeeded" => Some(Self::RebootIfNeeded),
            "NoReboot" => Some(Self::NoReboot),
            _ => None,
        }
    }
}

/// A kind of inventory that a document switches on or off.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[non_exhaustive]
pub enum InventoryType {
    /// Installed packages.
    Application,
    /// This platform's own components.
    AwsComponent,
    /// Licence billing of cloud instances.
    BillingInfo,
    /// What the site's own collectors wrote.
    Custom,
    /// Processor and operating system details.
    InstanceDetailedInformation,
    /// Network interfaces.
    Network,
    /// Services.
    Service,
    /// Roles of Windows Server.
    WindowsRole,
    /// Updates of Windows.
    WindowsUpdate,
}

impl InventoryType {
    /// Each type with the input that switches it.
    pub(crate) const INPUTS: [(&'static str, Self); 9] = [
        ("applications", Self::Application),
        ("awsComponents", Self::AwsComponent),
        ("billingInfo", Self::BillingInfo),
        ("customInventory", Self::Custom),
        (
            "instanceDetailedInformation",
            Self::InstanceDetailedInformation,
        ),
        ("networkConfig", Self::Network),
        ("services", Self::Service),
        ("windowsRoles", Self::WindowsRole),
        ("windowsUpdates", Self::WindowsUpdate),
    ];

    /// The API's `TypeName`; a custom inventory has a name of its own for each collector.
    pub fn type_name(self) -> Option<&'static str> {
        match self {
            Self::Application => Some("AWS:Application"),
            Self::AwsComponent => Some("AWS:AWSComponent"),
            Self::BillingInfo => Some("AWS:BillingInfo"),
            Self::Custom => None,
            Self::InstanceDetailedInformation => Some("AWS:InstanceDetailedInformation"),
            Self::Network => Some("AWS:Network"),
            Self::Service => Some("AWS:Service"),
            Self::WindowsRole => Some("AWS:WindowsRole"),
            Self::WindowsUpdate => Some("AWS:WindowsUpdate"),
        }
    }
}

/// Inputs of `aws:runShellScript` and `aws:runPowerShellScript`.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct ScriptInputs {
    /// The place of `runCommand`.
    pub(crate) path: DocumentPath,
    pub(crate) run_command: Vec<Input>,
    pub(crate) working_directory: Option<Typed<OptionalText>>,
}

impl ScriptInputs {
    pub(crate) fn parse(
        members: &mut Members<'_>,
        parameters: &[Parameter],
    ) -> Result<Self, DocumentError> {
        let run_command = members.required("runCommand")?;
        let path = run_command.path.clone();
        let lines = if run_command.is_list() {
            run_command.items(limits::DOCUMENT_BYTES_MAX)?
        } else {
            vec![run_command]
        };
        let run_command = lines.iter().map(|line| Input::line(line, parameters));
        let run_command = run_command.collect::<Result<_, _>>()?;
        Ok(Self {
            path,
            run_command,
            working_directory: Typed::optional(members, "workingDirectory", parameters)?,
        })
    }
}

/// Inputs of `holdfast:patchBaseline`.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct PatchBaselineInputs {
    pub(crate) operation: Typed<Operation>,
    pub(crate) reboot_option: Option<Typed<RebootOption>>,
    pub(crate) snapshot_id: Option<Typed<OptionalText>>,
    pub(crate) install_override_list: Option<Typed<OptionalText>>,
    pub(crate) baseline_override: Option<Typed<OptionalText>>,
    pub(crate) association_id: Option<Typed<OptionalText>>,
}

impl PatchBaselineInputs {
    pub(crate) fn parse(
        members: &mut Members<'_>,
        parameters: &[Parameter],
    ) -> Result<Self, DocumentError> {
        Ok(Self {
            operation: Typed::parse(&members.required("operation")?, parameters)?,
            reboot_option: Typed::optional(members, "rebootOption", parameters)?,
            snapshot_id: Typed::optional(members, "snapshotId", parameters)?,
            install_override_list: Typed::optional(members, "installOverrideList", parameters)?,
            baseline_override: Typed::optional(members, "baselineOverride", parameters)?,
            association_id: Typed::optional(members, "associationId", parameters)?,
        })
    }
}

/// Inputs of `aws:softwareInventory`.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct InventoryInputs {
    pub(crate) switches: Vec<(InventoryType, Typed<Switch>)>,
    pub(crate) files: Option<Typed<OptionalText>>,
    pub(crate) windows_registry: Option<Typed<OptionalText>>,
}

impl InventoryInputs {
    pub(crate) fn parse(
        members: &mut Members<'_>,
        parameters: &[Parameter],
    ) -> Result<Self, DocumentError> {
        let mut switches = Vec::new();
        for (name, kind) in InventoryType::INPUTS {
            if let Some(switch) = Typed::optional(members, name, parameters)? {
                switches.push((kind, switch));
            }
        }
        Ok(Self {
            switches,
            files: Typed::optional(members, "files", parameters)?,
            windows_registry: Typed::optional(members, "windowsRegistry", parameters)?,
        })
    }
}
