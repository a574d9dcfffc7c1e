//! The AWS wire: the service model's table, validation, shapes, errors, filters, pages and SigV4.
//! Never does I/O, reads a clock or draws randomness: the time, the keys and the bytes come in.

pub mod arn;
pub mod call;
pub mod error;
pub mod filter;
pub mod inventory_schema;
pub mod model;
pub mod page;
pub mod shape;
pub mod sigv4;

pub use call::{BODY_BYTES_MAX, Call, Coverage, Reply, coverage, operation_of, parse};
pub use error::{ApiError, CONTENT_TYPE};
