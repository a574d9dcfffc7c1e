//! Every bound of the wire, in one place, with the reason for its size.
//! Never a bound of a queue or a process: those belong to the side that keeps them.

/// Newest revision that this build writes and reads. A frame carries the one in which its kind's
/// layout changed last: what did not change is still read by whoever is older.
pub const REVISION: u16 = 2;
/// Oldest revision still read: a decoder stays for two revisions after its successor.
pub const REVISION_OLDEST: u16 = 1;

/// Largest frame in bytes, header and signature included. Above it nothing is parsed.
pub const FRAME_BYTES_MAX: usize = 192 * 1024;
/// Largest body in bytes once inflated; inflation stops there.
pub const BODY_BYTES_MAX: usize = 512 * 1024;
/// Largest MQTT packet either side accepts: a frame, its topic and the fixed header.
pub const PACKET_BYTES_MAX: usize = FRAME_BYTES_MAX + 1024;
/// A body shorter than this is sent as it is: deflate would gain nothing.
pub const DEFLATE_FROM_BYTES: usize = 256;

/// Longest document text, as `CreateDocument` has it.
pub const DOCUMENT_BYTES_MAX: usize = 64 * 1024;
/// All parameter names and values of a command together.
pub const PARAMETERS_BYTES_MAX: usize = 64 * 1024;
/// Parameters of a command.
pub const PARAMETERS_MAX: usize = 200;
/// Values of one parameter.
pub const PARAMETER_VALUES_MAX: usize = 1000;
/// Steps that one invocation reports.
pub const STEPS_MAX: usize = 100;

/// Standard output kept of one step, in bytes. What is longer is counted, not kept.
pub const STDOUT_BYTES_MAX: usize = 192 * 1024;
/// Standard error kept of one step, in bytes.
pub const STDERR_BYTES_MAX: usize = 64 * 1024;
/// Output kept of one invocation over all its steps, in bytes; what admission reserves.
pub const INVOCATION_OUTPUT_BYTES_MAX: usize = STDOUT_BYTES_MAX + STDERR_BYTES_MAX;
/// Output bytes in one record: about two seconds of a 64 kbit/s link.
pub const OUTPUT_CHUNK_BYTES_MAX: usize = 16 * 1024;

/// Columns of a report's table.
pub const COLUMNS_MAX: usize = 32;
/// Rows of a report's table.
pub const ROWS_MAX: usize = 20_000;
/// Longest value of one cell of a table, in bytes (`InventoryItemEntry` values end at 4096).
pub const CELL_BYTES_MAX: usize = 4096;
/// Report types that a node keeps.
pub const REPORTS_MAX: usize = 32;

/// Longest `X.509` certificate issued to a node, in bytes of DER.
pub const CERTIFICATE_BYTES_MAX: usize = 2048;
/// End of what has no end of its own, the root's and the endpoint's certificate: the beginning of the
/// last day that `X.509` can name (9999-12-31), in milliseconds since 1970. A node that took a later
/// date for true would trust no connection.
pub const CERTIFICATES_END_UNIX_MS: u64 = 253_402_214_400_000;
/// Longest text of one log line or audit event.
pub const EVENT_BYTES_MAX: usize = 1024;
