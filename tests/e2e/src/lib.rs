//! End-to-end tests: real binaries, real links, real faults.
