-- Nodes whose floor of time is to be set back; a row goes once its node has confirmed it.
CREATE TABLE floor_resets (
    node_id      TEXT PRIMARY KEY,
    requested_ms INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
