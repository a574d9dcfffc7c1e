//! A hostile broker: frames that nobody signed, or that were changed on their way; and honest new keys.
//! Never holds a key that the root has certified, but for the bridge's own rotation.

use super::{World, pair};
use crate::Violation;
use crate::machine::EPOCH_UNIX_MS;
use holdfast_protocol::CommandId;
use holdfast_protocol::bounded::{List, Text};
use holdfast_protocol::down::{Ack, Cancel, Command, Down, FloorReset, HelloReply};
use holdfast_protocol::enrol::public_key;
use holdfast_protocol::seal::{Address, KeyCertificate, Sealer};
use holdfast_protocol::topic::Topic;
use holdfast_protocol::up::Token;

/// Seed of the attacker's keys.
const ATTACKER: u8 = 200;
/// A counter above all that a bridge gives out in a world.
const COUNTER: u64 = 1 << 40;
/// Twenty years.
pub(super) const YEARS_20_MS: u64 = 20 * 365 * 86_400_000;

impl World {
    /// A frame that no bridge has sealed comes to a machine.
    pub(super) fn forge(&mut self, index: usize, kind: u64) -> Result<(), Violation> {
        let Some(machine) = self.machines.get(index) else {
            return Ok(());
        };
        let (node, now) = (machine.node, machine.monotonic(self.now));
        let Some(status) = machine.core.as_ref().map(|core| core.status(now)) else {
            return Ok(());
        };
        let down = match kind {
            0 => return self.tamper(index),
            1 => Down::Ack(Ack {
                acks: status.queues.map(|queue| queue.head),
            }),
            2 => match status.commands.first() {
                Some(held) => Down::Cancel(Cancel {
                    command: held.command,
                }),
                None => return Ok(()),
            },
            3 | 4 => Down::Command(Box::new(self.nobodys_command())),
            // Its hello is there for the broker to read: the nonce keeps no secret.
            _ => match self.nonces.get(&index).copied() {
                Some(nonce) if kind == 5 => Down::FloorReset(FloorReset { nonce, unix_ms: 1 }),
                Some(nonce) => Down::HelloReply(HelloReply {
                    nonce,
                    unix_ms: EPOCH_UNIX_MS + 2 * YEARS_20_MS,
                    revision: 1,
                    token: Token::default(),
                    acks: status.queues.map(|queue| queue.head),
                    resync: List::default(),
                }),
                None => return Ok(()),
            },
        };
        let address = Address {
            node,
            outbox: status.outbox,
        };
        // With and without a certificate: one of the attacker's own making.
        let sealer = if matches!(down, Down::FloorReset(_)) {
            Sealer::root(pair(ATTACKER)?)
        } else {
            attacker(self.serial)?
        };
        let sealed = sealer.seal(&address, COUNTER, kind.is_multiple_of(2), &down);
        let frame = sealed.map_err(|why| self.violation(why))?;
        self.say(|| format!("{node}: a forged frame: {down:?}"));
        let topic = if matches!(down, Down::Command(_)) {
            Topic::Command(node)
        } else {
            Topic::Control(node)
        };
        self.inject(index, topic, frame)
    }

    /// A true frame, with one bit turned over.
    fn tamper(&mut self, index: usize) -> Result<(), Violation> {
        let node = self.machines.get(index).map(|machine| machine.node);
        let own = self
            .captured
            .iter()
            .rev()
            .find(|(of, ..)| Some(*of) == node);
        let Some((_, topic, mut frame)) = own.cloned() else {
            return Ok(());
        };
        let at = self.random.index(frame.len());
        if let Some(byte) = frame.get_mut(at) {
            *byte ^= 1 << self.random.between(0, 7);
        }
        self.say(|| format!("byte {at} of a frame on {topic} is changed"));
        self.inject(index, topic, frame)
    }

    fn nobodys_command(&mut self) -> Command {
        let content = r#"{"schemaVersion":"2.2","mainSteps":[{"action":"aws:runShellScript","name":"x","inputs":{"runCommand":["true"]}}]}"#;
        Command {
            id: CommandId::from_random(self.random.bytes()),
            document_name: Text::cut("sim"),
            document_version: Text::cut("1"),
            content_sha256: *holdfast_documents::DocumentHash::of(content.as_bytes()).as_bytes(),
            content: Text::cut(content),
            parameters: List::default(),
            expires_unix_ms: self.bridge.unix_ms(self.now) + 600_000,
            operator: None,
        }
    }

    /// The bridge signs with a new key, also what it sends again; nodes learn it with a hello.
    pub(super) fn rotate(&mut self, bare: bool) -> Result<(), Violation> {
        self.serial += 1;
        let seed = u8::try_from(1 + self.serial).unwrap_or(ATTACKER - 1);
        let sealer = certified(&pair(1)?, self.serial, pair(seed)?);
        let out = self.bridge.rotate(self.now, sealer, bare);
        self.perform_bridge(out);
        Ok(())
    }
}

/// A sealer of a key that a root has certified.
pub(super) fn certified(
    root: &ring::signature::Ed25519KeyPair,
    serial: u32,
    key: ring::signature::Ed25519KeyPair,
) -> Sealer {
    let certificate = KeyCertificate::issue(root, serial, public_key(&key).unwrap_or_default());
    Sealer::new(key, certificate)
}

/// A sealer under the same serial as the bridge's, of a root of the attacker's own.
fn attacker(serial: u32) -> Result<Sealer, Violation> {
    Ok(certified(&pair(ATTACKER)?, serial, pair(ATTACKER + 1)?))
}
