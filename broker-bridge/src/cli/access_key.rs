//! `access-key create|import|list|disable`.
//! Never prints a secret but the one it has just made.

use super::Common;
use super::error::CliError;
use super::state::{caller, now, open, open_existing, random, time};
use crate::store::AccessKey;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD_NO_PAD;
use clap::{Args, Subcommand};
use serde_json::json;
use std::io::Read;

/// Longest secret that is read.
const SECRET_BYTES_MAX: u64 = 128;
/// Shortest secret that is taken.
const SECRET_BYTES_MIN: usize = 16;
/// RFC 4648's base 32, of which access key ids are made.
const ALPHABET: &[u8; 32] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZ234567";

#[derive(Debug, Subcommand)]
pub(super) enum Verb {
    /// Make an access key and print it as two lines for an environment file
    ///
    /// The secret is shown once. `export` both lines and set AWS_ENDPOINT_URL_SSM to the bridge's
    /// HTTP address; the AWS CLI then works unmodified.
    #[command(after_help = "Example:\n  \
(umask 077; holdfast-bridge access-key create --name alice > aws.env)\n  \
set -a; . ./aws.env; AWS_ENDPOINT_URL_SSM=http://127.0.0.1:8440; AWS_DEFAULT_REGION=eu-central-1; set +a\n  \
aws ssm describe-instance-information")]
    Create(Create),
    /// Take an access key that exists elsewhere; its secret is read from standard input
    #[command(after_help = "Example:\n  \
printf %s \"$AWS_SECRET_ACCESS_KEY\" | holdfast-bridge access-key import --name ci \"$AWS_ACCESS_KEY_ID\"")]
    Import(Import),
    /// List access keys, without their secrets
    List(Common),
    /// Disable an access key for good
    ///
    /// Its next request is refused. What it did stays in `audit list`.
    #[command(after_help = "Example:\n  holdfast-bridge access-key disable HFAKEXAMPLEEXAMPLE22")]
    Disable(Disable),
}

#[derive(Debug, Args)]
pub(super) struct Create {
    #[command(flatten)]
    common: Common,
    /// What you call it, such as its user; changes are recorded under its id
    #[arg(long)]
    name: String,
}

#[derive(Debug, Args)]
pub(super) struct Import {
    #[command(flatten)]
    common: Common,
    /// What you call it
    #[arg(long)]
    name: String,
    /// The access key id, 16 to 128 letters and digits
    #[arg(value_parser = access_key_id)]
    id: String,
}

#[derive(Debug, Args)]
pub(super) struct Disable {
    #[command(flatten)]
    common: Common,
    /// The access key id
    id: String,
}

fn access_key_id(text: &str) -> Result<String, String> {
    let fits = (16..=128).contains(&text.len())
        && text
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || byte == b'_');
    if fits {
        Ok(text.to_owned())
    } else {
        Err("an access key id is 16 to 128 letters and digits".into())
    }
}

impl Verb {
    pub(super) async fn run(self) -> Result<(), CliError> {
        match self {
            Self::Create(create) => create.run().await,
            Self::Import(import) => import.run().await,
            Self::List(common) => list(&common).await,
            Self::Disable(disable) => disable.run().await,
        }
    }
}

async fn add(common: &Common, id: &str, secret: &str, name: String) -> Result<(), CliError> {
    let store = open(&common.state_dir).await?;
    let key = AccessKey {
        access_key_id: id.to_owned(),
        secret: secret.to_owned(),
        name,
        created: now(),
        disabled: None,
    };
    let added = store
        .add_access_key(caller(), key)
        .await
        .map_err(CliError::because("cannot store the access key"))?;
    store.close().await;
    if added {
        return Ok(());
    }
    let why = format!("access key {id} exists already; `access-key list` shows it");
    Err(CliError::Failed(why))
}

impl Create {
    async fn run(self) -> Result<(), CliError> {
        let letters = random::<16>()?.map(|byte| {
            let letter = ALPHABET.get(usize::from(byte & 31)).copied();
            char::from(letter.unwrap_or(b'A'))
        });
        let id: String = "HFAK".chars().chain(letters).collect();
        let secret = STANDARD_NO_PAD.encode(random::<30>()?);
        add(&self.common, &id, &secret, self.name).await?;
        let lines = format!("AWS_ACCESS_KEY_ID={id}\nAWS_SECRET_ACCESS_KEY={secret}");
        let json = json!({ "access_key_id": id, "secret_access_key": secret });
        Ok(self.common.output().value(&lines, &json)?)
    }
}

impl Import {
    async fn run(self) -> Result<(), CliError> {
        let mut secret = String::new();
        std::io::stdin()
            .take(SECRET_BYTES_MAX + 2)
            .read_to_string(&mut secret)
            .map_err(CliError::because(
                "cannot read the secret from standard input",
            ))?;
        let secret = secret.trim_end_matches(['\r', '\n']);
        let length = secret.len();
        let fits = length >= SECRET_BYTES_MIN && length as u64 <= SECRET_BYTES_MAX;
        if !fits || !secret.bytes().all(|byte| byte.is_ascii_graphic()) {
            let why = format!(
                "the secret on standard input has {length} characters: {SECRET_BYTES_MIN} to \
                 {SECRET_BYTES_MAX} printable ones without spaces are taken"
            );
            return Err(CliError::Usage(why));
        }
        add(&self.common, &self.id, secret, self.name).await?;
        let line = format!("access key {} may call the API", self.id);
        let json = json!({ "access_key_id": self.id });
        Ok(self.common.output().value(&line, &json)?)
    }
}

async fn list(common: &Common) -> Result<(), CliError> {
    let store = open_existing(&common.state_dir).await?;
    let keys = store
        .access_keys()
        .await
        .map_err(CliError::because("cannot read the access keys"))?;
    let rows: Vec<_> = keys
        .into_iter()
        .map(|key| {
            let disabled = key.disabled.map(time).unwrap_or_default();
            vec![key.access_key_id, key.name, time(key.created), disabled]
        })
        .collect();
    let columns = ["access_key_id", "name", "created", "disabled"];
    Ok(common.output().table(&columns, &rows)?)
}

impl Disable {
    async fn run(self) -> Result<(), CliError> {
        let store = open_existing(&self.common.state_dir).await?;
        let found = store
            .disable_access_key(caller(), self.id.clone())
            .await
            .map_err(CliError::because("cannot disable the access key"))?;
        store.close().await;
        if found {
            let line = format!("access key {} is disabled", self.id);
            let json = json!({ "access_key_id": self.id, "disabled": true });
            return Ok(self.common.output().value(&line, &json)?);
        }
        let why = format!("there is no access key {}; see `access-key list`", self.id);
        Err(CliError::Failed(why))
    }
}
