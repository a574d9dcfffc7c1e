//! `node list|release`.
//! Never changes a node's state itself: that is the hub's.

use super::Common;
use super::error::CliError;
use super::state::{now, open, time};
use crate::hub;
use crate::store::{Caller, Page};
use clap::{Args, Subcommand};
use holdfast_protocol::NodeId;

#[derive(Debug, Subcommand)]
pub(super) enum Verb {
    /// List the registered nodes
    List(Common),
    /// End a node's quarantine
    ///
    /// A node is quarantined when its token shows that two machines use one identity. Make sure
    /// that only one is left (register the other anew), then release it. Deregistering is the
    /// API's: `aws ssm deregister-managed-instance`.
    Release(Release),
}

#[derive(Debug, Args)]
pub(super) struct Release {
    #[command(flatten)]
    common: Common,
    /// The node's id
    node: NodeId,
}

impl Release {
    async fn run(self) -> Result<(), CliError> {
        let store = open(&self.common.state_dir).await?;
        let released = hub::release(&store, Caller::local(now()), self.node).await;
        store.close().await;
        let what = format!(
            "cannot release {}; `node list` shows who is quarantined",
            self.node
        );
        released.map_err(CliError::because(what))
    }
}

impl Verb {
    pub(super) async fn run(self) -> Result<(), CliError> {
        match self {
            Self::List(common) => list(&common).await,
            Self::Release(release) => release.run().await,
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
