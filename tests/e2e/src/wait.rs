//! Waits for a condition, never for a time.

use anyhow::{Result, bail};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::time::{Duration, Instant};

/// Between two looks at what is waited for.
const LOOK: Duration = Duration::from_millis(20);

static INTERRUPTS: AtomicUsize = AtomicUsize::new(0);

/// Somebody pressed Ctrl-C. From the first time on every [`until`] of this process ends, and nothing is
/// started any more; what was started is stopped on the way out. From the second on that is not waited
/// for either: what still runs is killed.
pub fn interrupt() {
    INTERRUPTS.fetch_add(1, Ordering::Relaxed);
}

/// Whether to go on with `what`.
///
/// # Errors
/// After [`interrupt`].
pub(crate) fn go_on(what: &str) -> Result<()> {
    if INTERRUPTS.load(Ordering::Relaxed) > 0 {
        bail!("interrupted while {what}");
    }
    Ok(())
}

/// Asks again and again until `condition` gives a value; fails, naming `what`, after `bound`.
///
/// # Errors
/// Those of the condition, the bound, and [`interrupt`].
pub fn until<T>(
    what: &str,
    bound: Duration,
    mut condition: impl FnMut() -> Result<Option<T>>,
) -> Result<T> {
    within(what, bound, || {
        go_on(&format!("waiting until {what}"))?;
        condition()
    })
}

/// What another thread tells of `what`, whenever that is.
///
/// # Errors
/// When that thread ends without a word, and [`interrupt`].
pub(crate) fn told<T>(what: &str, teller: &Receiver<T>) -> Result<T> {
    loop {
        match teller.recv_timeout(LOOK) {
            Ok(told) => return Ok(told),
            Err(RecvTimeoutError::Timeout) => go_on(what)?,
            Err(RecvTimeoutError::Disconnected) => bail!("{what}: nobody is left to tell"),
        }
    }
}

/// As [`until`], also after a first [`interrupt`]: what is being stopped is waited for.
///
/// # Errors
/// Those of the condition, the bound, and a second [`interrupt`].
pub(crate) fn within<T>(
    what: &str,
    bound: Duration,
    mut condition: impl FnMut() -> Result<Option<T>>,
) -> Result<T> {
    let started = Instant::now();
    loop {
        if let Some(value) = condition()? {
            return Ok(value);
        }
        if INTERRUPTS.load(Ordering::Relaxed) > 1 {
            bail!("interrupted again while waiting until {what}");
        }
        if started.elapsed() > bound {
            bail!("waited {} s in vain until {what}", bound.as_secs());
        }
        std::thread::park_timeout(LOOK);
    }
}
