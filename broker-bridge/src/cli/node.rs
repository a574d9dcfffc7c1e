//! `node list`.
//! Never changes a node's state itself: that is the hub's.

use super::Common;
use super::error::CliError;
use super::state::{open, time};
use crate::store::Page;
use clap::Subcommand;

#[derive(Debug, Subcommand)]
pub(super) enum Verb {
    /// List the registered nodes
    List(Common),
}

impl Verb {
    pub(super) async fn run(self) -> Result<(), CliError> {
        match self {
            Self::List(common) => list(&common).await,
        }
    }
}

async fn list(common: &Common) -> Result<(), CliError> {
    let store = open(&common.state_dir).await?;
    let mut rows = Vec::new();
    let mut page = Page::first(1000);
    loop {
        let nodes = store
            .nodes(&[], &page)
            .await
            .map_err(CliError::because("cannot read the nodes"))?;
        rows.extend(nodes.items.into_iter().map(|node| {
            vec![
                node.id.to_string(),
                node.name,
                node.connectivity.as_str().to_owned(),
                time(node.last_ping),
                node.computer_name,
                node.agent_version,
                node.quarantine.unwrap_or_default(),
            ]
        }));
        let Some(next) = nodes.next else { break };
        page.after = Some(next);
    }
    let columns = [
        "node",
        "name",
        "ping",
        "last_ping",
        "computer",
        "agent",
        "quarantine",
    ];
    Ok(common.output().table(&columns, &rows)?)
}
