//! `kill -9` of the bridge while a fleet works for it: what became of every command, by the API and by the nodes.
//! Never takes the bridge's word for what a node ran: the swarm counts its own runs and acknowledgements.

use crate::enrol::Identity;
use crate::swarm::Swarm;
use anyhow::{Context as _, Result, bail, ensure};
use holdfast_e2e::commands::{self, text};
use holdfast_e2e::{Api, Bridge, Random, until};
use serde_json::{Value, json};
use sqlx::sqlite::SqliteConnectOptions;
use sqlx::{ConnectOptions as _, Connection as _, Row as _};
use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::park_timeout;
use std::time::{Duration, Instant};
use tokio::runtime::Runtime;

/// The tag that every node of the fleet has, as `activation create --tag` takes it.
pub const FLEET: &str = "Fleet=kills";
/// For a bridge that was just killed to be among its nodes again, and for the last results.
const LIMIT: Duration = Duration::from_secs(600);
/// A kill comes within so many milliseconds after the fleet has gone on working.
const MOMENT_MS: usize = 400;

/// What the kills came to.
#[derive(Debug, Clone)]
pub struct Kills {
    /// Commands that the bridge was asked for and that it has.
    pub commands: usize,
    /// Invocations of these, each ended with success and its output.
    pub invocations: usize,
    /// Results that nodes were told they may forget.
    pub acknowledged: u64,
    /// Longest time from the start of a killed bridge until it served.
    pub restart_max: Duration,
}

/// Sends one command after the other to the whole fleet, and notes those that were answered. The
/// larger the fleet the longer between two, so that it is done with one before many more come.
fn send_all_along(api: &Api, nodes: usize, over: &AtomicBool) -> Vec<String> {
    let input = json!({
        "DocumentName": "AWS-RunShellScript",
        "Targets": [{"Key": "tag:Fleet", "Values": ["kills"]}],
        "Parameters": {"commands": ["true"]},
        "MaxConcurrency": "100%",
        "MaxErrors": "100%",
        "TimeoutSeconds": 36_000,
    });
    let mut sent = Vec::new();
    while !over.load(Ordering::Relaxed) {
        // A bridge that is being killed answers nobody; what it answered, it must keep.
        let answer = api.call("SendCommand", &input).ok();
        let id = answer
            .as_ref()
            .and_then(|answer| answer.pointer("/Command/CommandId"));
        sent.extend(id.and_then(Value::as_str).map(str::to_owned));
        park_timeout(Duration::from_millis(match id {
            Some(_) => nodes as u64 * 4,
            None => 20,
        }));
    }
    sent
}

/// SQLite's own verdict on the whole database.
///
/// # Errors
/// What it found, or that it cannot be opened.
pub async fn integrity(database: &Path) -> Result<()> {
    let options = SqliteConnectOptions::new().filename(database);
    let mut connection = options.connect().await.context("opening the database")?;
    for check in ["PRAGMA integrity_check", "PRAGMA foreign_key_check"] {
        let rows = sqlx::query(check).fetch_all(&mut connection).await?;
        let found: Vec<String> = rows
            .iter()
            .map(|row| row.try_get::<String, _>(0))
            .collect::<Result<_, _>>()?;
        ensure!(found.iter().all(|line| line == "ok"), "{check}: {found:?}");
    }
    connection.close().await.context("closing the database")
}

/// Waits for the fleet to go on working, then a while that the seed picks.
fn work_on(swarm: &Swarm, random: &mut Random) -> Result<()> {
    let before = swarm.acknowledged();
    until("nodes are told that results arrived", LIMIT, || {
        Ok((swarm.acknowledged() > before).then_some(()))
    })?;
    let end = Instant::now() + Duration::from_millis(random.below(MOMENT_MS) as u64);
    while let Some(left) = end.checked_duration_since(Instant::now()) {
        park_timeout(left);
    }
    Ok(())
}

/// Kills the bridge so many times under these nodes' load. Every node has the tag [`FLEET`].
///
/// # Errors
/// What was lost, started twice or not restarted.
pub fn kill_under_load(
    runtime: &Runtime,
    bridge: &mut Bridge,
    identities: &[Identity],
    kills: usize,
    random: &mut Random,
) -> Result<Kills> {
    let api = bridge.api()?;
    let swarm = {
        let _entered = runtime.enter();
        Swarm::start(bridge.mqtt, identities)?
    };
    runtime.block_on(swarm.all_online(LIMIT))?;
    let over = Arc::new(AtomicBool::new(false));
    let sender = {
        let (api, over) = (api.clone(), Arc::clone(&over));
        let nodes = identities.len();
        std::thread::spawn(move || send_all_along(&api, nodes, &over))
    };
    let mut restart_max = Duration::ZERO;
    for kill in 0..kills {
        work_on(&swarm, random).with_context(|| format!("before kill {kill}"))?;
        bridge.kill()?;
        let began = Instant::now();
        bridge.restart()?;
        restart_max = restart_max.max(began.elapsed());
    }
    over.store(true, Ordering::Relaxed);
    let Ok(answered) = sender.join() else {
        bail!("the sender panicked");
    };
    let (commands, invocations) = settle(&api, &answered, &swarm)?;
    let acknowledged = swarm.acknowledged();
    runtime.block_on(swarm.stop())?;
    bridge.stop()?;
    runtime.block_on(integrity(&bridge.state_dir().join("holdfast.db")))?;
    Ok(Kills {
        commands,
        invocations,
        acknowledged,
        restart_max,
    })
}

/// Every command the bridge knows, by its id.
fn listed(api: &Api) -> Result<BTreeMap<String, Value>> {
    let mut found = BTreeMap::new();
    let mut token = Value::Null;
    loop {
        let mut input = json!({"MaxResults": 50});
        if let (Some(input), false) = (input.as_object_mut(), token.is_null()) {
            input.insert("NextToken".into(), token);
        }
        let answer = api.call("ListCommands", &input)?;
        let page = answer.get("Commands").and_then(Value::as_array);
        for command in page.context("Commands")? {
            found.insert(text(command, "CommandId").to_owned(), command.clone());
        }
        token = match text(&answer, "NextToken") {
            "" => return Ok(found),
            token => token.into(),
        };
    }
}

/// Waits until every command has ended everywhere, and looks at each invocation.
fn settle(api: &Api, answered: &[String], swarm: &Swarm) -> Result<(usize, usize)> {
    let commands = until("every command has ended", LIMIT, || {
        let commands = listed(api)?;
        let ended = commands
            .values()
            .all(|command| commands::is_terminal(text(command, "Status")));
        Ok(ended.then_some(commands))
    })?;
    for id in answered {
        ensure!(commands.contains_key(id), "{id} was answered and is gone");
    }
    let mut invocations = 0;
    for id in commands.keys() {
        for invocation in commands::invocations(api, &json!({"CommandId": id, "Details": true}))? {
            let output = invocation.pointer("/CommandPlugins/0/Output");
            ensure!(
                text(&invocation, "StatusDetails") == "Success"
                    && output.and_then(Value::as_str) == Some("done\n"),
                "an invocation is not whole: {invocation}"
            );
            invocations += 1;
        }
    }
    ensure!(
        swarm.runs() == invocations as u64,
        "{} steps were run for {invocations} invocations: each runs once",
        swarm.runs()
    );
    Ok((commands.len(), invocations))
}
