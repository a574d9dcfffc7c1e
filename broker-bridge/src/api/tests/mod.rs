//! The API over its public router and a real database, with requests that are really signed.

mod client;
mod commands;
mod errors;
mod fleet;
mod mutations;
mod reports;
