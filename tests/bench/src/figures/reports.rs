//! Bytes on the wire of this machine's package inventory: whole, and some upgrades of it.
//! Never of made-up packages: names and versions are dpkg's and apt's own.

use crate::ground::Ground;
use crate::table::{Budget, Row};
use anyhow::{Context as _, Result};
use holdfast_agent::inventory::application::{Detail, gather};
use holdfast_protocol::OutboxId;
use holdfast_protocol::bounded::Text;
use holdfast_protocol::report::{Content, Report, Row as Cells, Table, TypeName};
use holdfast_protocol::up::{Record, Stamp, Up};
use std::collections::BTreeMap;
use std::path::Path;
use std::process::Command;

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

/// New versions by package, as apt would install them now.
fn upgrades() -> Result<BTreeMap<String, String>> {
    let mut apt = Command::new("apt");
    let output = apt.args(["list", "--upgradable"]).output()?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    // `name/suite version architecture [upgradable from: …]`
    let upgrade = |line: &str| {
        let (name, rest) = line.split_once('/')?;
        let version = rest.split(' ').nth(1)?;
        Some((name.to_owned(), version.to_owned()))
    };
    Ok(text.lines().filter_map(upgrade).collect())
}

/// The table after the first [`CHANGES`] upgrades, and how many there were.
fn updated(table: &Table) -> Result<(Table, usize)> {
    let columns: Vec<_> = table.columns().collect();
    let place = |wanted: &str| {
        let found = columns.iter().position(|name| *name == wanted);
        found.with_context(|| format!("a column {wanted}"))
    };
    let (name, version) = (place("Name")?, place("Version")?);
    let (upgrades, mut changes) = (upgrades()?, 0);
    let mut rows = Vec::new();
    for row in table.rows() {
        let mut cells = row.to_vec();
        let new = cells.get(name).and_then(|name| upgrades.get(&**name));
        if let (Some(new), Some(cell)) = (new, cells.get_mut(version))
            && changes < CHANGES
        {
            *cell = Text::cut(new);
            changes += 1;
        }
        rows.push(Cells::new(cells)?);
    }
    Ok((Table::new(table.key_columns(), &columns, rows)?, changes))
}

pub(super) fn measure(_: &Ground) -> Result<Vec<Row>> {
    let whole = gather(Path::new("/"), Detail::Essential)?.table()?;
    let columns: Vec<_> = whole.columns().collect();
    let rows: Vec<_> = whole.rows().iter().take(PACKAGES).cloned().collect();
    let count = rows.len();
    let base = Table::new(whole.key_columns(), &columns, rows)?;
    let (next, changes) = updated(&base)?;
    let delta = next.delta_from(&base).context("a delta")?;
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
    let what = format!("inventory, {CHANGES} changes");
    let small = if changes == CHANGES {
        Row::new(what, "B", frame_bytes(Content::Delta(delta))?)
            .noted("the first upgrades that apt offers this machine")
    } else {
        Row::missing(
            what,
            format!("apt offers this machine {changes} upgrades only"),
        )
    };
    Ok(vec![large, small.within(Budget::AtMost(300.0))])
}
