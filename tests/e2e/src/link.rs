//! A TCP link on loopback between an agent and its bridge that can be cut and restored: while it
//! is cut, TCP itself is refused, as where a link is down, and not accepted and then closed.
//! Never reads what passes: TLS goes end to end.

use anyhow::{Context as _, Result};
use holdfast_tcp::Pace;
use std::io::{ErrorKind, Read, Write};
use std::net::{IpAddr, Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::Duration;

/// Connections that wait to be accepted.
const BACKLOG: i32 = 128;

#[derive(Debug, Default)]
struct State {
    cut: bool,
    /// Both ends of each connection that passes, by number.
    open: Vec<(usize, TcpStream, TcpStream)>,
}

#[derive(Debug)]
struct Shared {
    listener: TcpListener,
    restored: Condvar,
    target: Mutex<SocketAddr>,
    state: Mutex<State>,
    next: AtomicUsize,
    bytes: AtomicU64,
}

impl Shared {
    fn state(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The link. It starts up whole.
#[derive(Debug)]
pub struct Link {
    address: SocketAddr,
    shared: Arc<Shared>,
}

impl Link {
    /// Opens a link to a target. The listening thread ends with the process.
    ///
    /// # Errors
    /// When no port can be bound on loopback.
    pub fn to(target: SocketAddr) -> Result<Self> {
        Self::at(IpAddr::V4(Ipv4Addr::LOCALHOST), target)
    }

    /// As [`Self::to`], entered at another address of this machine.
    ///
    /// # Errors
    /// When no port can be bound there.
    pub fn at(entrance: IpAddr, target: SocketAddr) -> Result<Self> {
        let listener = own_port(entrance).context("binding the link")?;
        let address = listener.local_addr()?;
        let shared = Arc::new(Shared {
            listener,
            restored: Condvar::new(),
            target: Mutex::new(target),
            state: Mutex::default(),
            next: AtomicUsize::new(0),
            bytes: AtomicU64::new(0),
        });
        let for_thread = Arc::clone(&shared);
        std::thread::spawn(move || accept(&for_thread));
        Ok(Self { address, shared })
    }

    /// Where agents connect.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Points new connections at another address, such as a restarted bridge.
    pub fn retarget(&self, target: SocketAddr) {
        *self
            .shared
            .target
            .lock()
            .unwrap_or_else(PoisonError::into_inner) = target;
    }

    /// Cuts: everything that passes is reset, and nothing new gets through.
    pub fn cut(&self) {
        let mut state = self.shared.state();
        // Shut down a second time, Linux would mark the socket, and with it what it later accepts.
        if state.cut {
            return;
        }
        state.cut = true;
        // It listens, so that this cannot fail.
        let _ = rustix::net::shutdown(&self.shared.listener, rustix::net::Shutdown::Both);
        for (_, agent, bridge) in state.open.drain(..) {
            // Either end may be gone already.
            let _ = agent.shutdown(Shutdown::Both);
            let _ = bridge.shutdown(Shutdown::Both);
        }
    }

    /// Restores: new connections get through.
    pub fn restore(&self) {
        let mut state = self.shared.state();
        // The port is still bound, so that listening cannot fail.
        let _ = rustix::net::listen(&self.shared.listener, BACKLOG);
        state.cut = false;
        self.shared.restored.notify_all();
    }

    /// Bytes passed so far, both ways.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.shared.bytes.load(Ordering::Relaxed)
    }
}

fn accept(shared: &Arc<Shared>) {
    loop {
        match shared.listener.accept() {
            // A refused or reset connection is the link's business, not the test's.
            Ok((agent, _)) => drop(pass(agent, shared)),
            Err(_) => {
                let cut = shared.state();
                let waited = shared.restored.wait_while(cut, |state| state.cut);
                drop(waited.unwrap_or_else(PoisonError::into_inner));
                // Whatever else failed may pass: descriptors come free again.
                std::thread::sleep(Duration::from_millis(1));
            }
        }
    }
}

/// Tries to have a port of one's own before it is given up.
const PORT_TRIES: usize = 20;

/// Bound by its number, a port stays ours while nobody listens on it. Somebody else may have taken it
/// since it was free: then another one is.
fn own_port(entrance: IpAddr) -> std::io::Result<TcpListener> {
    let bound = || {
        // Closed before it is bound again.
        let free = TcpListener::bind((entrance, 0))?.local_addr()?;
        TcpListener::bind(free)
    };
    let tries = std::iter::repeat_with(bound).take(PORT_TRIES);
    let taken = |tried: &std::io::Result<TcpListener>| matches!(tried, Err(error) if error.kind() == ErrorKind::AddrInUse);
    let mut tries = tries.skip_while(taken);
    tries.next().unwrap_or_else(bound)
}

fn pass(agent: TcpStream, shared: &Arc<Shared>) -> Result<()> {
    if shared.state().cut {
        agent.shutdown(Shutdown::Both)?;
        return Ok(());
    }
    let target = *shared.target.lock().unwrap_or_else(PoisonError::into_inner);
    let bridge = TcpStream::connect(target)?;
    agent.set_nodelay(true)?;
    bridge.set_nodelay(true)?;
    let number = shared.next.fetch_add(1, Ordering::Relaxed);
    {
        let mut state = shared.state();
        if state.cut {
            // Cut between the check and here: both ends close as they are dropped.
            return Ok(());
        }
        state
            .open
            .push((number, agent.try_clone()?, bridge.try_clone()?));
    }
    pump(
        agent.try_clone()?,
        bridge.try_clone()?,
        number,
        Arc::clone(shared),
    );
    pump(bridge, agent, number, Arc::clone(shared));
    Ok(())
}

fn pump(mut from: TcpStream, mut to: TcpStream, number: usize, shared: Arc<Shared>) {
    std::thread::spawn(move || {
        let mut buffer = vec![0; 16 * 1024];
        // Towards the agent this end stands for the bridge, whose connections have it.
        let mut pace = Pace::set(&from);
        while let Ok(bytes @ 1..) = from.read(&mut buffer) {
            pace.follow(&from);
            shared.bytes.fetch_add(bytes as u64, Ordering::Relaxed);
            if to
                .write_all(buffer.get(..bytes).unwrap_or_default())
                .is_err()
            {
                break;
            }
        }
        // Whichever direction ends first ends both.
        let _ = from.shutdown(Shutdown::Both);
        let _ = to.shutdown(Shutdown::Both);
        shared.state().open.retain(|(open, ..)| *open != number);
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A target that echoes, and a link to it.
    fn echo() -> Link {
        let target = TcpListener::bind("127.0.0.1:0").unwrap();
        let link = Link::to(target.local_addr().unwrap()).unwrap();
        std::thread::spawn(move || {
            for mut stream in target.incoming().flatten() {
                std::thread::spawn(move || {
                    let mut buffer = [0; 4];
                    while let Ok(bytes @ 1..) = stream.read(&mut buffer) {
                        stream.write_all(&buffer[..bytes]).unwrap();
                    }
                });
            }
        });
        link
    }

    fn talk(link: &Link) -> std::io::Result<TcpStream> {
        let mut stream = TcpStream::connect(link.address())?;
        stream.write_all(b"ping")?;
        let mut answer = [0; 4];
        stream.read_exact(&mut answer)?;
        assert_eq!(&answer, b"ping");
        Ok(stream)
    }

    #[test]
    fn a_cut_link_resets_what_passes_and_refuses_tcp_until_it_is_restored() {
        let link = echo();
        for _ in 0..3 {
            let mut stream = talk(&link).unwrap();
            link.cut();
            assert!(matches!(stream.read(&mut [0; 4]), Ok(0) | Err(_)));
            for _ in 0..2 {
                let refused = TcpStream::connect(link.address()).unwrap_err();
                assert_eq!(refused.kind(), ErrorKind::ConnectionRefused);
            }
            link.cut();
            link.restore();
            talk(&link).unwrap();
        }
    }
}
