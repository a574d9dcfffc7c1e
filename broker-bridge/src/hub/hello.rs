//! The first words of a node: its token chain and its streams.
//! Never replies before the chain and the new counters are committed.

use super::Hub;
use super::node::{advance_open, quarantine};
use super::session::{Dating, Greeted, Session};
use crate::mqtt::{CloseReason, Verdict};
use crate::store::error::{signed, unsigned};
use crate::store::streams::{
    NewEvent, add_gap, forget_lives, heads, insert_events, outbox_number, outbox_of, save_head,
};
use crate::store::{Caller, StoreError, UnixMs, floors, reports};
use holdfast_bridge_core::gate::{self, Entry, Hellos};
use holdfast_bridge_core::invocation::Event;
use holdfast_bridge_core::report::wanted;
use holdfast_bridge_core::stream::open;
use holdfast_bridge_core::token::{Chain, TokenKey, Verdict as Judged};
use holdfast_protocol::bounded::{List, Text};
use holdfast_protocol::down::{Down, HelloRefusal, HelloRefusalReason, HelloReply};
use holdfast_protocol::limits::{REVISION, REVISION_OLDEST};
use holdfast_protocol::report::TypeName;
use holdfast_protocol::seal::PublicKey;
use holdfast_protocol::up::{Hello, Token};
use holdfast_protocol::{Class, NodeId};
use sqlx::{Row, SqliteConnection};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use tokio::sync::{Semaphore, SemaphorePermit};

/// Counters reserved at each hello; a session that uses them up is closed and says hello again.
const COUNTERS: u64 = 1 << 24;
/// Highest counter a node may claim to have seen: far above any real one, far below the end.
const COUNTER_MAX: u64 = 1 << 62;
/// Hellos of a fleet that comes back: few enough at once that what the API writes is soon done,
/// and as many waiting as are answered well within a node's patience.
const HELLOS: Hellos = Hellos {
    at_once: 64,
    waiting: 4096,
};

/// When a node may try again whose hello makes no sense; only another agent can mend that.
const IMPOSSIBLE_MS: u32 = 60 * 60 * 1000;

/// The turn of each hello: first come, first served.
#[derive(Debug)]
pub(super) struct Gate {
    turns: Semaphore,
    waiting: AtomicUsize,
}

impl Default for Gate {
    fn default() -> Self {
        Self {
            turns: Semaphore::new(HELLOS.at_once),
            waiting: AtomicUsize::new(0),
        }
    }
}

impl Gate {
    /// Waits for a turn, which lasts until what is returned is dropped.
    ///
    /// # Errors
    /// In how many milliseconds the node may come again, spread by `random`, when too many wait.
    async fn enter(&self, random: u16) -> Result<Option<SemaphorePermit<'_>>, u32> {
        let waiting = self.waiting.fetch_add(1, Ordering::Relaxed);
        let turn = match HELLOS.enter(waiting, random) {
            // The semaphore is never closed.
            Entry::Wait => Ok(self.turns.acquire().await.ok()),
            Entry::Later(after_ms) => Err(after_ms),
        };
        self.waiting.fetch_sub(1, Ordering::Relaxed);
        turn
    }
}

/// What a hello is judged with.
struct Context {
    node: NodeId,
    number: i64,
    key: PublicKey,
    now: UnixMs,
    token: Arc<TokenKey>,
    random: [u8; 16],
}

/// An accepted hello, committed.
struct Accepted {
    token: Token,
    streams: Streams,
    resync: Vec<TypeName>,
    epoch: u64,
    /// Whether its outbox is the one that it said hello with before.
    same_life: bool,
    floor_reset: bool,
}

/// Both sides' streams, joined.
struct Streams {
    acks: [u64; 4],
    regressed: bool,
}

enum Outcome {
    Accepted(Box<Accepted>),
    /// A newer connection of the node has said hello.
    TakenOver,
    Refused(HelloRefusalReason, String),
}

/// A node's row, as far as a hello needs it.
struct Known {
    quarantine: Option<String>,
    connection: i64,
    outbox: Option<i64>,
    counter: u64,
    chain: Option<Chain>,
}

