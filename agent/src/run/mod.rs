//! `run`: performs the core's effects and feeds back what comes of them.
//! Never decides: which command runs, what is sent and when to connect again is the core's.

mod connection;
pub mod control;
mod journal;
mod link_log;
pub(crate) mod notify;
mod open;
mod renewal;
pub mod settings;
mod steps;

use crate::clock::{self, Alarm, NoRandomness};
use crate::error::chain;
use crate::link::{Dialer, Outgoing};
use crate::platform;
use crate::plugin::gatherer::THIS_PROGRAM;
use crate::plugin::{self, Environment};
use crate::state::{Identity, StateDir, StateError};
use crate::tls::{Connector, Floor};
use connection::Connection;
use control::Control;
use holdfast_agent_core::{
    Attempt, Core, Effect, Input, Level, LinkFault, LinkIdentity, LinkState, RestoreError,
};
use holdfast_journal::{OpenError, ReadError};
use journal::{JournalLost, JournalTask};
use link_log::LinkLog;
use notify::Notify;
pub use open::offline_status;
use open::{Node, open, status_of};
use settings::Settings;
use std::collections::VecDeque;
use std::io;
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
        link_log: LinkLog::default(),
        bridge: 0,
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
    link_log: LinkLog,
    /// The bridge that was asked last.
    bridge: usize,
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
            self.tell_link(&mut notify);
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
                    let why = match self.core.disk_fault() {
                        Some(_) => "because the disk fails",
                        None => "because the disk took longer than 15 s",
                    };
                    return unfinished(control, why);
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
        let mut ended = None;
        if let Input::LinkFailed { why, .. } | Input::Disconnected { why, .. } = &input {
            ended = Some(why.clone());
        }
        let now = clock::now();
        self.core.step(now, input);
        if let Some(why) = ended.filter(|_| self.ends_by.is_none()) {
            let next_try_ms = self.core.next_try_in_ms(now);
            self.link_log.ended(now, &why, next_try_ms);
        }
    }

    /// How the link is, for the service manager and the log.
    fn tell_link(&mut self, notify: &mut Notify) {
        let link = self.core.link_state();
        notify.status(link, self.core.disk_fault());
        if let Some(bridge) = self.node.bridges.get(self.bridge) {
            let is_online = link == LinkState::Online;
            self.link_log.online(clock::now(), is_online, bridge);
        }
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
            Effect::Store(op) => self.journal.push(op),
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
                steps::gather(what, self.environment(), self.events.clone());
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
            Effect::Stopped => self.stopped = true,
        }
    }

    fn environment(&self) -> Environment {
        Environment {
            node: self.node.identity.node.to_string(),
            platform: platform::detect(None),
            command: String::new(),
            program: Some(THIS_PROGRAM.into()),
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
        self.bridge = bridge;
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
