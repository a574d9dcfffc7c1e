//! `activation create|list|delete`.
//! Never prints a code again: only what is derived from it is kept.

use super::Common;
use super::error::CliError;
use super::state::{caller, now, open, open_existing, random, span, time};
use crate::pki::Root;
use crate::serve::{Addresses, public_address, register_address};
use crate::store::{ActivationFilter, NewActivation, Page, Tag};
use clap::{Args, Subcommand};
use holdfast_protocol::ActivationId;
use holdfast_protocol::enrol::derive_key;
use serde_json::json;

/// Nodes of one activation, as `CreateActivation` has it.
const LIMIT_MAX: i64 = 1000;
const DAY_MS: i64 = 24 * 60 * 60 * 1000;

#[derive(Debug, Subcommand)]
pub(super) enum Verb {
    /// Make an activation and print the line that registers an agent with it
    ///
    /// The code in that line is shown once and kept nowhere. Run the line on each machine that is
    /// to become a node, then `holdfast-agent run` there; `node list` shows it.
    #[command(after_help = EXAMPLES)]
    Create(Create),
    /// List activations: how many nodes each has registered of how many, and when it expires
    List(Common),
    /// Delete an activation; its nodes stay
    ///
    /// Nobody can register with its code any more. To end a node, deregister it: `node deregister`.
    #[command(
        after_help = "Example:\n  holdfast-bridge activation delete 8c2a0d3e-5f1b-4c7d-9e6a-0b1c2d3e4f50"
    )]
    Delete(Delete),
}

const EXAMPLES: &str = "Examples:\n  \
holdfast-bridge activation create\n  \
holdfast-bridge activation create --limit 200 --expires 12h --name till --tag Site=north --tag 'Patch Group=tills'\n  \
holdfast-bridge activation create --bridge bridge.example:8883 --json";

#[derive(Debug, Args)]
pub(super) struct Create {
    #[command(flatten)]
    common: Common,
    /// Machines that it may register
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=LIMIT_MAX))]
    limit: u32,
    /// How long it works: a number and s, m, h or d, at most 30d
    #[arg(long, value_name = "TIME", default_value = "30d", value_parser = expires)]
    expires: i64,
    /// Name given to its nodes
    #[arg(long, default_value = "")]
    name: String,
    /// Tag given to its nodes; may be repeated
    #[arg(long = "tag", value_name = "KEY=VALUE", value_parser = tag)]
    tags: Vec<Tag>,
    /// Address of the bridge in the printed line, where agents reach it; else that of the bridge that runs
    #[arg(long, value_name = "HOST:PORT", value_parser = public_address)]
    bridge: Option<String>,
}

#[derive(Debug, Args)]
pub(super) struct Delete {
    #[command(flatten)]
    common: Common,
    /// The activation's id
    id: ActivationId,
}

impl Verb {
    pub(super) async fn run(self) -> Result<(), CliError> {
        match self {
            Self::Create(create) => create.run().await,
            Self::List(common) => list(&common).await,
            Self::Delete(delete) => delete.run().await,
        }
    }
}

/// A time span in milliseconds, more than none and at most 30 days.
fn expires(text: &str) -> Result<i64, String> {
    let wrong = || format!("`{text}` is not a time from 1s to 30d, such as 12h or 30d");
    let span = span(text).ok_or_else(wrong)?;
    if (1..=30 * DAY_MS).contains(&span) {
        Ok(span)
    } else {
        Err(wrong())
    }
}

fn tag(text: &str) -> Result<Tag, String> {
    match text.split_once('=') {
        Some((key, value)) if !key.is_empty() && key.len() <= 128 && value.len() <= 256 => {
            Ok(Tag {
                key: key.into(),
                value: value.into(),
            })
        }
        _ => Err(format!(
            "`{text}` is not a tag: KEY=VALUE, a key of 1 to 128 bytes and a value of up to 256"
        )),
    }
}

impl Create {
    async fn run(self) -> Result<(), CliError> {
        let Self {
            common,
            limit,
            expires,
            name,
            tags,
            bridge,
        } = self;
        let store = open(&common.state_dir).await?;
        let root = Root::open_or_create(&common.state_dir)
            .map_err(CliError::because("cannot use the root certificate"))?;
        let id = ActivationId::from_random(random()?);
        let code = hex::encode(random::<16>()?);
        let now = now();
        let activation = NewActivation {
            id,
            code_key: derive_key(&id, &code),
            description: String::new(),
            default_name: name,
            iam_role: String::new(),
            registration_limit: limit,
            expires: now + expires,
            tags,
        };
        store
            .create_activation(caller(), activation)
            .await
            .map_err(CliError::because("cannot store the activation"))?;
        store.close().await;
        let bridge =
            bridge.unwrap_or_else(|| register_address(Addresses::read(&common.state_dir).as_ref()));
        let ca = root.ca_sha256();
        let line = format!(
            "holdfast-agent register --bridge mqtts://{bridge} --activation-id {id} \
             --activation-code {code} --ca-sha256 {ca}"
        );
        let json = json!({
            "activation_id": id.to_string(),
            "activation_code": code,
            "ca_sha256": ca,
            "bridge": format!("mqtts://{bridge}"),
            "expires": time(now + expires),
            "register": line,
        });
        Ok(common.output().value(&line, &json)?)
    }
}

async fn list(common: &Common) -> Result<(), CliError> {
    let store = open_existing(&common.state_dir).await?;
    let mut rows = Vec::new();
    let mut page = Page::first(1000);
    loop {
        let activations = store
            .activations(&ActivationFilter::default(), &page)
            .await
            .map_err(CliError::because("cannot read the activations"))?;
        rows.extend(activations.items.into_iter().map(|activation| {
            vec![
                activation.id.to_string(),
                activation.default_name,
                format!(
                    "{}/{}",
                    activation.registrations, activation.registration_limit
                ),
                time(activation.expires),
            ]
        }));
        let Some(next) = activations.next else { break };
        page.after = Some(next);
    }
    let columns = ["activation_id", "name", "used", "expires"];
    Ok(common.output().table(&columns, &rows)?)
}

impl Delete {
    async fn run(self) -> Result<(), CliError> {
        let store = open_existing(&self.common.state_dir).await?;
        let found = store
            .delete_activation(caller(), self.id)
            .await
            .map_err(CliError::because("cannot delete the activation"))?;
        store.close().await;
        if found {
            let line = format!("activation {} is deleted; its nodes stay", self.id);
            let json = json!({ "activation_id": self.id.to_string(), "deleted": true });
            return Ok(self.common.output().value(&line, &json)?);
        }
        Err(CliError::Failed(format!(
            "there is no activation {}; `activation list` shows those there are",
            self.id
        )))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_span_is_a_number_and_its_unit_within_bounds() {
        assert_eq!(expires("30d"), Ok(30 * DAY_MS));
        assert_eq!(expires("90m"), Ok(90 * 60 * 1000));
        for wrong in [
            "",
            "d",
            "0s",
            "31d",
            "-1d",
            "5",
            "5w",
            "99999999999999999999d",
            "5é",
        ] {
            assert!(expires(wrong).is_err(), "{wrong}");
        }
    }
}
