//! `run`: performs the core's effects and feeds back what comes of them.
//! Never decides: which command runs, what is sent and when to connect again is the core's.

mod connection;
pub mod control;
mod journal;
pub(crate) mod notify;
mod renewal;
pub mod settings;
mod steps;

use crate::clock::{self, Alarm, BUILT_UNIX_MS, NoRandomness};
use crate::error::chain;
use crate::link::address::Address;
use crate::link::{Dialer, Outgoing};
use crate::platform;
use crate::plugin::{self, Environment};
use crate::state::{Held, Identity, StateDir, StateError};
use crate::tls::{Connector, Floor};
use connection::Connection;
use control::Control;
use holdfast_agent_core::{
    Attempt, Config, Core, Effect, Input, Level, LinkFault, LinkIdentity, RestoreError,
};
use holdfast_agent_store::{Op, Wear};
use holdfast_journal::{OpenError, ReadError, Recovery};
use journal::{JournalLost, JournalTask, Store};
use notify::Notify;
use serde_json::{Value, json};
use settings::Settings;
use std::collections::VecDeque;
use std::io;
use std::path::PathBuf;
use std::time::Duration;
use steps::Steps;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep_until};

/// What waits for the core from all tasks together.
const EVENTS_MAX: usize = 64;
/// Told to stop, the process ends within this, whatever the disk does: longer than the core gives
/// to running steps, and shorter than an init system's patience.
const STOP_LIMIT: Duration = Duration::from_secs(15);
/// How often, and how long apart, a directory is tried that another holds: 2 s, where `status` has it
/// for milliseconds.
const HELD_TRIES: u32 = 100;
const HELD_PAUSE: Duration = Duration::from_millis(20);

/// What tasks tell the loop.
#[derive(Debug)]
#[expect(
    clippy::large_enum_variant,
    reason = "nearly every event is an input, and few wait at once"
)]
enum Event {
    /// For the core.
    Input(Input),
    /// A new key and certificate are durable.
    Renewed(Box<Identity>),
}

