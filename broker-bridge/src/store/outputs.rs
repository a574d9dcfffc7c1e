//! Output of steps, in the pieces that the core lets be kept. Never cuts what is kept: a reply that
//! shows less asks for less.

use super::error::unsigned;
use super::invocations::{self, Key};
use super::{Store, StoreError};
use holdfast_bridge_core::invocation::Stage;
use holdfast_bridge_core::output::Kept;
use holdfast_protocol::up::{OutputChunk, OutputStream};
use holdfast_protocol::{CommandId, NodeId};
use sqlx::{QueryBuilder, Row, SqliteConnection};

/// Rows of one statement: few enough that the statement of each number of rows stays prepared.
const ROWS_MAX: usize = 32;

/// Which output of an invocation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct OutputKey {
    /// The command.
    pub command: CommandId,
    /// The node.
    pub node: NodeId,
    /// Step, from 0.
    pub step: u8,
    /// Which of its streams.
    pub stream: OutputStream,
}

fn number(stream: OutputStream) -> i64 {
    match stream {
        OutputStream::Stdout => 0,
        OutputStream::Stderr => 1,
    }
}

/// What is kept of an invocation's output; `None` when it takes none: it is not known here, or its
/// result came, which is the last of its stream.
pub(crate) async fn kept(
    connection: &mut SqliteConnection,
    key: Key,
) -> Result<Option<Kept>, StoreError> {
    let state = invocations::load(connection, key).await?;
    // What ended by the bridge's own guess may still have a result, with output before it.
    if state.is_none_or(|state| state.stage == Stage::Closed && !state.inferred) {
        return Ok(None);
    }
    let rows = sqlx::query(
        "SELECT step, stream, max(position + length(bytes)) AS ended, sum(length(bytes)) AS n \
         FROM outputs WHERE command_id = $1 AND node_id = $2 GROUP BY step, stream",
    )
    .bind(key.0.to_string())
    .bind(key.1.as_str())
    .fetch_all(connection)
    .await?;
    let mut kept = Kept::default();
    for row in &rows {
        let step = u8::try_from(row.try_get::<i64, _>("step")?);
        let step = step.map_err(|_| StoreError::Corrupt {
            what: "step of an output",
        })?;
        let stream = if row.try_get::<i64, _>("stream")? == number(OutputStream::Stdout) {
            OutputStream::Stdout
        } else {
            OutputStream::Stderr
        };
        let count = |value| usize::try_from(unsigned(value)).unwrap_or(usize::MAX);
        let (ended, bytes) = (row.try_get("ended")?, row.try_get("n")?);
        kept.stored(step, stream, count(ended), count(bytes));
    }
    Ok(Some(kept))
}

/// Keeps pieces of invocations that are known, many rows a statement; a repeat changes nothing.
pub(crate) async fn insert(
    connection: &mut SqliteConnection,
    pieces: &[(NodeId, OutputChunk)],
) -> Result<(), StoreError> {
    for pieces in pieces.chunks(ROWS_MAX) {
        let mut query = QueryBuilder::new(
            "INSERT INTO outputs (command_id, node_id, step, stream, position, bytes) \
             SELECT * FROM (",
        );
        query.push_values(pieces, |mut row, (node, chunk)| {
            row.push_bind(chunk.command.to_string())
                .push_bind(node.to_string())
                .push_bind(i64::from(chunk.step))
                .push_bind(number(chunk.stream))
                .push_bind(i64::from(chunk.offset))
                .push_bind(&*chunk.bytes);
        });
        query.push(
            ") AS piece WHERE EXISTS (SELECT 1 FROM invocations \
             WHERE command_id = piece.column1 AND node_id = piece.column2) ON CONFLICT DO NOTHING",
        );
        query.build().execute(&mut *connection).await?;
    }
    Ok(())
}

impl Store {
    /// Output from byte `from` on, at most `max` bytes, and whether more is kept. What is missing
    /// in between is left out.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn output(
        &self,
        key: OutputKey,
        from: usize,
        max: usize,
    ) -> Result<(Vec<u8>, bool), StoreError> {
        let mut output = Vec::new();
        let mut position = -1_i64;
        let mut skip = from;
        loop {
            let row = sqlx::query(
                "SELECT position, bytes FROM outputs WHERE command_id = $1 AND node_id = $2 \
                 AND step = $3 AND stream = $4 AND position > $5 ORDER BY position LIMIT 1",
            )
            .bind(key.command.to_string())
            .bind(key.node.as_str())
            .bind(i64::from(key.step))
            .bind(number(key.stream))
            .bind(position)
            .fetch_optional(&self.reads)
            .await?;
            let Some(row) = row else {
                return Ok((output, false));
            };
            position = row.try_get("position")?;
            let bytes: Vec<u8> = row.try_get("bytes")?;
            let fresh = bytes.get(skip..).unwrap_or_default();
            skip = skip.saturating_sub(bytes.len());
            let room = max.saturating_sub(output.len());
            output.extend_from_slice(fresh.get(..room).unwrap_or(fresh));
            if fresh.len() > room {
                return Ok((output, true));
            }
        }
    }

    /// The first `chars` characters of an output, as a reply shows it, and whether more is kept.
    /// Bytes that are no UTF-8 show as U+FFFD.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn output_text(
        &self,
        key: OutputKey,
        chars: usize,
    ) -> Result<(String, bool), StoreError> {
        let (bytes, more) = self.output(key, 0, chars.saturating_mul(4)).await?;
        let text = String::from_utf8_lossy(&bytes);
        match text.char_indices().nth(chars) {
            Some((end, _)) => Ok((text.get(..end).unwrap_or_default().to_owned(), true)),
            None => Ok((text.into_owned(), more)),
        }
    }

    /// Bytes kept of an output.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn output_bytes(&self, key: OutputKey) -> Result<u64, StoreError> {
        let row = sqlx::query(
            "SELECT coalesce(sum(length(bytes)), 0) AS n FROM outputs WHERE command_id = $1 \
             AND node_id = $2 AND step = $3 AND stream = $4",
        )
        .bind(key.command.to_string())
        .bind(key.node.as_str())
        .bind(i64::from(key.step))
        .bind(number(key.stream))
        .fetch_one(&self.reads)
        .await?;
        Ok(unsigned(row.try_get("n")?))
    }
}
