//! Behaviour through the public surface: plans, refusals, binding, and what must hold of any text.
//! Never reaches into a module's own types.

use crate::{BoundParameters, Document, Platform, Supplied};

mod binding;
mod plans;
mod properties;
mod refusals;

fn supplied(values: &[(&str, &[&str])]) -> Supplied {
    values
        .iter()
        .map(|(name, items)| {
            let items = items.iter().map(|item| (*item).to_owned());
            ((*name).to_owned(), items.collect())
        })
        .collect()
}

fn bind(document: &Document, values: &[(&str, &[&str])]) -> BoundParameters {
    document.bind(&supplied(values)).unwrap()
}

/// The plan on Linux, as JSON.
fn plan(content: &str, values: &[(&str, &[&str])]) -> String {
    let document = Document::parse(content).unwrap();
    let plan = document.plan(&bind(&document, values), Platform::Linux);
    serde_json::to_string_pretty(&plan.unwrap()).unwrap()
}
