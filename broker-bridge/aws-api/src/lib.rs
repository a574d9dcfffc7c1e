//! The AWS wire: the service model's table, validation, shapes, errors and SigV4.
//! Never does I/O, reads a clock or draws randomness: the time, the keys and the bytes come in.

pub mod error;
pub mod model;
pub mod sigv4;

pub use error::ApiError;
