//! The other end of [`crate::plugin::gatherer`]: gathers, and writes what it found for the agent that asked.
//! Never for people: those have `inventory` and `patch scan`.

use super::{Exit, Failure, output};
use crate::plugin::gatherer::Wanted;

pub(super) fn answer(wanted: &str) -> Result<Exit, Failure> {
    let wanted = Wanted::of_argument(wanted).ok_or_else(|| Failure {
        exit: Exit::Usage,
        text: "only an agent asks so: see `holdfast-agent inventory` and `patch scan`".into(),
    })?;
    let found = postcard::to_stdvec(&wanted.gather())
        .map_err(|error| Failure::new(Exit::Failed, &error))?;
    output::bytes(&found);
    Ok(Exit::Ok)
}
