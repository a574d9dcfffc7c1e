//! The table of operation × declared error: which test shows it, or why it cannot occur here.
//! Complete by test: a new operation with behaviour, or a new model, needs its lines.

use std::collections::BTreeSet;

use holdfast_aws_api::coverage;
use holdfast_aws_api::model::model;
use serde_json::json;

use super::client::Fixture;

/// How an error is accounted for.
enum How {
    /// By the test of this name.
    Shown(&'static str),
    /// It cannot occur, for this reason.
    Never(&'static str),
}

use How::{Never, Shown};

/// Every operation declares it; so does this one test show it.
const FAULT: (&str, How) = (
    "InternalServerError",
    Shown("a_bridge_whose_database_is_gone_says_so"),
);

const ONE_WRITER: &str =
    "one writer makes changes one after the other, so none is refused for another";
const NO_AGGREGATORS: &str = "Aggregators are refused by name, as a ValidationException";

/// By operation: its declared errors but [`FAULT`].
const TABLE: &[(&str, &[(&str, How)])] = &[
    (
        "AddTagsToResource",
        &[
            (
                "InvalidResourceType",
                Shown("wrong_tags_and_resources_are_refused"),
            ),
            (
                "InvalidResourceId",
                Shown("wrong_tags_and_resources_are_refused"),
            ),
            (
                "TooManyTagsError",
                Shown("wrong_tags_and_resources_are_refused"),
            ),
            ("TooManyUpdates", Never(ONE_WRITER)),
        ],
    ),
    (
        "CancelCommand",
        &[
            (
                "InvalidCommandId",
                Shown("a_command_is_cancelled_on_some_nodes_or_all"),
            ),
            (
                "InvalidInstanceId",
                Shown("a_command_is_cancelled_on_some_nodes_or_all"),
            ),
            (
                "DuplicateInstanceId",
                Shown("a_command_is_cancelled_on_some_nodes_or_all"),
            ),
        ],
    ),
    (
        "CreateActivation",
        &[(
            "InvalidParameters",
            Shown("an_activation_outside_its_bounds_is_refused"),
        )],
    ),
    (
        "DeleteActivation",
        &[
            (
                "InvalidActivationId",
                Shown("activations_are_filtered_paged_and_deleted"),
            ),
            (
                "InvalidActivation",
                Never(
                    "an activation can be deleted in every state; an unknown one is InvalidActivationId",
                ),
            ),
            ("TooManyUpdates", Never(ONE_WRITER)),
        ],
    ),
    (
        "DeregisterManagedInstance",
        &[(
            "InvalidInstanceId",
            Shown("a_deregistered_node_is_gone_and_its_history_stays"),
        )],
    ),
    (
        "DescribeActivations",
        &[
            (
                "InvalidFilter",
                Shown("activations_are_filtered_paged_and_deleted"),
            ),
            (
                "InvalidNextToken",
                Shown("activations_are_filtered_paged_and_deleted"),
            ),
        ],
    ),
    (
        "DescribeDocument",
        &[
            (
                "InvalidDocument",
                Shown("a_document_is_described_by_name_arn_and_version"),
            ),
            (
                "InvalidDocumentVersion",
                Shown("a_document_is_described_by_name_arn_and_version"),
            ),
        ],
    ),
    (
        "DescribeInstanceInformation",
        &[
            (
                "InvalidInstanceId",
                Never("ids come as a filter's values, and one that is no node matches nothing"),
            ),
            (
                "InvalidNextToken",
                Shown("wrong_filters_of_nodes_are_refused_by_what_is_wrong"),
            ),
            (
                "InvalidInstanceInformationFilterValue",
                Shown("wrong_filters_of_nodes_are_refused_by_what_is_wrong"),
            ),
            (
                "InvalidFilterKey",
                Shown("wrong_filters_of_nodes_are_refused_by_what_is_wrong"),
            ),
        ],
    ),
    (
        "DescribeInstancePatchStates",
        &[(
            "InvalidNextToken",
            Shown("patch_states_are_shown_of_the_nodes_asked_for_that_were_scanned"),
        )],
    ),
    (
        "DescribeInstancePatches",
        &[
            (
                "InvalidInstanceId",
                Shown("patches_are_listed_and_filtered"),
            ),
            ("InvalidFilter", Shown("patches_are_listed_and_filtered")),
            ("InvalidNextToken", Shown("patches_are_listed_and_filtered")),
        ],
    ),
    (
        "GetCommandInvocation",
        &[
            (
                "InvalidCommandId",
                Shown("an_invocation_that_is_not_there_is_refused_by_what_is_wrong"),
            ),
            (
                "InvalidInstanceId",
                Shown("an_invocation_that_is_not_there_is_refused_by_what_is_wrong"),
            ),
            (
                "InvalidPluginName",
                Shown("an_invocation_that_is_not_there_is_refused_by_what_is_wrong"),
            ),
            (
                "InvocationDoesNotExist",
                Shown("an_invocation_that_is_not_there_is_refused_by_what_is_wrong"),
            ),
        ],
    ),
    (
        "GetDocument",
        &[
            (
                "InvalidDocument",
                Shown("a_document_is_described_by_name_arn_and_version"),
            ),
            (
                "InvalidDocumentVersion",
                Shown("a_document_is_described_by_name_arn_and_version"),
            ),
        ],
    ),
    (
        "GetInventory",
        &[
            (
                "InvalidFilter",
                Shown("inventory_is_filtered_by_attributes_of_one_and_the_same_entry"),
            ),
            ("InvalidInventoryGroupException", Never(NO_AGGREGATORS)),
            (
                "InvalidNextToken",
                Shown("inventory_is_filtered_by_attributes_of_one_and_the_same_entry"),
            ),
            (
                "InvalidTypeNameException",
                Shown("inventory_is_filtered_by_attributes_of_one_and_the_same_entry"),
            ),
            ("InvalidAggregatorException", Never(NO_AGGREGATORS)),
            (
                "InvalidResultAttributeException",
                Never(
                    "a result attribute is a type's name only, and a wrong one is InvalidTypeNameException",
                ),
            ),
        ],
    ),
    (
        "GetInventorySchema",
        &[
            (
                "InvalidTypeNameException",
                Shown("schemas_are_listed_and_paged"),
            ),
            ("InvalidNextToken", Shown("schemas_are_listed_and_paged")),
        ],
    ),
    (
        "ListCommandInvocations",
        &[
            (
                "InvalidCommandId",
                Shown("commands_and_invocations_are_filtered"),
            ),
            (
                "InvalidInstanceId",
                Shown("commands_and_invocations_are_filtered"),
            ),
            (
                "InvalidFilterKey",
                Shown("commands_and_invocations_are_filtered"),
            ),
            (
                "InvalidNextToken",
                Shown("commands_and_invocations_are_filtered"),
            ),
        ],
    ),
    (
        "ListCommands",
        &[
            (
                "InvalidCommandId",
                Shown("commands_and_invocations_are_filtered"),
            ),
            (
                "InvalidInstanceId",
                Shown("commands_and_invocations_are_filtered"),
            ),
            (
                "InvalidFilterKey",
                Shown("commands_and_invocations_are_filtered"),
            ),
            (
                "InvalidNextToken",
                Shown("commands_and_invocations_are_filtered"),
            ),
        ],
    ),
    (
        "ListComplianceItems",
        &[
            (
                "InvalidResourceType",
                Shown("compliance_items_are_listed_of_a_node_or_of_all_and_paged"),
            ),
            (
                "InvalidResourceId",
                Shown("compliance_items_are_listed_of_a_node_or_of_all_and_paged"),
            ),
            (
                "InvalidFilter",
                Shown("compliance_items_are_listed_of_a_node_or_of_all_and_paged"),
            ),
            (
                "InvalidNextToken",
                Shown("compliance_items_are_listed_of_a_node_or_of_all_and_paged"),
            ),
        ],
    ),
    (
        "ListComplianceSummaries",
        &[
            (
                "InvalidFilter",
                Shown("compliance_is_summed_up_over_nodes_and_by_node"),
            ),
            (
                "InvalidNextToken",
                Shown("compliance_is_summed_up_over_nodes_and_by_node"),
            ),
        ],
    ),
    (
        "ListDocuments",
        &[
            (
                "InvalidNextToken",
                Shown("documents_are_listed_by_filter_and_page"),
            ),
            (
                "InvalidFilterKey",
                Shown("documents_are_listed_by_filter_and_page"),
            ),
        ],
    ),
    (
        "ListInventoryEntries",
        &[
            (
                "InvalidInstanceId",
                Shown("entries_are_listed_filtered_and_paged_within_one_content"),
            ),
            (
                "InvalidTypeNameException",
                Shown("entries_are_listed_filtered_and_paged_within_one_content"),
            ),
            (
                "InvalidFilter",
                Shown("entries_are_listed_filtered_and_paged_within_one_content"),
            ),
            (
                "InvalidNextToken",
                Shown("entries_are_listed_filtered_and_paged_within_one_content"),
            ),
        ],
    ),
    (
        "ListResourceComplianceSummaries",
        &[
            (
                "InvalidFilter",
                Shown("compliance_is_summed_up_over_nodes_and_by_node"),
            ),
            (
                "InvalidNextToken",
                Shown("compliance_is_summed_up_over_nodes_and_by_node"),
            ),
        ],
    ),
    (
        "ListTagsForResource",
        &[
            (
                "InvalidResourceType",
                Shown("wrong_tags_and_resources_are_refused"),
            ),
            (
                "InvalidResourceId",
                Shown("wrong_tags_and_resources_are_refused"),
            ),
        ],
    ),
    (
        "RemoveTagsFromResource",
        &[
            (
                "InvalidResourceType",
                Shown("wrong_tags_and_resources_are_refused"),
            ),
            (
                "InvalidResourceId",
                Shown("wrong_tags_and_resources_are_refused"),
            ),
            ("TooManyUpdates", Never(ONE_WRITER)),
        ],
    ),
    (
        "SendCommand",
        &[
            (
                "DuplicateInstanceId",
                Shown("what_cannot_be_sent_is_refused_by_what_is_wrong"),
            ),
            (
                "InvalidInstanceId",
                Shown("what_cannot_be_sent_is_refused_by_what_is_wrong"),
            ),
            (
                "InvalidDocument",
                Shown("what_cannot_be_sent_is_refused_by_what_is_wrong"),
            ),
            (
                "InvalidDocumentVersion",
                Shown("what_cannot_be_sent_is_refused_by_what_is_wrong"),
            ),
            (
                "InvalidOutputFolder",
                Never(
                    "the members of output folders are refused by name, as a ValidationException",
                ),
            ),
            (
                "InvalidParameters",
                Shown("what_cannot_be_sent_is_refused_by_what_is_wrong"),
            ),
            (
                "UnsupportedPlatformType",
                Never("every document in the library runs on Linux, and so does every agent"),
            ),
            (
                "MaxDocumentSizeExceeded",
                Shown("what_cannot_be_sent_is_refused_by_what_is_wrong"),
            ),
            (
                "InvalidRole",
                Never("ServiceRoleArn is refused by name, as a ValidationException"),
            ),
            (
                "InvalidNotificationConfig",
                Never("NotificationConfig is refused by name, as a ValidationException"),
            ),
        ],
    ),
    (
        "UpdateManagedInstanceRole",
        &[("InvalidInstanceId", Shown("a_role_is_stored_and_returned"))],
    ),
];

#[test]
fn every_declared_error_is_shown_or_cannot_occur() {
    let sources = [
        include_str!("commands.rs"),
        include_str!("compliance.rs"),
        include_str!("documents.rs"),
        include_str!("errors.rs"),
        include_str!("fleet.rs"),
        include_str!("lists.rs"),
        include_str!("reports.rs"),
    ]
    .concat();
    let with_behaviour = coverage().filter(|operation| operation.has_behaviour);
    let declared: BTreeSet<(&str, &str)> = with_behaviour
        .flat_map(|known| {
            let errors = model().operations[known.operation].errors.iter();
            errors.map(move |error| (known.operation, *error))
        })
        .collect();
    let mut accounted = BTreeSet::new();
    for (operation, errors) in TABLE {
        for (error, how) in errors.iter().chain([&FAULT]) {
            assert!(
                accounted.insert((*operation, *error)),
                "{operation} {error} is there twice"
            );
            match how {
                Shown(test) => {
                    assert!(
                        sources.contains(&format!("fn {test}(")),
                        "there is no test {test}"
                    );
                    assert!(
                        sources.contains(&format!("\"{error}\"")),
                        "{error} is shown nowhere"
                    );
                }
                Never(reason) => assert!(!reason.is_empty()),
            }
        }
    }
    assert_eq!(accounted, declared);
}

#[tokio::test]
async fn a_bridge_whose_database_is_gone_says_so() {
    let api = Fixture::new().await;
    api.store.close().await;
    for known in coverage().filter(|operation| operation.has_behaviour) {
        let answer = api.call(known.operation, &json!({})).await;
        assert_eq!(
            (answer.status, answer.code().as_str()),
            (500, "InternalServerError")
        );
        let message = answer.json()["Message"]
            .as_str()
            .unwrap_or_default()
            .to_owned();
        assert!(
            message.contains(answer.headers["x-amzn-requestid"].to_str().unwrap()),
            "{message}"
        );
    }
}
