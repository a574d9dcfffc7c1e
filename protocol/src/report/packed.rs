//! Revision 2 of a report's body: as revision 1, but the cells of a table are one text with an end mark after each.
//! Never says anything that revision 1 cannot: either turns into the other.
//!
//! Lengths that stand between like texts keep deflate from finding them alike: without them the list
//! of 700 packages is a seventh smaller.

use super::{
    CELLS_MAX, Cell, Column, Content, Delta, Report, Row, Rows, Table, TableError, TableHash,
    TypeName, WireRows, WireTable,
};
use crate::bounded::{Bytes, List, TooLong};
use crate::limits::{BODY_BYTES_MAX, COLUMNS_MAX, ROWS_MAX};
use crate::up::Stamp;
use serde::{Deserialize, Serialize};

/// Ends each cell. No text holds it: it is no byte of UTF-8.
const END: u8 = 0xff;

/// Cells, each ended by [`END`].
type Cells = Bytes<BODY_BYTES_MAX>;

/// A [`Report`] as it is written from revision 2 on.
#[derive(Serialize, Deserialize)]
pub(crate) struct PackedReport {
    type_name: TypeName,
    captured: Stamp,
    content: PackedContent,
}

#[derive(Serialize, Deserialize)]
enum PackedContent {
    Whole(PackedTable),
    Delta(PackedDelta),
    Unchanged(TableHash),
}

#[derive(Serialize, Deserialize)]
struct PackedTable {
    key_columns: u8,
    columns: List<Column, COLUMNS_MAX>,
    rows: u32,
    cells: Cells,
}

#[derive(Serialize, Deserialize)]
struct PackedDelta {
    base: TableHash,
    result: TableHash,
    columns: u8,
    changed: Cells,
    removed: List<Row, ROWS_MAX>,
}

/// A packed body was refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum PackedError {
    /// A bound is not kept.
    #[error(transparent)]
    TooLarge(#[from] TooLong),
    /// The last cell has no end, or one is not text.
    #[error("cell {cell} is not text with an end")]
    Cell {
        /// Cell, from 0.
        cell: usize,
    },
    /// The cells make no table.
    #[error(transparent)]
    Table(#[from] TableError),
}

fn packed(cells: &[Cell]) -> Result<Cells, TooLong> {
    let bytes = cells.iter().map(|cell| cell.len() + 1).sum();
    let mut text = Vec::with_capacity(bytes);
    for cell in cells {
        text.extend_from_slice(cell.as_bytes());
        text.push(END);
    }
    Cells::new(text)
}

fn unpacked(text: &[u8]) -> Result<List<Cell, CELLS_MAX>, PackedError> {
    let mut cells = List::default();
    for cell in text.split_inclusive(|byte| *byte == END) {
        let at = cells.len();
        let cell = cell.strip_suffix(&[END]);
        let cell = cell.and_then(|cell| std::str::from_utf8(cell).ok());
        cells.push(Cell::new(cell.ok_or(PackedError::Cell { cell: at })?)?)?;
    }
    Ok(cells)
}

impl TryFrom<&Report> for PackedReport {
    type Error = TooLong;
    fn try_from(report: &Report) -> Result<Self, TooLong> {
        let content = match &report.content {
            Content::Whole(table) => {
                let wire = WireTable::from(table.clone());
                PackedContent::Whole(PackedTable {
                    key_columns: wire.key_columns,
                    columns: wire.columns,
                    rows: wire.rows,
                    cells: packed(&wire.cells)?,
                })
            }
            Content::Delta(delta) => {
                let wire = WireRows::from(delta.changed.clone());
                PackedContent::Delta(PackedDelta {
                    base: delta.base,
                    result: delta.result,
                    columns: wire.columns,
                    changed: packed(&wire.cells)?,
                    removed: delta.removed.clone(),
                })
            }
            Content::Unchanged(base) => PackedContent::Unchanged(*base),
        };
        Ok(Self {
            type_name: report.type_name.clone(),
            captured: report.captured,
            content,
        })
    }
}

impl TryFrom<PackedReport> for Report {
    type Error = PackedError;
    fn try_from(report: PackedReport) -> Result<Self, PackedError> {
        let content = match report.content {
            PackedContent::Whole(table) => Content::Whole(Table::try_from(WireTable {
                key_columns: table.key_columns,
                columns: table.columns,
                rows: table.rows,
                cells: unpacked(&table.cells)?,
            })?),
            PackedContent::Delta(delta) => Content::Delta(Delta {
                base: delta.base,
                result: delta.result,
                changed: Rows::try_from(WireRows {
                    columns: delta.columns,
                    cells: unpacked(&delta.changed)?,
                })?,
                removed: delta.removed,
            }),
            PackedContent::Unchanged(base) => Content::Unchanged(base),
        };
        Ok(Self {
            type_name: report.type_name,
            captured: report.captured,
            content,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::limits::CELL_BYTES_MAX;

    #[test]
    fn cells_come_back_as_they_were() {
        let texts = ["", "bash", "5.2\0", "ÿ", ""];
        let cells: Vec<Cell> = texts.map(|text| Cell::new(text).unwrap()).into();
        assert_eq!(*unpacked(&packed(&cells).unwrap()).unwrap(), cells);
        assert!(unpacked(b"").unwrap().is_empty());
    }

    #[test]
    fn what_is_no_text_or_has_no_end_is_refused_by_its_place() {
        assert_eq!(unpacked(b"a\xffb"), Err(PackedError::Cell { cell: 1 }));
        assert_eq!(
            unpacked(b"a\xff\xc3\xff"),
            Err(PackedError::Cell { cell: 1 })
        );
        let long = [vec![b'x'; CELL_BYTES_MAX + 1], vec![END]].concat();
        assert!(matches!(unpacked(&long), Err(PackedError::TooLarge(_))));
    }
}
