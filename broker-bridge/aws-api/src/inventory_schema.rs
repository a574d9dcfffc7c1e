//! The types of inventory and their attributes, as the service's user guide lists them ("Metadata collected by
//! inventory"). Never lists a type that the bridge cannot answer for.

use crate::error::ApiError;
use crate::shape::inventory::{InventoryItemAttribute, InventoryItemSchema};

/// A type of inventory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct InventoryType {
    /// Such as `AWS:Application`.
    pub name: &'static str,
    /// The schema's version.
    pub version: &'static str,
    /// The attributes that hold text.
    pub texts: &'static [&'static str],
    /// The attributes that hold a number, listed after the texts.
    pub numbers: &'static [&'static str],
}

impl InventoryType {
    /// The names of all attributes.
    pub fn attributes(&self) -> impl Iterator<Item = &'static str> {
        self.texts.iter().chain(self.numbers).copied()
    }

    /// The type as `GetInventorySchema` answers it.
    #[must_use]
    pub fn schema(&self) -> InventoryItemSchema {
        let attribute = |kind: &str, name: &&str| InventoryItemAttribute {
            name: (*name).to_owned(),
            data_type: kind.to_owned(),
        };
        let texts = self.texts.iter().map(|name| attribute("string", name));
        let numbers = self.numbers.iter().map(|name| attribute("number", name));
        InventoryItemSchema {
            type_name: self.name.to_owned(),
            version: Some(self.version.to_owned()),
            attributes: texts.chain(numbers).collect(),
            display_name: None,
        }
    }
}

/// Every type, by name.
pub const TYPES: &[InventoryType] = &[
    InventoryType {
        name: "AWS:AWSComponent",
        version: "1.0",
        texts: &[
            "Name",
            "ApplicationType",
            "Publisher",
            "Version",
            "InstalledTime",
            "Architecture",
            "URL",
        ],
        numbers: &[],
    },
    InventoryType {
        name: "AWS:Application",
        version: "1.1",
        texts: &[
            "Name",
            "ApplicationType",
            "Publisher",
            "Version",
            "InstalledTime",
            "Architecture",
            "URL",
            "Summary",
            "PackageId",
            "Release",
            "Epoch",
        ],
        numbers: &[],
    },
    InventoryType {
        name: "AWS:ComplianceItem",
        version: "1.0",
        texts: &[
            "ComplianceType",
            "ExecutionId",
            "ExecutionType",
            "ExecutionTime",
            "Id",
            "Title",
            "Status",
            "Severity",
            "DocumentName",
            "DocumentVersion",
            "Classification",
            "PatchBaselineId",
            "PatchSeverity",
            "PatchState",
            "PatchGroup",
            "InstalledTime",
        ],
        numbers: &[],
    },
    InventoryType {
        name: "AWS:InstanceInformation",
        version: "1.0",
        texts: &[
            "AgentType",
            "AgentVersion",
            "ComputerName",
            "IamRole",
            "InstanceId",
            "InstanceStatus",
            "IpAddress",
            "PlatformName",
            "PlatformType",
            "PlatformVersion",
            "ResourceType",
        ],
        numbers: &[],
    },
    InventoryType {
        name: "AWS:Network",
        version: "1.0",
        texts: &[
            "Name",
            "SubnetMask",
            "Gateway",
            "DHCPServer",
            "DNSServer",
            "MacAddress",
            "IPV4",
            "IPV6",
        ],
        numbers: &[],
    },
    InventoryType {
        name: "AWS:PatchSummary",
        version: "1.0",
        texts: &[
            "PatchGroup",
            "BaselineId",
            "SnapshotId",
            "OwnerInformation",
            "OperationType",
            "OperationStartTime",
            "OperationEndTime",
        ],
        numbers: &[
            "InstalledCount",
            "InstalledOtherCount",
            "NotApplicableCount",
            "MissingCount",
            "FailedCount",
        ],
    },
    InventoryType {
        name: "AWS:Service",
        version: "1.0",
        texts: &[
            "Name",
            "DisplayName",
            "ServiceType",
            "Status",
            "DependentServices",
            "ServicesDependedOn",
            "StartType",
        ],
        numbers: &[],
    },
    InventoryType {
        name: GAPS_TYPE,
        version: "1.0",
        texts: &["Class", "Reason", "LatestTime"],
        numbers: &["Gaps", "Records"],
    },
];

/// The type that shows what of a node's records will never arrive: Holdfast's own, so under the prefix that the service
/// leaves to its users.
pub const GAPS_TYPE: &str = "Custom:HoldfastGaps";

/// The type of this name.
#[must_use]
pub fn inventory_type(name: &str) -> Option<&'static InventoryType> {
    TYPES.iter().find(|known| known.name == name)
}

/// The types that a request's `TypeName` asks for: one, or all when it is absent or empty.
///
/// # Errors
/// `InvalidTypeNameException`, with the names that there are.
pub fn asked_for(type_name: Option<&str>) -> Result<&'static [InventoryType], ApiError> {
    let Some(name) = type_name.filter(|name| !name.is_empty()) else {
        return Ok(TYPES);
    };
    let found = TYPES.iter().find(|known| known.name == name);
    found
        .map(std::slice::from_ref)
        .ok_or_else(|| unknown_type(name))
}

/// The error for a type that is not in the table.
#[must_use]
pub fn unknown_type(name: &str) -> ApiError {
    let names: Vec<&str> = TYPES.iter().map(|known| known.name).collect();
    ApiError::invalid_type_name(format!(
        "'{name}' is not a type of inventory here; there are: {}.",
        names.join(", ")
    ))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::call::Reply;
    use crate::model::check_reply;
    use crate::shape::inventory::GetInventorySchemaResult;

    #[test]
    fn every_schema_is_one_the_model_allows() {
        let reply = Reply::from(GetInventorySchemaResult {
            schemas: TYPES.iter().map(InventoryType::schema).collect(),
            next_token: None,
        });
        assert_eq!(
            check_reply("GetInventorySchema", &reply.to_json().unwrap()),
            Ok(())
        );
        assert!(TYPES.is_sorted_by_key(|known| known.name));
    }

    #[test]
    fn a_request_names_one_type_or_gets_all() {
        assert_eq!(asked_for(None).unwrap().len(), 8);
        assert_eq!(asked_for(Some("")).unwrap().len(), 8);
        let summary = asked_for(Some("AWS:PatchSummary")).unwrap()[0].schema();
        assert_eq!(
            serde_json::to_value(&summary.attributes[7]).unwrap(),
            json!({"Name": "InstalledCount", "DataType": "number"})
        );
        assert_eq!(
            asked_for(Some("AWS:File")).unwrap_err().code(),
            "InvalidTypeNameException"
        );
    }
}
