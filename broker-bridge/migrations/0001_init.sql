-- The fleet's state. Times are milliseconds since 1970 by the bridge's clock; booleans are 0 or 1.

CREATE TABLE meta (
    key   TEXT PRIMARY KEY,
    value TEXT NOT NULL
) STRICT, WITHOUT ROWID;

-- Enrolment. A node's connection is the number of the one that lives, 0 for none. -----------------------------------------------------------------------------------

CREATE TABLE activations (
    activation_id      TEXT PRIMARY KEY,
    code_key           BLOB NOT NULL,
    description        TEXT NOT NULL,
    default_name       TEXT NOT NULL,
    iam_role           TEXT NOT NULL,
    registration_limit INTEGER NOT NULL,
    registrations      INTEGER NOT NULL DEFAULT 0,
    created_ms         INTEGER NOT NULL,
    expires_ms         INTEGER NOT NULL,
    tags               TEXT NOT NULL
) STRICT;
CREATE INDEX activations_by_creation ON activations (created_ms, activation_id);

CREATE TABLE access_keys (
    access_key_id TEXT PRIMARY KEY,
    secret        TEXT NOT NULL,
    name          TEXT NOT NULL,
    created_ms    INTEGER NOT NULL,
    disabled_ms   INTEGER
) STRICT;

CREATE TABLE nodes (
    node_id            TEXT PRIMARY KEY,
    activation_id      TEXT NOT NULL,
    name               TEXT NOT NULL,
    iam_role           TEXT NOT NULL,
    registered_ms      INTEGER NOT NULL,
    deregistered_ms    INTEGER,
    quarantined_ms     INTEGER,
    quarantine_reason  TEXT NOT NULL DEFAULT '',
    public_key         BLOB NOT NULL,
    previous_key       BLOB,
    certificate_serial TEXT NOT NULL,
    certificate_expires_ms INTEGER NOT NULL,
    agent_version      TEXT NOT NULL,
    platform_name      TEXT NOT NULL,
    platform_version   TEXT NOT NULL,
    computer_name      TEXT NOT NULL,
    ip_address         TEXT NOT NULL,
    architecture       TEXT NOT NULL,
    connection         INTEGER NOT NULL DEFAULT 0,
    last_ping_ms       INTEGER NOT NULL,
    boot               INTEGER NOT NULL DEFAULT 0,
    outbox             INTEGER,
    counter            INTEGER NOT NULL DEFAULT 0,
    token_issued       BLOB,
    token_shown        BLOB
) STRICT;
CREATE UNIQUE INDEX nodes_by_key ON nodes (public_key) WHERE deregistered_ms IS NULL;
CREATE INDEX nodes_by_activation ON nodes (activation_id);

CREATE TABLE revoked_certificates (
    serial     TEXT PRIMARY KEY,
    node_id    TEXT NOT NULL,
    revoked_ms INTEGER NOT NULL
) STRICT;

CREATE TABLE tags (
    resource_type TEXT NOT NULL,
    resource_id   TEXT NOT NULL,
    key           TEXT NOT NULL,
    value         TEXT NOT NULL,
    PRIMARY KEY (resource_type, resource_id, key)
) STRICT, WITHOUT ROWID;
CREATE INDEX tags_by_value ON tags (resource_type, key, value, resource_id);

-- Run Command ---------------------------------------------------------------------------------

CREATE TABLE commands (
    command_id       TEXT PRIMARY KEY,
    document_name    TEXT NOT NULL,
    document_version TEXT NOT NULL,
    content          TEXT NOT NULL,
    parameters       TEXT NOT NULL,
    comment          TEXT NOT NULL,
    instance_ids     TEXT NOT NULL,
    targets          TEXT NOT NULL,
    max_concurrency  TEXT NOT NULL,
    max_errors       TEXT NOT NULL,
    slots            INTEGER NOT NULL,
    errors_allowed   INTEGER NOT NULL,
    timeout_s        INTEGER NOT NULL,
    requested_ms     INTEGER NOT NULL,
    expires_ms       INTEGER NOT NULL,
    run_bound_ms     INTEGER NOT NULL,
    requested_by     TEXT NOT NULL,
    cancel_requested INTEGER NOT NULL DEFAULT 0,
    status           TEXT NOT NULL,
    status_details   TEXT NOT NULL,
    target_count     INTEGER NOT NULL,
    completed_count  INTEGER NOT NULL DEFAULT 0,
    error_count      INTEGER NOT NULL DEFAULT 0,
    delivery_timed_out_count INTEGER NOT NULL DEFAULT 0,
    finished         INTEGER NOT NULL DEFAULT 0,
    check_ms         INTEGER NOT NULL
) STRICT;
CREATE INDEX commands_by_request ON commands (requested_ms DESC, command_id DESC);
CREATE INDEX commands_unfinished ON commands (check_ms) WHERE finished = 0;