async fn known(
    connection: &mut SqliteConnection,
    node: NodeId,
) -> Result<Option<Known>, StoreError> {
    let row = sqlx::query(
        "SELECT quarantined_ms, quarantine_reason, connection, outbox, counter, token_issued, token_shown \
         FROM nodes WHERE node_id = $1 AND deregistered_ms IS NULL",
    )
    .bind(node.as_str())
    .fetch_optional(connection)
    .await?;
    let Some(row) = row else { return Ok(None) };
    let token = |bytes: Option<Vec<u8>>| {
        let token = bytes.map(Token::new).transpose();
        token.map_err(|_| StoreError::Corrupt {
            what: "token of a node",
        })
    };
    let shown = token(row.try_get("token_shown")?)?;
    let issued = token(row.try_get("token_issued")?)?;
    let since: Option<UnixMs> = row.try_get("quarantined_ms")?;
    let reason: String = row.try_get("quarantine_reason")?;
    Ok(Some(Known {
        quarantine: since.map(|_| reason),
        connection: row.try_get("connection")?,
        outbox: row.try_get("outbox")?,
        counter: unsigned(row.try_get("counter")?),
        chain: issued.map(|issued| Chain { issued, shown }),
    }))
}

async fn greet(
    connection: &mut SqliteConnection,
    context: &Context,
    hello: &Hello,
) -> Result<Outcome, StoreError> {
    let node = context.node;
    let Some(known) = known(connection, node).await? else {
        let detail = "this node was deregistered: register it again".to_owned();
        return Ok(Outcome::Refused(HelloRefusalReason::Deregistered, detail));
    };
    if known.connection > context.number {
        return Ok(Outcome::TakenOver);
    }
    if let Some(reason) = known.quarantine {
        return Ok(Outcome::Refused(HelloRefusalReason::Quarantined, reason));
    }
    let judged = context
        .token
        .judge(node, known.chain.as_ref(), hello.token.as_ref());
    if let Judged::Quarantine(reason) = judged {
        let detail = format!("{reason}; see `holdfast-bridge node release`");
        quarantine(connection, &Caller::local(context.now), node, &detail).await?;
        return Ok(Outcome::Refused(HelloRefusalReason::Quarantined, detail));
    }
    if judged == Judged::RestoredBridge {
        note_restored(connection, context).await?;
    }
    let chain = context.token.extend(
        node,
        known.chain.as_ref(),
        hello.token.as_ref(),
        context.random,
    );
    let Some(streams) = open_streams(connection, context, hello, known.outbox).await? else {
        let detail = "the hello's stream heads are impossible".to_owned();
        return Ok(Outcome::Refused(
            HelloRefusalReason::Later(IMPOSSIBLE_MS),
            detail,
        ));
    };
    let epoch = known.counter.max(hello.counter);
    save(connection, context, hello, &chain, epoch + COUNTERS).await?;
    advance_open(connection, node, Event::LinkUp, context.now).await?;
    // A new life of the outbox has lost what it held: sent once more, a command could run twice.
    let same_life = known.outbox == Some(outbox_number(hello.outbox));
    if !same_life {
        forget_lives(connection, node, hello.outbox, known.outbox).await?;
    }
    Ok(Outcome::Accepted(Box::new(Accepted {
        token: chain.issued,
        resync: resync(connection, node, hello).await?,
        epoch,
        streams,
        same_life,
        floor_reset: floors::save_sent(connection, node, context.now).await?,
    })))
}

async fn note_restored(
    connection: &mut SqliteConnection,
    context: &Context,
) -> Result<(), StoreError> {
    let event = NewEvent {
        node: context.node,
        class: Class::Audit,
        name: "bridge-restored".into(),
        detail: "the node's token is newer than this bridge's memory of it; the chain goes on"
            .into(),
        occurred: Some(context.now),
    };
    insert_events(connection, &[event], context.now).await
}

