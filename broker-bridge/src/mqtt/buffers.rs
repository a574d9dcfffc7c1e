//! The two buffers of a connection: what came and is not a packet yet, what is not written yet.
//! Never keeps more than a few hundred bytes while nothing happens.

use super::packet::{self, Packet, PacketError, Progress};
use bytes::{Buf, BytesMut};
use std::io;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, ReadHalf, WriteHalf};

/// Read at once while little comes.
const READ_BYTES_IDLE: usize = 512;
/// Read at once while much comes.
const READ_BYTES_MAX: usize = 16 * 1024;
/// A write buffer above this is given back once it is empty.
const WRITE_BYTES_IDLE: usize = 512;

/// The reading side.
pub(super) struct Inbox<S> {
    half: ReadHalf<S>,
    buffer: BytesMut,
    packet_bytes_max: usize,
    read_bytes: usize,
    /// Bytes of the packet that [`Self::peek`] returned.
    taken: usize,
    /// Bytes the packet at the front needs, as far as is known.
    needed: usize,
}

impl<S: AsyncRead> Inbox<S> {
    pub(super) fn new(half: ReadHalf<S>, packet_bytes_max: usize) -> Self {
        Self {
            half,
            buffer: BytesMut::new(),
            packet_bytes_max,
            read_bytes: READ_BYTES_IDLE,
            taken: 0,
            needed: 0,
        }
    }

    /// Reads what is there; 0 at the end. Cancelling loses nothing.
    pub(super) async fn fill(&mut self) -> io::Result<usize> {
        // The rest of a packet whose length is known, and therefore bounded, is reserved at once.
        let missing = self.needed.saturating_sub(self.buffer.len());
        let room = missing.max(self.read_bytes);
        self.buffer.reserve(room);
        let bytes = (&mut self.half)
            .take(room as u64)
            .read_buf(&mut self.buffer)
            .await?;
        self.read_bytes = if bytes >= room {
            (self.read_bytes * 4).min(READ_BYTES_MAX)
        } else {
            READ_BYTES_IDLE
        };
        Ok(bytes)
    }

    /// The packet at the front, if it is whole. It stays until [`Self::advance`].
    pub(super) fn peek(&mut self) -> Result<Option<Packet<'_>>, PacketError> {
        if self.buffer.is_empty() || self.buffer.len() < self.needed {
            return Ok(None);
        }
        match packet::read(&self.buffer, self.packet_bytes_max)? {
            Progress::Need { bytes } => {
                self.needed = bytes;
                Ok(None)
            }
            Progress::Packet { packet, bytes } => {
                self.taken = bytes;
                Ok(Some(packet))
            }
        }
    }

    /// Drops the packet that [`Self::peek`] returned.
    pub(super) fn advance(&mut self) {
        self.buffer.advance(self.taken.min(self.buffer.len()));
        self.taken = 0;
        self.needed = 0;
        if self.buffer.is_empty() && self.buffer.capacity() > READ_BYTES_IDLE {
            self.buffer = BytesMut::new();
        }
    }
}

/// The writing side.
pub(super) struct Outbox<S> {
    half: WriteHalf<S>,
    /// Packets to be written; the first `written` bytes are.
    pub(super) buffer: Vec<u8>,
    written: usize,
    unflushed: bool,
}

impl<S: AsyncWrite> Outbox<S> {
    pub(super) fn new(half: WriteHalf<S>) -> Self {
        Self {
            half,
            buffer: Vec::new(),
            written: 0,
            unflushed: false,
        }
    }

    /// Bytes not written yet.
    pub(super) fn waiting(&self) -> usize {
        self.buffer.len() - self.written
    }

    /// Whether everything has left, TLS's own buffer included.
    pub(super) fn is_drained(&self) -> bool {
        self.waiting() == 0 && !self.unflushed
    }

    /// Writes some of what waits. Cancelling loses nothing.
    pub(super) async fn drain(&mut self) -> io::Result<()> {
        let rest = self.buffer.get(self.written..).unwrap_or_default();
        if rest.is_empty() {
            self.half.flush().await?;
            self.unflushed = false;
            return Ok(());
        }
        let bytes = self.half.write(rest).await?;
        if bytes == 0 {
            return Err(io::ErrorKind::WriteZero.into());
        }
        self.unflushed = true;
        self.written += bytes;
        if self.waiting() == 0 {
            self.written = 0;
            self.buffer.clear();
            self.buffer.shrink_to(WRITE_BYTES_IDLE);
        }
        Ok(())
    }

    /// Says good-bye on TLS, so that the client knows that nothing was cut off.
    pub(super) async fn shutdown(&mut self) -> io::Result<()> {
        self.half.shutdown().await
    }
}
