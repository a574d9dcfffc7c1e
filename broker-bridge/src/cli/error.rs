//! What went wrong with a verb, and the exit code that says it to a program.
//! Never repeats a source in its own words: the chain is printed once, in `main`.

use std::error::Error;
use std::io;

/// Exit codes, the same for every verb; 0 is success, and clap ends wrong usage with 2.
const FAILED: u8 = 1;
const USAGE: u8 = 2;
const DENIED: u8 = 5;

/// A verb did not do what it was asked.
#[derive(Debug, thiserror::Error)]
pub(crate) enum CliError {
    /// The arguments contradict each other or what is there.
    #[error("{0}")]
    Usage(String),
    /// What was named is not there, or is not right.
    #[error("{0}")]
    Failed(String),
    /// Something below failed.
    #[error("{what}")]
    Because {
        /// What was being done.
        what: String,
        /// Why it failed.
        #[source]
        source: Box<dyn Error + Send + Sync>,
    },
    /// The result cannot be written.
    #[error("cannot write to standard output")]
    Output(#[from] io::Error),
}

impl CliError {
    /// Wraps a failure in what was being done.
    pub(crate) fn because<E: Into<Box<dyn Error + Send + Sync>>>(
        what: impl Into<String>,
    ) -> impl FnOnce(E) -> Self {
        let what = what.into();
        move |source| Self::Because {
            what,
            source: source.into(),
        }
    }

    /// The exit code.
    pub(crate) fn code(&self) -> u8 {
        match self {
            Self::Usage(_) => USAGE,
            Self::Failed(_) | Self::Output(_) => FAILED,
            Self::Because { source, .. } => {
                if is_denied(source.as_ref()) {
                    DENIED
                } else {
                    FAILED
                }
            }
        }
    }

    /// Whether nobody reads the output any more, which is no failure of ours.
    pub(crate) fn is_broken_pipe(&self) -> bool {
        matches!(self, Self::Output(error) if error.kind() == io::ErrorKind::BrokenPipe)
    }

    /// The whole chain of reasons in one line.
    pub(crate) fn chain(&self) -> String {
        chain(self)
    }
}

/// An error and its reasons in one line.
pub(crate) fn chain(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(error) = next {
        text.push_str(": ");
        text.push_str(&error.to_string());
        next = error.source();
    }
    text
}

fn is_denied(error: &(dyn Error + 'static)) -> bool {
    let mut next = Some(error);
    while let Some(error) = next {
        let io = error.downcast_ref::<io::Error>();
        if io.is_some_and(|io| io.kind() == io::ErrorKind::PermissionDenied) {
            return true;
        }
        next = error.source();
    }
    false
}
