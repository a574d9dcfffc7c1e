//! How much memory a process holds. Never measures itself.

use anyhow::{Context as _, Result};

/// Resident bytes of a process: `VmRSS` of proc(5).
///
/// # Errors
/// When there is no such process.
pub fn resident_bytes(process: u32) -> Result<u64> {
    let path = format!("/proc/{process}/status");
    let status = std::fs::read_to_string(&path).with_context(|| path.clone())?;
    let kibibytes: u64 = status
        .lines()
        .find_map(|line| line.strip_prefix("VmRSS:"))
        .and_then(|rest| rest.split_whitespace().next())
        .with_context(|| format!("VmRSS in {path}"))?
        .parse()?;
    Ok(kibibytes * 1024)
}
