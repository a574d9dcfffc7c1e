//! Filters of list operations, turned from text into conditions that a handler can apply.
//! Never lets a key or a value through that the operation does not know: the error names those it does.
//!
//! Conditions are joined by *and*, the values of one by *or*, as the service does.

mod condition;
mod rules;
mod tables;

pub use condition::{Condition, Key, Operator, Test};
use rules::Raw;
use tables::{
    ACTIVATIONS, COMMANDS, COMPLIANCE_ITEMS, COMPLIANCE_SUMMARIES, DOCUMENTS, INVOCATIONS, NODES,
    PATCHES, RESOURCE_COMPLIANCE_SUMMARIES,
};

use crate::error::ApiError;
use crate::inventory_schema::{self, InventoryType};
use crate::shape::activations::DescribeActivationsRequest;
use crate::shape::commands::{CommandFilter, ListCommandInvocationsRequest, ListCommandsRequest};
use crate::shape::compliance::ComplianceStringFilter;
use crate::shape::documents::ListDocumentsRequest;
use crate::shape::inventory::{GetInventoryRequest, InventoryFilter, ListInventoryEntriesRequest};
use crate::shape::nodes::DescribeInstanceInformationRequest;
use crate::shape::patch::DescribeInstancePatchesRequest;

/// The conditions of `DescribeActivations`.
///
/// # Errors
/// `InvalidFilter`.
pub fn activations(request: &DescribeActivationsRequest) -> Result<Vec<Condition>, ApiError> {
    let filters = request.filters.iter().flatten().map(|filter| Raw {
        key: filter.filter_key.as_deref().unwrap_or_default(),
        operator: None,
        values: filter.filter_values.as_deref().unwrap_or_default(),
    });
    ACTIVATIONS.read_all(filters)
}

/// The conditions of `DescribeInstanceInformation`; its two forms cannot be mixed.
///
/// # Errors
/// `InvalidFilterKey`, `InvalidInstanceInformationFilterValue`.
pub fn nodes(request: &DescribeInstanceInformationRequest) -> Result<Vec<Condition>, ApiError> {
    let older = request
        .instance_information_filter_list
        .as_deref()
        .unwrap_or_default();
    let newer = request.filters.as_deref().unwrap_or_default();
    if !older.is_empty() && !newer.is_empty() {
        return Err(ApiError::invalid_filter_key(
            "InstanceInformationFilterList and Filters cannot be given together; use Filters.",
        ));
    }
    let older = older
        .iter()
        .map(|filter| Raw::of(&filter.key, &filter.value_set));
    NODES.read_all(
        older.chain(
            newer
                .iter()
                .map(|filter| Raw::of(&filter.key, &filter.values)),
        ),
    )
}

/// The conditions of `ListCommands`.
///
/// # Errors
/// `InvalidFilterKey`.
pub fn commands(request: &ListCommandsRequest) -> Result<Vec<Condition>, ApiError> {
    COMMANDS.read_all(request.filters.iter().flatten().map(one_value))
}

/// The conditions of `ListCommandInvocations`.
///
/// # Errors
/// `InvalidFilterKey`.
pub fn invocations(request: &ListCommandInvocationsRequest) -> Result<Vec<Condition>, ApiError> {
    INVOCATIONS.read_all(request.filters.iter().flatten().map(one_value))
}

fn one_value(filter: &CommandFilter) -> Raw<'_> {
    Raw::of(&filter.key, std::slice::from_ref(&filter.value))
}

/// The conditions of `ListDocuments`; its two forms cannot be mixed.
///
/// # Errors
/// `InvalidFilterKey`.
pub fn documents(request: &ListDocumentsRequest) -> Result<Vec<Condition>, ApiError> {
    let older = request.document_filter_list.as_deref().unwrap_or_default();
    let newer = request.filters.as_deref().unwrap_or_default();
    if !older.is_empty() && !newer.is_empty() {
        return Err(ApiError::invalid_filter_key(
            "DocumentFilterList and Filters cannot be given together; use Filters.",
        ));
    }
    let older = older
        .iter()
        .map(|filter| Raw::of(&filter.key, std::slice::from_ref(&filter.value)));
    let newer = newer.iter().map(|filter| Raw {
        key: filter.key.as_deref().unwrap_or_default(),
        operator: None,
        values: filter.values.as_deref().unwrap_or_default(),
    });
    DOCUMENTS.read_all(older.chain(newer))
}

