//! Brings a database to the newest schema in one transaction: of two processes that begin at the
//! same time the second waits, and finds it done.
//! Never goes back, and never touches a database that a newer bridge wrote.

use sqlx::{Connection, Row, SqliteConnection};

/// The migrations in order; the n-th leads to schema n.
const MIGRATIONS: [&str; 2] = [
    include_str!("../../migrations/0001_init.sql"),
    include_str!("../../migrations/0002_floor_resets.sql"),
];

/// Newest schema that this bridge knows.
pub const SCHEMA_VERSION: i64 = MIGRATIONS.len() as i64;

/// Why a migration did not happen.
pub(super) enum MigrateError {
    Newer { found: i64 },
    Database(sqlx::Error),
}

impl From<sqlx::Error> for MigrateError {
    fn from(source: sqlx::Error) -> Self {
        Self::Database(source)
    }
}

/// Applies what is missing.
pub(super) async fn migrate(connection: &mut SqliteConnection) -> Result<(), MigrateError> {
    let mut transaction = connection.begin_with("BEGIN IMMEDIATE").await?;
    sqlx::query("CREATE TABLE IF NOT EXISTS schema_version (version INTEGER NOT NULL) STRICT")
        .execute(&mut *transaction)
        .await?;
    let found: i64 = sqlx::query("SELECT coalesce(max(version), 0) AS version FROM schema_version")
        .fetch_one(&mut *transaction)
        .await?
        .try_get("version")?;
    if found > SCHEMA_VERSION {
        return Err(MigrateError::Newer { found });
    }
    for (version, migration) in (1..)
        .zip(MIGRATIONS)
        .filter(|(version, _)| *version > found)
    {
        sqlx::raw_sql(migration).execute(&mut *transaction).await?;
        sqlx::query("INSERT INTO schema_version (version) VALUES ($1)")
            .bind::<i64>(version)
            .execute(&mut *transaction)
            .await?;
    }
    transaction.commit().await?;
    Ok(())
}
