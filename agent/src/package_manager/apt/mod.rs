//! What apt would offer for a Debian root: its configuration, lists, pins and choice of candidates.
//! Never starts apt, takes its lock, writes its caches, or fetches anything.

pub mod conf;
pub mod list;
pub mod pattern;
pub mod policy;
pub mod preferences;
pub mod release;
pub mod sources;
pub mod standing;
pub mod survey;
pub mod version;

pub use policy::{Archive, PackageKey};
pub use standing::{Ranked, Standing, Upgrade};
pub use survey::{Absent, Offer, Package, Survey, survey};
pub use version::Version;

#[cfg(test)]
pub(crate) mod fixture;
#[cfg(test)]
mod tests;
