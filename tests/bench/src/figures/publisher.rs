//! A publisher that keeps a window of QoS 1 publishes in flight until all are acknowledged.
//! Never counts what the server has not acknowledged.

use crate::client::{Reader, Writer};
use anyhow::Result;
use bytes::Bytes;
use rumqttc::mqttbytes::QoS;
use rumqttc::mqttbytes::v4::{Packet, PubAck};
use std::time::{Duration, Instant};

/// Publishes in flight at most: what the endpoint lets wait for its commit.
pub(super) const WINDOW: usize = 100;

/// A connected publisher.
pub(super) struct Publisher {
    pub(super) reader: Reader,
    pub(super) writer: Writer,
    pub(super) topic: String,
}

impl Publisher {
    /// Publishes every payload; returns itself when the last one is acknowledged.
    pub(super) async fn publish(mut self, payloads: Vec<Bytes>) -> Result<Self> {
        let mut flying = 0_usize;
        let mut payloads = payloads.into_iter().peekable();
        while flying > 0 || payloads.peek().is_some() {
            while flying < WINDOW
                && let Some(payload) = payloads.next()
            {
                self.writer
                    .publish(&self.topic, QoS::AtLeastOnce, payload)?;
                flying += 1;
            }
            self.writer.flush().await?;
            flying -= usize::from(answer(&mut self.writer, self.reader.next().await?)?);
        }
        self.writer.flush().await?;
        Ok(self)
    }
}

/// Answers what a client must answer; whether it was a PUBACK.
#[expect(
    clippy::wildcard_enum_match_arm,
    reason = "a publisher is sent nothing else that matters"
)]
pub(super) fn answer(writer: &mut Writer, packet: Packet) -> Result<bool> {
    match packet {
        Packet::PubAck(_) => return Ok(true),
        Packet::Publish(publish) if publish.qos == QoS::AtLeastOnce => {
            writer.push(&Packet::PubAck(PubAck::new(publish.pkid)))?;
        }
        _ => {}
    }
    Ok(false)
}

/// Lets all publish at once; returns them and the time until the last acknowledgement.
pub(super) async fn all(
    publishers: Vec<(Publisher, Vec<Bytes>)>,
) -> Result<(Vec<Publisher>, Duration)> {
    let started = Instant::now();
    let running: Vec<_> = publishers
        .into_iter()
        .map(|(publisher, payloads)| tokio::spawn(Box::pin(publisher.publish(payloads))))
        .collect();
    let mut done = Vec::with_capacity(running.len());
    for publisher in running {
        done.push(publisher.await??);
    }
    Ok((done, started.elapsed()))
}
