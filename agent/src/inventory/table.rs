//! Turns rows of text into a report's table.
//! Never lets a value above the wire's bound stop a report: it is cut, at a character's boundary.

use holdfast_protocol::report::{Cell, Row, Table, TableError};

/// Makes a table; the first `key_columns` columns name a row.
///
/// # Errors
/// [`TableError`] for more rows or columns than the wire allows.
pub fn table(
    key_columns: u8,
    columns: &[&str],
    rows: impl Iterator<Item = Vec<String>>,
) -> Result<Table, TableError> {
    let row = |cells: Vec<String>| Row::new(cells.iter().map(|text| Cell::cut(text)).collect());
    let rows = rows.map(row).collect::<Result<_, _>>()?;
    Table::new(key_columns, columns, rows)
}
