//! What time alone brings: expiry, retries, dates of last contact, retention.
//! Never decides that something is due: the store compares with the time handed in, the core
//! says what follows.

use super::Hub;
use super::answer::BUSY_RETRY_MS;
use crate::store::writing;
use crate::store::{StoreError, UnixMs, commands, invocations, nodes};
use holdfast_bridge_core::invocation::Event;
use holdfast_bridge_core::retention::holds_until;
use holdfast_protocol::CommandId;
use sqlx::SqliteConnection;
use std::sync::atomic::Ordering;
use std::time::Duration;

/// Commands that one tick looks at of each kind.
const GROUP: i64 = 64;
/// Invocations that one write ends: a fleet's expire together, and other writes have their turn.
const EXPIRIES: usize = 512;
/// Time between ticks.
const TICK: Duration = Duration::from_secs(1);
/// Ticks between two dates of last contact: nodes of the reference agent report every 5 minutes.
const PING_TICKS: u32 = 300;
/// Ticks between two batches of retention.
const PRUNE_TICKS: u32 = 60;
/// Ticks between two comparisons of the store's online nodes with the connections that live, when
/// nothing calls for one before.
const RECONCILE_TICKS: u32 = 60;
/// Nodes that one write marks as away.
const STRAYS: usize = 256;
/// When a command is looked at again that is past its bound and still not ended.
const AGAIN_MS: i64 = 60_000;

/// Who calls [`Hub::tick`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ticks {
    /// A task of the hub, each second.
    Own,
    /// Whoever made the hub, such as the simulated world, whose seconds are its own.
    Handed,
}

/// Ends what is due of a command, at most `room` invocations, of which it takes what it needs;
/// `false`: more may be due.
async fn expire(
    connection: &mut SqliteConnection,
    id: CommandId,
    now: UnixMs,
    room: &mut usize,
) -> Result<bool, StoreError> {
    let Some(command) = commands::load(connection, id).await? else {
        return Ok(true);
    };
    let holds = holds_until(command.expires, command.run_bound_ms);
    let event = if now >= holds {
        Event::BoundPassed
    } else {
        Event::DeliveryExpired
    };
    for (node, mut state) in invocations::open_of_command(connection, id).await? {
        if *room == 0 {
            return Ok(false);
        }
        if invocations::apply(connection, (id, node), &mut state, event, now).await? {
            *room -= 1;
        }
    }
    let again = if now >= holds {
        now.saturating_add(AGAIN_MS)
    } else {
        holds
    };
    commands::check_at(connection, id, again).await?;
    commands::refresh(connection, id).await?;
    Ok(true)
}

/// Ends what is due of these commands, one write's worth; how many commands are done with.
async fn expire_some(
    connection: &mut SqliteConnection,
    ids: &[CommandId],
    now: UnixMs,
) -> Result<usize, StoreError> {
    let mut room = EXPIRIES;
    for (done, id) in ids.iter().enumerate() {
        if !expire(connection, *id, now, &mut room).await? {
            return Ok(done);
        }
    }
    Ok(ids.len())
}

impl Hub {
    pub(super) async fn keep_time(self) {
        let mut interval = tokio::time::interval(TICK);
        interval.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        // What was deregistered before this run cannot be connected to it.
        let mut seen = self.shared.store.audit_head().await.unwrap_or(0);
        for tick in 1_u32.. {
            interval.tick().await;
            self.tick().await;
            seen = self.follow(seen).await;
            if tick % PING_TICKS == 0 {
                self.date_connected().await;
            }
            if tick % RECONCILE_TICKS == 0 {
                self.shared.strays.store(true, Ordering::Relaxed);
            }
            if tick % PRUNE_TICKS == 0 {
                self.prune().await;
            }
        }
    }

    /// Does what is due now: expiry, retries, what waited for its time, nodes that left unseen, floors to be set back. Called each
    /// second; harmless at any time.
    pub async fn tick(&self) {
        if self.shared.strays.swap(false, Ordering::Relaxed)
            && let Err(error) = self.reconcile().await
        {
            self.shared.strays.store(true, Ordering::Relaxed);
            tracing::error!(%error, "nodes that left still show as online; tried again");
        }
        let now = self.shared.clock.now();
        self.follow_clock(now).await;
        match self.due(now).await {
            Ok((expired, retries)) => {
                if !expired.is_empty() {
                    self.expire(&expired, now).await;
                }
                self.shared.dispatch.mark(expired);
                self.shared.dispatch.mark(retries);
            }
            Err(error) => tracing::error!(%error, "what is due cannot be read; tried again"),
        }
        self.refill_due(now).await;
        self.reset_floors().await;
    }

    /// A clock that was set back would leave a busy node alone until it is again what it was.
    async fn follow_clock(&self, now: UnixMs) {
        let before = self.shared.ticked.swap(now, Ordering::Relaxed);
        if now >= before {
            return;
        }
        tracing::warn!(now, before, "the clock was set back");
        let work = writing::<_, (), StoreError>(move |connection| {
            Box::pin(invocations::retry_by(connection, now + BUSY_RETRY_MS))
        });
        if let Err(error) = self.shared.store.writer.write(work).await {
            self.shared.ticked.store(before, Ordering::Relaxed);
            tracing::error!(%error, "busy nodes are left alone by the old clock; tried again");
        }
    }

