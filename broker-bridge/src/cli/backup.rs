//! `backup` and `restore`: the database and the keys that belong to it, as one private directory.
//! Never backs up half: without its keys a database's nodes could not be talked to.

use super::Common;
use super::error::CliError;
use super::state::{caller, now, open, unix_ms};
use crate::files::{FileError, create_private, make_private_dir, read_private};
use crate::pki;
use crate::serve::Lock;
use crate::store::{CheckedBackup, DATABASE, RestoreError, Store, Undone};
use clap::Args;
use serde_json::json;
use std::io;
use std::path::{Path, PathBuf};
use zeroize::Zeroizing;

pub(super) const BACKUP_EXAMPLES: &str = "Example:\n  \
holdfast-bridge backup /var/backups/holdfast-$(date +%F)";
pub(super) const RESTORE_EXAMPLES: &str = "Examples:\n  \
holdfast-bridge restore /var/backups/holdfast-2026-01-15 --state-dir /var/lib/holdfast-bridge\n  \
holdfast-bridge restore --force /var/backups/holdfast-2026-01-15   # after stopping `serve`\n\n\
Next: `holdfast-bridge serve`, with the addresses as before.";

#[derive(Debug, Args)]
pub(super) struct Backup {
    #[command(flatten)]
    common: Common,
    /// Directory to make; it must not exist
    directory: PathBuf,
}

#[derive(Debug, Args)]
pub(super) struct Restore {
    #[command(flatten)]
    common: Common,
    /// Replace the database that is there; the keys there must be the backup's own
    #[arg(long)]
    force: bool,
    /// Directory that `backup` made
    directory: PathBuf,
}

/// Names of the key files in a directory.
fn key_files(directory: &Path) -> Result<Vec<String>, CliError> {
    let what = format!("cannot list `{}`", directory.display());
    let list = || -> io::Result<Vec<String>> {
        let mut names = Vec::new();
        for entry in std::fs::read_dir(directory)? {
            let name = entry?.file_name().to_string_lossy().into_owned();
            if name.ends_with(".key") || name == "ca.der" {
                names.push(name);
            }
        }
        names.sort();
        Ok(names)
    };
    list().map_err(CliError::because(what))
}

/// A key file that may be copied: it can be read, and what is there already is the same.
struct KeyFile {
    bytes: Zeroizing<Vec<u8>>,
    to: PathBuf,
    there: bool,
}

impl KeyFile {
    fn read(from: &Path, to: PathBuf) -> Result<Self, CliError> {
        let fault = || CliError::because::<FileError>("cannot read a key");
        let bytes = read_private(from).map_err(fault())?.unwrap_or_default();
        let there = read_private(&to).map_err(fault())?;
        if there.as_ref().is_some_and(|there| *there != bytes) {
            return Err(CliError::Failed(format!(
                "`{}` is another key than the backup's `{}`; restore into a new --state-dir",
                to.display(),
                from.display()
            )));
        }
        Ok(Self {
            bytes,
            to,
            there: there.is_some(),
        })
    }

    fn copy(&self) -> Result<(), CliError> {
        if self.there {
            return Ok(());
        }
        create_private(&self.to, &self.bytes).map_err(CliError::because("cannot copy a key"))
    }
}

/// The key files of a directory, to be copied to another; nothing is written yet.
fn keys(from: &Path, to: &Path) -> Result<Vec<KeyFile>, CliError> {
    let names = key_files(from)?;
    names
        .iter()
        .map(|name| KeyFile::read(&from.join(name), to.join(name)))
        .collect()
}

/// Copies the database, then the keys, and records that it was done.
async fn make(store: &Store, state_dir: &Path, directory: &Path) -> Result<(), CliError> {
    let copied = store.backup(&directory.join(DATABASE)).await;
    copied.map_err(CliError::because("cannot copy the database"))?;
    for key in keys(state_dir, directory)? {
        key.copy()?;
    }
    let place = directory.display().to_string();
    let recorded = store.record(caller(), "MakeBackup", place).await;
    recorded.map_err(CliError::because("cannot record the backup"))
}

