//! The deliberate defects: each one line of a core, the journal or the store, changed as a tired person might.
//! Never a line that only a shell has: those are the end-to-end tests' part.

/// One defect.
pub(super) struct Mutant {
    /// What it is called.
    pub(super) name: &'static str,
    /// The file, from the root of the workspace.
    pub(super) file: &'static str,
    /// What stands there once.
    pub(super) before: &'static str,
    /// What stands there in its place.
    pub(super) after: &'static str,
}

const ADMIT: &str = "agent/core/src/command/admit.rs";
const COMMANDS: &str = "agent/core/src/command/mod.rs";
const TOMBSTONE: &str = "agent/core/src/command/tombstone.rs";
const RUN: &str = "agent/core/src/command/run.rs";
const RECOVER: &str = "agent/core/src/command/recover.rs";
const DURABLE: &str = "agent/core/src/durable.rs";
const RECEIVE: &str = "agent/core/src/receive.rs";
const STREAM: &str = "agent/core/src/stream.rs";
const SESSION: &str = "agent/core/src/session.rs";
const TIME: &str = "agent/core/src/time.rs";
const STORE: &str = "agent/store/src/lib.rs";
const BUFFER: &str = "agent/store/src/buffer.rs";
const JOURNAL: &str = "agent/journal/src/journal.rs";
const SEGMENTS: &str = "agent/journal/src/stream.rs";
const FORMAT: &str = "agent/journal/src/format.rs";
const RECOVERY: &str = "agent/journal/src/recovery.rs";
const SEAL: &str = "protocol/src/seal.rs";
const INVOCATION: &str = "broker-bridge/core/src/invocation/mod.rs";
const RATE: &str = "broker-bridge/core/src/rate.rs";
const ACCEPTANCE: &str = "broker-bridge/core/src/stream.rs";
const REPORT: &str = "broker-bridge/core/src/report.rs";

