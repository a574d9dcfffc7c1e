//! The life of a command on the node.

use holdfast_protocol::limits::INVOCATION_OUTPUT_BYTES_MAX;

/// Bytes of records that one command's result can take at most, framing included.
pub(crate) const RESULT_BYTES_MAX: u64 = INVOCATION_OUTPUT_BYTES_MAX as u64 + (96 << 10);
