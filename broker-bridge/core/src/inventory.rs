//! Inventory in the API's terms: the entries of a table.
//! Never gathers anything, never looks a table up.

use holdfast_protocol::report::Table;
use std::collections::BTreeMap;

/// One item: attribute and value.
pub type Entry = BTreeMap<String, String>;

/// The rows of a table as entries, in the order of their keys. Empty cells are left out.
pub fn entries(table: &Table) -> impl Iterator<Item = Entry> + '_ {
    table.rows().iter().map(|row| {
        table
            .columns()
            .zip(row.iter())
            .filter(|(_, cell)| !cell.is_empty())
            .map(|(column, cell)| (column.to_owned(), cell.to_string()))
            .collect()
    })
}

/// The value of a table's cell by the name of its column; empty where there is none.
pub(crate) fn cell<'t>(table: &'t Table, row: usize, column: &str) -> &'t str {
    let at = table.columns().position(|name| name == column);
    at.and_then(|at| table.rows().get(row)?.get(at))
        .map_or("", |cell| cell)
}

#[cfg(test)]
mod tests {
    use super::*;
    use holdfast_protocol::report::{Cell, Row};

    #[test]
    fn empty_cells_are_no_attributes() {
        let cell = |text: &str| Cell::new(text).unwrap();
        let row = Row::new(vec![cell("bash"), cell("")]).unwrap();
        let table = Table::new(1, &["Name", "URL"], vec![row]).unwrap();
        let entry = entries(&table).next().unwrap();
        assert_eq!(entry, Entry::from([("Name".into(), "bash".into())]));
    }
}
