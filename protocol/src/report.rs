//! Reports of a node's state as tables: canonical order, hash, and the delta between two of them.
//! Never gathers anything and never knows what a column means.

mod packed;

pub(crate) use packed::PackedReport;

use crate::bounded::{List, Text, TooLong};
use crate::limits::{CELL_BYTES_MAX, COLUMNS_MAX, ROWS_MAX};
use crate::up::Stamp;
use ring::digest;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// Name of a report's type, such as `AWS:Application`.
pub type TypeName = heapless::String<64>;
/// Name of a column, an attribute of the inventory's schema.
pub type Column = heapless::String<64>;
/// One value of a table.
pub type Cell = Text<CELL_BYTES_MAX>;
/// Cells of one row: a whole one, or its key alone.
pub type Row = List<Cell, COLUMNS_MAX>;

/// Cells of a table.
const CELLS_MAX: usize = ROWS_MAX * COLUMNS_MAX;

/// The first eight bytes of the SHA-256 of a table's canonical bytes. It tells whether two sides
/// hold the same base; a node vouches only for itself, so a longer hash would protect nothing.
pub type TableHash = [u8; 8];

/// Rows under named columns. The first `key_columns` cells of a row name it; rows stand in the
/// order of their keys and no key comes twice, so that equal states have equal bytes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "WireTable", into = "WireTable")]
pub struct Table {
    key_columns: u8,
    columns: List<Column, COLUMNS_MAX>,
    rows: Vec<Row>,
}

/// A table was refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TableError {
    /// More columns, rows or bytes than the wire allows.
    #[error("the table is too large")]
    TooLarge(#[from] TooLong),
    /// No key, or more key columns than columns.
    #[error("{key_columns} key columns of {columns} columns")]
    Key {
        /// Key columns asked for.
        key_columns: usize,
        /// Columns there are.
        columns: usize,
    },
    /// The cells do not fill the rows.
    #[error("{cells} cells do not fill {rows} rows of {columns} columns")]
    Ragged {
        /// Cells found.
        cells: usize,
        /// Rows there should be.
        rows: usize,
        /// Columns there are.
        columns: usize,
    },
    /// Rows are not in the order of their keys, or a key comes twice.
    #[error("row {row} is out of order or repeats a key")]
    Order {
        /// Row, from 0.
        row: usize,
    },
}

/// A delta was refused; the receiver asks for the whole table.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DeltaError {
    /// The delta stands on a base that is not at hand.
    #[error("the delta stands on base {wanted:02x?}, here is {found:02x?}")]
    Base {
        /// Base of the delta.
        wanted: TableHash,
        /// Base at hand.
        found: TableHash,
    },
    /// Its rows have not as many cells as those of its base.
    #[error("the delta's rows have not as many cells as its base has columns")]
    Columns,
    /// It does not lead to the state that it names.
    #[error("the delta does not lead to the state that it names")]
    Result,
    /// Its result is no table.
    #[error("the delta's result is no table")]
    Table(#[from] TableError),
}

/// Column after column: like values beside each other deflate best.
#[derive(Serialize, Deserialize)]
struct WireTable {
    key_columns: u8,
    columns: List<Column, COLUMNS_MAX>,
    rows: u32,
    cells: List<Cell, CELLS_MAX>,
}

impl From<Table> for WireTable {
    fn from(table: Table) -> Self {
        let width = table.columns.len();
        let mut cells = List::default();
        for column in 0..width {
            for cell in table.rows.iter().filter_map(|row| row.get(column)) {
                // Cannot be full: a table has at most ROWS_MAX rows of COLUMNS_MAX cells.
                let _ = cells.push(cell.clone());
            }
        }
        let rows = u32::try_from(table.rows.len()).unwrap_or(u32::MAX);
        Self {
            key_columns: table.key_columns,
            columns: table.columns,
            rows,
            cells,
        }
    }
}

