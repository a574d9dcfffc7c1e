//! Gathers what a node is and has, as rows in the attribute names of AWS's inventory schema.
//! Never sends or remembers anything: deltas are made of [`Inventory::table`] elsewhere.

pub mod application;
pub mod component;
pub mod instance;
pub mod network;
pub mod os_release;
pub mod service;
pub mod table;

use holdfast_protocol::report::{Table, TableError};
use serde_json::{Map, Value, json};

use crate::package_manager::file::Warnings;

/// One type's rows. The same state always gives the same rows in the same order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Inventory {
    /// `AWS:Application` and so on.
    pub type_name: &'static str,
    /// The version of the attributes, as `GetInventorySchema` tells it.
    pub schema_version: &'static str,
    /// The attributes; the first `key_columns` name a row.
    pub columns: &'static [&'static str],
    /// How many attributes name a row.
    pub key_columns: u8,
    /// A value for each attribute, empty where unknown; sorted, no key twice.
    pub rows: Vec<Vec<String>>,
    /// What was passed over.
    pub warnings: Warnings,
}

impl Inventory {
    /// Sorts the rows and keeps the first of those with the same key.
    fn new(
        type_name: &'static str,
        key_columns: u8,
        columns: &'static [&'static str],
        mut rows: Vec<Vec<String>>,
        warnings: Warnings,
    ) -> Self {
        rows.sort_unstable();
        let keys = usize::from(key_columns);
        rows.dedup_by(|later, first| later.get(..keys) == first.get(..keys));
        Self {
            type_name,
            // As the service has them: packages are the one type whose schema has grown.
            schema_version: match type_name {
                "AWS:Application" => "1.1",
                _ => "1.0",
            },
            columns,
            key_columns,
            rows,
            warnings,
        }
    }

    /// The rows as a report's table, of which a hash and a delta can be made.
    ///
    /// # Errors
    /// [`TableError`] above the wire's bounds.
    pub fn table(&self) -> Result<Table, TableError> {
        table::table(self.key_columns, self.columns, self.rows.iter().cloned())
    }

    /// The shape of `PutInventory`'s items, without a capture time; unknown values are left out.
    #[must_use]
    pub fn to_json(&self) -> Value {
        let entry = |row: &Vec<String>| {
            let known = self
                .columns
                .iter()
                .zip(row)
                .filter(|(_, value)| !value.is_empty());
            let members = known.map(|(name, value)| ((*name).to_owned(), value.clone().into()));
            Value::Object(members.collect::<Map<_, _>>())
        };
        json!({
            "TypeName": self.type_name,
            "SchemaVersion": self.schema_version,
            "Content": self.rows.iter().map(entry).collect::<Vec<_>>(),
        })
    }
}