-- stage: 0 waits to be sent, 1 sent, 2 closed. slot: holds one of the command's slots.
CREATE TABLE invocations (
    command_id     TEXT NOT NULL REFERENCES commands (command_id) ON DELETE CASCADE,
    node_id        TEXT NOT NULL,
    ordinal        INTEGER NOT NULL,
    requested_ms   INTEGER NOT NULL,
    stage          INTEGER NOT NULL DEFAULT 0,
    slot           INTEGER NOT NULL DEFAULT 0,
    delivered      INTEGER NOT NULL DEFAULT 0,
    cancelling     INTEGER NOT NULL DEFAULT 0,
    inferred       INTEGER NOT NULL DEFAULT 0,
    late           INTEGER NOT NULL DEFAULT 0,
    status         TEXT NOT NULL,
    status_details TEXT NOT NULL,
    detail         TEXT NOT NULL DEFAULT '',
    sent_epoch     INTEGER NOT NULL DEFAULT 0,
    sends          INTEGER NOT NULL DEFAULT 0,
    retry_ms       INTEGER NOT NULL DEFAULT 0,
    sent_ms        INTEGER,
    started_ms     INTEGER,
    ended_ms       INTEGER,
    steps          TEXT NOT NULL DEFAULT '[]',
    PRIMARY KEY (command_id, node_id)
) STRICT;
CREATE INDEX invocations_census ON invocations (command_id, stage, slot, status_details);
CREATE INDEX invocations_retry ON invocations (retry_ms) WHERE stage = 0 AND retry_ms > 0;
CREATE INDEX invocations_by_node ON invocations (node_id, requested_ms DESC, command_id DESC);
CREATE INDEX invocations_by_request ON invocations (requested_ms DESC, command_id DESC, node_id DESC);
CREATE INDEX invocations_waiting ON invocations (command_id, ordinal) WHERE stage = 0;
CREATE INDEX invocations_open ON invocations (node_id, stage) WHERE stage < 2;

CREATE TABLE outputs (
    command_id TEXT NOT NULL,
    node_id    TEXT NOT NULL,
    step       INTEGER NOT NULL,
    stream     INTEGER NOT NULL,
    position   INTEGER NOT NULL,
    bytes      BLOB NOT NULL,
    PRIMARY KEY (command_id, node_id, step, stream, position)
) STRICT;

-- What nodes report ---------------------------------------------------------------------------

CREATE TABLE streams (
    node_id TEXT NOT NULL,
    outbox  INTEGER NOT NULL,
    class   INTEGER NOT NULL,
    last    INTEGER NOT NULL,
    PRIMARY KEY (node_id, outbox, class)
) STRICT, WITHOUT ROWID;

CREATE TABLE gaps (
    node_id   TEXT NOT NULL,
    class     INTEGER NOT NULL,
    reason    TEXT NOT NULL,
    gaps      INTEGER NOT NULL,
    records   INTEGER NOT NULL,
    latest_ms INTEGER NOT NULL,
    PRIMARY KEY (node_id, class, reason)
) STRICT, WITHOUT ROWID;

CREATE TABLE node_events (
    event_id    INTEGER PRIMARY KEY,
    node_id     TEXT NOT NULL,
    class       INTEGER NOT NULL,
    name        TEXT NOT NULL,
    detail      TEXT NOT NULL,
    occurred_ms INTEGER,
    received_ms INTEGER NOT NULL
) STRICT;
CREATE INDEX node_events_by_node ON node_events (node_id, event_id);
CREATE INDEX node_events_by_age ON node_events (received_ms);

-- generation: 0 is the newest base, 1 the one before it.
CREATE TABLE reports (
    node_id     TEXT NOT NULL,
    type_name   TEXT NOT NULL,
    generation  INTEGER NOT NULL,
    hash        BLOB NOT NULL,
    body        BLOB NOT NULL,
    captured_ms INTEGER NOT NULL,
    PRIMARY KEY (node_id, type_name, generation)
) STRICT;
CREATE INDEX reports_by_type ON reports (type_name, node_id) WHERE generation = 0;

CREATE TABLE resyncs (
    node_id   TEXT NOT NULL,
    type_name TEXT NOT NULL,
    PRIMARY KEY (node_id, type_name)
) STRICT, WITHOUT ROWID;

CREATE TABLE patch_states (
    node_id     TEXT PRIMARY KEY,
    baseline_id TEXT NOT NULL,
    patch_group TEXT NOT NULL,
    summary     TEXT NOT NULL,
    captured_ms INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
CREATE INDEX patch_states_by_group ON patch_states (patch_group, node_id);

CREATE TABLE compliance (
    node_id         TEXT NOT NULL,
    compliance_type TEXT NOT NULL,
    compliant       INTEGER NOT NULL,
    severity        TEXT NOT NULL,
    summary         TEXT NOT NULL,
    captured_ms     INTEGER NOT NULL,
    PRIMARY KEY (node_id, compliance_type)
) STRICT, WITHOUT ROWID;
CREATE INDEX compliance_by_type ON compliance (compliance_type, node_id);

-- Who changed what ----------------------------------------------------------------------------

CREATE TABLE audit (
    audit_id      INTEGER PRIMARY KEY,
    at_ms         INTEGER NOT NULL,
    access_key_id TEXT NOT NULL,
    operation     TEXT NOT NULL,
    target        TEXT NOT NULL,
    detail        TEXT NOT NULL
) STRICT;
CREATE INDEX audit_by_age ON audit (at_ms);
