//! The table of reliability: a row for each figure, in the promise's order.
//! Never rounds, and never turns a missing figure into a pass.

use super::list::Proof;
use anyhow::{Context as _, Result};
use serde_json::Value;

const HEAD: [&str; 6] = ["point", "run", "figure", "measured", "bound", ""];

/// One figure, or why there is none.
#[derive(Debug, Clone)]
pub(super) struct Row {
    point: u32,
    run: &'static str,
    pub(super) figure: String,
    measured: String,
    bound: String,
    verdict: String,
    seconds: Option<u64>,
}

impl Row {
    /// A line that a test recorded.
    ///
    /// # Errors
    /// When it is none.
    pub(super) fn read(proof: &Proof, line: &str) -> Result<Self> {
        let line: Value = serde_json::from_str(line)?;
        let text = |name: &str| line.get(name).and_then(Value::as_str);
        let row = Self {
            figure: text("figure").context("figure")?.to_owned(),
            ..Self::silent(proof, "")
        };
        if let Some(why) = text("not_run") {
            return Ok(Self {
                verdict: format!("not run: {why}"),
                ..row
            });
        }
        let verdict = match line.get("met").and_then(Value::as_bool) {
            Some(true) => "met",
            Some(false) => "MISSED",
            None => "",
        };
        let unit = text("unit").unwrap_or_default();
        let with_unit = |value: &str| format!("{value} {unit}").trim().to_owned();
        let bound = text("bound").unwrap_or_default();
        Ok(Self {
            measured: with_unit(text("value").context("value")?),
            bound: if bound.is_empty() {
                String::new()
            } else {
                with_unit(bound)
            },
            verdict: verdict.into(),
            ..row
        })
    }

    /// A run without a figure.
    pub(super) fn silent(proof: &Proof, why: &str) -> Self {
        Self {
            point: proof.point,
            run: proof.name,
            figure: String::new(),
            measured: String::new(),
            bound: String::new(),
            verdict: why.into(),
            seconds: None,
        }
    }

    /// With what its run took.
    pub(super) fn after(self, seconds: u64) -> Self {
        Self {
            seconds: Some(seconds),
            ..self
        }
    }

    pub(super) fn is_missed(&self) -> bool {
        self.verdict == "MISSED"
    }

    fn cells(&self) -> [String; 6] {
        let run = self.seconds.map_or_else(
            || self.run.to_owned(),
            |seconds| format!("{} ({seconds} s)", self.run),
        );
        [
            self.point.to_string(),
            run,
            self.figure.clone(),
            self.measured.clone(),
            self.bound.clone(),
            self.verdict.clone(),
        ]
    }
}

/// The rows as a Markdown table, its columns aligned.
pub(super) fn render(rows: &[Row]) -> String {
    let mut lines = vec![HEAD.map(str::to_owned)];
    lines.extend(rows.iter().map(Row::cells));
    let mut widths = [1; 6];
    for line in &lines {
        for (width, cell) in widths.iter_mut().zip(line) {
            *width = (*width).max(cell.chars().count());
        }
    }
    let mut text = String::new();
    for (at, line) in lines.iter().enumerate() {
        let cells: Vec<_> = line
            .iter()
            .zip(widths)
            .map(|(cell, width)| format!("{cell:width$}"))
            .collect();
        text.push_str(&format!("| {} |\n", cells.join(" | ")));
        if at == 0 {
            let rules = widths.map(|width| "-".repeat(width));
            text.push_str(&format!("| {} |\n", rules.join(" | ")));
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::reliability::list::PROOFS;

    #[test]
    fn a_missed_bound_a_figure_without_one_and_a_run_that_was_not_made_are_told_apart() {
        let row = |line: &str| Row::read(&PROOFS[0], line).unwrap();
        let missed =
            row(r#"{"figure":"resumes after","value":"6.2","unit":"s","bound":"≤ 5","met":false}"#);
        assert!(missed.is_missed());
        assert!(render(&[missed]).contains("| 6.2 s    | ≤ 5 s | MISSED |"));
        let stated = row(r#"{"figure":"a day","value":"4","unit":"MiB","bound":"","met":null}"#);
        assert!(!stated.is_missed());
        assert!(render(&[stated]).contains("| 4 MiB"));
        let none = row(r#"{"figure":"cuts","not_run":"only root may"}"#);
        assert!(render(&[none]).contains("not run: only root may"));
    }
}
