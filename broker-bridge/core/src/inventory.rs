//! Inventory in the API's terms: entries of a table, filters over them, and the known schemas.
//! Never gathers anything, never looks a table up.

use holdfast_protocol::report::Table;
use std::cmp::Ordering;
use std::collections::BTreeMap;

/// One item: attribute and value.
pub type Entry = BTreeMap<String, String>;

/// Known types with schema version and attributes, key attributes first, as the reference's
/// inventory documentation lists them.
pub const SCHEMAS: &[Schema] = &[
    Schema {
        type_name: "AWS:AWSComponent",
        version: "1.0",
        attributes: &[
            "Name",
            "ApplicationType",
            "Publisher",
            "Version",
            "InstalledTime",
            "Architecture",
            "URL",
        ],
    },
    Schema {
        type_name: "AWS:Application",
        version: "1.1",
        attributes: &[
            "Name",
            "Architecture",
            "ApplicationType",
            "Publisher",
            "Version",
            "InstalledTime",
            "URL",
            "Summary",
            "PackageId",
            "Release",
            "Epoch",
        ],
    },
    Schema {
        type_name: "AWS:InstanceInformation",
        version: "1.0",
        attributes: &[
            "InstanceId",
            "AgentType",
            "AgentVersion",
            "ComputerName",
            "InstanceStatus",
            "IpAddress",
            "PlatformName",
            "PlatformType",
            "PlatformVersion",
            "ResourceType",
        ],
    },
    Schema {
        type_name: "AWS:Network",
        version: "1.0",
        attributes: &[
            "Name",
            "SubnetMask",
            "Gateway",
            "DHCPServer",
            "DNSServer",
            "MacAddress",
            "IPV4",
            "IPV6",
        ],
    },
    Schema {
        type_name: "AWS:PatchSummary",
        version: "1.0",
        attributes: crate::patch::SUMMARY_COLUMNS,
    },
    Schema {
        type_name: "AWS:PatchState",
        version: "1.0",
        attributes: crate::patch::STATE_COLUMNS,
    },
    Schema {
        type_name: "AWS:Service",
        version: "1.0",
        attributes: &[
            "Name",
            "DisplayName",
            "ServiceType",
            "Status",
            "DependentServices",
            "ServicesDependedOn",
            "StartType",
        ],
    },
];

/// Schema of one type.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Schema {
    /// Such as `AWS:Application`.
    pub type_name: &'static str,
    /// Such as `1.1`.
    pub version: &'static str,
    /// Names of its attributes, each a string.
    pub attributes: &'static [&'static str],
}

/// Schema version of a type; `1.0` of one that is not known here.
#[must_use]
pub fn schema_version(type_name: &str) -> &'static str {
    SCHEMAS
        .iter()
        .find(|schema| schema.type_name == type_name)
        .map_or("1.0", |schema| schema.version)
}

/// The rows of a table as entries, in the order of their keys. Empty cells are left out.
pub fn entries(table: &Table) -> impl Iterator<Item = Entry> + '_ {
    table.rows().iter().map(|row| {
        table
            .columns()
            .zip(row.iter())
            .filter(|(_, cell)| !cell.is_empty())
            .map(|(column, cell)| (column.to_owned(), cell.to_string()))
            .collect()
    })
}

/// How a filter compares (`InventoryQueryOperatorType`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Operator {
    /// Any of the values.
    Equal,
    /// None of the values.
    NotEqual,
    /// Begins with any of the values.
    BeginWith,
    /// Less than the first value.
    LessThan,
    /// Greater than the first value.
    GreaterThan,
    /// The attribute is there.
    Exists,
}

impl Operator {
    /// Reads the API's name.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        Some(match name {
            "Equal" => Self::Equal,
            "NotEqual" => Self::NotEqual,
            "BeginWith" => Self::BeginWith,
            "LessThan" => Self::LessThan,
            "GreaterThan" => Self::GreaterThan,
            "Exists" => Self::Exists,
            _ => return None,
        })
    }
}

/// A condition on one attribute of an entry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Condition {
    /// The attribute, without its type.
    pub attribute: String,
    /// How it compares.
    pub operator: Operator,
    /// With what.
    pub values: Vec<String>,
}

/// Numbers by value, everything else as text.
fn compare(a: &str, b: &str) -> Ordering {
    match (a.parse::<f64>(), b.parse::<f64>()) {
        (Ok(a), Ok(b)) => a.total_cmp(&b),
        _ => a.cmp(b),
    }
}

impl Condition {
    /// Whether an entry meets the condition. A missing attribute equals nothing.
    #[must_use]
    pub fn holds(&self, entry: &Entry) -> bool {
        let found = entry.get(&self.attribute);
        let any = |test: &dyn Fn(&str, &str) -> bool| {
            found.is_some_and(|found| self.values.iter().any(|value| test(found, value)))
        };
        let ordered = |wanted: Ordering| {
            let first = self.values.first();
            found
                .zip(first)
                .is_some_and(|(found, value)| compare(found, value) == wanted)
        };
        match self.operator {
            Operator::Equal => any(&|found, value| found == value),
            Operator::NotEqual => !any(&|found, value| found == value),
            Operator::BeginWith => any(&|found, value| found.starts_with(value)),
            Operator::LessThan => ordered(Ordering::Less),
            Operator::GreaterThan => ordered(Ordering::Greater),
            Operator::Exists => found.is_some(),
        }
    }
}

/// The value of a table's cell by the name of its column; empty where there is none.
pub(crate) fn cell<'t>(table: &'t Table, row: usize, column: &str) -> &'t str {
    let at = table.columns().position(|name| name == column);
    at.and_then(|at| table.rows().get(row)?.get(at))
        .map_or("", |cell| cell)
}

#[cfg(test)]
mod tests {
    use super::*;
    use holdfast_protocol::report::{Cell, Row};

    fn condition(attribute: &str, operator: Operator, values: &[&str]) -> Condition {
        Condition {
            attribute: attribute.into(),
            operator,
            values: values.iter().map(|value| (*value).into()).collect(),
        }
    }

    #[test]
    fn empty_cells_are_no_attributes() {
        let cell = |text: &str| Cell::new(text).unwrap();
        let row = Row::new(vec![cell("bash"), cell("")]).unwrap();
        let table = Table::new(1, &["Name", "URL"], vec![row]).unwrap();
        let entry = entries(&table).next().unwrap();
        assert_eq!(entry, Entry::from([("Name".into(), "bash".into())]));
    }

    #[test]
    fn each_operator_compares_as_it_says() {
        let entry = Entry::from([("Name".into(), "bash".into()), ("Size".into(), "9".into())]);
        let holds = |a, o, v: &[&str]| condition(a, o, v).holds(&entry);
        assert!(holds("Name", Operator::Equal, &["zsh", "bash"]));
        assert!(!holds("Nope", Operator::Equal, &["bash"]));
        assert!(holds("Name", Operator::NotEqual, &["zsh"]));
        assert!(holds("Name", Operator::BeginWith, &["ba"]));
        assert!(holds("Size", Operator::LessThan, &["10"]));
        assert!(!holds("Size", Operator::GreaterThan, &["10"]));
        assert!(holds("Size", Operator::Exists, &[]));
    }
}