/// Joins the streams of both sides; what a restored bridge can never get is counted.
async fn open_streams(
    connection: &mut SqliteConnection,
    context: &Context,
    hello: &Hello,
    life: Option<i64>,
) -> Result<Option<Streams>, StoreError> {
    let node = context.node;
    let applied = heads(connection, node, hello.outbox).await?;
    let older = match life {
        Some(life) => heads(connection, node, outbox_of(life)).await?,
        None => [None; 4],
    };
    let (mut acks, mut regressed) = ([0; 4], false);
    for (((class, (applied, before)), head), ack) in Class::ALL
        .into_iter()
        .zip(applied.into_iter().zip(older))
        .zip(hello.streams)
        .zip(&mut acks)
    {
        let Some(opened) = open(applied, before.unwrap_or(0), head) else {
            return Ok(None);
        };
        *ack = opened.last;
        if opened.lost > 0 {
            add_gap(
                connection,
                node,
                class,
                "bridge-restored",
                opened.lost,
                context.now,
            )
            .await?;
        }
        if opened.regressed {
            regressed = true;
            tracing::warn!(node_id = %node, class = class.name(), "the node's disk was rolled back");
        }
        if applied != Some(opened.last) {
            save_head(connection, node, hello.outbox, class, opened.last).await?;
        }
    }
    Ok(Some(Streams { acks, regressed }))
}

async fn save(
    connection: &mut SqliteConnection,
    context: &Context,
    hello: &Hello,
    chain: &Chain,
    counter: u64,
) -> Result<(), StoreError> {
    sqlx::query(
        "UPDATE nodes SET connection = $1, last_ping_ms = $2, outbox = $3, counter = $4, \
         token_issued = $5, token_shown = $6, agent_version = $7, platform_name = $8, \
         platform_version = $9, computer_name = $10, ip_address = $11, architecture = $12, \
         boot = $13, \
         previous_key = CASE WHEN public_key = $14 THEN NULL ELSE previous_key END \
         WHERE node_id = $15",
    )
    .bind(context.number)
    .bind(context.now)
    .bind(outbox_number(hello.outbox))
    .bind(signed(counter))
    .bind(&*chain.issued)
    .bind(chain.shown.as_deref())
    .bind(hello.agent_version.as_str())
    .bind(&*hello.platform.name)
    .bind(&*hello.platform.version)
    .bind(&*hello.platform.computer_name)
    .bind(&*hello.platform.ip_address)
    .bind(&*hello.platform.architecture)
    .bind(i64::from(hello.stamp.boot))
    // It has the new key and uses it: the one before is needed no more.
    .bind(context.key.as_slice())
    .bind(context.node.as_str())
    .execute(connection)
    .await?;
    Ok(())
}

async fn resync(
    connection: &mut SqliteConnection,
    node: NodeId,
    hello: &Hello,
) -> Result<Vec<TypeName>, StoreError> {
    let held = reports::base_hashes(connection, node).await?;
    let mut types = wanted(&held, &hello.bases);
    for name in reports::wanted(connection, node).await? {
        if !types.contains(&name) {
            types.push(name);
        }
    }
    Ok(types)
}

