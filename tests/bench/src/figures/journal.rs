//! The agent's journal: durable records a second, and what of them reaches a device.
//! Never through a file's own counters: those do not see what the file system adds.

use crate::ground::Ground;
use crate::measure::median;
use crate::table::{Budget, Row};
use anyhow::{Context as _, Result, bail};
use std::path::Path;
use std::process::Command;

/// Payload of one record of the journal's own measure.
const PAYLOAD_BYTES: f64 = 1024.0;

/// Runs the journal's own measure in an empty folder: records a second.
pub(super) fn records_per_second(
    ground: &Ground,
    folder: &Path,
    records: usize,
    batch: usize,
) -> Result<f64> {
    let output = Command::new(&ground.group_commit)
        .arg(folder)
        .args([records.to_string(), batch.to_string()])
        .output()
        .context("starting group_commit")?;
    if !output.status.success() {
        bail!(
            "group_commit: {}",
            String::from_utf8_lossy(&output.stderr).trim()
        );
    }
    let printed = String::from_utf8_lossy(&output.stdout).into_owned();
    let figure = printed
        .split_whitespace()
        .find_map(|field| field.strip_prefix("records_per_second="));
    Ok(figure.context("records_per_second")?.parse()?)
}

pub(super) fn measure(ground: &Ground) -> Result<Vec<Row>> {
    let rounds = ground.or_quick(3, 1);
    let mut rows = Vec::new();
    for (batch, records) in [
        (1, ground.or_quick(500, 100)),
        (64, ground.or_quick(20_000, 5_000)),
    ] {
        let mut figures = Vec::new();
        for _ in 0..rounds {
            let folder = ground.folder()?;
            figures.push(records_per_second(ground, folder.path(), records, batch)?);
        }
        rows.push(
            Row::new(
                format!("journal, batches of {batch}"),
                "rec/s",
                median(&figures)?,
            )
            .noted(format!("1 KiB records, fdatasync, median of {rounds}")),
        );
    }
    match amplification(ground) {
        Ok(measured) => rows.extend(measured),
        Err(why) => rows.push(Row::missing(
            "journal, device write amplification",
            format!("needs root and a loop device: {why:#}"),
        )),
    }
    Ok(rows)
}

fn done(command: &mut Command) -> Result<String> {
    let output = command
        .output()
        .with_context(|| format!("starting {}", command.get_program().display()))?;
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr).trim().to_owned();
        bail!("{}: {said}", command.get_program().display());
    }
    Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned())
}

/// An ext4 file system on a loop device of its own; gone when dropped.
struct Device {
    name: String,
    _folder: tempfile::TempDir,
    mounted: std::path::PathBuf,
}

impl Device {
    fn new(ground: &Ground) -> Result<Self> {
        let folder = ground.folder()?;
        let (image, mounted) = (folder.path().join("image"), folder.path().join("mounted"));
        std::fs::File::create(&image)?.set_len(512 << 20)?;
        std::fs::create_dir(&mounted)?;
        done(
            Command::new("mkfs.ext4")
                .args(["-q", "-E", "lazy_itable_init=0,lazy_journal_init=0"])
                .arg(&image),
        )?;
        let name = done(
            Command::new("losetup")
                .args(["--find", "--show"])
                .arg(&image),
        )?;
        let device = Self {
            name,
            _folder: folder,
            mounted,
        };
        done(Command::new("mount").arg(&device.name).arg(&device.mounted))?;
        Ok(device)
    }

    /// Bytes that the device has been given to write: field 7 of its `stat`, sectors of 512 bytes.
    fn written(&self) -> Result<f64> {
        let name = self.name.trim_start_matches("/dev/");
        let stat = std::fs::read_to_string(format!("/sys/block/{name}/stat"))?;
        let sectors = stat.split_whitespace().nth(6).context("sectors written")?;
        Ok(sectors.parse::<f64>()? * 512.0)
    }
}

impl Drop for Device {
    fn drop(&mut self) {
        // What was not mounted cannot be unmounted; the loop device goes either way.
        let _ = Command::new("umount").arg(&self.mounted).output();
        let _ = Command::new("losetup")
            .arg("--detach")
            .arg(&self.name)
            .output();
    }
}

fn amplification(ground: &Ground) -> Result<Vec<Row>> {
    let mut rows = Vec::new();
    for (batch, records, most, what) in [
        (1, ground.or_quick(1000, 200), 7.0, "single"),
        (64, ground.or_quick(20_000, 5_000), 2.5, "batched"),
    ] {
        let device = Device::new(ground)?;
        let folder = device.mounted.join("journal");
        std::fs::create_dir(&folder)?;
        done(&mut Command::new("sync"))?;
        let before = device.written()?;
        records_per_second(ground, &folder, records, batch)?;
        done(&mut Command::new("sync"))?;
        let written = device.written()? - before;
        let name = format!("journal, device write amplification, {what}");
        rows.push(
            Row::new(name, "×", written / (records as f64 * PAYLOAD_BYTES))
                .within(Budget::AtMost(most))
                .noted("ext4 on a loop device, its own counters"),
        );
    }
    Ok(rows)
}