impl TryFrom<WireTable> for Table {
    type Error = TableError;
    fn try_from(wire: WireTable) -> Result<Self, TableError> {
        let (height, width) = (wire.rows as usize, wire.columns.len());
        if height > ROWS_MAX {
            return Err(TooLong {
                len: height,
                max: ROWS_MAX,
            }
            .into());
        }
        if wire.cells.len() != height * width {
            return Err(TableError::Ragged {
                cells: wire.cells.len(),
                rows: height,
                columns: width,
            });
        }
        let rows = rows_of(height, wire.cells)?;
        Self::sorted(wire.key_columns, wire.columns, rows)
    }
}

/// Rows of a table whose columns both sides know from elsewhere: of a delta, from its base, whose
/// hash covers the names. To carry them again would be a fifth of a small delta.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "WireRows", into = "WireRows")]
pub struct Rows(Vec<Row>);

/// Column after column, as in [`WireTable`].
#[derive(Serialize, Deserialize)]
struct WireRows {
    columns: u8,
    cells: List<Cell, CELLS_MAX>,
}

impl From<Rows> for WireRows {
    fn from(Rows(rows): Rows) -> Self {
        let width = rows.first().map_or(0, |row| row.len());
        let mut cells = List::default();
        for column in 0..width {
            for cell in rows.iter().filter_map(|row| row.get(column)) {
                // Cannot be full: the rows are some of a table's.
                let _ = cells.push(cell.clone());
            }
        }
        Self {
            columns: u8::try_from(width).unwrap_or(u8::MAX),
            cells,
        }
    }
}

impl TryFrom<WireRows> for Rows {
    type Error = TableError;
    fn try_from(wire: WireRows) -> Result<Self, TableError> {
        let (width, cells) = (usize::from(wire.columns), wire.cells.len());
        let height = cells.checked_div(width).unwrap_or(0);
        if height > ROWS_MAX {
            return Err(TooLong {
                len: height,
                max: ROWS_MAX,
            }
            .into());
        }
        if cells != height * width {
            return Err(TableError::Ragged {
                cells,
                rows: height,
                columns: width,
            });
        }
        rows_of(height, wire.cells).map(Self)
    }
}

/// Puts cells that come column after column into rows.
fn rows_of(height: usize, cells: List<Cell, CELLS_MAX>) -> Result<Vec<Row>, TableError> {
    let mut rows = vec![Row::default(); height];
    for (at, cell) in cells.into_vec().into_iter().enumerate() {
        if let Some(row) = rows.get_mut(at % height.max(1)) {
            row.push(cell)?;
        }
    }
    Ok(rows)
}

impl Table {
    /// Makes a table of rows in any order.
    ///
    /// # Errors
    /// [`TableError`] when bounds, widths or keys are not kept.
    pub fn new(key_columns: u8, columns: &[&str], mut rows: Vec<Row>) -> Result<Self, TableError> {
        let mut names = List::default();
        for column in columns {
            let name = Column::try_from(*column).map_err(|_| TooLong {
                len: column.len(),
                max: 64,
            })?;
            names.push(name)?;
        }
        rows.sort_by(|a, b| key(a, key_columns).cmp(key(b, key_columns)));
        Self::sorted(key_columns, names, rows)
    }

    fn sorted(
        key_columns: u8,
        columns: List<Column, COLUMNS_MAX>,
        rows: Vec<Row>,
    ) -> Result<Self, TableError> {
        let keys = usize::from(key_columns);
        if keys == 0 || keys > columns.len() {
            return Err(TableError::Key {
                key_columns: keys,
                columns: columns.len(),
            });
        }
        if rows.len() > ROWS_MAX {
            return Err(TooLong {
                len: rows.len(),
                max: ROWS_MAX,
            }
            .into());
        }
        for (at, row) in rows.iter().enumerate() {
            if row.len() != columns.len() {
                return Err(TableError::Ragged {
                    cells: row.len(),
                    rows: 1,
                    columns: columns.len(),
                });
            }
            let before = at.checked_sub(1).and_then(|at| rows.get(at));
            if before.is_some_and(|before| key(before, key_columns) >= key(row, key_columns)) {
                return Err(TableError::Order { row: at });
            }
        }
        Ok(Self {
            key_columns,
            columns,
            rows,
        })
    }

