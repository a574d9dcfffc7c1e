//! The part of NBD that qemu speaks to a plain writable export: fixed newstyle negotiation, simple
//! replies, read, write, flush (<https://github.com/NetworkBlockDevice/nbd/blob/master/doc/proto.md>).
//! Never announces FUA, trimming or zeroing: whoever wants these writes and flushes.

use crate::disk::{Disk, OutOfRange, Write};
use std::io::{Error, ErrorKind, Read, Result};

const GREETING: u64 = 0x4e42_444d_4147_4943;
const OPTION: u64 = 0x4948_4156_454f_5054;
const OPTION_REPLY: u64 = 0x0003_e889_0455_65a9;
const REQUEST: u32 = 0x2560_9513;
const REPLY: u32 = 0x6744_6698;

/// Handshake: fixed newstyle, and no padding after an export.
const HANDSHAKE_FLAGS: u16 = 0b11;
/// Export: these flags mean something, and flushes are understood.
const EXPORT_FLAGS: u16 = 0b101;

const OPTION_EXPORT_NAME: u32 = 1;
const OPTION_ABORT: u32 = 2;
const OPTION_INFO: u32 = 6;
const OPTION_GO: u32 = 7;

const REPLY_ACK: u32 = 1;
const REPLY_INFO: u32 = 3;
const REPLY_UNSUPPORTED: u32 = (1 << 31) | 1;
const INFO_EXPORT: u16 = 0;

const COMMAND_READ: u16 = 0;
const COMMAND_WRITE: u16 = 1;
const COMMAND_DISCONNECT: u16 = 2;
const COMMAND_FLUSH: u16 = 3;

const EINVAL: u32 = 22;

/// Longest option and longest request that is read; the protocol's own advice for requests.
const OPTION_BYTES_MAX: u32 = 4096;
const REQUEST_BYTES_MAX: u32 = 32 << 20;

/// Negotiates until the other side may send requests to a disk of this size.
///
/// # Errors
/// When the connection ends, or is not NBD's.
pub(super) fn greet(stream: &mut (impl Read + std::io::Write), disk_bytes: usize) -> Result<()> {
    let export = [
        &(disk_bytes as u64).to_be_bytes()[..],
        &EXPORT_FLAGS.to_be_bytes(),
    ]
    .concat();
    stream.write_all(&GREETING.to_be_bytes())?;
    stream.write_all(&OPTION.to_be_bytes())?;
    stream.write_all(&HANDSHAKE_FLAGS.to_be_bytes())?;
    let _client_flags = u32::from_be_bytes(array(stream)?);
    loop {
        if u64::from_be_bytes(array(stream)?) != OPTION {
            return Err(garbled("an option"));
        }
        let option = u32::from_be_bytes(array(stream)?);
        // The export's name: there is one export, whatever it is called.
        let _data = bytes(stream, OPTION_BYTES_MAX)?;
        let mut reply = |kind: u32, data: &[u8]| {
            let length = u32::try_from(data.len()).unwrap_or(u32::MAX);
            let head = [option, kind, length].map(u32::to_be_bytes).concat();
            stream.write_all(&[&OPTION_REPLY.to_be_bytes()[..], &head, data].concat())
        };
        match option {
            OPTION_EXPORT_NAME => return stream.write_all(&export),
            OPTION_INFO | OPTION_GO => {
                let info = [&INFO_EXPORT.to_be_bytes()[..], &export].concat();
                reply(REPLY_INFO, &info)?;
                reply(REPLY_ACK, &[])?;
                if option == OPTION_GO {
                    return Ok(());
                }
            }
            OPTION_ABORT => {
                reply(REPLY_ACK, &[])?;
                return Err(ErrorKind::ConnectionAborted.into());
            }
            _ => reply(REPLY_UNSUPPORTED, &[])?,
        }
    }
}

/// A request, read to its end.
#[derive(Debug)]
pub(super) struct Request {
    command: u16,
    cookie: [u8; 8],
    offset: usize,
    length: usize,
    data: Vec<u8>,
}

impl Request {
    /// The next request; `None` when the other side is done.
    ///
    /// # Errors
    /// When the connection ends, or a request is not NBD's or beyond its bounds.
    pub(super) fn read(stream: &mut impl Read) -> Result<Option<Self>> {
        if u32::from_be_bytes(array(stream)?) != REQUEST {
            return Err(garbled("a request"));
        }
        let _flags = u16::from_be_bytes(array(stream)?);
        let command = u16::from_be_bytes(array(stream)?);
        let cookie = array(stream)?;
        let offset = u64::from_be_bytes(array(stream)?);
        let length = u32::from_be_bytes(array(stream)?);
        if command == COMMAND_DISCONNECT {
            return Ok(None);
        }
        if length > REQUEST_BYTES_MAX {
            return Err(garbled("a request's length"));
        }
        let length = usize::try_from(length).map_err(|_| garbled("a request's length"))?;
        let mut data = vec![0; if command == COMMAND_WRITE { length } else { 0 }];
        stream.read_exact(&mut data)?;
        Ok(Some(Self {
            command,
            cookie,
            offset: usize::try_from(offset).unwrap_or(usize::MAX),
            length,
            data,
        }))
    }

    /// Whether it writes.
    pub(super) fn is_write(&self) -> bool {
        self.command == COMMAND_WRITE
    }

    /// Does it; the reply. One that there is not, or that is outside the disk, is refused.
    pub(super) fn perform(self, disk: &mut Disk) -> Vec<u8> {
        let (offset, cookie) = (self.offset, self.cookie);
        let done: std::result::Result<&[u8], OutOfRange> = match self.command {
            COMMAND_READ => disk.read(offset, self.length),
            COMMAND_WRITE => {
                let bytes = self.data;
                disk.write(Write { offset, bytes }).map(|()| &[][..])
            }
            COMMAND_FLUSH => {
                disk.flush();
                Ok(&[])
            }
            _ => Err(OutOfRange),
        };
        let (error, data) = done.map_or((EINVAL, &[][..]), |data| (0, data));
        let head = [REPLY.to_be_bytes(), error.to_be_bytes()].concat();
        [&head, &cookie[..], data].concat()
    }
}

fn array<const N: usize>(stream: &mut impl Read) -> Result<[u8; N]> {
    let mut array = [0; N];
    stream.read_exact(&mut array)?;
    Ok(array)
}

/// A length and as many bytes.
fn bytes(stream: &mut impl Read, max: u32) -> Result<Vec<u8>> {
    let length = u32::from_be_bytes(array(stream)?);
    if length > max {
        return Err(garbled("an option's length"));
    }
    let mut bytes = Vec::new();
    stream.take(u64::from(length)).read_to_end(&mut bytes)?;
    Ok(bytes)
}

fn garbled(what: &str) -> Error {
    Error::new(ErrorKind::InvalidData, format!("{what} that is not NBD's"))
}
