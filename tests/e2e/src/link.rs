//! A TCP link on loopback between an agent and its bridge that can be cut and restored.
//! Never reads what passes: TLS goes end to end.

use anyhow::{Context as _, Result};
use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

#[derive(Debug, Default)]
struct State {
    cut: bool,
    /// Both ends of each connection that passes, by number.
    open: Vec<(usize, TcpStream, TcpStream)>,
}

#[derive(Debug)]
struct Shared {
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
        let listener = TcpListener::bind("127.0.0.1:0").context("binding the link")?;
        let address = listener.local_addr()?;
        let shared = Arc::new(Shared {
            target: Mutex::new(target),
            state: Mutex::default(),
            next: AtomicUsize::new(0),
            bytes: AtomicU64::new(0),
        });
        let for_thread = Arc::clone(&shared);
        std::thread::spawn(move || {
            for agent in listener.incoming().flatten() {
                // A refused or reset connection is the link's business, not the test's.
                let _ = pass(agent, &for_thread);
            }
        });
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
        state.cut = true;
        for (_, agent, bridge) in state.open.drain(..) {
            // Either end may be gone already.
            let _ = agent.shutdown(Shutdown::Both);
            let _ = bridge.shutdown(Shutdown::Both);
        }
    }

    /// Restores: new connections get through.
    pub fn restore(&self) {
        self.shared.state().cut = false;
    }

    /// Bytes passed so far, both ways.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.shared.bytes.load(Ordering::Relaxed)
    }
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
        while let Ok(bytes @ 1..) = from.read(&mut buffer) {
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