impl Hub {
    pub(super) async fn hello(&self, session: Arc<Session>, hello: Box<Hello>) -> Verdict {
        let (oldest, newest) = hello.revisions;
        let revision = newest.min(REVISION);
        if revision < oldest.max(REVISION_OLDEST) {
            let reason = HelloRefusalReason::Revision(REVISION_OLDEST, REVISION);
            let detail = format!("the bridge writes revisions {REVISION_OLDEST} to {REVISION}");
            return self.refuse(&session, &hello, reason, &detail);
        }
        if hello.counter > COUNTER_MAX {
            tracing::warn!(node_id = %session.node, counter = hello.counter, "an impossible counter");
            return Verdict::Discarded;
        }
        let sealer = self.shared.sealers.current();
        let serial = sealer.certificate().map_or(0, |own| own.serial);
        if hello.signing_serial > serial {
            tracing::error!(
                node_id = %session.node, serial, newest = hello.signing_serial,
                "the node refuses this bridge's signing key, for it knows a newer one; \
                 run `holdfast-bridge signing-key rotate --above` with the newest serial"
            );
        }
        let came = self.shared.clock.now();
        let Ok(random) = self.random() else {
            return Verdict::Close(CloseReason::Store);
        };
        let spread = u16::from_le_bytes([random[0], random[1]]);
        let _turn = match self.shared.hellos.enter(spread).await {
            Ok(turn) => turn,
            Err(after) => {
                let detail = format!("{} hellos wait, which is the bound", HELLOS.waiting);
                return self.refuse(&session, &hello, HelloRefusalReason::Later(after), &detail);
            }
        };
        if self.shared.sessions.of(session.connection).is_none() {
            // Its node did not wait, and says hello again on another connection.
            return Verdict::Close(CloseReason::TakenOver);
        }
        let now = self.shared.clock.now();
        let context = Context {
            node: session.node,
            number: session.number(),
            key: session.key,
            now,
            token: Arc::clone(&self.shared.token),
            random,
        };
        let asked = hello.clone();
        let outcome: Result<Outcome, StoreError> = self
            .shared
            .store
            .writer
            .write(move |connection| {
                Box::pin(async move { greet(connection, &context, &asked).await })
            })
            .await;
        match outcome {
            Ok(Outcome::Accepted(accepted)) => {
                let dating = Dating::new(&hello.stamp, came);
                self.welcome(&session, &hello, revision, dating, *accepted)
                    .await;
                Verdict::Accepted
            }
            Ok(Outcome::TakenOver) => Verdict::Close(CloseReason::TakenOver),
            Ok(Outcome::Refused(reason, detail)) => self.refuse(&session, &hello, reason, &detail),
            Err(StoreError::Busy { limit }) => {
                let detail = format!("{limit} writes are waiting, which is the bound");
                let reason = HelloRefusalReason::Later(gate::later_ms(spread));
                self.refuse(&session, &hello, reason, &detail)
            }
            Err(error) => {
                tracing::error!(node_id = %session.node, %error, "a hello was not stored");
                Verdict::Close(CloseReason::Store)
            }
        }
    }

    fn refuse(
        &self,
        session: &Session,
        hello: &Hello,
        reason: HelloRefusalReason,
        detail: &str,
    ) -> Verdict {
        tracing::warn!(node_id = %session.node, ?reason, detail, "a hello is refused");
        let refusal = HelloRefusal {
            nonce: hello.nonce,
            reason,
            detail: Text::cut(detail),
        };
        let refusal = Down::HelloRefusal(refusal);
        session.refuse(
            hello.outbox,
            hello.counter + 1,
            &refusal,
            &self.shared.sealers,
        );
        // What is queued, the refusal among it, is written before the connection closes.
        session.close(match reason {
            HelloRefusalReason::Quarantined => CloseReason::Quarantined,
            HelloRefusalReason::Deregistered => CloseReason::Deregistered,
            HelloRefusalReason::Revision(..) | HelloRefusalReason::Later(_) => CloseReason::Store,
        });
        Verdict::Accepted
    }

    async fn welcome(
        &self,
        session: &Arc<Session>,
        hello: &Hello,
        revision: u16,
        dating: Dating,
        accepted: Accepted,
    ) {
        let now = self.shared.clock.now();
        let reply = Down::HelloReply(HelloReply {
            nonce: hello.nonce,
            unix_ms: unsigned(now),
            revision,
            token: accepted.token,
            acks: accepted.streams.acks,
            resync: List::new(accepted.resync).unwrap_or_default(),
        });
        let greeted = Greeted {
            outbox: hello.outbox,
            epoch: signed(accepted.epoch),
            counter: accepted.epoch,
            counter_end: accepted.epoch + COUNTERS,
            dating,
            regressed: accepted.streams.regressed,
            same_life: accepted.same_life,
            nonce: hello.nonce,
        };
        session.greet(greeted, &reply, &self.shared.sealers);
        // Before any command: by a floor that stands ahead every one has expired.
        if accepted.floor_reset {
            session.reset_floor(unsigned(now), &self.shared.root);
        }
        self.begin_sending(session, greeted).await;
        if self.shared.sessions.of(session.connection).is_none() {
            // Its end was told before its hello was stored: tell the store again.
            self.link_lost(session.node, session.number()).await;
        }
    }
}
