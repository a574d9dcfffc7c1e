//! Lists by pages: which part is wanted, and where the next one begins.
//! Never counts what comes after a page: one row more than wanted tells that there is more.

use super::StoreError;
use sqlx::sqlite::SqliteRow;
use sqlx::{QueryBuilder, Sqlite, SqlitePool};

/// Which part of a list is wanted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Page {
    /// Items wanted, at least 1.
    pub limit: u32,
    /// Where the page before ended, as [`Paged::next`] said.
    pub after: Option<String>,
}

impl Page {
    /// The first `limit` items.
    #[must_use]
    pub fn first(limit: u32) -> Self {
        Self { limit, after: None }
    }

    /// One more than wanted, so that the last page is known as such.
    pub(crate) fn fetch(&self) -> i64 {
        i64::from(self.limit.max(1)) + 1
    }
}

/// One page of a list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Paged<T> {
    /// The items, in the list's order.
    pub items: Vec<T>,
    /// The key after which the next page begins; `None` at the end.
    pub next: Option<String>,
}

impl<T> Paged<T> {
    /// Cuts what [`Page::fetch`] fetched; `key` names an item.
    pub(crate) fn cut(mut items: Vec<T>, page: &Page, key: impl Fn(&T) -> String) -> Self {
        let limit = page.limit.max(1) as usize;
        let more = items.len() > limit;
        items.truncate(limit);
        let next = if more { items.last().map(key) } else { None };
        Self { items, next }
    }

    /// The same page of other items.
    pub fn map<U>(self, to: impl FnMut(T) -> U) -> Paged<U> {
        Paged {
            items: self.items.into_iter().map(to).collect(),
            next: self.next,
        }
    }
}

/// Runs the query of a list, which ends with its order, for one page. Its text grows with the
/// request, so it is not kept prepared.
pub(super) async fn read<T>(
    reads: &SqlitePool,
    mut query: QueryBuilder<Sqlite>,
    page: &Page,
    item: impl Fn(&SqliteRow) -> Result<T, StoreError>,
    key: impl Fn(&T) -> String,
) -> Result<Paged<T>, StoreError> {
    query.push(" LIMIT ").push_bind(page.fetch());
    let rows = query.build().persistent(false).fetch_all(reads).await?;
    let items = rows.iter().map(item).collect::<Result<_, _>>()?;
    Ok(Paged::cut(items, page, key))
}
