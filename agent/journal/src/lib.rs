//! The agent's durable queue: a segment log with classes, byte caps and recovery, over a storage interface.