impl Backup {
    pub(super) async fn run(self) -> Result<(), CliError> {
        let Self { common, directory } = self;
        let path = directory.display().to_string();
        if directory.exists() {
            let why = format!("`{path}` exists; name a directory that does not");
            return Err(CliError::Usage(why));
        }
        if !common.state_dir.join(DATABASE).exists() {
            let why = format!("`{}` holds no bridge", common.state_dir.display());
            return Err(CliError::Usage(why));
        }
        make_private_dir(&directory).map_err(CliError::because("cannot begin the backup"))?;
        let store = open(&common.state_dir).await?;
        let made = make(&store, &common.state_dir, &directory).await;
        store.close().await;
        if let Err(error) = made {
            // This verb made it a moment ago; half a backup is none.
            if let Err(error) = std::fs::remove_dir_all(&directory) {
                tracing::warn!(%path, %error, "half a backup stays behind");
            }
            return Err(error);
        }
        let line = format!("backed up to `{path}`; it holds the keys too, so keep it as private");
        Ok(common.output().value(&line, &json!({ "backup": path }))?)
    }
}

/// What a person must know of a restore, a line each.
fn warnings(undone: Option<&Undone>) -> Vec<String> {
    let mut lines = Vec::new();
    let Some(undone) = undone else {
        lines.push(
            "nodes deregistered and access keys disabled since the backup are good again: end them again. \
             Nodes registered since are unknown: register them again"
                .to_owned(),
        );
        return lines;
    };
    let kinds = [
        (
            &undone.nodes,
            "was deregistered since the backup and is registered again: deregister it again",
        ),
        (
            &undone.access_keys,
            "was disabled since the backup and is good again: disable it again",
        ),
        (
            &undone.unknown,
            "was registered since the backup and is unknown again: register it again",
        ),
    ];
    for (ids, what) in kinds {
        lines.extend(ids.iter().map(|id| format!("{id} {what}")));
    }
    lines
}

impl Restore {
    /// Everything is checked before anything is written, and the copy stands ready before a key is
    /// made; the database is replaced last.
    pub(super) async fn run(self) -> Result<(), CliError> {
        let Self {
            common,
            force,
            directory,
        } = self;
        let state_dir = &common.state_dir;
        if !directory.join(DATABASE).is_file() {
            let shown = directory.display();
            let why = format!(
                "cannot restore: `{shown}` holds no {DATABASE}; give the directory that `backup` made"
            );
            return Err(CliError::Failed(why));
        }
        let fault = || CliError::because::<RestoreError>("cannot restore the database");
        let lock = Lock::take(state_dir).map_err(CliError::because("cannot restore"))?;
        let backup = CheckedBackup::open(&directory.join(DATABASE)).await;
        let backup = backup.map_err(fault())?;
        backup.fits(state_dir, force).map_err(fault())?;
        let keys = keys(&directory, state_dir)?;
        let undone = backup.undoes(state_dir).await;
        // What most likely fails, for want of space, comes before the first thing that stays.
        let staged = backup.stage(state_dir, force, caller()).await;
        let staged = staged.map_err(fault())?;
        keys.iter().try_for_each(KeyFile::copy)?;
        // Nodes refuse a key older than the newest they know, and some may know of one made since
        // the backup.
        let serial = pki::rotate(state_dir, 0, unix_ms(now()));
        let serial = serial.map_err(CliError::because("cannot make a signing key"))?;
        staged.replace().map_err(CliError::because(format!(
            "cannot restore the database; signing key {serial} was made for it and is in use from now on"
        )))?;
        drop(lock);
        let path = state_dir.display().to_string();
        let warnings = warnings(undone.as_ref());
        let mut line = format!(
            "restored into `{path}`; nodes continue, and what they did since the backup is recorded as gaps\n\
             signing key {serial} is in use from now on"
        );
        for warning in &warnings {
            line.push_str("\nwarning: ");
            line.push_str(warning);
        }
        let undone = undone.map(|undone| {
            json!({
                "deregistered_nodes": undone.nodes,
                "disabled_access_keys": undone.access_keys,
                "unknown_nodes": undone.unknown,
            })
        });
        let json = json!({
            "state_dir": path,
            "signing_serial": serial,
            "undone": undone,
            "warnings": warnings,
        });
        Ok(common.output().value(&line, &json)?)
    }
}
