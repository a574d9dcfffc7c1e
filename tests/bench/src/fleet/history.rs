//! A bridge's database with a long history: commands in any number, nearly all of them ended, as the bridge would have left them.
//! Never a shortcut at the bridge: it starts on this as on its own.

use anyhow::{Context as _, Result, ensure};
use sqlx::sqlite::{SqliteConnectOptions, SqliteJournalMode, SqliteSynchronous};
use sqlx::{ConnectOptions as _, Connection as _};
use std::path::Path;

/// Nodes of each command that is written.
pub const NODES: usize = 500;
/// Of the newest commands so many are still under way on every node: a start has to look at them.
pub const OPEN: usize = 10;

/// A command for each `n` below `$1`, a second apart, the newest at `$2`; `$3` nodes each, `$4` open.
const COMMANDS: &str = "WITH RECURSIVE numbers (n) AS (SELECT 0 UNION ALL SELECT n + 1 FROM numbers WHERE n + 1 < $1) \
    INSERT INTO commands (command_id, document_name, document_version, content, parameters, comment, instance_ids, \
    targets, max_concurrency, max_errors, slots, errors_allowed, timeout_s, requested_ms, expires_ms, run_bound_ms, \
    requested_by, status, status_details, target_count, completed_count, finished, check_ms) \
    SELECT printf('%08x-0000-4000-8000-000000000000', n), 'AWS-RunShellScript', '1', \
    '{\"schemaVersion\":\"2.2\",\"mainSteps\":[]}', '{}', '', '[]', '[]', '100%', '0', $3, 0, 3600, $2 - n * 1000, \
    $2 - n * 1000 + 3600000, 3600000, 'bench', iif(n < $4, 'InProgress', 'Success'), \
    iif(n < $4, 'InProgress', 'Success'), $3, iif(n < $4, 0, $3), n >= $4, $2 - n * 1000 + 7200000 FROM numbers";

/// An invocation of each of these commands on each of `$1` nodes.
const INVOCATIONS: &str = "WITH RECURSIVE numbers (n) AS (SELECT 0 UNION ALL SELECT n + 1 FROM numbers WHERE n + 1 < $1) \
    INSERT INTO invocations (command_id, node_id, ordinal, requested_ms, stage, slot, delivered, status, \
    status_details, sends, sent_ms, started_ms, ended_ms, steps) \
    SELECT command_id, printf('mi-%017x', n), n, requested_ms, 1 + finished, 1 - finished, 1, status, status_details, \
    1, requested_ms + 10, requested_ms + 20, iif(finished, requested_ms + 1020, NULL), iif(finished, \
    '[{\"name\":\"run\",\"action\":\"aws:runShellScript\",\"state\":\"Success\",\"exit_code\":0,\"started\":null,\
    \"ended\":null,\"stdout_bytes\":5,\"stderr_bytes\":0,\"detail\":\"\"}]', '[]') \
    FROM commands CROSS JOIN numbers WHERE requested_by = 'bench'";

/// The output of each that has ended.
const OUTPUTS: &str = "INSERT INTO outputs (command_id, node_id, step, stream, position, bytes) \
    SELECT command_id, node_id, 0, 0, 0, x'646f6e650a' FROM invocations WHERE stage = 2";

/// Writes at least so many invocations, nearly all of them ended, into the database of a bridge that does not run;
/// returns how many. `now_unix_ms`: when the newest command was sent.
///
/// # Errors
/// When the database is not one of a bridge, or cannot be written.
pub async fn write(database: &Path, invocations: usize, now_unix_ms: i64) -> Result<usize> {
    // A crash would cost this benchmark, nobody's data.
    let options = SqliteConnectOptions::new()
        .filename(database)
        .journal_mode(SqliteJournalMode::Wal)
        .synchronous(SqliteSynchronous::Off);
    let mut connection = options.connect().await.context("opening the database")?;
    let commands = invocations.div_ceil(NODES);
    let mut transaction = connection.begin().await?;
    sqlx::query(COMMANDS)
        .bind(i64::try_from(commands)?)
        .bind(now_unix_ms)
        .bind(i64::try_from(NODES)?)
        .bind(i64::try_from(OPEN)?)
        .execute(&mut *transaction)
        .await
        .context("writing commands")?;
    let written = sqlx::query(INVOCATIONS)
        .bind(i64::try_from(NODES)?)
        .execute(&mut *transaction)
        .await
        .context("writing invocations")?;
    sqlx::query(OUTPUTS)
        .execute(&mut *transaction)
        .await
        .context("writing outputs")?;
    transaction.commit().await?;
    connection.close().await?;
    let written = usize::try_from(written.rows_affected())?;
    ensure!(written >= invocations, "{written} invocations were written");
    Ok(written)
}
