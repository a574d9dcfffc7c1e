//! The one task that writes: drains what waits into one transaction, commits, then answers.
//! Never answers before the commit, and never lets one failed request undo its neighbours.

use super::StoreError;
use futures_util::future::BoxFuture;
use sqlx::{Connection, SqliteConnection};
use tokio::sync::{mpsc, oneshot};

/// Requests that wait at most; more are refused.
pub const WRITES_MAX: usize = 4096;
/// Requests that share a transaction at most.
const GROUP_MAX: usize = 256;

/// Sends work to the writing task; every clone means the same task.
#[derive(Debug, Clone)]
pub struct Writer {
    requests: mpsc::Sender<Request>,
}

enum Request {
    Work(Box<dyn Work>),
    Close(oneshot::Sender<()>),
}

/// One request: its statements, and whom to tell.
trait Work: Send {
    /// Runs the statements and keeps what came of them; `false`: undo them.
    fn run<'c>(&'c mut self, connection: &'c mut SqliteConnection) -> BoxFuture<'c, bool>;
    /// Answers. `committed`: why the whole group failed, if it did.
    fn answer(self: Box<Self>, committed: Result<(), String>);
}

struct Task<F, T, E> {
    work: Option<F>,
    outcome: Option<Result<T, E>>,
    reply: oneshot::Sender<Result<T, E>>,
}

impl<F, T, E> Work for Task<F, T, E>
where
    F: for<'c> FnOnce(&'c mut SqliteConnection) -> BoxFuture<'c, Result<T, E>> + Send,
    T: Send,
    E: From<StoreError> + Send,
{
    fn run<'c>(&'c mut self, connection: &'c mut SqliteConnection) -> BoxFuture<'c, bool> {
        Box::pin(async move {
            let Some(work) = self.work.take() else {
                return false;
            };
            let outcome = work(connection).await;
            let keep = outcome.is_ok();
            self.outcome = Some(outcome);
            keep
        })
    }

    fn answer(self: Box<Self>, committed: Result<(), String>) {
        let outcome = match (self.outcome, committed) {
            (Some(Err(error)), _) => Err(error),
            (Some(Ok(value)), Ok(())) => Ok(value),
            (Some(Ok(_)), Err(why)) => Err(StoreError::Commit(why).into()),
            (None, why) => Err(StoreError::Commit(why.err().unwrap_or_default()).into()),
        };
        // Nobody may be waiting any more: what was written stays written.
        let _ = self.reply.send(outcome);
    }
}

impl Writer {
    pub(super) fn start(connection: SqliteConnection) -> Self {
        let (requests, queue) = mpsc::channel(WRITES_MAX);
        tokio::spawn(run(connection, queue));
        Self { requests }
    }

    /// Runs `work` in the next group and answers after its commit. What `work` wrote is undone
    /// when it fails.
    ///
    /// # Errors
    /// What `work` says, or [`StoreError`] when the queue is full, the group cannot be committed,
    /// or the database is closed.
    pub async fn write<F, T, E>(&self, work: F) -> Result<T, E>
    where
        F: for<'c> FnOnce(&'c mut SqliteConnection) -> BoxFuture<'c, Result<T, E>> + Send + 'static,
        T: Send + 'static,
        E: From<StoreError> + Send + 'static,
    {
        let (reply, answer) = oneshot::channel();
        let task = Task {
            work: Some(work),
            outcome: None,
            reply,
        };
        self.requests
            .try_send(Request::Work(Box::new(task)))
            .map_err(|refused| match refused {
                mpsc::error::TrySendError::Full(_) => StoreError::Busy { limit: WRITES_MAX },
                mpsc::error::TrySendError::Closed(_) => StoreError::Closed,
            })?;
        answer
            .await
            .unwrap_or_else(|_| Err(StoreError::Closed.into()))
    }

    pub(super) async fn close(&self) {
        let (reply, closed) = oneshot::channel();
        if self.requests.send(Request::Close(reply)).await.is_ok() {
            let _ = closed.await;
        }
    }
}

/// Names a closure as work for [`Writer::write`], for one that is made before it is handed over.
pub(crate) fn writing<F, T, E>(work: F) -> F
where
    F: for<'c> FnOnce(&'c mut SqliteConnection) -> BoxFuture<'c, Result<T, E>>,
{
    work
}

async fn run(mut connection: SqliteConnection, mut queue: mpsc::Receiver<Request>) {
    let mut waiting = Vec::with_capacity(GROUP_MAX);
    while queue.recv_many(&mut waiting, GROUP_MAX).await > 0 {
        let mut group = Vec::with_capacity(waiting.len());
        let mut close = None;
        for request in waiting.drain(..) {
            match request {
                Request::Work(work) => group.push(work),
                Request::Close(reply) => close = Some(reply),
            }
        }
        let committed = commit(&mut connection, &mut group).await;
        if let Err(why) = &committed {
            tracing::error!(why, "a group of writes could not be committed");
        }
        for work in group {
            work.answer(committed.clone());
        }
        if let Some(reply) = close {
            if let Err(error) = connection.close().await {
                tracing::warn!(%error, "the database did not close cleanly");
            }
            let _ = reply.send(());
            return;
        }
    }
}

async fn commit(
    connection: &mut SqliteConnection,
    group: &mut [Box<dyn Work>],
) -> Result<(), String> {
    if group.is_empty() {
        return Ok(());
    }
    let attempt = async {
        let mut transaction = connection.begin_with("BEGIN IMMEDIATE").await?;
        for work in group.iter_mut() {
            sqlx::query("SAVEPOINT work")
                .execute(&mut *transaction)
                .await?;
            if !work.run(&mut transaction).await {
                sqlx::query("ROLLBACK TO work")
                    .execute(&mut *transaction)
                    .await?;
            }
            sqlx::query("RELEASE work")
                .execute(&mut *transaction)
                .await?;
        }
        transaction.commit().await
    };
    attempt
        .await
        .map_err(|error: sqlx::Error| error.to_string())
}
