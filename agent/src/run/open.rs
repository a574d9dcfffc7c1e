//! Opens a state directory: who this is, its journal, the core as it was; and its status from outside.
//! Never changes what it does not understand, and never reads what another process holds.

use super::RunError;
use super::journal::{self, Store};
use super::settings::Settings;
use super::{renewal, system};
use crate::clock::{self, BUILT_UNIX_MS};
use crate::error::chain;
use crate::link::address::Address;
use crate::platform;
use crate::state::{Held, Identity, StateDir};
use holdfast_agent_core::{Config, Core};
use holdfast_agent_store::Wear;
use holdfast_journal::{DirReader, Recovery, Storage};
use serde_json::{Value, json};
use std::path::PathBuf;
use std::time::Duration;

/// How often, and how long apart, a directory is tried that another holds: 2 s, where `status` has it
/// for milliseconds.
const HELD_TRIES: u32 = 100;
const HELD_PAUSE: Duration = Duration::from_millis(20);

/// A state directory that no other process holds.
struct Found {
    held: Held,
    node: Node,
    /// The journal's folder.
    journal: PathBuf,
}

/// What was opened of a state directory.
pub(super) struct Opened {
    _held: Held,
    pub(super) node: Node,
    pub(super) store: Store,
    pub(super) core: Core,
}

/// Who this is, and where it connects.
pub(super) struct Node {
    pub(super) identity: Identity,
    /// The identity's, or those of this run alone.
    pub(super) bridges: Vec<Address>,
    /// Files beside the journal that are none of ours.
    strays: Vec<PathBuf>,
}

/// Takes the state directory and restores the core from it.
pub(super) fn open(state: &StateDir, settings: &Settings) -> Result<Opened, RunError> {
    let Found {
        held,
        node,
        journal,
    } = find(state, settings)?;
    let (mut store, recovery) = journal::open(&journal, &settings.journal())?;
    report(&recovery);
    let core = restored(&mut store, &node, settings)?;
    Ok(Opened {
        _held: held,
        node,
        store,
        core,
    })
}

fn find(state: &StateDir, settings: &Settings) -> Result<Found, RunError> {
    // Before anything is read: whoever holds it may be replacing the identity.
    let mut tries = 0..HELD_TRIES;
    let held = state.hold_after(|| {
        std::thread::sleep(HELD_PAUSE);
        tries.next().is_some()
    })?;
    let identity = state.identity()?;
    let place = state.journal_of(&identity)?;
    let bridges = match &*settings.bridges {
        [] => identity.bridges.clone(),
        chosen => chosen.to_vec(),
    };
    let node = Node {
        identity,
        bridges,
        strays: place.strays,
    };
    for stray in &node.strays {
        tracing::warn!(path = %stray.display(), "this is not the agent's, and is left alone");
    }
    Ok(Found {
        held,
        node,
        journal: place.path,
    })
}

fn restored<S: Storage>(
    store: &mut holdfast_agent_store::Store<S>,
    node: &Node,
    settings: &Settings,
) -> Result<Core, RunError> {
    let boot_id = clock::boot_id().map_err(system("/proc/sys/kernel/random/boot_id"))?;
    let restored = store.restored(boot_id, clock::random()?, clock::now())?;
    Ok(Core::restore(config(node, settings)?, restored)?)
}

fn config(node: &Node, settings: &Settings) -> Result<Config, RunError> {
    let Node {
        identity, bridges, ..
    } = node;
    Ok(Config {
        node: identity.node,
        root: identity.root_key(),
        bridges: bridges.len(),
        certificate: renewal::life_of(identity),
        agent_version: env!("CARGO_PKG_VERSION")
            .try_into()
            .map_err(|_| RunError::Version)?,
        platform: platform::detect(None),
        document_platform: holdfast_documents::Platform::Linux,
        built_unix_ms: BUILT_UNIX_MS,
        registered_unix_ms: identity.registered_unix_ms,
        limits: settings.limits(),
        intervals: settings.intervals(),
    })
}

fn report(recovery: &Recovery) {
    if recovery.damaged_records > 0 {
        tracing::warn!(
            records = recovery.damaged_records,
            "the medium has damaged records of the journal; they are reported as gaps"
        );
    }
    if recovery.cursor_lost {
        tracing::warn!("the journal's cursor is lost: the outbox begins a new life");
    }
    if let Some(error) = &recovery.takes_no_writes {
        tracing::error!(
            error = chain(error),
            "the state directory takes no writes: commands are refused until it does"
        );
    }
    if let Some(error) = &recovery.reserve_missing {
        tracing::warn!(error = chain(error), "the device has no room to spare");
    }
}

