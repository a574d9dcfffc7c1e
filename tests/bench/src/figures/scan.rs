//! The patch scan beside apt's own, both over this machine's package databases.
//! Never from a cold cache: both have run once before the first round.

use crate::ground::Ground;
use crate::measure::{Usage, median, run};
use crate::table::{Budget, Row};
use anyhow::{Context as _, Result};
use holdfast_cross::budgets;

pub(super) fn measure(ground: &Ground) -> Result<Vec<Row>> {
    let agent = ground.programs.agent.to_str().context("the agent's path")?;
    let ours = || run(agent, &["patch", "scan", "--json"]);
    let apt = || run("apt", &["list", "--upgradable"]);
    let budget = budgets::all()?.scan;
    let rounds = ground.or_quick(11, 3);
    ours().context("patch scan")?;
    apt().context("apt list --upgradable")?;
    let (mut our_runs, mut apt_runs) = (Vec::new(), Vec::new());
    for _ in 0..rounds {
        our_runs.push(ours()?);
        apt_runs.push(apt()?);
    }
    let of = |runs: &[Usage], figure: fn(&Usage) -> f64| {
        median(&runs.iter().map(figure).collect::<Vec<_>>())
    };
    let how = format!("median of {rounds} rounds, alternating");
    let name = "apt list --upgradable";
    let pair = |what: &str, unit, figure: fn(&Usage) -> f64| -> Result<Row> {
        let row = Row::new(what, unit, of(&our_runs, figure)?);
        Ok(row.beside(name, of(&apt_runs, figure)?).noted(how.clone()))
    };
    Ok(vec![
        pair("patch scan, time", "ms", |usage| usage.wall_s * 1000.0)?
            .within(Budget::PartOfPeer(budget.time_part_of_apt)),
        pair("patch scan, peak memory", "MiB", |usage| {
            usage.peak_kib / 1024.0
        })?
        .within(Budget::PartOfPeer(budget.memory_part_of_apt)),
        pair("patch scan, processor time", "ms", |usage| {
            usage.cpu_s * 1000.0
        })?,
    ])
}
