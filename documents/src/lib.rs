//! The document language: text becomes a typed document, a document and values become a plan of steps.
//! Never runs a step, reads a file or asks the clock; text from outside ends in a typed error, never a panic.
//!
//! The way through, the same on the bridge (which stops after `bind`) and on the agent:
//!
//! ```
//! use holdfast_documents::{Document, Platform, Supplied, library};
//!
//! let built_in = library::find("AWS-RunShellScript").ok_or("not in the library")?;
//! let document: Document = built_in.default_version().document()?;
//! let supplied = Supplied::from([("commands".to_owned(), vec!["uptime".to_owned()])]);
//! let bound = document.bind(&supplied)?;
//! let plan = document.plan(&bound, Platform::Linux)?;
//! assert_eq!(plan.steps.len(), 1);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! | module | what it holds |
//! |---|---|
//! | `source`, `yaml`, `node`, `cursor` | JSON and YAML to an untyped tree, and the walk through it that knows its path |
//! | `parameter`, `value`, `bind` | what a document declares, what a caller supplies, the two brought together |
//! | `template` | `{{ name }}` in text |
//! | `step`, `input`, `document` | the typed document of schemas 1.2, 2.0 and 2.2 |
//! | `plan` | the ordered steps, resolved for one platform |
//! | `library`, `describe` | the built-in documents, and what the API tells about any document |

mod bind;
mod cursor;
mod describe;
mod document;
mod error;
mod hash;
mod input;
pub mod library;
pub mod limits;
mod names;
mod node;
mod parameter;
mod plan;
mod source;
mod step;
mod template;
mod value;
#[cfg(feature = "yaml")]
mod yaml;

#[cfg(test)]
mod tests;

pub use bind::{BindError, BoundParameters, Supplied, SuppliedJsonError, supplied_from_json};
pub use describe::{Description, DocumentStatus, ParameterDescription};
pub use document::{Document, DocumentType, Schema};
pub use error::{DocumentError, DocumentPath};
pub use hash::{DocumentHash, InvalidHash};
pub use input::{InventoryType, Operation, RebootOption};
pub use names::{DocumentName, InvalidDocumentName, InvalidVersion, VersionSelector};
pub use parameter::{DisplayType, Interpolation, Parameter, ParameterType};
pub use plan::{
    Disposition, Inventory, PatchBaseline, Plan, PlanError, PlannedStep, RunScript, SkipReason,
    StepInputs,
};
pub use source::{DocumentFormat, to_json};
pub use step::{Action, OnFailure, OnSuccess, Platform, Step};
pub use value::{ParameterValue, ValueProblem};
