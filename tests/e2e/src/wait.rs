//! Waits for a condition, never for a time.

use anyhow::{Result, bail};
use std::time::{Duration, Instant};

/// Asks again and again until `condition` gives a value; fails, naming `what`, after `bound`.
///
/// # Errors
/// Those of the condition, and the bound.
pub fn until<T>(
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
