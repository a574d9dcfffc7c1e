//! What each operation's filters accept, refuse and mean.

use super::*;
use crate::shape::commands::CommandFilter;
use crate::shape::documents::{DocumentFilter, DocumentKeyValuesFilter};
use crate::shape::nodes::{InstanceInformationFilter, InstanceInformationStringFilter};
use crate::shape::patch::PatchOrchestratorFilter;

fn by_nodes(key: &str, values: &[&str]) -> Result<Vec<Condition>, ApiError> {
    nodes(&DescribeInstanceInformationRequest {
        filters: Some(vec![InstanceInformationStringFilter {
            key: key.to_owned(),
            values: values.iter().map(|&value| value.to_owned()).collect(),
        }]),
        ..Default::default()
    })
}

fn by_commands(key: &str, value: &str) -> Result<Vec<Condition>, ApiError> {
    let filters = Some(vec![CommandFilter {
        key: key.to_owned(),
        value: value.to_owned(),
    }]);
    commands(&ListCommandsRequest {
        filters,
        ..Default::default()
    })
}

fn by_inventory(key: &str, kind: Option<&str>) -> Result<Vec<Condition>, ApiError> {
    inventory(&GetInventoryRequest {
        filters: Some(vec![inventory_filter(key, kind)]),
        ..Default::default()
    })
}

fn inventory_filter(key: &str, kind: Option<&str>) -> InventoryFilter {
    InventoryFilter {
        key: key.to_owned(),
        values: vec!["v".to_owned()],
        r#type: kind.map(str::to_owned),
    }
}

#[test]
fn nodes_are_narrowed_by_properties_and_tags() {
    let condition = &by_nodes("PingStatus", &["Online", "Inactive"]).unwrap()[0];
    assert_eq!(condition.key, Key::Named("PingStatus"));
    assert!(condition.is_met_by(Some("Inactive")) && !condition.is_met_by(Some("ConnectionLost")));
    assert!(!condition.is_met_by(None));
    assert_eq!(
        by_nodes("tag:role", &["edge"]).unwrap()[0].key,
        Key::Tag("role".to_owned())
    );
    assert_eq!(by_nodes("tag-key", &["role"]).unwrap()[0].key, Key::TagKey);
}

#[test]
fn a_wrong_key_and_a_wrong_value_are_told_apart_where_the_operation_does() {
    let wrong_key = by_nodes("Colour", &["red"]).unwrap_err();
    assert_eq!(wrong_key.code(), "InvalidFilterKey");
    assert!(
        wrong_key
            .message()
            .contains("'Colour'; the keys are: ActivationIds, "),
        "{wrong_key}"
    );
    assert_eq!(
        by_nodes("tag:", &["x"]).unwrap_err().code(),
        "InvalidFilterKey"
    );
    let wrong_value = by_nodes("PingStatus", &["online"]).unwrap_err();
    assert_eq!(
        wrong_value.to_string(),
        "InvalidInstanceInformationFilterValue: DescribeInstanceInformation's filter 'PingStatus' cannot be 'online': \
         it takes Online, ConnectionLost, Inactive."
    );
    assert_eq!(
        by_nodes("IamRole", &[]).unwrap_err().code(),
        "InvalidInstanceInformationFilterValue"
    );
}

#[test]
fn the_older_form_of_a_filter_works_alone_and_not_beside_the_newer() {
    let older = InstanceInformationFilter {
        key: "IamRole".to_owned(),
        value_set: vec!["r".to_owned()],
    };
    let mut request = DescribeInstanceInformationRequest {
        instance_information_filter_list: Some(vec![older]),
        ..Default::default()
    };
    assert_eq!(nodes(&request).unwrap()[0].key, Key::Named("IamRole"));
    request.filters = Some(vec![InstanceInformationStringFilter::default()]);
    assert_eq!(nodes(&request).unwrap_err().code(), "InvalidFilterKey");

    let older = DocumentFilter {
        key: "Name".to_owned(),
        value: "AWS-".to_owned(),
    };
    let mut request = ListDocumentsRequest {
        document_filter_list: Some(vec![older]),
        ..Default::default()
    };
    assert!(
        documents(&request).unwrap()[0].is_met_by(Some("AWS-RunShellScript")),
        "a name filter is a prefix"
    );
    request.filters = Some(vec![DocumentKeyValuesFilter::default()]);
    assert_eq!(documents(&request).unwrap_err().code(), "InvalidFilterKey");
}