    /// Names of the columns, key columns first.
    pub fn columns(&self) -> impl ExactSizeIterator<Item = &str> {
        self.columns.iter().map(|column| column.as_str())
    }

    /// How many of the columns, from the first, name a row.
    #[must_use]
    pub fn key_columns(&self) -> u8 {
        self.key_columns
    }

    /// Rows in the order of their keys.
    #[must_use]
    pub fn rows(&self) -> &[Row] {
        &self.rows
    }

    /// Hash of the canonical bytes.
    #[must_use]
    pub fn hash(&self) -> TableHash {
        let mut context = digest::Context::new(&digest::SHA256);
        let mut put = |text: &str| {
            context.update(&(text.len() as u64).to_le_bytes());
            context.update(text.as_bytes());
        };
        put(&self.key_columns.to_string());
        put(&self.columns.len().to_string());
        self.columns().for_each(&mut put);
        self.rows
            .iter()
            .flat_map(|row| row.iter())
            .for_each(|cell| put(cell));
        let mut hash = TableHash::default();
        for (to, from) in hash.iter_mut().zip(context.finish().as_ref()) {
            *to = *from;
        }
        hash
    }

    /// The delta that leads from `base` to `self`, or `None` when their columns differ.
    #[must_use]
    pub fn delta_from(&self, base: &Self) -> Option<Delta> {
        if self.columns != base.columns || self.key_columns != base.key_columns {
            return None;
        }
        let keyed = |table: &'_ Self| -> BTreeMap<Vec<Cell>, Row> {
            table
                .rows
                .iter()
                .map(|row| (key(row, table.key_columns).to_vec(), row.clone()))
                .collect()
        };
        let (old, new) = (keyed(base), keyed(self));
        let changed = new
            .iter()
            .filter(|(key, row)| old.get(*key) != Some(row))
            .map(|(_, row)| row.clone());
        let removed = old.keys().filter(|key| !new.contains_key(*key)).cloned();
        Some(Delta {
            base: base.hash(),
            result: self.hash(),
            changed: Rows(changed.collect()),
            removed: List::new(removed.filter_map(|key| Row::new(key).ok()).collect()).ok()?,
        })
    }

    /// Applies a delta to this base.
    ///
    /// # Errors
    /// [`DeltaError`]; nothing of the delta is then applied.
    pub fn apply(&self, delta: &Delta) -> Result<Self, DeltaError> {
        if self.hash() != delta.base {
            return Err(DeltaError::Base {
                wanted: delta.base,
                found: self.hash(),
            });
        }
        let width = self.columns.len();
        if delta.changed.0.iter().any(|row| row.len() != width) {
            return Err(DeltaError::Columns);
        }
        let mut rows: BTreeMap<&[Cell], &Row> = self
            .rows
            .iter()
            .map(|row| (key(row, self.key_columns), row))
            .collect();
        for key in delta.removed.iter() {
            rows.remove(&**key);
        }
        rows.extend(
            delta
                .changed
                .0
                .iter()
                .map(|row| (key(row, self.key_columns), row)),
        );
        let rows = rows.into_values().cloned().collect();
        let result = Self::sorted(self.key_columns, self.columns.clone(), rows)?;
        if result.hash() == delta.result {
            Ok(result)
        } else {
            Err(DeltaError::Result)
        }
    }
}

fn key(row: &Row, key_columns: u8) -> &[Cell] {
    row.get(..usize::from(key_columns)).unwrap_or(row)
}

/// What changed between two tables of the same columns.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Delta {
    /// Hash of the table that this stands on.
    pub base: TableHash,
    /// Hash of the table that it leads to.
    pub result: TableHash,
    /// Rows that are new or different, under the columns of the base.
    pub changed: Rows,
    /// Keys of rows that are gone.
    pub removed: List<Row, ROWS_MAX>,
}

