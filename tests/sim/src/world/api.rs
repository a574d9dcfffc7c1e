//! What users ask of the bridge: commands with rate control, cancels.
//! Never asks for what the API would refuse.

use super::{Event, TROUBLE_MS, World};
use crate::bridge::CommandRow;
use holdfast_bridge_core::rate::Limits;
use holdfast_documents::DocumentHash;
use holdfast_protocol::CommandId;
use holdfast_protocol::bounded::{List, Text};
use holdfast_protocol::down::Command;
use std::collections::BTreeMap;

/// `timeoutSeconds` of each step.
const STEP_SECONDS: u64 = 20;

impl World {
    /// Somebody sends a command.
    pub(super) fn submit(&mut self) {
        if !self.bridge.up {
            return self.after(5_000, Event::Submit);
        }
        if self.bridge.is_real() {
            return self.submit_real();
        }
        let id = CommandId::from_random(self.random.bytes());
        let steps = self.random.between(1, 3);
        let content = self.document(steps);
        let expires_in = self.random.between(30_000, 400_000);
        let command = Command {
            id,
            document_name: Text::cut("sim"),
            document_version: Text::cut("1"),
            content_sha256: *DocumentHash::of(content.as_bytes()).as_bytes(),
            content: Text::cut(&content),
            parameters: List::default(),
            expires_unix_ms: self.bridge.unix_ms(self.now) + expires_in,
            operator: None,
        };
        let mut rows = BTreeMap::new();
        for machine in &self.machines {
            if rows.is_empty() || !self.random.one_in(4) {
                rows.insert(machine.node, self.bridge.row(machine.node));
            }
        }
        let slots = u32::try_from(self.random.between(1, 4)).unwrap_or(1);
        let errors_allowed = u32::try_from(self.random.between(0, 3)).unwrap_or(0);
        let row = CommandRow {
            command,
            requested_unix_ms: self.bridge.unix_ms(self.now),
            limits: Limits {
                slots,
                errors_allowed,
            },
            run_bound_ms: steps * STEP_SECONDS * 1000 + 10_000,
            rows,
        };
        self.summary.commands += 1;
        self.say(|| {
            format!("the API sends {id}: {steps} steps, {slots} slots, {errors_allowed} errors, expires in {expires_in} ms")
        });
        if self.random.one_in(4) && self.now < TROUBLE_MS {
            let ms = self.random.between(1, 60_000);
            self.after(ms, Event::Cancel(id));
        }
        let out = self.bridge.submit(self.now, row);
        self.perform_bridge(out);
    }

    /// Somebody sends a script through the real hub.
    fn submit_real(&mut self) {
        let mut nodes = Vec::new();
        for machine in &self.machines {
            let chosen = nodes.is_empty() || !self.random.one_in(4);
            if chosen && !nodes.contains(&machine.node) {
                nodes.push(machine.node);
            }
        }
        let limits = Limits {
            slots: u32::try_from(self.random.between(1, 4)).unwrap_or(1),
            errors_allowed: u32::try_from(self.random.between(0, 3)).unwrap_or(0),
        };
        let seconds = u32::try_from(self.random.between(30, 400)).unwrap_or(30);
        let (sent, out) = self.bridge.submit_real(self.now, &nodes, limits, seconds);
        let Some(id) = sent else {
            return;
        };
        self.summary.commands += 1;
        self.say(|| format!("the API sends {id} to {nodes:?}: {limits:?}, expires in {seconds} s"));
        if self.random.one_in(4) && self.now < TROUBLE_MS {
            let ms = self.random.between(1, 60_000);
            self.after(ms, Event::Cancel(id));
        }
        self.perform_bridge(out);
    }

    fn document(&mut self, steps: u64) -> String {
        let options = ["", ",\"onFailure\":\"exit\"", ",\"onSuccess\":\"exit\""];
        let steps: Vec<String> = (0..steps)
            .map(|step| {
                let option = options.get(self.random.index(options.len())).unwrap_or(&"");
                format!(
                    r#"{{"action":"aws:runShellScript","name":"step{step}","inputs":{{"runCommand":["true"],"timeoutSeconds":"{STEP_SECONDS}"}}{option}}}"#
                )
            })
            .collect();
        let broken = if self.random.one_in(20) { "9.9" } else { "2.2" };
        let steps = steps.join(",");
        format!(r#"{{"schemaVersion":"{broken}","description":"","mainSteps":[{steps}]}}"#)
    }
}
