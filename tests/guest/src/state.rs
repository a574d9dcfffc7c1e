//! The file system on the machine's disk: made empty, and looked at from the host.
//! Never the host's own.

use crate::disk::SECTOR_BYTES;
use anyhow::{Context as _, Result};
use holdfast_e2e::Exit;
use std::path::Path;
use std::process::Command;

/// Size of the disk: the agent's journal at its bound, twice over.
pub const DISK_BYTES: u64 = 48 << 20;

/// An image with an empty ext4, made by way of a file that is removed again.
///
/// # Errors
/// When `mkfs.ext4` is missing or fails.
pub fn empty(scratch: &Path) -> Result<Vec<u8>> {
    let file = std::fs::File::create(scratch).with_context(|| scratch.display().to_string())?;
    file.set_len(DISK_BYTES)?;
    let mut mkfs = Command::new("mkfs.ext4");
    // A journal that is written round within minutes: its wrapping is part of what is cut.
    let block = SECTOR_BYTES.to_string();
    mkfs.args(["-q", "-F", "-b", &block, "-J", "size=4"]);
    mkfs.arg(scratch);
    Exit::of(&mut mkfs)?.success().context("mkfs.ext4")?;
    let image = std::fs::read(scratch)?;
    std::fs::remove_file(scratch)?;
    Ok(image)
}