/// What `status` shows of a state directory on which no agent runs. Nothing of the journal changes.
///
/// # Errors
/// [`RunError`]; [`StateError::InUse`] when an agent runs after all.
pub fn offline_status(state: &StateDir) -> Result<Value, RunError> {
    let settings = Settings::default();
    let found = find(state, &settings)?;
    let reader = DirReader::new(&found.journal);
    // Nothing is written, so nothing needs a salt.
    let (mut store, _) =
        holdfast_agent_store::Store::open(reader, &settings.journal(), Box::new(|| 0))?;
    let core = restored(&mut store, &found.node, &settings)?;
    let mut status = status_of(&core, &found.node, store.wear(), false);
    if let Value::Object(members) = &mut status {
        // Nothing is gathered before it runs.
        members.insert("inventory_in_ms".into(), Value::Null);
        members.insert("patch_scan_in_ms".into(), Value::Null);
    }
    Ok(status)
}

pub(super) fn status_of(core: &Core, node: &Node, wear: Wear, running: bool) -> Value {
    let mut status = json!(core.status(clock::now()));
    if let Value::Object(members) = &mut status {
        let bridges = node.bridges.iter().map(Address::to_string);
        let strays = node.strays.iter().map(|path| path.display().to_string());
        members.insert("running".into(), running.into());
        members.insert("version".into(), env!("CARGO_PKG_VERSION").into());
        members.insert("bridges".into(), bridges.collect());
        members.insert("strays".into(), strays.collect());
        let journal = json!({
            "written_bytes": wear.written_bytes,
            "written_total_bytes": wear.written_total_bytes,
        });
        members.insert("journal".into(), journal);
    }
    status
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::state::StateError;
    use crate::state::tests::{A, identity, state};

    #[test]
    fn bridges_of_one_run_are_not_the_identitys() {
        let (_home, state) = state();
        let identity = identity(A);
        state.install(&identity).unwrap();
        let other: Address = "mqtts://other.example:1".parse().unwrap();
        let settings = Settings {
            bridges: vec![other.clone()],
            ..Settings::default()
        };
        let opened = open(&state, &settings).unwrap();
        assert_eq!(opened.node.bridges, [other]);
        // What a renewal installs.
        assert_eq!(opened.node.identity, identity);
        drop(opened);
        let opened = open(&state, &Settings::default()).unwrap();
        assert_eq!(opened.node.bridges, identity.bridges);
    }

    #[test]
    fn nothing_is_read_while_another_process_holds_the_directory() {
        let (_home, state) = state();
        let _held = state.hold().unwrap();
        // It may be replacing the identity: that there is none yet says nothing.
        let refused = open(&state, &Settings::default()).err().unwrap();
        assert!(matches!(refused, RunError::State(StateError::InUse { .. })));
    }

    #[test]
    fn who_asks_for_the_status_of_a_stopped_agent_changes_nothing_of_its_journal() {
        let (_home, state) = state();
        let identity = identity(A);
        state.install(&identity).unwrap();
        let journal = state.journal_of(&identity).unwrap().path;
        let content = || {
            let files = std::fs::read_dir(&journal).map(|files| {
                let files = files.map(|file| file.unwrap().path());
                let content = files.map(|path| (std::fs::read(&path).unwrap(), path));
                content.collect::<std::collections::BTreeSet<_>>()
            });
            files.ok()
        };
        for _ in 0..2 {
            let before = content();
            let status = offline_status(&state).unwrap();
            assert_eq!(status["running"], json!(false));
            assert_eq!(content(), before);
            // Once more behind a process that has run.
            open(&state, &Settings::default()).unwrap();
        }
        assert!(content().is_some_and(|files| !files.is_empty()));
    }

    #[test]
    fn a_stray_file_is_shown_by_the_status() {
        let (_home, state) = state();
        state.install(&identity(A)).unwrap();
        let journals = state.path().join("journal");
        std::fs::create_dir(&journals).unwrap();
        std::fs::write(journals.join("notes"), "").unwrap();
        let status = offline_status(&state).unwrap();
        let stray = journals.join("notes").display().to_string();
        assert_eq!(status["strays"], json!([stray]));
    }
}
