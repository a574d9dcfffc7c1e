//! Reads values out of rows. Never takes a value for another that it cannot read: it says which.

use super::StoreError;
use super::error::unsigned;
use sqlx::Row;
use sqlx::sqlite::SqliteRow;
use std::str::FromStr;

pub(super) fn corrupt(what: &'static str) -> StoreError {
    StoreError::Corrupt { what }
}

/// A value that is kept as its text, such as an id.
pub(crate) fn parsed<T: FromStr>(row: &SqliteRow, column: &'static str) -> Result<T, StoreError> {
    let text: &str = row.try_get(column)?;
    text.parse().map_err(|_| corrupt(column))
}

/// The same value of each row.
pub(super) fn all_parsed<T: FromStr>(
    rows: &[SqliteRow],
    column: &'static str,
) -> Result<Vec<T>, StoreError> {
    rows.iter().map(|row| parsed(row, column)).collect()
}

/// A value that is kept as JSON.
pub(super) fn json<T: serde::de::DeserializeOwned>(
    row: &SqliteRow,
    column: &'static str,
) -> Result<T, StoreError> {
    let text: &str = row.try_get(column)?;
    serde_json::from_str(text).map_err(|_| corrupt(column))
}

/// A number that is never negative; one beyond `u32` is the largest.
pub(super) fn count(row: &SqliteRow, column: &'static str) -> Result<u32, StoreError> {
    Ok(u32::try_from(unsigned(row.try_get(column)?)).unwrap_or(u32::MAX))
}
