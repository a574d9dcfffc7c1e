//! Bytes on the wire of this machine's package inventory: whole, and a usual day's changes.
//! Never of made-up packages: names and versions are dpkg's rows here.

use crate::ground::Ground;
use crate::table::{Budget, Row};
use anyhow::{Context as _, Result, bail};
use holdfast_agent::inventory::application::{Detail, gather};
use holdfast_protocol::OutboxId;
use holdfast_protocol::bounded::Text;
use holdfast_protocol::report::{Content, Report, Row as Cells, Table, TypeName};
use holdfast_protocol::up::{Record, Stamp, Up};
use std::path::Path;

/// Packages that the budget speaks of.
const PACKAGES: usize = 700;
/// Changes that the budget speaks of.
const CHANGES: usize = 11;

fn frame_bytes(content: Content) -> Result<f64> {
    let report = Report {
        type_name: TypeName::try_from("AWS:Application").unwrap_or_default(),
        captured: Stamp {
            boot: 3,
            uptime_ms: 86_400_000,
            unix_ms: Some(1_750_000_000_000),
        },
        content,
    };
    let up = Up::Record {
        outbox: OutboxId(u64::MAX),
        sequence: 1000,
        record: Box::new(Record::Report(report)),
    };
    Ok(up.encode()?.len() as f64)
}

/// The table with a Debian update in its versions, spread over the packages.
fn updated(table: &Table) -> Result<Table> {
    let columns: Vec<_> = table.columns().collect();
    let version = columns.iter().position(|name| *name == "Version");
    let version = version.context("a column of versions")?;
    let every = (table.rows().len() / CHANGES).max(1);
    let mut rows = Vec::new();
    for (at, row) in table.rows().iter().enumerate() {
        let mut cells = row.to_vec();
        let changes = at % every == every / 2 && at / every < CHANGES;
        if let Some(cell) = cells.get_mut(version).filter(|_| changes) {
            *cell = Text::cut(&format!("{}+deb12u1", &**cell));
        }
        rows.push(Cells::new(cells)?);
    }
    Ok(Table::new(table.key_columns(), &columns, rows)?)
}

pub(super) fn measure(_: &Ground) -> Result<Vec<Row>> {
    let whole = gather(Path::new("/"), Detail::Essential)?.table()?;
    let columns: Vec<_> = whole.columns().collect();
    let rows: Vec<_> = whole.rows().iter().take(PACKAGES).cloned().collect();
    let count = rows.len();
    let base = Table::new(whole.key_columns(), &columns, rows)?;
    let next = updated(&base)?;
    let delta = next.delta_from(&base).context("a delta")?;
    if delta.changed.rows().len() != CHANGES {
        bail!("{count} packages are too few for {CHANGES} changes");
    }
    let note = format!("{count} rows of this machine's dpkg, deflated, frame and all");
    let mut large = Row::new(
        format!("inventory, {PACKAGES} packages whole"),
        "B",
        frame_bytes(Content::Whole(base))? * (PACKAGES as f64 / count.max(1) as f64),
    )
    .within(Budget::AtMost(7500.0))
    .noted(note.clone());
    if count < PACKAGES {
        large = large.noted(format!("{note}; scaled up to {PACKAGES}"));
    }
    let small = Row::new(
        format!("inventory, {CHANGES} changes"),
        "B",
        frame_bytes(Content::Delta(delta))?,
    )
    .within(Budget::AtMost(300.0))
    .noted("new versions of packages spread over the list");
    Ok(vec![large, small])
}
