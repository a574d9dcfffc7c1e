//! `node show`: all that is known of one node, on one page.
//! Never prints a key or a token.

use super::{EVENT_COLUMNS, GAP_COLUMNS, event_row, gap_row, unknown};
use crate::cli::Common;
use crate::cli::error::CliError;
use crate::cli::output::printable;
use crate::cli::state::{open_existing, time};
use crate::store::{GapCount, Node, NodeEvent, Page, Store, StoreError, Tag};
use holdfast_protocol::NodeId;
use serde_json::{Value, json};

/// Events on the page; `node events` has them all.
const EVENTS: u32 = 5;

/// What the store knows.
struct Known {
    node: Node,
    tags: Vec<Tag>,
    queue: Vec<(String, i64)>,
    gaps: Vec<GapCount>,
    events: Vec<NodeEvent>,
}

pub(super) async fn show(common: &Common, id: NodeId) -> Result<(), CliError> {
    let store = open_existing(&common.state_dir).await?;
    let known = known(&store, id).await;
    let known = known.map_err(CliError::because(format!("cannot read {id}")))?;
    let known = known.ok_or_else(|| unknown(id))?;
    let (lines, json) = (known.lines(), known.json());
    Ok(common.output().value(&lines, &json)?)
}

async fn known(store: &Store, id: NodeId) -> Result<Option<Known>, StoreError> {
    let Some(node) = store.node(id).await? else {
        return Ok(None);
    };
    let tags = store.node_tags(&[id]).await?;
    Ok(Some(Known {
        node,
        tags: tags.into_iter().map(|(_, tag)| tag).collect(),
        queue: store.queue_of_node(id).await?,
        gaps: store.gaps(id).await?,
        events: store.node_events(id, &Page::first(EVENTS)).await?.items,
    }))
}

/// One word for where the node stands, and why where there is a reason.
fn state(node: &Node) -> (&'static str, String) {
    match (&node.deregistered, &node.quarantine) {
        (Some(at), _) => ("Deregistered", format!("at {}", time(*at))),
        (None, Some(why)) => ("Quarantined", why.clone()),
        (None, None) => (node.connectivity.as_str(), String::new()),
    }
}

impl Known {
    fn lines(&self) -> String {
        let node = &self.node;
        let (state, why) = state(node);
        let tags: Vec<String> = self
            .tags
            .iter()
            .map(|tag| format!("{}={}", tag.key, tag.value))
            .collect();
        let queue: Vec<String> = self
            .queue
            .iter()
            .map(|(status, count)| format!("{count} {status}"))
            .collect();
        let mut fields = vec![
            ("node", node.id.to_string()),
            ("name", node.name.clone()),
            ("state", with(state, &why)),
            ("last contact", time(node.last_ping)),
            ("computer", node.computer_name.clone()),
            ("address", node.ip_address.clone()),
            (
                "platform",
                format!(
                    "{} {} {}",
                    node.platform_name, node.platform_version, node.architecture
                ),
            ),
            ("agent", node.agent_version.clone()),
            ("boots", node.boot.to_string()),
            (
                "registered",
                format!(
                    "{} by activation {}",
                    time(node.registered),
                    node.activation_id
                ),
            ),
            (
                "certificate",
                format!(
                    "serial {}, expires {}",
                    node.certificate.serial,
                    time(node.certificate.expires)
                ),
            ),
            ("role", node.iam_role.clone()),
            ("tags", tags.join(", ")),
            ("queue", or(queue.join(", "), "nothing waits")),
        ];
        if self.gaps.is_empty() {
            fields.push(("gaps", "none: no record was lost".to_owned()));
        }
        let fields = fields.iter().filter(|(_, value)| !value.is_empty());
        let mut lines: Vec<String> = fields
            .map(|(name, value)| format!("{name:<12}  {}", value.trim_end()))
            .collect();
        for gap in &self.gaps {
            let GapCount {
                reason,
                gaps,
                records,
                ..
            } = gap;
            let class = gap.class.name();
            let latest = time(gap.latest);
            lines.push(format!(
                "{:<12}  {class}: {records} records in {gaps} gaps ({reason}), the latest at {latest}",
                "gaps"
            ));
        }
        for event in &self.events {
            let (at, class) = (time(event.received), event.class.name());
            let NodeEvent { name, detail, .. } = event;
            lines.push(format!("{:<12}  {at} {class} {name} {detail}", "event"));
        }
        let lines: Vec<String> = lines.iter().map(|line| printable(line)).collect();
        lines.join("\n")
    }

    fn json(&self) -> Value {
        let node = &self.node;
        let (state, why) = state(node);
        let table = |columns: &[&str], rows: Vec<Vec<String>>| -> Vec<Value> {
            let object = |row: Vec<String>| {
                let cells = columns.iter().map(|name| (*name).to_owned());
                cells.zip(row.into_iter().map(Value::from)).collect()
            };
            rows.into_iter().map(object).collect()
        };
        let gaps = self.gaps.iter().cloned().map(gap_row).collect();
        let events = self.events.iter().cloned().map(event_row).collect();
        json!({
            "node": node.id.to_string(),
            "name": node.name,
            "state": state,
            "why": why,
            "last_contact": time(node.last_ping),
            "computer": node.computer_name,
            "address": node.ip_address,
            "platform_name": node.platform_name,
            "platform_version": node.platform_version,
            "architecture": node.architecture,
            "agent": node.agent_version,
            "boots": node.boot,
            "registered": time(node.registered),
            "activation_id": node.activation_id,
            "certificate": {
                "serial": node.certificate.serial,
                "expires": time(node.certificate.expires),
            },
            "role": node.iam_role,
            "tags": self.tags.iter().map(|tag| (tag.key.clone(), Value::from(tag.value.as_str()))).collect::<serde_json::Map<_, _>>(),
            "queue": self.queue.iter().map(|(status, count)| (status.clone(), Value::from(*count))).collect::<serde_json::Map<_, _>>(),
            "gaps": table(&GAP_COLUMNS, gaps),
            "events": table(&EVENT_COLUMNS, events),
        })
    }
}

fn with(state: &str, why: &str) -> String {
    match why {
        "" => state.to_owned(),
        why => format!("{state}: {why}"),
    }
}

fn or(text: String, otherwise: &str) -> String {
    if text.is_empty() {
        otherwise.to_owned()
    } else {
        text
    }
}
