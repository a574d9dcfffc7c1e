//! `serve`: arguments, signals, and the one line that says that the bridge is ready.
//! Never serves itself: that is [`crate::serve`].

use super::Common;
use super::error::CliError;
use crate::pki::{NODE_DAYS, NODE_DAYS_DEFAULT};
use crate::serve::{
    Addresses, Options, ServeError, listen_address, public_address, register_address, serve,
};
use clap::Args;
use holdfast_aws_api::arn::{Account, AccountError};
use serde_json::json;
use std::net::SocketAddr;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::oneshot;

pub(super) const EXAMPLES: &str = "Examples:\n  \
holdfast-bridge serve\n  \
holdfast-bridge serve --public-mqtt bridge.example:8883 --account-id 123456789012 --retention-days 90\n  \
holdfast-bridge serve --state-dir ./state --http 127.0.0.1:0 --mqtt 127.0.0.1:0 --json\n\n\
Next: `activation create` lets machines become nodes, `access-key create` lets AWS clients in.";

#[derive(Debug, Args)]
pub(super) struct Serve {
    #[command(flatten)]
    common: Common,
    /// Address of the SSM API for AWS clients; port 0 takes a free one
    #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:8440", value_parser = listen_address)]
    http: SocketAddr,
    /// Let --http be another address than this machine's own
    ///
    /// HTTP is not encrypted here. Requests are signed, so nobody on the way can change them or
    /// learn a secret key, but everybody on the way can read them and their replies: commands,
    /// parameters, output. Prefer a TLS proxy in front of a loopback address.
    #[arg(long)]
    insecure_http_address: bool,
    /// Address of the MQTT endpoint for agents, always TLS; port 0 takes a free one
    #[arg(long, value_name = "ADDR", default_value = "0.0.0.0:8883", value_parser = listen_address)]
    mqtt: SocketAddr,
    /// Where agents reach the MQTT endpoint, for the line of `activation create`
    #[arg(long, value_name = "HOST:PORT", value_parser = public_address)]
    public_mqtt: Option<String>,
    /// Account of ARNs, 12 digits: an ARN of another account in a request is refused
    #[arg(long, value_name = "ID", default_value = "000000000000")]
    account_id: String,
    /// Partition of ARNs, such as aws-cn: an ARN of another partition in a request is refused
    #[arg(long, value_name = "NAME", default_value = "aws")]
    partition: String,
    /// Days that ended commands, their output and recorded changes are kept
    #[arg(long, value_name = "DAYS", default_value_t = 30, value_parser = clap::value_parser!(u32).range(1..=3650))]
    retention_days: u32,
    /// Days that a node's certificate is good for; nodes renew at two thirds
    #[arg(long, value_name = "DAYS", default_value_t = NODE_DAYS_DEFAULT, value_parser = clap::value_parser!(u32).range(i64::from(*NODE_DAYS.start())..=i64::from(*NODE_DAYS.end())))]
    certificate_days: u32,
    /// Agents connected at once; one more is refused
    #[arg(long, value_name = "N", default_value_t = 10_000, value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    max_connections: u32,
}

impl From<ServeError> for CliError {
    fn from(error: ServeError) -> Self {
        Self::because("the bridge cannot start")(error)
    }
}

impl Serve {
    pub(super) async fn run(self) -> Result<(), CliError> {
        let output = self.common.output();
        let options = self.options()?;
        let state_dir = options.state_dir.display().to_string();
        let stop = signals()?;
        serve(
            options,
            |addresses: &Addresses| {
                let line = format!(
                    "holdfast-bridge serves: API http://{}, agents mqtts://{} (listens on {}), state in {}",
                    addresses.http,
                    register_address(Some(addresses)),
                    addresses.mqtt,
                    state_dir
                );
                let json = json!({
                    "state_dir": state_dir,
                    "http": addresses.http.to_string(),
                    "mqtt": addresses.mqtt.to_string(),
                    "pid": addresses.pid,
                });
                output.value(&line, &json)?;
                super::notify::ready();
                Ok(())
            },
            async {
                // The task that listens for signals never ends without a word.
                let _ = stop.await;
            },
        )
        .await
    }

    fn options(self) -> Result<Options, CliError> {
        if !self.http.ip().is_loopback() {
            if !self.insecure_http_address {
                let why = format!(
                    "--http {} can be reached from other machines, and HTTP is not encrypted: put a \
                     TLS proxy in front of 127.0.0.1, or add --insecure-http-address if everybody on \
                     the way may read commands and their output",
                    self.http
                );
                return Err(CliError::Usage(why));
            }
            tracing::warn!(address = %self.http, "the API listens without encryption: everybody on the way can read commands and their output");
        }
        let account = Account::new(&self.partition, &self.account_id).map_err(|error| {
            let option = match error {
                AccountError::Partition(_) => "--partition",
                AccountError::Id(_) => "--account-id",
            };
            CliError::Usage(format!("{option}: {error}"))
        })?;
        Ok(Options {
            state_dir: self.common.state_dir,
            http: self.http,
            mqtt: self.mqtt,
            public_mqtt: self.public_mqtt,
            account,
            retention_days: self.retention_days,
            certificate_days: self.certificate_days,
            connections: self.max_connections as usize,
        })
    }
}

/// Resolves at the first SIGTERM or SIGINT; the second ends the process. SIGHUP only says that
/// there is nothing to reload: verbs take effect without it.
fn signals() -> Result<oneshot::Receiver<()>, CliError> {
    let listen = |kind| signal(kind).map_err(CliError::because("cannot listen for signals"));
    let (mut term, mut int) = (
        listen(SignalKind::terminate())?,
        listen(SignalKind::interrupt())?,
    );
    let mut hangup = listen(SignalKind::hangup())?;
    let (stop, stopped) = oneshot::channel();
    tokio::spawn(async move {
        let mut stop = Some(stop);
        loop {
            tokio::select! {
                () = either(&mut term, &mut int) => match stop.take() {
                    // The bridge may be ending for its own reasons already.
                    Some(stop) => { let _ = stop.send(()); }
                    None => {
                        tracing::warn!("a second signal: ending at once");
                        std::process::exit(1);
                    }
                },
                _ = hangup.recv() => {
                    tracing::info!("SIGHUP: nothing to reload, keys and database are followed as they change");
                }
            }
        }
    });
    Ok(stopped)
}

async fn either(first: &mut Signal, second: &mut Signal) {
    tokio::select! {
        _ = first.recv() => {}
        _ = second.recv() => {}
    }
}
