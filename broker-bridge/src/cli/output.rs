//! The only module that writes to standard output: lines for people, JSON for programs.
//! Never writes a log; those go to standard error, as does the reason of a failure.

use serde_json::Value;
use std::io::{self, Write};

/// Says on standard error why a verb failed.
pub(crate) fn complain(why: &str) {
    // Where this cannot be written either, the exit code says it.
    let _ = writeln!(io::stderr(), "error: {why}");
}

/// Says on standard error what the user may not have meant.
pub(crate) fn warn(what: &str) {
    let _ = writeln!(io::stderr(), "warning: {what}");
}

/// A text without control characters, of which a terminal would make colours, titles or worse: nodes choose
/// their names and what their events say.
pub(crate) fn printable(text: &str) -> String {
    let plain = |c: char| if c.is_control() { '\u{fffd}' } else { c };
    text.chars().map(plain).collect()
}

/// Where results go, and in which form.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Output {
    /// One JSON value instead of lines.
    pub(crate) json: bool,
}

impl Output {
    /// Writes a line for people, or its JSON for programs.
    pub(crate) fn value(self, line: &str, json: &Value) -> io::Result<()> {
        if self.json {
            self.line(&json.to_string())
        } else {
            self.line(line)
        }
    }

    /// Writes a table under its header, or a JSON array of objects named by `columns`.
    pub(crate) fn table(self, columns: &[&str], rows: &[Vec<String>]) -> io::Result<()> {
        if self.json {
            let rows = rows.iter().map(|row| {
                let cells = columns.iter().zip(row);
                cells
                    .map(|(name, cell)| ((*name).to_owned(), Value::from(cell.as_str())))
                    .collect::<serde_json::Map<_, _>>()
            });
            return self.line(&Value::from_iter(rows).to_string());
        }
        let width = |at: usize, name: &str| {
            let cells = rows.iter().filter_map(|row| row.get(at));
            let longest = cells.map(|cell| cell.chars().count()).max().unwrap_or(0);
            longest.max(name.len())
        };
        let widths: Vec<usize> = columns
            .iter()
            .enumerate()
            .map(|(at, name)| width(at, name))
            .collect();
        let print = |cells: &mut dyn Iterator<Item = &str>| {
            let line: Vec<String> = cells
                .zip(&widths)
                .map(|(cell, width)| format!("{cell:width$}", cell = printable(cell)))
                .collect();
            self.line(line.join("  ").trim_end())
        };
        print(&mut columns.iter().copied())?;
        rows.iter()
            .try_for_each(|row| print(&mut row.iter().map(String::as_str)))
    }

    /// Writes one line.
    pub(crate) fn line(self, line: &str) -> io::Result<()> {
        self.bytes(format!("{line}\n").as_bytes())
    }

    /// Writes bytes as they are.
    pub(crate) fn bytes(self, bytes: &[u8]) -> io::Result<()> {
        let mut stdout = io::stdout().lock();
        stdout.write_all(bytes)?;
        stdout.flush()
    }
}

#[cfg(test)]
mod tests {
    use super::printable;

    #[test]
    fn a_node_cannot_steer_the_terminal_that_shows_it() {
        let shown = printable("till\u{1b}]0;x\u{7}\r\n\u{9b}31m ünïcode");
        assert_eq!(
            shown,
            "till\u{fffd}]0;x\u{fffd}\u{fffd}\u{fffd}\u{fffd}31m ünïcode"
        );
    }
}
