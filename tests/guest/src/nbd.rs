//! Serves a [`Disk`] by NBD over a Unix socket, to one machine at a time, one request after another.
//! Never answers a request after the power is off, as a disk would not.

mod wire;

use crate::disk::{Cut, Disk, Recording};
use anyhow::{Context as _, Result};
use holdfast_e2e::{PATIENCE, Random, until};
use std::io::Write as _;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// What the server and the test share.
#[derive(Debug)]
struct State {
    disk: Disk,
    powered: bool,
    /// Writes until the power goes by itself.
    fuse: Option<usize>,
    /// Whether a machine is connected.
    connected: bool,
}

impl State {
    /// One request later.
    fn burn(&mut self, was_write: bool) {
        if was_write && let Some(left) = &mut self.fuse {
            *left = left.saturating_sub(1);
            self.powered &= *left > 0;
        }
    }
}

/// A disk that a machine can be started with. The serving thread ends with the process.
#[derive(Debug)]
pub struct Server {
    socket: PathBuf,
    state: Arc<Mutex<State>>,
}

fn lock(state: &Mutex<State>) -> MutexGuard<'_, State> {
    state.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Server {
    /// Serves a disk at a socket that is made.
    ///
    /// # Errors
    /// When the socket cannot be made.
    pub fn start(socket: &Path, disk: Disk) -> Result<Self> {
        let listener = UnixListener::bind(socket).with_context(|| socket.display().to_string())?;
        let state = Arc::new(Mutex::new(State {
            disk,
            powered: true,
            fuse: None,
            connected: false,
        }));
        let for_thread = Arc::clone(&state);
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                serve(stream, &for_thread);
            }
        });
        Ok(Self {
            socket: socket.to_owned(),
            state,
        })
    }

    /// Where it is served.
    #[must_use]
    pub fn socket(&self) -> &Path {
        &self.socket
    }

    /// Looks at the disk, or does something to it, between two requests.
    pub fn with<T>(&self, look: impl FnOnce(&mut Disk) -> T) -> T {
        look(&mut lock(&self.state).disk)
    }

    /// Asks, from anywhere, how many events of the disk are recorded.
    pub fn position(&self) -> impl Fn() -> usize + Send + 'static {
        let state = Arc::clone(&self.state);
        move || lock(&state).disk.recorded()
    }

    /// Takes the power away: from here on no request is done or answered. Not even refused: the
    /// machine dies of the same cut, and must not see a failing disk before.
    pub fn power_off(&self) {
        lock(&self.state).powered = false;
    }

    /// Has the power go at a write, counted from here: that one reaches the cache, and is not answered.
    pub fn power_off_at_write(&self, number: usize) {
        lock(&self.state).fuse = Some(number);
    }

    /// Whether there is power.
    #[must_use]
    pub fn has_power(&self) -> bool {
        lock(&self.state).powered
    }

    /// Chooses what the cut leaves, and gives the power back. The machine must be dead.
    ///
    /// # Errors
    /// When a machine is still connected.
    pub fn power_on(&self, random: &mut Random) -> Result<Cut> {
        self.until_free()?;
        let mut state = lock(&self.state);
        state.powered = true;
        state.fuse = None;
        Ok(state.disk.cut(random))
    }

    /// Waits until the machine that was killed is gone, and all that it sent has arrived.
    ///
    /// # Errors
    /// After [`PATIENCE`].
    pub fn until_free(&self) -> Result<()> {
        until("the disk's machine is gone", PATIENCE, || {
            Ok((!lock(&self.state).connected).then_some(()))
        })
    }

    /// All that reached the disk since [`Disk::start_recording`].
    ///
    /// # Errors
    /// When nothing was recorded, or too much.
    pub fn take_recording(&self) -> Result<Recording> {
        self.with(Disk::take_recording)
            .context("no recording of the disk, or one beyond its bound")
    }
}

