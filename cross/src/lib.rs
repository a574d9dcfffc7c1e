//! What is shipped: for which targets, within which budgets, in which packages.
//! Never compiles or runs anything: `cargo xtask dist` does.

pub mod budgets;
pub mod package;
pub mod targets;

/// One of the tables in this folder is not what it should be.
#[derive(Debug, thiserror::Error)]
pub enum TableError {
    /// Not TOML, or with members that nobody reads.
    #[error("cross/{file}")]
    Syntax {
        /// The table's file.
        file: &'static str,
        /// Where and what.
        #[source]
        source: Box<toml::de::Error>,
    },
    /// A target that the table does not have.
    #[error("no target `{found}` in cross/targets.toml: there are {known}")]
    Target {
        /// What was asked for.
        found: String,
        /// The table's triples.
        known: String,
    },
    /// A budget that the table does not have.
    #[error("cross/budgets.toml has no {what} for {target}: add one")]
    Budget {
        /// Which budget.
        what: &'static str,
        /// Of which target.
        target: String,
    },
}