    async fn expire(&self, ids: &[CommandId], now: UnixMs) {
        let expire = async |ids: Vec<CommandId>| {
            let mut left = ids;
            while !left.is_empty() {
                let some = left.clone();
                let work = writing::<_, usize, StoreError>(move |connection| {
                    Box::pin(async move { expire_some(connection, &some, now).await })
                });
                let done = self.shared.store.writer.write(work).await?;
                left.drain(..done.min(left.len()));
            }
            Ok(())
        };
        match expire(ids.to_vec()).await {
            Ok(()) => {}
            // What is due stays due: the next tick finds it again.
            Err(StoreError::Corrupt { .. }) => {
                self.each_by_itself(ids, |id| expire(vec![id])).await;
            }
            Err(error) => tracing::error!(%error, "what is due was not done; tried again"),
        }
    }

    /// Marks nodes as away that the store shows as online without a connection: the write that
    /// should have said so failed.
    async fn reconcile(&self) -> Result<(), StoreError> {
        let mut strays = nodes::online(&mut *self.shared.store.reads.acquire().await?).await?;
        // A session that began meanwhile has a higher number, which `leave` lets stand.
        strays.retain(|(node, _)| !self.shared.sessions.is_connected(*node));
        let now = self.shared.clock.now();
        for strays in strays.chunks(STRAYS) {
            let strays = strays.to_vec();
            let work = writing::<_, (), StoreError>(move |connection| {
                Box::pin(async move {
                    for (node, number) in strays {
                        super::node::leave(connection, node, number, now).await?;
                    }
                    Ok(())
                })
            });
            self.shared.store.writer.write(work).await?;
        }
        Ok(())
    }

    /// Commands that are due, and commands with invocations to be tried again. Asked of a reading
    /// connection, so that an idle bridge writes nothing.
    async fn due(&self, now: UnixMs) -> Result<(Vec<CommandId>, Vec<CommandId>), StoreError> {
        let mut connection = self.shared.store.reads.acquire().await?;
        Ok((
            commands::expired(&mut connection, now, GROUP).await?,
            invocations::to_retry(&mut connection, now, GROUP).await?,
        ))
    }

    async fn date_connected(&self) {
        let now = self.shared.clock.now();
        let work = writing::<_, (), StoreError>(move |connection| {
            Box::pin(async move {
                sqlx::query("UPDATE nodes SET last_ping_ms = $1 WHERE connection <> 0")
                    .bind(now)
                    .execute(connection)
                    .await?;
                Ok(())
            })
        });
        if let Err(error) = self.shared.store.writer.write(work).await {
            tracing::error!(%error, "last contacts were not dated");
        }
    }

    /// Deletes what is old, in batches, until nothing is.
    pub async fn prune(&self) {
        let now = self.shared.clock.now();
        match self.shared.store.prune_crowded(self.shared.retention).await {
            Ok(0) => {}
            Ok(rows) => tracing::debug!(rows, "events of nodes that had too many deleted"),
            Err(error) => tracing::error!(%error, "events were not deleted"),
        }
        loop {
            match self.shared.store.prune(self.shared.retention, now).await {
                Ok(0) => return,
                Ok(rows) => tracing::debug!(rows, "history deleted"),
                Err(error) => {
                    tracing::error!(%error, "history was not deleted");
                    return;
                }
            }
        }
    }

    /// Connections of an earlier run are gone: nodes are away, and what they may not have got
    /// shows as delayed.
    pub(super) async fn begin_run(&self) -> Result<(), StoreError> {
        let now = self.shared.clock.now();
        let work = writing::<_, Vec<CommandId>, StoreError>(move |connection| {
            Box::pin(async move {
                sqlx::query("UPDATE nodes SET connection = 0 WHERE connection <> 0")
                    .execute(&mut *connection)
                    .await?;
                invocations::retry_by(connection, now + BUSY_RETRY_MS).await?;
                commands::unfinished(connection).await
            })
        });
        let unfinished = self.shared.store.writer.write(work).await?;
        // Kept in groups, so that one unreadable record ends its own command and no other.
        for ids in unfinished.chunks(usize::try_from(GROUP).unwrap_or(1)) {
            match self.lose(ids.to_vec()).await {
                Err(StoreError::Corrupt { .. }) => {
                    self.each_by_itself(ids, |id| self.lose(vec![id])).await;
                }
                lost => lost?,
            }
        }
        self.shared.dispatch.mark(unfinished);
        Ok(())
    }

    /// The nodes of these commands lost their connections.
    async fn lose(&self, ids: Vec<CommandId>) -> Result<(), StoreError> {
        let now = self.shared.clock.now();
        let work = writing::<_, (), StoreError>(move |connection| {
            Box::pin(async move {
                for id in ids {
                    for (node, mut state) in invocations::open_of_command(connection, id).await? {
                        let (key, lost) = ((id, node), Event::LinkLost);
                        invocations::apply(connection, key, &mut state, lost, now).await?;
                    }
                    commands::refresh(connection, id).await?;
                }
                Ok(())
            })
        });
        self.shared.store.writer.write(work).await
    }
}
