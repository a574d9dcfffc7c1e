//! What the bridge decides: targets, rate control, invocation states, ingest, identity, inventory and compliance. No I/O.