/// All of them.
pub(super) const MUTANTS: &[Mutant] = &[
    Mutant {
        name: "inbox-not-written",
        file: ADMIT,
        before: "let writes = vec![reserve, put, ctx.node_write()];",
        after: "let writes = vec![reserve, ctx.node_write()];",
    },
    Mutant {
        name: "command-acked-early",
        file: ADMIT,
        before: "            self.admit(ctx, arrival);",
        after: "            let delivery = arrival.delivery;\n            self.admit(ctx, arrival);\n            ctx.push(Effect::AckTransport { delivery });",
    },
    Mutant {
        name: "begins-before-it-is-durable",
        file: RUN,
        before: "        ctx.persist(Purpose::Begin(id), writes);",
        after: "        ctx.persist(Purpose::Begin(id), writes);\n        self.begun(ctx, now, id);",
    },
    Mutant {
        name: "tombstone-skipped",
        file: COMMANDS,
        before: "        writes.push(Write::Put {\n            key: command_key(&id),\n            value: store::encode(&record),\n        });\n        writes.push(Write::Unreserve { command: id });",
        after: "        writes.push(Write::Remove {\n            key: command_key(&id),\n        });\n        writes.push(Write::Unreserve { command: id });",
    },
    Mutant {
        name: "expiry-ignored",
        file: COMMANDS,
        before: "                && held.command.expires_unix_ms <= certain",
        after: "                && held.command.expires_unix_ms == certain",
    },
    Mutant {
        name: "begins-without-knowing-the-time",
        file: RUN,
        before: "            let known = ctx.record.clock.trusted(now).is_some();",
        after: "            let known = true;",
    },
    Mutant {
        name: "time-kept-over-a-reboot",
        file: TIME,
        before: "            self.booted_unix_ms = None;",
        after: "",
    },
    Mutant {
        name: "floor-falls",
        file: TIME,
        before: "        Some(unix.min(CERTIFICATES_END_UNIX_MS).max(self.floor_unix_ms))",
        after: "        Some(unix.min(CERTIFICATES_END_UNIX_MS))",
    },
    Mutant {
        name: "interrupted-runs-again",
        file: RECOVER,
        before: "                (order, command, Phase::Recovering { after, damaged })",
        after: "                let _: (u64, Option<InvocationState>) = (after, damaged);\n                let phase = Phase::Pending {\n                    resume: None,\n                    not_before: now,\n                };\n                (order, command, phase)",
    },
    Mutant {
        name: "interrupted-while-it-runs",
        file: RECOVER,
        before: "recovery.searched && recovery.remains_ended;",
        after: "recovery.searched;",
    },
    Mutant {
        name: "stream-not-searched-after-a-crash",
        file: RECOVER,
        before: "        if self.held.get(&id).filter(open).is_some() {",
        after: "        if self.held.get(&id).filter(open).is_none() {",
    },
    Mutant {
        name: "results-given-away-while-searched",
        file: STREAM,
        before: "            progress_at: Monotonic::default(),\n            results_searched,",
        after: "            progress_at: Monotonic::default(),\n            results_searched: results_searched && windows.is_empty(),",
    },
    Mutant {
        name: "unsigned-frame-accepted",
        file: SEAL,
        before: "        if !verifies(&key, &message(address, &raw, serial, body), signature) {",
        after: "        if !verifies(&key, &message(address, &raw, serial, body), signature) && serial == 0 {",
    },
    Mutant {
        name: "key-certificate-not-checked",
        file: SEAL,
        before: "            (_, Some(new)) if new.serial == serial && new.verify(&self.root) => {",
        after: "            (_, Some(new)) if new.serial == serial => {",
    },
    Mutant {
        name: "counter-not-checked",
        file: RECEIVE,
        before: "        let fresh = opened.counter > self.ctx.record.counter;",
        after: "        let fresh = true;",
    },
    Mutant {
        name: "unknown-key-acked",
        file: RECEIVE,
        before: "                self.hang_up(Pause::Backoff, why);\n            }\n            SealError::Superseded",
        after: "                self.acknowledge_transport(delivery);\n                self.hang_up(Pause::Backoff, why);\n            }\n            SealError::Superseded",
    },
    Mutant {
        name: "older-key-acked",
        file: RECEIVE,
        before: "SealError::Superseded { .. } => self.hang_up(Pause::Backoff, &why.to_string()),",
        after: "SealError::Superseded { .. } => self.acknowledge_transport(delivery),",
    },
    Mutant {
        name: "forgotten-before-the-acknowledgement",
        file: TOMBSTONE,
        before: "self.expires_unix_ms <= certain_unix_ms && self.is_acknowledged(results)",
        after: "self.expires_unix_ms <= certain_unix_ms && results.head > 0",
    },
    Mutant {
        name: "never-told-again",
        file: TOMBSTONE,
        before: "if !tombstone.is_acknowledged(results) {",
        after: "if results.head > 0 {",
    },
    Mutant {
        name: "overdue-reply-believed",
        file: RECEIVE,
        before: "        if self.session.overdue(now) {",
        after: "        if self.session.overdue(now) && reply.revision == 0 {",
    },
    Mutant {
        name: "stale-cancel-dropped",
        file: RECEIVE,
        before: "                self.answer(answer, None);\n            }\n            Down::HelloReply(_)",
        after: "                let _ = answer;\n            }\n            Down::HelloReply(_)",
    },
    Mutant {
        name: "token-used-before-it-is-durable",
        file: SESSION,
        before: "        ctx.record.token = Some(reply.token.clone());\n        let write = ctx.node_write();\n        ctx.persist(Purpose::Token, vec![write]);",
        after: "        let write = ctx.node_write();\n        ctx.record.token = Some(reply.token.clone());\n        ctx.persist(Purpose::Token, vec![write]);",
    },
    Mutant {
        name: "told-before-it-is-secured",
        file: DURABLE,
        before: "if self.life == Life::Starting && self.secured {",
        after: "if self.life == Life::Starting && (self.secured || self.start_at.is_none()) {",
    },
    Mutant {
        name: "rollback-not-noticed",
        file: STREAM,
        before: "            .filter(|((window, ack), _)| *ack > window.figures.head)",
        after: "            .filter(|((window, ack), _)| *ack > window.figures.head + 1_000_000)",
    },
    Mutant {
        name: "gap-told-too-short",
        file: STREAM,
        before: "                self.send_gap(ctx, reading, expected, last, *reason);",
        after: "                self.send_gap(ctx, reading, last, last, *reason);",
    },
    Mutant {
        name: "answered-before-the-sync",
        file: STORE,
        before: "            match self.journal.sync() {\n                Ok(done) => {",
        after: "            let streams = self.figures();\n            answers.extend(self.open.drain(..).map(|(ticket, appended)| Input::Persisted {\n                ticket,\n                appended: appended.into_iter().map(|(_, sequence)| sequence).collect(),\n                streams,\n            }));\n            match self.journal.sync() {\n                Ok(done) => {",
    },
    Mutant {
        name: "refused-ticket-half-written",
        file: BUFFER,
        before: "            self.journal.admits(&changes).map_err(stop_of)",
        after: "            let _ = changes;\n            Ok(())",
    },
    Mutant {
        name: "no-sync",
        file: SEGMENTS,
        before: "        storage\n            .sync_data(file)\n            .map_err(StorageError::on(\"sync\", &name))?;\n        if created {",
        after: "        if created {",
    },
    Mutant {
        name: "no-sync-of-the-directory",
        file: SEGMENTS,
        before: "        if created {\n            storage.sync_dir()",
        after: "        if created && name.is_empty() {\n            storage.sync_dir()",
    },
    Mutant {
        name: "cursor-after-unlink",
        file: JOURNAL,
        before: "            self.cursor.store(&self.storage, &table)?;\n            stream.retire(&self.storage, &mut self.pool)?;",
        after: "            stream.retire(&self.storage, &mut self.pool)?;\n            self.cursor.store(&self.storage, &table)?;",
    },
    Mutant {
        name: "checksum-not-checked",
        file: FORMAT,
        before: "        self.commit || payload_crc(salt, self.seq, payload) == self.payload_crc",
        after: "        self.commit || payload_crc(salt, self.seq, payload) > 0",
    },
    Mutant {
        name: "sequence-given-out-again",
        file: RECOVERY,
        before: "    stream.durable = (expected - 1).max(head);",
        after: "    stream.durable = expected.saturating_sub(2).max(head);",
    },
    Mutant {
        name: "killed-process-not-secured",
        file: JOURNAL,
        before: "            last.secure(&self.storage)?;",
        after: "            let _ = last;",
    },
    Mutant {
        name: "gap-not-counted",
        file: ACCEPTANCE,
        before: "            missing: sequence - last,",
        after: "            missing: 0,",
    },
    Mutant {
        name: "restore-not-counted",
        file: ACCEPTANCE,
        before: "        lost: head.acked.saturating_sub(applied.unwrap_or(before)),",
        after: "        lost: 0,",
    },
    Mutant {
        name: "repeat-applied-again",
        file: ACCEPTANCE,
        before: "    } else if sequence <= last {",
        after: "    } else if sequence < last {",
    },
    Mutant {
        name: "slot-freed-at-send",
        file: INVOCATION,
        before: "                self.stage = Stage::Sent;\n                self.slot = true;\n                self.delivered = false;",
        after: "                self.stage = Stage::Sent;\n                self.slot = false;\n                self.delivered = false;",
    },
    Mutant {
        name: "slot-freed-by-a-lost-link",
        file: INVOCATION,
        before: "            Stage::Sent if !online && !self.delivered && !self.cancelling => {",
        after: "            Stage::Sent if !online && !self.delivered && !self.cancelling => {\n                self.slot = false;",
    },
    Mutant {
        name: "late-result-replaces-a-result",
        file: INVOCATION,
        before: "        if self.stage == Stage::Closed && !self.inferred {\n            return;\n        }\n        self.late",
        after: "        self.late",
    },
    Mutant {
        name: "errors-ignored",
        file: RATE,
        before: "    } else if tally.errors > limits.errors_allowed {",
        after: "    } else if tally.errors > limits.errors_allowed + 100 {",
    },
    Mutant {
        name: "delta-on-any-base",
        file: REPORT,
        before: "            .find(|base| base.hash() == delta.base)",
        after: "            .next()",
    },
];