/// Whole state or what changed of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Content {
    /// Everything; needs no base.
    Whole(Table),
    /// What changed against the last acknowledged base.
    Delta(Delta),
    /// Gathered again and found as the base with this hash.
    Unchanged(TableHash),
}

/// One report of the stream *state*: newest wins per type.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Report {
    /// Type, such as `AWS:Application`.
    pub type_name: TypeName,
    /// When it was captured.
    pub captured: Stamp,
    /// What was captured.
    pub content: Content,
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn table(rows: &BTreeMap<String, String>) -> Table {
        let cell = |text: &str| Cell::new(text).unwrap();
        let rows = rows
            .iter()
            .map(|(name, value)| Row::new(vec![cell(name), cell(value)]).unwrap());
        Table::new(1, &["Name", "Version"], rows.collect()).unwrap()
    }

    #[test]
    fn rows_that_repeat_a_key_are_refused() {
        let row = || Row::new(vec![Cell::new("a").unwrap()]).unwrap();
        assert_eq!(
            Table::new(1, &["Name"], vec![row(), row()]),
            Err(TableError::Order { row: 1 })
        );
        assert_eq!(
            Table::new(2, &["Name"], vec![]),
            Err(TableError::Key {
                key_columns: 2,
                columns: 1
            })
        );
    }

    #[test]
    fn a_delta_on_another_base_is_refused() {
        let [a, b, c] =
            ["a", "b", "c"].map(|name| table(&BTreeMap::from([(name.into(), "1".into())])));
        let delta = b.delta_from(&a).unwrap();
        assert!(matches!(c.apply(&delta), Err(DeltaError::Base { .. })));
    }

    #[test]
    fn a_delta_whose_rows_do_not_fit_the_base_is_refused() {
        let [base, next] = ["1", "2"].map(|v| table(&BTreeMap::from([("a".into(), v.into())])));
        let mut delta = next.delta_from(&base).unwrap();
        delta.changed = Rows(vec![Row::new(vec![Cell::new("a").unwrap()]).unwrap()]);
        assert_eq!(base.apply(&delta), Err(DeltaError::Columns));
    }

    #[test]
    fn rows_that_their_cells_do_not_fill_are_refused() {
        let cells = |count| List::new(vec![Cell::default(); count]).unwrap();
        let read = |columns, count| {
            let cells = cells(count);
            let bytes = postcard::to_stdvec(&WireRows { columns, cells }).unwrap();
            postcard::from_bytes::<Rows>(&bytes)
        };
        assert!(read(2, 3).is_err());
        assert!(read(0, 1).is_err());
        assert!(read(1, ROWS_MAX + 1).is_err());
        assert_eq!(read(0, 0).unwrap(), Rows(Vec::new()));
        assert_eq!(read(2, 4).unwrap().0.len(), 2);
    }

    #[test]
    fn a_table_whose_count_lies_is_refused_before_it_is_built() {
        let wire = WireTable {
            key_columns: 1,
            columns: List::new(vec!["Name".try_into().unwrap()]).unwrap(),
            rows: u32::MAX,
            cells: List::default(),
        };
        let bytes = postcard::to_stdvec(&wire).unwrap();
        assert!(postcard::from_bytes::<Table>(&bytes).is_err());
    }

    proptest! {
        #[test]
        fn a_delta_leads_from_base_to_result(
            base in proptest::collection::btree_map("[a-f]{1,3}", "[0-9]{1,2}", 0..20),
            result in proptest::collection::btree_map("[a-f]{1,3}", "[0-9]{1,2}", 0..20),
        ) {
            let (base, result) = (table(&base), table(&result));
            let delta = result.delta_from(&base).unwrap();
            let wire = postcard::to_stdvec(&delta).unwrap();
            let delta: Delta = postcard::from_bytes(&wire).unwrap();
            prop_assert_eq!(base.apply(&delta), Ok(result));
        }
    }
}
