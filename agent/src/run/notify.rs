//! Tells the service manager what it asked to be told: ready, alive, stopping, how the link is; `sd_notify(3)`.
//! Never waits for it and never fails because of it: a message that it does not take is not repeated.

use holdfast_agent_core::LinkState;
use std::ffi::{OsStr, OsString};
use std::io;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::time::Duration;
use tokio::time::{Instant, sleep_until};

/// What a manager that starts this process leaves in its environment; not for the scripts it runs.
pub(crate) const VARIABLES: [&str; 3] = ["NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID"];

/// The service manager, where there is one that listens.
#[derive(Debug, Default)]
pub(super) struct Notify {
    socket: Option<UnixDatagram>,
    /// Half of the time after which the manager takes this process for dead.
    every: Option<Duration>,
    alive_at: Option<Instant>,
    status: String,
}

impl Notify {
    /// Whoever the environment names.
    pub(super) fn of_environment() -> Self {
        let [socket, usec, pid] = VARIABLES.map(std::env::var_os);
        let Some(socket) = socket else {
            return Self::default();
        };
        let ours = pid.is_none_or(|pid| pid == OsString::from(std::process::id().to_string()));
        let usec = usec.filter(|_| ours);
        let usec = usec.and_then(|usec| usec.to_str()?.parse().ok());
        Self::at(&socket, usec).unwrap_or_else(|error| {
            tracing::warn!(%error, "the service manager is not told: NOTIFY_SOCKET cannot be used");
            Self::default()
        })
    }

    fn at(name: &OsStr, watchdog_usec: Option<u64>) -> io::Result<Self> {
        let address = match name.as_bytes().split_first() {
            Some((b'@', name)) => SocketAddr::from_abstract_name(name)?,
            Some(_) | None => SocketAddr::from_pathname(name)?,
        };
        let socket = UnixDatagram::unbound()?;
        socket.set_nonblocking(true)?;
        socket.connect_addr(&address)?;
        let every = watchdog_usec.map(|usec| Duration::from_micros(usec / 2));
        Ok(Self {
            socket: Some(socket),
            every: every.filter(|every| !every.is_zero()),
            alive_at: None,
            status: String::new(),
        })
    }

    fn say(&self, message: &str) {
        if let Some(socket) = &self.socket
            && let Err(error) = socket.send(message.as_bytes())
        {
            tracing::debug!(%error, message, "the service manager is not told");
        }
    }

    /// The journal is open and the loop runs.
    pub(super) fn ready(&mut self) {
        self.say("READY=1");
        self.alive_at = self.every.map(|every| Instant::now() + every);
    }

    /// How the link is and what the disk fails with, where that has changed.
    pub(super) fn status(&mut self, link: LinkState, disk: Option<&str>) {
        if self.socket.is_none() {
            return;
        }
        let link = match link {
            LinkState::Waiting => "the link is down",
            LinkState::Connecting => "connecting",
            LinkState::Greeting => "connected, not yet accepted",
            LinkState::Online => "online",
            LinkState::Enrolling => "connected to enrol again",
        };
        // A line break would begin another assignment.
        let status = match disk {
            Some(why) => format!("{link}; the disk fails: {}", why.replace('\n', " ")),
            None => link.to_owned(),
        };
        if status != self.status {
            self.say(&format!("STATUS={status}"));
            self.status = status;
        }
    }

    /// Waits until it is time to say [`Self::alive`]; for ever where nobody asks.
    pub(super) async fn due(&self) {
        match self.alive_at {
            Some(at) => sleep_until(at).await,
            None => std::future::pending().await,
        }
    }

    /// The loop lives.
    pub(super) fn alive(&mut self) {
        self.say("WATCHDOG=1");
        self.alive_at = self.every.map(|every| Instant::now() + every);
    }

    /// The process was told to stop.
    pub(super) fn stopping(&self) {
        self.say("STOPPING=1");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn heard(manager: &UnixDatagram) -> String {
        let mut message = [0; 256];
        let length = manager.recv(&mut message).unwrap();
        String::from_utf8(message[..length].to_vec()).unwrap()
    }

    async fn converse(name: &OsStr, manager: &UnixDatagram) {
        let mut notify = Notify::at(name, Some(2)).unwrap();
        notify.ready();
        assert_eq!(heard(manager), "READY=1");
        notify.status(LinkState::Online, None);
        // Unchanged, it is not said again.
        notify.status(LinkState::Online, None);
        assert_eq!(heard(manager), "STATUS=online");
        notify.status(LinkState::Waiting, Some("EIO\nREADY=1"));
        assert_eq!(
            heard(manager),
            "STATUS=the link is down; the disk fails: EIO READY=1"
        );
        for _ in 0..2 {
            notify.due().await;
            notify.alive();
            assert_eq!(heard(manager), "WATCHDOG=1");
        }
        notify.stopping();
        assert_eq!(heard(manager), "STOPPING=1");
    }

    #[tokio::test]
    async fn a_manager_at_a_path_is_told() {
        let home = tempfile::tempdir().unwrap();
        let path = home.path().join("notify");
        let manager = UnixDatagram::bind(&path).unwrap();
        converse(path.as_os_str(), &manager).await;
    }

    #[tokio::test]
    async fn a_manager_at_an_abstract_name_is_told() {
        let name = format!("holdfast-notify-{}", std::process::id());
        let address = SocketAddr::from_abstract_name(&name).unwrap();
        let manager = UnixDatagram::bind_addr(&address).unwrap();
        converse(OsStr::new(&format!("@{name}")), &manager).await;
    }

    #[tokio::test]
    async fn nobody_is_told_and_nothing_fails_where_nobody_listens() {
        let home = tempfile::tempdir().unwrap();
        let path = home.path().join("notify");
        let manager = UnixDatagram::bind(&path).unwrap();
        let mut notify = Notify::at(path.as_os_str(), None).unwrap();
        drop(manager);
        notify.ready();
        notify.status(LinkState::Online, None);
        tokio::select! {
            biased;
            () = notify.due() => panic!("nobody asked for it"),
            () = tokio::task::yield_now() => {}
        }
        assert!(Notify::at(OsStr::new("/no/such/socket"), None).is_err());
    }
}
