//! Debian's mosquitto as a peer: TLS with client certificates, QoS 1, one subscriber.
//! Never durable, and the table says so: it acknowledges what is in memory.

use super::publisher::{Publisher, WINDOW, all, answer};
use crate::client::{Greeting, Place, connect};
use crate::ground::Ground;
use crate::papers::Papers;
use anyhow::{Context as _, Result, bail};
use bytes::Bytes;
use holdfast_e2e::Running;
use ring::rand::{SecureRandom as _, SystemRandom};
use rumqttc::mqttbytes::v4::Packet;
use rustls::ClientConfig;
use rustls_pki_types::ServerName;
use std::net::{SocketAddr, TcpListener};
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};
use tempfile::TempDir;

const PROGRAM: &str = "/usr/sbin/mosquitto";
const NAME: &str = "localhost";
const TOPIC: &str = "bench/records";

/// A running broker.
pub(super) struct Mosquitto {
    place: Place,
    _running: Running,
    _folder: TempDir,
}

/// The server's papers, where its configuration looks for them.
fn write(papers: &Papers, folder: &TempDir) -> Result<()> {
    let (server, key) = &papers.server;
    for (name, text) in [
        ("root.pem", papers.root.pem()),
        ("server.pem", server.pem()),
        ("server.key", key.serialize_pem()),
    ] {
        std::fs::write(folder.path().join(name), text)?;
    }
    Ok(())
}

fn client_config(papers: &Papers) -> Result<ClientConfig> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = ClientConfig::builder_with_provider(provider);
    papers.client(builder.with_protocol_versions(&[&rustls::version::TLS13])?)
}

fn configuration(folder: &TempDir, port: u16) -> Result<PathBuf> {
    let at = |name: &str| folder.path().join(name).display().to_string();
    let file = folder.path().join("mosquitto.conf");
    let text = format!(
        "listener {port} 127.0.0.1\ncafile {}\ncertfile {}\nkeyfile {}\nrequire_certificate true\n\
         use_identity_as_username true\nallow_anonymous false\npersistence false\nlog_type error\n\
         max_inflight_messages {WINDOW}\nmax_queued_messages 0\nset_tcp_nodelay true\nuser root\n",
        at("root.pem"),
        at("server.pem"),
        at("server.key"),
    );
    std::fs::write(&file, text)?;
    Ok(file)
}

impl Mosquitto {
    /// Starts the broker on a free port.
    ///
    /// # Errors
    /// When Debian's package is not installed: names it.
    pub(super) fn start(ground: &Ground) -> Result<Self> {
        if !std::path::Path::new(PROGRAM).is_file() {
            bail!("{PROGRAM} is not there: apt-get install mosquitto");
        }
        let folder = ground.folder()?;
        let papers = Papers::new(NAME)?;
        write(&papers, &folder)?;
        // Free at this moment: nobody else on loopback is asked to keep it.
        let port = TcpListener::bind("127.0.0.1:0")?.local_addr()?.port();
        let file = configuration(&folder, port)?;
        let mut command = Command::new(PROGRAM);
        command.arg("-c").arg(file);
        // It complains of each publisher that breaks off instead of closing TLS.
        command.stdout(Stdio::null()).stderr(Stdio::null());
        let running = Running::start(&mut command)?;
        let place = Place {
            address: SocketAddr::from(([127, 0, 0, 1], port)),
            tls: Arc::new(client_config(&papers)?).into(),
            name: ServerName::try_from(NAME)?,
        };
        holdfast_e2e::until("mosquitto listens", Duration::from_secs(10), || {
            Ok(std::net::TcpStream::connect(place.address).ok())
        })?;
        Ok(Self {
            place,
            _running: running,
            _folder: folder,
        })
    }

    /// One round: until every publish is acknowledged, and the subscriber has every one.
    ///
    /// # Errors
    /// When the broker refuses or loses something.
    pub(super) async fn round(
        &self,
        publishers: usize,
        each: usize,
        bytes: usize,
    ) -> Result<Duration> {
        let subscriber = self.subscriber(publishers * each).await?;
        let mut load = Vec::new();
        for number in 0..publishers {
            let greeting = Greeting {
                client_id: format!("publisher-{number}"),
                ..Greeting::default()
            };
            let (reader, writer) = connect(&self.place, greeting).await?;
            let publisher = Publisher {
                reader,
                writer,
                topic: TOPIC.into(),
            };
            let mut payload = vec![0; bytes];
            let filled = SystemRandom::new().fill(&mut payload);
            filled.map_err(|_| anyhow::anyhow!("no randomness"))?;
            load.push((publisher, vec![Bytes::from(payload); each]));
        }
        let started = Instant::now();
        // The connections must outlive the subscriber's last delivery.
        let (_connected, acknowledged) = all(load).await?;
        let last = subscriber.await??;
        Ok(acknowledged.max(last.duration_since(started)))
    }

    async fn subscriber(&self, count: usize) -> Result<tokio::task::JoinHandle<Result<Instant>>> {
        let greeting = Greeting {
            client_id: "subscriber".into(),
            will: None,
            topics: vec![TOPIC.into()],
        };
        let (mut reader, mut writer) = connect(&self.place, greeting).await?;
        let receiving = async move {
            let mut received = 0;
            while received < count {
                let packet = reader.next().await.context("the subscriber")?;
                received += usize::from(matches!(packet, Packet::Publish(_)));
                answer(&mut writer, packet)?;
                if received % 16 == 0 || received == count || count - received < 100 {
                    writer.flush().await?;
                }
            }
            Ok(Instant::now())
        };
        Ok(tokio::spawn(Box::pin(receiving)))
    }
}
