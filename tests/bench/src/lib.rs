//! Benchmarks that print our figures beside a peer's, in one run.
