//! What the agent decides: a state machine without clock, files or tokio.
