//! Waits for a condition, never for a time.

use anyhow::{Result, bail};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

static INTERRUPTED: AtomicBool = AtomicBool::new(false);

/// Ends every [`until`] of this process, now and from here on: somebody pressed Ctrl-C, and what was
/// started is stopped on the way out.
pub fn interrupt() {
    INTERRUPTED.store(true, Ordering::Relaxed);
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
        if INTERRUPTED.load(Ordering::Relaxed) {
            bail!("interrupted while waiting until {what}");
        }
        condition()
    })
}

/// As [`until`], also after [`interrupt`]: what is being stopped is waited for.
///
/// # Errors
/// Those of the condition, and the bound.
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
        if started.elapsed() > bound {
            bail!("waited {} s in vain until {what}", bound.as_secs());
        }
        std::thread::park_timeout(Duration::from_millis(20));
    }
}
