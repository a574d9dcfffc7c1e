//! The API over its public router and a real database, with requests that are really signed.

mod arns;
mod client;
mod commands;
mod compliance;
mod documents;
mod errors;
mod fleet;
mod gaps;
mod interrupted;
mod lists;
mod members;
mod mutations;
mod reports;
