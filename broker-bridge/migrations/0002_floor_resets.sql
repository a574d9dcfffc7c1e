-- Nodes whose floor of time is to be set back; a row goes once its node has confirmed the newest send of it.
CREATE TABLE floor_resets (
    node_id TEXT PRIMARY KEY,
    sent_ms INTEGER
) STRICT, WITHOUT ROWID;
