//! `run`: performs the core's effects and feeds back what comes of them.
//! Never decides: which command runs, what is sent and when to connect again is the core's.

mod connection;
pub mod control;
mod journal;
mod renewal;
pub mod settings;
mod steps;

use crate::clock::{self, Alarm, BUILT_UNIX_MS, NoRandomness};
use crate::error::chain;
use crate::link::address::Address;
use crate::link::{Dialer, Outgoing};
use crate::platform;
use crate::plugin::Environment;
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
use serde_json::{Value, json};
use settings::Settings;
use std::collections::VecDeque;
use std::io;
use steps::Steps;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::mpsc;

/// What waits for the core from all tasks together.
const EVENTS_MAX: usize = 64;

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
    identity: Identity,
    store: Store,
    core: Core,
}

/// Takes the state directory and restores the core from it.
fn open(state: &StateDir, settings: &Settings) -> Result<Opened, RunError> {
    let mut identity = state.identity()?;
    if !settings.bridges.is_empty() {
        identity.bridges.clone_from(&settings.bridges);
    }
    let held = state.hold()?;
    let (mut store, recovery) = journal::open(&state.journal_of(&identity)?, &settings.journal())?;
    report(&recovery);
    let boot_id = clock::boot_id().map_err(system("/proc/sys/kernel/random/boot_id"))?;
    let restored = store.restored(boot_id, clock::random()?, clock::now())?;
    let core = Core::restore(config(&identity, settings)?, restored)?;
    Ok(Opened {
        _held: held,
        identity,
        store,
        core,
    })
}

fn config(identity: &Identity, settings: &Settings) -> Result<Config, RunError> {
    Ok(Config {
        node: identity.node,
        root: identity.root_key(),
        bridges: identity.bridges.len(),
        certificate: renewal::life_of(identity),
        agent_version: env!("CARGO_PKG_VERSION")
            .try_into()
            .map_err(|_| RunError::Version)?,
        platform: platform::detect(None),
        document_platform: holdfast_documents::Platform::Linux,
        built_unix_ms: BUILT_UNIX_MS.max(identity.registered_unix_ms),
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
        &opened.identity,
        opened.store.wear(),
        false,
    ))
}

fn status_of(core: &Core, identity: &Identity, wear: Wear, running: bool) -> Value {
    let mut status = json!(core.status(clock::now()));
    if let Value::Object(members) = &mut status {
        let bridges = identity.bridges.iter().map(Address::to_string);
        members.insert("running".into(), running.into());
        members.insert("version".into(), env!("CARGO_PKG_VERSION").into());
        members.insert("bridges".into(), bridges.collect());
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
    // What an earlier process left of its scripts.
    let _ = std::fs::remove_dir_all(state.scripts());
    let control = Control::listen(state.control_socket())
        .inspect_err(|error| tracing::warn!(%error, "`status` cannot ask this agent"))
        .ok();
    let (events, inbox) = mpsc::channel(EVENTS_MAX);
    tracing::info!(
        node_id = %opened.identity.node,
        version = env!("CARGO_PKG_VERSION"),
        "the agent runs"
    );
    let shell = Shell {
        state,
        core: opened.core,
        identity: opened.identity,
        dialer: Dialer::default(),
        floor: Floor::default(),
        journal: JournalTask::new(opened.store),
        connection: None,
        steps: Steps::default(),
        events,
        again: VecDeque::new(),
        stopped: false,
    };
    Box::pin(shell.serve(inbox, control)).await
}

struct Shell {
    state: StateDir,
    core: Core,
    identity: Identity,
    dialer: Dialer,
    floor: Floor,
    journal: JournalTask,
    connection: Option<Connection>,
    steps: Steps,
    events: mpsc::Sender<Event>,
    /// Inputs that an effect came to at once.
    again: VecDeque<Input>,
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
        loop {
            self.perform_all();
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
                () = signals.stop() => self.step(Input::Stop),
                asked = asked(control.as_ref()) => {
                    let wear = self.journal.wear();
                    control::answer(asked, status_of(&self.core, &self.identity, wear, true));
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
                self.identity = *identity;
                let certificate = renewal::life_of(&self.identity);
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
                steps::gather(what, self.identity.node.to_string(), self.events.clone());
            }
            Effect::MakeRenewal { nonce } => renewal::make(
                self.state.clone(),
                self.identity.clone(),
                nonce,
                self.events.clone(),
            ),
            Effect::Install { certificate } => renewal::install(
                self.state.clone(),
                self.identity.clone(),
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
            node: self.identity.node.to_string(),
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
            LinkIdentity::Node { .. } => Some(self.identity.client()),
            LinkIdentity::Enrol { .. } => None,
        };
        let tls = Connector::new(self.identity.root(), client, self.floor.clone());
        let address = self.identity.bridges.get(bridge);
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
            connection::hail(self.identity.node, identity),
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
        let connection = self.connection.as_ref();
        if let Some(connection) = connection.filter(|connection| connection.attempt == attempt) {
            self.again.extend(connection.send(outgoing));
        }
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
                    tokio::time::sleep(std::time::Duration::from_secs(1)).await;
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