/// The conditions of `DescribeInstancePatches`.
///
/// # Errors
/// `InvalidFilter`.
pub fn patches(request: &DescribeInstancePatchesRequest) -> Result<Vec<Condition>, ApiError> {
    let filters = request.filters.iter().flatten().map(|filter| Raw {
        key: filter.key.as_deref().unwrap_or_default(),
        operator: None,
        values: filter.values.as_deref().unwrap_or_default(),
    });
    PATCHES.read_all(filters)
}

/// The conditions of `ListComplianceItems`.
///
/// # Errors
/// `InvalidFilter`.
pub fn compliance_items(
    filters: Option<&[ComplianceStringFilter]>,
) -> Result<Vec<Condition>, ApiError> {
    COMPLIANCE_ITEMS.read_all(filters.unwrap_or_default().iter().map(compliance))
}

/// The conditions of `ListComplianceSummaries`.
///
/// # Errors
/// `InvalidFilter`.
pub fn compliance_summaries(
    filters: Option<&[ComplianceStringFilter]>,
) -> Result<Vec<Condition>, ApiError> {
    COMPLIANCE_SUMMARIES.read_all(filters.unwrap_or_default().iter().map(compliance))
}

/// The conditions of `ListResourceComplianceSummaries`.
///
/// # Errors
/// `InvalidFilter`.
pub fn resource_compliance_summaries(
    filters: Option<&[ComplianceStringFilter]>,
) -> Result<Vec<Condition>, ApiError> {
    RESOURCE_COMPLIANCE_SUMMARIES.read_all(filters.unwrap_or_default().iter().map(compliance))
}

fn compliance(filter: &ComplianceStringFilter) -> Raw<'_> {
    Raw {
        key: filter.key.as_deref().unwrap_or_default(),
        operator: filter.r#type.as_deref(),
        values: filter.values.as_deref().unwrap_or_default(),
    }
}

/// The conditions of `GetInventory`: keys are `TYPE.ATTRIBUTE`, such as `AWS:Application.Name`.
///
/// # Errors
/// `InvalidFilter`.
pub fn inventory(request: &GetInventoryRequest) -> Result<Vec<Condition>, ApiError> {
    let filters = request.filters.iter().flatten();
    filters
        .map(|filter| attribute("GetInventory", filter, None))
        .collect()
}

/// The conditions of `ListInventoryEntries`: keys are attributes of the type asked for, with or without its name.
///
/// # Errors
/// `InvalidTypeNameException`, `InvalidFilter`.
pub fn inventory_entries(
    request: &ListInventoryEntriesRequest,
) -> Result<Vec<Condition>, ApiError> {
    let known = inventory_schema::inventory_type(&request.type_name);
    let known = known.ok_or_else(|| inventory_schema::unknown_type(&request.type_name))?;
    let filters = request.filters.iter().flatten();
    filters
        .map(|filter| attribute("ListInventoryEntries", filter, Some(known)))
        .collect()
}

fn attribute(
    operation: &str,
    filter: &InventoryFilter,
    of: Option<&'static InventoryType>,
) -> Result<Condition, ApiError> {
    let wrong = |why: String| {
        ApiError::invalid_filter(format!(
            "{operation} cannot filter by '{}': {why}",
            filter.key
        ))
    };
    let (known, name) = match (filter.key.rsplit_once('.'), of) {
        (None, None) => {
            return Err(wrong(
                "a key is TYPE.ATTRIBUTE, such as AWS:Application.Name.".to_owned(),
            ));
        }
        (None, Some(of)) => (of, filter.key.as_str()),
        (Some((type_name, name)), of) => {
            let known = inventory_schema::inventory_type(type_name);
            let known = known.filter(|known| of.is_none_or(|of| of == *known));
            (
                known.ok_or_else(|| {
                    wrong(format!("'{type_name}' is not a type that is asked for."))
                })?,
                name,
            )
        }
    };
    let Some(attribute) = known.attributes().find(|attribute| *attribute == name) else {
        let names: Vec<&str> = known.attributes().collect();
        return Err(wrong(format!(
            "{} has the attributes {}.",
            known.name,
            names.join(", ")
        )));
    };
    let operator = match filter
        .r#type
        .as_deref()
        .map_or(Some(Operator::Equal), Operator::parse)
    {
        Some(operator) => operator,
        // The service takes `Exists` with aggregators only, and those have no behaviour here.
        None => {
            return Err(wrong(
                "its Type is not Equal, NotEqual, BeginWith, LessThan or GreaterThan.".to_owned(),
            ));
        }
    };
    Ok(Condition {
        key: Key::Attribute {
            type_name: known.name,
            attribute,
        },
        test: Test::Text {
            operator,
            values: filter.values.clone(),
        },
    })
}

#[cfg(test)]
mod tests;
