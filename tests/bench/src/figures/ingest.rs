//! Durable ingest: publishers that speak as nodes do, against the raw log on the same disk and mosquitto.
//! Never counts a record before its PUBACK, which the bridge sends after its commit.

use super::journal::records_per_second;
use super::mosquitto::Mosquitto;
use super::publisher::{Publisher, WINDOW, all, answer};
use crate::client::{Greeting, connect};
use crate::enrol::{Identity, enrol_fleet};
use crate::ground::Ground;
use crate::measure::median;
use crate::table::{Budget, Row};
use anyhow::{Context as _, Result, bail, ensure};
use bytes::Bytes;
use holdfast_e2e::{Api, Bridge};
use holdfast_protocol::bounded::{Bytes as Bounded, List};
use holdfast_protocol::down::Down;
use holdfast_protocol::limits::{REVISION, REVISION_OLDEST, STDOUT_BYTES_MAX};
use holdfast_protocol::seal::{Address, Opener};
use holdfast_protocol::topic::Topic;
use holdfast_protocol::up::{
    Class, Hello, OutputChunk, OutputStream, Platform, Record, Stamp, Up, stored_to_frame,
};
use holdfast_protocol::{CommandId, NodeId, Nonce, OutboxId};
use ring::rand::{SecureRandom as _, SystemRandom};
use rumqttc::mqttbytes::QoS;
use rumqttc::mqttbytes::v4::Packet;
use serde_json::{Value, json};
use std::net::SocketAddr;

const NODES: usize = 20;
const PAYLOAD_BYTES: usize = 1024;
/// Batch of the raw log that the budget speaks of.
const BATCH: usize = 64;

fn random<const N: usize>() -> Result<[u8; N]> {
    let mut bytes = [0; N];
    let filled = SystemRandom::new().fill(&mut bytes);
    filled.map_err(|_| anyhow::anyhow!("no randomness"))?;
    Ok(bytes)
}

/// A node's pen: frames of 1 KiB of output each, in the order of its stream *result*.
struct Pen {
    outbox: OutboxId,
    sequence: u64,
}

impl Pen {
    /// The next frames: output of these commands, one after the other. It is random bytes, so
    /// that deflate gains nothing.
    fn write(&mut self, count: usize, commands: &[CommandId]) -> Result<Vec<Bytes>> {
        let mut frames = Vec::with_capacity(count);
        let mut commands = commands.iter().copied();
        let (mut command, mut offset) = (commands.next().context("a command")?, 0);
        for _ in 0..count {
            if offset + PAYLOAD_BYTES > STDOUT_BYTES_MAX {
                (command, offset) = (commands.next().context("another command")?, 0);
            }
            let chunk = OutputChunk {
                command,
                step: 0,
                stream: OutputStream::Stdout,
                offset: u32::try_from(offset)?,
                bytes: Bounded::new(random::<PAYLOAD_BYTES>()?.to_vec())?,
            };
            offset += PAYLOAD_BYTES;
            self.sequence += 1;
            let stored = Record::Output(chunk).to_stored()?;
            let frame = stored_to_frame(&stored, self.outbox, self.sequence, REVISION)?;
            frames.push(Bytes::from(frame));
        }
        Ok(frames)
    }
}

fn hello(outbox: OutboxId, nonce: Nonce) -> Hello {
    Hello {
        agent_version: heapless::String::try_from("0.0.0-bench").unwrap_or_default(),
        revisions: (REVISION_OLDEST, REVISION),
        stamp: Stamp {
            boot: 1,
            uptime_ms: 1000,
            unix_ms: None,
        },
        outbox,
        streams: Default::default(),
        counter: 0,
        signing_serial: 0,
        token: None,
        nonce,
        bases: List::default(),
        platform: Platform::default(),
    }
}

/// Connects as a node and waits until the bridge has accepted its hello.
async fn greet(address: SocketAddr, identity: &Identity) -> Result<(Publisher, Pen)> {
    let node = identity.node;
    let greeting = Greeting {
        client_id: node.to_string(),
        will: None,
        topics: vec![
            Topic::Control(node).to_string(),
            Topic::Command(node).to_string(),
        ],
    };
    let (mut reader, mut writer) = connect(&identity.place(address)?, greeting).await?;
    let outbox = OutboxId(u64::from_le_bytes(random()?));
    let frame = Up::Hello(Box::new(hello(outbox, random()?))).encode()?;
    let topic = Topic::Hello(node).to_string();
    writer.publish(&topic, QoS::AtMostOnce, Bytes::from(frame))?;
    writer.flush().await?;
    let mut opener = Opener::new(identity.root_key, 0);
    loop {
        let packet = reader.next().await?;
        if let Packet::Publish(publish) = &packet {
            let opened = opener.open(&Address { node, outbox }, &publish.payload)?;
            match opened.down {
                Down::HelloReply(_) => break,
                Down::HelloRefusal(refusal) => bail!("hello refused: {:?}", refusal.reason),
                Down::Command(_)
                | Down::Cancel(_)
                | Down::Ack(_)
                | Down::Resync(_)
                | Down::Rotation(_)
                | Down::Renewed(_)
                | Down::FloorReset(_) => {}
            }
        }
        answer(&mut writer, packet)?;
    }
    writer.flush().await?;
    let publisher = Publisher {
        reader,
        writer,
        topic: Topic::Stream(node, Class::Result).to_string(),
    };
    Ok((
        publisher,
        Pen {
            outbox,
            sequence: 0,
        },
    ))
}

