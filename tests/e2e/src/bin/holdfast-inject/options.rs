//! What the tracer is told. Never a default for what decides a test.

use crate::call::Call;
use anyhow::{Context as _, Result, bail};
use nix::errno::Errno;
use std::ffi::OsString;
use std::path::PathBuf;

/// What happens to a call.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Fault {
    /// Nothing: calls are counted.
    None,
    /// At this call the program is killed instead.
    Kill(u64),
    /// The first call from this one on that can fail so does.
    Once(u64, Errno),
    /// As every one does, until a file is there.
    Until(u64, Errno, PathBuf),
}

/// The arguments.
#[derive(Debug)]
pub(crate) struct Options {
    /// Set in the tracer: whom it follows.
    pub(crate) seize: Option<i32>,
    /// Takes a line for each call; its lines are the calls of earlier lives.
    pub(crate) log: PathBuf,
    /// Calls on what is below are meant.
    pub(crate) under: PathBuf,
    pub(crate) fault: Fault,
    /// What to become.
    pub(crate) program: Vec<OsString>,
}

impl Options {
    /// # Errors
    /// When one is missing or unknown.
    pub(crate) fn parse(arguments: impl Iterator<Item = OsString>) -> Result<Self> {
        let (mut seize, mut log, mut under, mut until) = (None, None, None, None);
        let (mut kill, mut at, mut errno) = (None, None, None);
        let mut arguments = arguments.map(OsString::into_string);
        while let Some(argument) = arguments.next() {
            let argument = argument.ok().context("an argument in UTF-8")?;
            if argument == "--" {
                break;
            }
            let value = arguments.next().and_then(Result::ok);
            let value = value.with_context(|| format!("a value of {argument}"))?;
            match argument.as_str() {
                "--seize" => seize = Some(value.parse()?),
                "--log" => log = Some(value.into()),
                "--under" => under = Some(value.into()),
                "--kill" => kill = Some(value.parse()?),
                "--at" => at = Some(value.parse()?),
                "--error" => errno = Some(error(&value)?),
                "--until" => until = Some(PathBuf::from(value)),
                other => bail!("unknown argument {other}"),
            }
        }
        let fault = match (kill, at, errno, until) {
            (None, None, None, None) => Fault::None,
            (Some(at), None, None, None) => Fault::Kill(at),
            (None, Some(at), Some(errno), None) => Fault::Once(at, errno),
            (None, Some(at), Some(errno), Some(file)) => Fault::Until(at, errno, file),
            _ => bail!("a fault is --kill N, or --error NAME --at N [--until FILE]"),
        };
        Ok(Self {
            seize,
            log: log.context("--log")?,
            under: under.context("--under")?,
            fault,
            program: arguments
                .map(|word| word.map_or_else(|word| word, OsString::from))
                .collect(),
        })
    }
}

fn error(name: &str) -> Result<Errno> {
    Ok(match name {
        "EIO" => Errno::EIO,
        "ENOSPC" => Errno::ENOSPC,
        "EROFS" => Errno::EROFS,
        "EMFILE" => Errno::EMFILE,
        other => bail!("unknown error {other}"),
    })
}

/// Whether the system answers a call so when the device, or the process, is in that state.
pub(crate) fn suits(errno: Errno, call: &Call) -> bool {
    if errno == Errno::EMFILE {
        call.opens
    } else if errno == Errno::ENOSPC {
        call.takes_room
    } else if errno == Errno::EROFS {
        call.changes
    } else {
        true
    }
}
