//! Rows of the result: ours, the peer's, the ratio, the budget, and whether it is met.
//! Never rounds a miss into a pass.

use holdfast_e2e::figures::{self, Bound};
use serde_json::{Value, json};

/// What a budget says of a figure.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Budget {
    /// At most this, in the row's unit.
    AtMost(f64),
    /// At most this part of the peer's figure.
    PartOfPeer(f64),
    /// At least this part of the peer's figure.
    AtLeastPartOfPeer(f64),
    /// Only shown.
    None,
}

/// One figure.
#[derive(Debug, Clone, PartialEq)]
pub struct Row {
    /// What was measured.
    pub what: String,
    /// Unit of `ours` and `peer`.
    pub unit: &'static str,
    /// Ours; `None` when it could not be measured, and `note` says why.
    pub ours: Option<f64>,
    /// The peer's name and its figure.
    pub peer: Option<(&'static str, f64)>,
    /// What is allowed.
    pub budget: Budget,
    /// How it was measured, in a few words.
    pub note: String,
}

impl Row {
    /// A figure without peer or budget.
    #[must_use]
    pub fn new(what: impl Into<String>, unit: &'static str, ours: f64) -> Self {
        Self {
            what: what.into(),
            unit,
            ours: Some(ours),
            peer: None,
            budget: Budget::None,
            note: String::new(),
        }
    }

    /// A figure that cannot be measured here.
    #[must_use]
    pub fn missing(what: impl Into<String>, why: impl Into<String>) -> Self {
        Self {
            ours: None,
            note: why.into(),
            ..Self::new(what, "", 0.0)
        }
    }

    /// Beside a peer's.
    #[must_use]
    pub fn beside(self, name: &'static str, figure: f64) -> Self {
        Self {
            peer: Some((name, figure)),
            ..self
        }
    }

    /// Held to a budget.
    #[must_use]
    pub fn within(self, budget: Budget) -> Self {
        Self { budget, ..self }
    }

    /// With a word on how it was measured.
    #[must_use]
    pub fn noted(self, note: impl Into<String>) -> Self {
        Self {
            note: note.into(),
            ..self
        }
    }

    /// Ours over the peer's.
    #[must_use]
    pub fn ratio(&self) -> Option<f64> {
        let (_, peer) = self.peer.filter(|(_, peer)| *peer > 0.0)?;
        Some(self.ours? / peer)
    }

    /// Whether the budget is met; `None` without one, or without what it is held against.
    #[must_use]
    pub fn is_met(&self) -> Option<bool> {
        match self.budget {
            Budget::AtMost(most) => self.ours.map(|ours| ours <= most),
            Budget::PartOfPeer(part) => self.ratio().map(|ratio| ratio <= part),
            Budget::AtLeastPartOfPeer(part) => self.ratio().map(|ratio| ratio >= part),
            Budget::None => None,
        }
    }

    /// Records it for `cargo xtask bench --reliability`, where that is the caller: figures with a
    /// bound of their own.
    pub fn record(&self) {
        if let (Some(ours), Budget::AtMost(most)) = (self.ours, self.budget) {
            figures::record(&self.what, ours, self.unit, Bound::AtMost(most));
        } else if self.ours.is_none() {
            figures::not_run(&self.what, &self.note);
        }
    }

    fn verdict(&self) -> &'static str {
        match (self.is_met(), self.budget) {
            (Some(true), _) => "met",
            (Some(false), _) => "MISSED",
            (None, Budget::None) => "",
            (None, _) => "not measured",
        }
    }

    fn cells(&self) -> [String; 7] {
        let figure = |value: f64| format!("{} {}", number(value), self.unit);
        let budget = match self.budget {
            Budget::AtMost(most) => format!("≤ {}", figure(most)),
            Budget::PartOfPeer(part) => format!("≤ {} of the peer", number(part)),
            Budget::AtLeastPartOfPeer(part) => format!("≥ {} of the peer", number(part)),
            Budget::None => String::new(),
        };
        [
            self.what.clone(),
            self.ours.map_or_else(|| "not measured".into(), figure),
            self.peer
                .map(|(name, value)| format!("{} ({name})", figure(value)))
                .unwrap_or_default(),
            self.ratio()
                .map(|ratio| format!("{}×", number(ratio)))
                .unwrap_or_default(),
            budget,
            self.verdict().into(),
            self.note.clone(),
        ]
    }

    /// For programs.
    #[must_use]
    pub fn to_json(&self) -> Value {
        let [_, _, _, _, budget, ..] = self.cells();
        json!({
            "figure": self.what,
            "unit": self.unit,
            "ours": self.ours,
            "peer": self.peer.map(|(name, value)| json!({"name": name, "figure": value})),
            "ratio": self.ratio(),
            "budget": budget,
            "met": self.is_met(),
            "note": self.note,
        })
    }
}

/// Three significant digits, and no more zeros than needed.
fn number(value: f64) -> String {
    let text = match value.abs() {
        at if at >= 100.0 => return format!("{value:.0}"),
        at if at >= 10.0 => format!("{value:.1}"),
        at if at >= 1.0 => format!("{value:.2}"),
        _ => format!("{value:.3}"),
    };
    let text = text.trim_end_matches('0');
    text.trim_end_matches('.').to_owned()
}

const HEAD: [&str; 7] = [
    "figure",
    "ours",
    "peer",
    "ratio",
    "budget",
    "",
    "measured how",
];

/// The rows as a Markdown table, its columns aligned.
#[must_use]
pub fn render(rows: &[Row]) -> String {
    let mut lines = vec![HEAD.map(str::to_owned)];
    lines.extend(rows.iter().map(Row::cells));
    let mut widths = [1; 7];
    for line in &lines {
        for (width, cell) in widths.iter_mut().zip(line) {
            *width = (*width).max(cell.chars().count());
        }
    }
    let mut text = String::new();
    for (at, line) in lines.iter().enumerate() {
        let cells = line.iter().zip(widths);
        let cells: Vec<_> = cells
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

    #[test]
    fn a_verdict_follows_the_figure_not_its_rounding() {
        let row = Row::new("x", "MiB", 2.5004).within(Budget::AtMost(2.5));
        assert_eq!(row.is_met(), Some(false));
        assert!(render(&[row]).contains("MISSED"));
        let half = Row::new("x", "/s", 50.0)
            .beside("log", 100.0)
            .within(Budget::AtLeastPartOfPeer(0.5));
        assert_eq!((half.ratio(), half.is_met()), (Some(0.5), Some(true)));
    }

    #[test]
    fn what_was_not_measured_is_neither_met_nor_missed() {
        let row = Row::missing("x", "mosquitto is not installed").within(Budget::AtMost(1.0));
        assert_eq!(row.is_met(), None);
        assert!(render(&[row]).contains("not measured"));
        let alone = Row::new("x", "/s", 1.0).within(Budget::AtLeastPartOfPeer(0.5));
        assert_eq!(alone.is_met(), None);
    }

    #[test]
    fn numbers_have_three_digits() {
        for (value, text) in [
            (1234.5, "1234"),
            (12.34, "12.3"),
            (2.0, "2"),
            (0.05, "0.05"),
        ] {
            assert_eq!(number(value), text);
        }
    }
}