#[test]
fn commands_are_narrowed_by_time_and_status() {
    let after = &by_commands("InvokedAfter", "2024-07-07T00:00:00Z").unwrap()[0];
    let before = &by_commands("InvokedBefore", "2024-07-07T02:00:00+02:00").unwrap()[0];
    let midnight = 1_720_310_400_000;
    assert!(after.is_met_at(midnight) && !after.is_met_at(midnight - 1));
    assert!(before.is_met_at(midnight - 1) && !before.is_met_at(midnight));
    for (key, value) in [
        ("InvokedAfter", "yesterday"),
        ("Status", "Done"),
        ("Status", "Delayed"),
        ("Node", "x"),
    ] {
        assert_eq!(
            by_commands(key, value).unwrap_err().code(),
            "InvalidFilterKey",
            "{key}={value}"
        );
    }
    let stage = CommandFilter {
        key: "ExecutionStage".to_owned(),
        value: "Complete".to_owned(),
    };
    assert!(
        commands(&ListCommandsRequest {
            filters: Some(vec![stage.clone()]),
            ..Default::default()
        })
        .is_ok()
    );
    let of_invocations = ListCommandInvocationsRequest {
        filters: Some(vec![stage]),
        ..Default::default()
    };
    assert_eq!(
        invocations(&of_invocations).unwrap_err().code(),
        "InvalidFilterKey"
    );
}

#[test]
fn a_patch_state_is_read_in_both_spellings() {
    let by = |state: &str| {
        let filter = PatchOrchestratorFilter {
            key: Some("State".to_owned()),
            values: Some(vec![state.to_owned()]),
        };
        patches(&DescribeInstancePatchesRequest {
            filters: Some(vec![filter]),
            ..Default::default()
        })
    };
    for spelt in ["InstalledOther", "INSTALLED_OTHER"] {
        assert!(
            by(spelt).unwrap()[0].is_met_by(Some("INSTALLED_OTHER")),
            "{spelt}"
        );
    }
    assert_eq!(by("Gone").unwrap_err().code(), "InvalidFilter");
}

#[test]
fn compliance_filters_compare_as_they_say() {
    let by = |kind: Option<&str>, key: &str, value: &str| {
        compliance_items(Some(&[ComplianceStringFilter {
            key: Some(key.to_owned()),
            values: Some(vec![value.to_owned()]),
            r#type: kind.map(str::to_owned),
        }]))
    };
    assert!(by(None, "Status", "COMPLIANT").unwrap()[0].is_met_by(Some("COMPLIANT")));
    let not_equal = &by(Some("NOT_EQUAL"), "Status", "COMPLIANT").unwrap()[0];
    assert!(not_equal.is_met_by(Some("NON_COMPLIANT")) && not_equal.is_met_by(None));
    assert!(!not_equal.is_met_by_any(["NON_COMPLIANT", "COMPLIANT"]));
    assert!(by(Some("BEGIN_WITH"), "Title", "lib").unwrap()[0].is_met_by(Some("libc6")));
    for refused in [
        by(None, "Status", "OK"),
        by(None, "OverallSeverity", "HIGH"),
        compliance_summaries(Some(&[ComplianceStringFilter {
            key: Some("Title".to_owned()),
            ..Default::default()
        }])),
        resource_compliance_summaries(Some(&[ComplianceStringFilter::default()])),
    ] {
        assert_eq!(refused.unwrap_err().code(), "InvalidFilter");
    }
}

#[test]
fn inventory_filters_name_a_type_and_an_attribute_that_exist() {
    let condition = by_inventory("AWS:Application.Name", Some("BeginWith"))
        .unwrap()
        .remove(0);
    assert_eq!(
        condition.key,
        Key::Attribute {
            type_name: "AWS:Application",
            attribute: "Name"
        }
    );
    assert!(condition.is_met_by(Some("vim")));
    for (key, kind) in [
        ("Name", None),
        ("AWS:Nothing.Name", None),
        ("AWS:Application.Colour", None),
        ("AWS:Application.Name", Some("Exists")),
    ] {
        assert_eq!(
            by_inventory(key, kind).unwrap_err().code(),
            "InvalidFilter",
            "{key}"
        );
    }
}

#[test]
fn entries_are_narrowed_by_attributes_of_their_own_type() {
    let by = |type_name: &str, key: &str| {
        inventory_entries(&ListInventoryEntriesRequest {
            type_name: type_name.to_owned(),
            filters: Some(vec![inventory_filter(key, None)]),
            ..Default::default()
        })
    };
    for key in ["Name", "AWS:Application.Name"] {
        assert!(by("AWS:Application", key).is_ok(), "{key}");
    }
    assert_eq!(
        by("AWS:Application", "AWS:Network.Name")
            .unwrap_err()
            .code(),
        "InvalidFilter"
    );
    assert_eq!(
        by("AWS:File", "Name").unwrap_err().code(),
        "InvalidTypeNameException"
    );
}

#[test]
fn no_filter_is_no_condition() {
    assert_eq!(
        activations(&DescribeActivationsRequest::default()),
        Ok(vec![])
    );
    assert_eq!(compliance_items(None), Ok(vec![]));
}
