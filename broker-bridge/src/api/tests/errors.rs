//! Errors that the service model declares: all are in the table of `tests/clients`, and a failing database is one.

use std::collections::BTreeSet;

use holdfast_aws_api::coverage;
use holdfast_aws_api::model::model;
use serde_json::json;

use super::client::Fixture;

/// Operation × declared error, with the test that shows it or why it cannot occur; the tests of that folder check what
/// it says. It is the one table: here it is only held against the model, so that a new operation does not go without.
const TABLE: &str = include_str!("../../../../tests/clients/errors.md");

/// The first two cells of each row: operation and error.
fn told() -> Vec<(&'static str, &'static str)> {
    let rows = TABLE.lines().filter(|line| line.starts_with("| "));
    let pair = |row: &'static str| {
        let mut cells = row.split('|').skip(1).map(str::trim);
        (cells.next().unwrap(), cells.next().unwrap())
    };
    // The first row is the header.
    rows.skip(1).map(pair).collect()
}

#[test]
fn every_declared_error_is_shown_or_cannot_occur() {
    let with_behaviour = coverage().filter(|operation| operation.has_behaviour);
    let declared: BTreeSet<(&str, &str)> = with_behaviour
        .flat_map(|known| {
            let errors = model().operations[known.operation].errors.iter();
            errors.map(move |error| (known.operation, *error))
        })
        .collect();
    let told = told();
    let once: BTreeSet<(&str, &str)> = told.iter().copied().collect();
    assert_eq!(once.len(), told.len(), "a row is there twice");
    assert_eq!(once, declared);
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
