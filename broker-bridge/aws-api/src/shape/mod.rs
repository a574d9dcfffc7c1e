//! The requests and replies of the operations that have behaviour, as types; a module an operation group.
//! Never more or fewer members than the model's: a test compares each structure with the table.

pub mod activations;
pub mod commands;
pub mod compliance;
pub mod documents;
pub mod inventory;
pub mod nodes;
pub mod patch;
pub mod tags;

mod scalar;
#[cfg(test)]
pub(crate) mod trace;

pub use scalar::{Parameters, Sensitive, Timestamp};

/// Declares structures of the wire. Their members are public, spelt with capitals on the wire, and closed: an unknown
/// member is refused. Optional ones are absent when none.
macro_rules! shapes {
    ($(
        $(#[$meta:meta])*
        pub struct $name:ident {
            $($(#[$field_meta:meta])* $field:ident: $type:ty,)*
        }
    )*) => {$(
        $(#[$meta])*
        #[derive(Debug, Clone, Default, PartialEq, serde::Serialize, serde::Deserialize)]
        #[serde(rename_all = "PascalCase", deny_unknown_fields)]
        #[allow(missing_docs, reason = "the members are the service's, and its reference describes them")]
        pub struct $name {
            $($(#[$field_meta])* pub $field: $type,)*
        }
    )*};
}
use shapes;