async fn fleet(address: SocketAddr, identities: &[Identity]) -> Result<(Vec<Publisher>, Vec<Pen>)> {
    let (mut publishers, mut pens) = (Vec::new(), Vec::new());
    for identity in identities {
        let (publisher, pen) = greet(address, identity).await?;
        publishers.push(publisher);
        pens.push(pen);
    }
    Ok((publishers, pens))
}

/// Sends as many commands to all nodes as it takes to have room for so many records of output.
/// Nobody runs them: the bridge keeps no output of a command that it does not know.
fn commands(api: &Api, records: usize) -> Result<Vec<CommandId>> {
    let input = json!({
        "DocumentName": "AWS-RunShellScript",
        "Targets": [{"Key": "tag:Fleet", "Values": ["ingest"]}],
        "Parameters": {"commands": ["true"]},
        "MaxConcurrency": "100%",
    });
    let send = |_| -> Result<CommandId> {
        let sent = api.call("SendCommand", &input)?;
        let id = sent.pointer("/Command/CommandId").and_then(Value::as_str);
        Ok(id.context("CommandId")?.parse()?)
    };
    let count = records.div_ceil(STDOUT_BYTES_MAX / PAYLOAD_BYTES);
    (0..count).map(send).collect()
}

/// Bytes of output that the bridge shows of a command: it was kept and not passed over.
fn kept_bytes(bridge: &Bridge, command: CommandId, node: NodeId) -> Result<usize> {
    let (command, node) = (command.to_string(), node.to_string());
    let output = bridge.verb(&["output", &command, &node])?.success()?;
    Ok(output.len())
}

pub(super) fn measure(ground: &Ground) -> Result<Vec<Row>> {
    let folder = ground.folder()?;
    let mut bridge = ground.bridge(&folder)?;
    let api = bridge.api()?;
    let (rounds, each) = (ground.or_quick(5, 1), ground.or_quick(2_000, 400));
    let runtime = &ground.runtime;
    let identities = runtime.block_on(enrol_fleet(&bridge, NODES, &["--tag", "Fleet=ingest"]))?;
    let (mut publishers, mut pens) = runtime.block_on(fleet(bridge.mqtt, &identities))?;
    let mosquitto = Mosquitto::start(ground);
    let (mut ours, mut raw, mut theirs) = (Vec::new(), Vec::new(), Vec::new());
    for round in 1..=rounds {
        let commands = commands(&api, each)?;
        let mut load = Vec::new();
        for (publisher, pen) in publishers.drain(..).zip(&mut pens) {
            load.push((publisher, pen.write(each, &commands)?));
        }
        let took;
        (publishers, took) = runtime.block_on(all(load))?;
        if let (Some(command), Some(identity)) = (commands.first(), identities.last()) {
            let kept = kept_bytes(&bridge, *command, identity.node)?;
            ensure!(kept >= PAYLOAD_BYTES, "the bridge kept {kept} bytes only");
        }
        let count = (NODES * each) as f64;
        ours.push(count / took.as_secs_f64());
        let log = ground.folder()?;
        raw.push(records_per_second(ground, log.path(), NODES * each, BATCH)?);
        if let Ok(mosquitto) = &mosquitto {
            let took = runtime.block_on(mosquitto.round(NODES, each, PAYLOAD_BYTES))?;
            theirs.push(count / took.as_secs_f64());
        }
        ground.tell(format!(
            "round {round}: {:.0} rec/s ours, {:.0} raw log, {:.0} mosquitto",
            ours.last().copied().unwrap_or_default(),
            raw.last().copied().unwrap_or_default(),
            theirs.last().copied().unwrap_or_default(),
        ));
    }
    bridge.stop().context("stopping the bridge")?;
    rows(&ours, &raw, &theirs, mosquitto.err(), rounds)
}

fn rows(
    ours: &[f64],
    raw: &[f64],
    theirs: &[f64],
    without: Option<anyhow::Error>,
    rounds: usize,
) -> Result<Vec<Row>> {
    let how = format!("{NODES} nodes, window {WINDOW}, 1 KiB, TLS, median of {rounds}");
    let durable = Row::new("durable QoS 1 ingest", "rec/s", median(ours)?)
        .beside("raw log, batches of 64", median(raw)?)
        .within(Budget::AtLeastPartOfPeer(0.5))
        .noted(how.clone());
    let beside = match without {
        None => Row::new("durable QoS 1 ingest", "rec/s", median(ours)?)
            .beside("mosquitto, not durable", median(theirs)?)
            .noted(format!(
                "{how}; mosquitto with one subscriber, nothing on disk"
            )),
        Some(why) => Row::missing("ingest beside mosquitto", format!("{why:#}")),
    };
    Ok(vec![durable, beside])
}
