//! `backup` and `restore`: the database and the keys that belong to it, as one private directory.
//! Never backs up half: without its keys a database's nodes could not be talked to.

use super::Common;
use super::error::CliError;
use super::state::{now, open};
use crate::pki::{FileError, create_private, make_private_dir, read_private};
use crate::serve::Lock;
use crate::store::{DATABASE, restore};
use clap::Args;
use serde_json::json;
use std::io;
use std::path::{Path, PathBuf};

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

/// Copies a key file; one that is there already must be the same.
fn copy_key(from: &Path, to: &Path) -> Result<(), CliError> {
    let fault = || CliError::because::<FileError>("cannot copy a key");
    let bytes = read_private(from).map_err(fault())?;
    let bytes = bytes.unwrap_or_default();
    match read_private(to).map_err(fault())? {
        None => create_private(to, &bytes).map_err(fault()),
        Some(there) if there == bytes => Ok(()),
        Some(_) => Err(CliError::Failed(format!(
            "`{}` is another key than the backup's `{}`; restore into a new --state-dir",
            to.display(),
            from.display()
        ))),
    }
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
        let copied = store.backup(&directory.join(DATABASE)).await;
        store.close().await;
        copied.map_err(CliError::because("cannot copy the database"))?;
        for name in key_files(&common.state_dir)? {
            copy_key(&common.state_dir.join(&name), &directory.join(&name))?;
        }
        let line = format!("backed up to `{path}`; it holds the keys too, so keep it as private");
        Ok(common.output().value(&line, &json!({ "backup": path }))?)
    }
}

impl Restore {
    pub(super) async fn run(self) -> Result<(), CliError> {
        let Self {
            common,
            force,
            directory,
        } = self;
        let state_dir = &common.state_dir;
        let lock = Lock::take(state_dir).map_err(CliError::because("cannot restore"))?;
        for name in key_files(&directory)? {
            copy_key(&directory.join(&name), &state_dir.join(&name))?;
        }
        restore(state_dir, &directory.join(DATABASE), force, now())
            .await
            .map_err(CliError::because("cannot restore the database"))?;
        drop(lock);
        let path = state_dir.display().to_string();
        let line = format!(
            "restored into `{path}`; nodes continue, and what they did since the backup is recorded as gaps"
        );
        Ok(common
            .output()
            .value(&line, &json!({ "state_dir": path }))?)
    }
}