/// The agent cannot run, or not go on.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// The state directory.
    #[error(transparent)]
    State(#[from] StateError),
    /// The journal.
    #[error("the journal cannot be opened")]
    Journal(#[from] OpenError),
    /// The journal's ledger.
    #[error("the journal's ledger cannot be read")]
    Ledger(#[from] ReadError),
    /// What the journal holds.
    #[error(transparent)]
    Restore(#[from] RestoreError),
    /// The journal's thread.
    #[error(transparent)]
    JournalLost(#[from] JournalLost),
    /// The operating system.
    #[error("this machine lacks {what}")]
    System {
        /// What the agent cannot do without.
        what: &'static str,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// No randomness.
    #[error(transparent)]
    Random(#[from] NoRandomness),
    /// It was to stop, and not everything is on disk.
    #[error(
        "ended before everything was on disk, {why}: what is on disk is whole, and commands that were not finished there are reported as interrupted after the next start"
    )]
    Unfinished {
        /// Why it did not wait longer.
        why: &'static str,
    },
    /// The agent's version is too long for the wire.
    #[error("the agent's version has more than 32 bytes")]
    Version,
}

fn system(what: &'static str) -> impl FnOnce(io::Error) -> RunError {
    move |source| RunError::System { what, source }
}

/// What was opened of a state directory.
struct Opened {
    _held: Held,
    node: Node,
    store: Store,
    core: Core,
}

/// Who this is, and where it connects.
struct Node {
    identity: Identity,
    /// The identity's, or those of this run alone.
    bridges: Vec<Address>,
    /// Files beside the journal that are none of ours.
    strays: Vec<PathBuf>,
}

/// Takes the state directory and restores the core from it.
fn open(state: &StateDir, settings: &Settings) -> Result<Opened, RunError> {
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
    let (mut store, recovery) = journal::open(&place.path, &settings.journal())?;
    report(&recovery);
    let boot_id = clock::boot_id().map_err(system("/proc/sys/kernel/random/boot_id"))?;
    let restored = store.restored(boot_id, clock::random()?, clock::now())?;
    let core = Core::restore(config(&node, settings)?, restored)?;
    Ok(Opened {
        _held: held,
        node,
        store,
        core,
    })
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
    if let Some(error) = &recovery.read_only {
        tracing::error!(
            error = chain(error),
            "the state directory is read-only: commands are refused until it can be written"
        );
    }
    if let Some(error) = &recovery.reserve_missing {
        tracing::warn!(error = chain(error), "the device has no room to spare");
    }
}

/// What `status` shows of a state directory on which no agent runs.
///
/// # Errors
/// [`RunError`]; [`StateError::InUse`] when an agent runs after all.
pub fn offline_status(state: &StateDir) -> Result<Value, RunError> {
    let opened = open(state, &Settings::default())?;
    Ok(status_of(
        &opened.core,
        &opened.node,
        opened.store.wear(),
        false,
    ))
}

fn status_of(core: &Core, node: &Node, wear: Wear, running: bool) -> Value {
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

/// Serves until told to stop.
///
/// # Errors
/// [`RunError`].
pub async fn run(state: StateDir, settings: &Settings) -> Result<(), RunError> {
    let opened = open(&state, settings)?;
    let control = Control::listen(state.control_socket())
        .inspect_err(|error| tracing::warn!(%error, "`status` cannot ask this agent"))
        .ok();
    let (events, inbox) = mpsc::channel(EVENTS_MAX);
    tracing::info!(
        node_id = %opened.node.identity.node,
        version = env!("CARGO_PKG_VERSION"),
        "the agent runs"
    );
    let shell = Shell {
        state,
        core: opened.core,
        node: opened.node,
        dialer: Dialer::default(),
        floor: Floor::default(),
        journal: JournalTask::new(opened.store),
        connection: None,
        steps: Steps::default(),
        events,
        again: VecDeque::new(),
        ends_by: None,
        stopped: false,
    };
    Box::pin(shell.serve(inbox, control)).await
}

struct Shell {
    state: StateDir,
    core: Core,
    node: Node,
    dialer: Dialer,
    floor: Floor,
    journal: JournalTask,
    connection: Option<Connection>,
    steps: Steps,
    events: mpsc::Sender<Event>,
    /// Inputs that an effect came to at once.
    again: VecDeque<Input>,
    /// When the process ends at the latest, once it was told to stop.
    ends_by: Option<Instant>,
    stopped: bool,
}

struct Signals {
    terminate: Signal,
    interrupt: Signal,
    hang_up: Signal,
}

impl Signals {
    fn new() -> io::Result<Self> {
        Ok(Self {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
            hang_up: signal(SignalKind::hangup())?,
        })
    }

    /// Asked to stop. There is no configuration to read again, so a hang-up does nothing.
    async fn stop(&mut self) {
        loop {
            tokio::select! {
                _ = self.terminate.recv() => return,
                _ = self.interrupt.recv() => return,
                _ = self.hang_up.recv() => {}
            }
        }
    }
}

impl Shell {
    async fn serve(
        mut self,
        mut inbox: mpsc::Receiver<Event>,
        control: Option<Control>,
    ) -> Result<(), RunError> {
        let mut alarm = Alarm::new().map_err(system("a timer"))?;
        let mut signals = Signals::new().map_err(system("signals"))?;
        let mut notify = Notify::of_environment();
        notify.ready();
        loop {
            self.perform_all();
            notify.status(self.core.link_state(), self.core.disk_fault());
            if self.stopped && self.journal.is_idle() {
                tracing::info!("stopped; everything is on disk");
                return Ok(());
            }
            let deadline = self.core.next_deadline().filter(|_| !self.stopped);
            alarm.set(deadline).map_err(system("a timer"))?;
            tokio::select! {
                answers = self.journal.next() => answers?.into_iter().for_each(|input| self.step(input)),
                event = inbox.recv() => self.take(event),
                rung = alarm.ring() => {
                    rung.map_err(system("a timer"))?;
                    self.step(Input::Tick);
                }
                () = signals.stop() => {
                    if self.ends_by.is_some() {
                        return unfinished(control, "because it was told to stop twice");
                    }
                    tracing::info!("told to stop");
                    notify.stopping();
                    self.ends_by = Some(Instant::now() + STOP_LIMIT);
                    self.step(Input::Stop);
                }
                () = sleep_until(self.ends_by.unwrap_or_else(Instant::now)), if self.ends_by.is_some() => {
                    return unfinished(control, "because the disk took longer than 15 s");
                }
                () = handed_on(&mut self.connection) => {}
                () = notify.due() => notify.alive(),
                asked = asked(control.as_ref()) => {
                    let wear = self.journal.wear();
                    control::answer(asked, status_of(&self.core, &self.node, wear, true));
                }
            }
        }
    }

    fn step(&mut self, input: Input) {
        if let Input::StepEnded { command, step, .. } = &input {
            self.steps.ended(*command, *step);
        }
        self.core.step(clock::now(), input);
    }

    fn take(&mut self, event: Option<Event>) {
        match event {
            Some(Event::Input(input)) => self.step(input),
            Some(Event::Renewed(identity)) => {
                self.node.identity = *identity;
                let certificate = renewal::life_of(&self.node.identity);
                self.step(Input::Installed { certificate });
            }
            // Cannot be: this loop holds a sender.
            None => {}
        }
    }

    /// Begins every effect, in the core's order.
    fn perform_all(&mut self) {
        loop {
            while let Some(effect) = self.core.poll_effect() {
                self.perform(effect);
            }
            match self.again.pop_front() {
                Some(input) => self.step(input),
                None => return,
            }
        }
    }

    fn perform(&mut self, effect: Effect) {
        match effect {
            Effect::Persist { ticket, writes } => self.journal.push(Op::Persist { ticket, writes }),
            Effect::Release { class, up_to } => self.journal.push(Op::Release { class, up_to }),
            Effect::Read {
                class,
                from,
                up_to,
                max_records,
                max_bytes,
            } => self.journal.push(Op::Read {
                class,
                from,
                up_to,
                max_records,
                max_bytes,
            }),
            Effect::Load { key } => self.journal.push(Op::Load { key }),
            Effect::Connect {
                attempt,
                bridge,
                identity,
                floor_unix_ms,
            } => self.connect(attempt, bridge, &identity, floor_unix_ms),
            Effect::Disconnect { attempt, why } => self.send(attempt, Outgoing::Close(why)),
            Effect::Send {
                attempt,
                topic,
                frame,
                qos,
            } => {
                let topic = topic.to_string();
                self.send(attempt, Outgoing::Publish { topic, frame, qos });
            }
            Effect::AckTransport { delivery } => {
                self.send(delivery.attempt, Outgoing::Ack(delivery.packet));
            }
            Effect::EndRemains => {
                let events = self.events.clone();
                let told = Event::Input(Input::RemainsEnded);
                plugin::sweep(self.state.scripts(), move || {
                    drop(events.blocking_send(told))
                });
            }
            Effect::Run(run) => {
                let environment = self.environment();
                let (scripts, events) = (self.state.scripts(), self.events.clone());
                self.steps.begin(*run, &scripts, environment, events);
            }
            Effect::Kill { command, step, why } => self.steps.kill(command, step, why),
            Effect::Reboot { command } => {
                tracing::info!(command_id = %command, "a step asks for a reboot");
                steps::reboot(self.events.clone());
            }
            Effect::Gather(what) => {
                steps::gather(
                    what,
                    self.node.identity.node.to_string(),
                    self.events.clone(),
                );
            }
            Effect::MakeRenewal { nonce } => renewal::make(
                self.state.clone(),
                self.node.identity.clone(),
                nonce,
                self.events.clone(),
            ),
            Effect::Install { certificate } => renewal::install(
                self.state.clone(),
                self.node.identity.clone(),
                certificate,
                self.events.clone(),
            ),
            Effect::Log { level, message } => log(level, &message),
            Effect::Stopped => {
                self.journal.push(Op::Checkpoint);
                self.stopped = true;
            }
        }
    }

    fn environment(&self) -> Environment {
        Environment {
            node: self.node.identity.node.to_string(),
            platform: platform::detect(None),
            command: String::new(),
        }
    }

    fn connect(
        &mut self,
        attempt: Attempt,
        bridge: usize,
        identity: &LinkIdentity,
        floor_unix_ms: u64,
    ) {
        self.floor.set(floor_unix_ms);
        let client = match identity {
            LinkIdentity::Node { .. } => Some(self.node.identity.client()),
            LinkIdentity::Enrol { .. } => None,
        };
        let tls = Connector::new(self.node.identity.root(), client, self.floor.clone());
        let address = self.node.bridges.get(bridge);
        let (tls, address) = match (tls, address) {
            (Ok(tls), Some(address)) => (tls, address.clone()),
            (Err(error), _) => return self.not_connected(attempt, chain(&error)),
            (Ok(_), None) => return self.not_connected(attempt, format!("no bridge {bridge}")),
        };
        self.connection = Some(Connection::begin(
            attempt,
            self.dialer.clone(),
            address,
            tls,
            connection::hail(self.node.identity.node, identity),
            self.events.clone(),
        ));
    }

    fn not_connected(&mut self, attempt: Attempt, why: String) {
        let fault = LinkFault::Tls;
        self.again.push_back(Input::LinkFailed {
            attempt,
            fault,
            why,
        });
    }

    fn send(&mut self, attempt: Attempt, outgoing: Outgoing) {
        let connection = self.connection.as_mut();
        if let Some(connection) = connection.filter(|connection| connection.attempt == attempt) {
            connection.send(outgoing);
        }
    }
}

/// Ends without another word to the disk, which may not answer.
fn unfinished(control: Option<Control>, why: &'static str) -> Result<(), RunError> {
    // Its end would remove a file.
    std::mem::forget(control);
    Err(RunError::Unfinished { why })
}

async fn handed_on(connection: &mut Option<Connection>) {
    match connection {
        Some(connection) => connection.hand_on().await,
        None => std::future::pending().await,
    }
}

async fn asked(control: Option<&Control>) -> tokio::net::UnixStream {
    loop {
        match control {
            Some(control) => match control.accept().await {
                Ok(stream) => return stream,
                // Such as too many open files: who asks will ask again.
                Err(error) => {
                    tracing::debug!(%error, "a request for the status is lost");
                    tokio::time::sleep(Duration::from_secs(1)).await;
                }
            },
            None => std::future::pending().await,
        }
    }
}

fn log(level: Level, message: &str) {
    match level {
        Level::Debug => tracing::debug!("{message}"),
        Level::Info => tracing::info!("{message}"),
        Level::Warn => tracing::warn!("{message}"),
        Level::Error => tracing::error!("{message}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
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