fn serve(mut stream: UnixStream, state: &Mutex<State>) {
    lock(state).connected = true;
    let bytes = lock(state).disk.bytes();
    // A machine that is killed ends its connection at any byte.
    let _ = wire::greet(&mut stream, bytes).and_then(|()| {
        while let Some(request) = wire::Request::read(&mut stream)? {
            let writes = request.is_write();
            let mut state = lock(state);
            let reply = state.powered.then(|| request.perform(&mut state.disk));
            state.burn(writes);
            if let Some(reply) = reply
                && state.powered
            {
                stream.write_all(&reply)?;
            }
        }
        Ok(())
    });
    lock(state).connected = false;
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Read as _;

    const DISK_BYTES: usize = 4096;
    const SIMPLE_REPLY: [u8; 4] = [0x67, 0x44, 0x66, 0x98];
    const EINVAL: u32 = 22;

    fn start(folder: &Path) -> Server {
        Server::start(&folder.join("socket"), Disk::new(vec![0; DISK_BYTES])).unwrap()
    }

    fn take<const N: usize>(stream: &mut UnixStream) -> [u8; N] {
        let mut bytes = [0; N];
        stream.read_exact(&mut bytes).unwrap();
        bytes
    }

    /// A client after the negotiation that qemu does.
    fn connect(server: &Server) -> UnixStream {
        let mut stream = UnixStream::connect(server.socket()).unwrap();
        assert_eq!(&take::<18>(&mut stream), b"NBDMAGICIHAVEOPT\0\x03");
        stream.write_all(&3_u32.to_be_bytes()).unwrap();
        // Structured replies, which are refused, then the export.
        for (option, replies) in [(8_u32, 20), (7, 20 + 12 + 20)] {
            stream.write_all(b"IHAVEOPT").unwrap();
            stream.write_all(&option.to_be_bytes()).unwrap();
            stream.write_all(&[0; 4]).unwrap();
            let mut reply = vec![0; replies];
            stream.read_exact(&mut reply).unwrap();
            if option == 7 {
                assert_eq!(&reply[22..30], (DISK_BYTES as u64).to_be_bytes());
            }
        }
        stream
    }

    fn send(stream: &mut UnixStream, command: u16, offset: u64, length: u32, data: &[u8]) {
        let head = [&[0x25, 0x60, 0x95, 0x13, 0, 0][..], &command.to_be_bytes()];
        let head = [&head.concat()[..], b"cookie!!", &offset.to_be_bytes()].concat();
        let request = [&head[..], &length.to_be_bytes(), data].concat();
        stream.write_all(&request).unwrap();
    }

    /// The reply's error number.
    fn answered(stream: &mut UnixStream) -> u32 {
        assert_eq!(take(stream), SIMPLE_REPLY);
        let error = u32::from_be_bytes(take(stream));
        assert_eq!(&take::<8>(stream), b"cookie!!");
        error
    }

    #[test]
    fn a_client_reads_what_it_wrote_and_is_refused_beyond_the_end() {
        let folder = tempfile::tempdir().unwrap();
        let server = start(folder.path());
        let mut client = connect(&server);
        send(&mut client, 1, 510, 4, b"data");
        assert_eq!(answered(&mut client), 0);
        send(&mut client, 0, 509, 6, b"");
        assert_eq!(answered(&mut client), 0);
        assert_eq!(&take::<6>(&mut client), b"\0data\0");
        send(&mut client, 0, 4095, 2, b"");
        assert_eq!(answered(&mut client), EINVAL);
        send(&mut client, 4, 0, 512, b"");
        assert_eq!(answered(&mut client), EINVAL);
        assert_eq!(server.with(|disk| disk.medium().to_vec()), [0; DISK_BYTES]);
        send(&mut client, 3, 0, 0, b"");
        assert_eq!(answered(&mut client), 0);
        assert_eq!(
            server.with(|disk| disk.medium()[510..514].to_vec()),
            b"data"
        );
    }

    #[test]
    fn without_power_nothing_is_done_or_answered_until_the_next_machine() {
        let folder = tempfile::tempdir().unwrap();
        let server = start(folder.path());
        let mut client = connect(&server);
        server.power_off();
        send(&mut client, 1, 0, 4, b"lost");
        client.shutdown(std::net::Shutdown::Write).unwrap();
        let mut answer = Vec::new();
        client.read_to_end(&mut answer).unwrap();
        assert_eq!(answer, b"");
        let cut = server.power_on(&mut Random::new(1)).unwrap();
        assert_eq!(cut.unflushed, 0);
        let mut client = connect(&server);
        send(&mut client, 0, 0, 4, b"");
        assert_eq!(answered(&mut client), 0);
        assert_eq!(take::<4>(&mut client), [0; 4]);
    }

    #[test]
    fn the_power_goes_at_the_write_that_was_named() {
        let folder = tempfile::tempdir().unwrap();
        let server = start(folder.path());
        let mut client = connect(&server);
        server.power_off_at_write(2);
        for (offset, data) in [(0, b"one!"), (512, b"two!"), (1024, b"late")] {
            send(&mut client, 1, offset, 4, data);
        }
        assert_eq!(answered(&mut client), 0);
        client.shutdown(std::net::Shutdown::Write).unwrap();
        assert_eq!(client.read_to_end(&mut Vec::new()).unwrap(), 0);
        assert!(!server.has_power());
        assert_eq!(server.power_on(&mut Random::new(1)).unwrap().unflushed, 2);
        assert!(server.has_power());
    }

    #[test]
    fn what_is_not_nbd_ends_its_connection_only() {
        let folder = tempfile::tempdir().unwrap();
        let server = start(folder.path());
        for garbage in [&b"GET / HTTP/1.1\r\n\r\n"[..], &[0xff; 64], b""] {
            let mut stream = UnixStream::connect(server.socket()).unwrap();
            stream.write_all(garbage).unwrap();
            stream.shutdown(std::net::Shutdown::Write).unwrap();
            // Ended with or without a reset: either way there is an end.
            let _ = stream.read_to_end(&mut Vec::new());
        }
        connect(&server);
    }
}
