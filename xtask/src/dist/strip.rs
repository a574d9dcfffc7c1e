//! Takes out of a program what does not run: names, and what debuggers read.
//! Never touches what is loaded.

use anyhow::{Context as _, Result};
use object::build::elf::{Builder, SectionData};
use object::elf;
use object::write::StreamingBuffer;

/// The program without anything that is not loaded.
///
/// # Errors
/// When it is no ELF program.
pub(crate) fn strip(program: &[u8]) -> Result<Vec<u8>> {
    let mut builder = Builder::read(program).context("the unstripped program")?;
    for section in &mut builder.sections {
        // The sections' own names stay, for those who look at it with other tools.
        let keep = section.sh_flags.contains(elf::SHF_ALLOC)
            || matches!(section.data, SectionData::SectionString);
        section.delete = !keep;
    }
    for symbol in &mut builder.symbols {
        symbol.delete = true;
    }
    let mut stripped = Vec::new();
    builder
        .write(&mut StreamingBuffer::new(&mut stripped))
        .context("the stripped program")?;
    Ok(stripped)
}

#[cfg(test)]
mod tests {
    use super::*;
    use object::{Object as _, ObjectSymbol as _};

    #[test]
    fn what_is_loaded_stays_and_names_go() {
        let this = std::fs::read("/proc/self/exe").unwrap();
        let stripped = strip(&this).unwrap();
        let (before, after) = (
            object::File::parse(&*this).unwrap(),
            object::File::parse(&*stripped).unwrap(),
        );
        assert!(before.symbols().any(|symbol| symbol.name() == Ok("main")));
        assert_eq!(after.symbols().count(), 0);
        assert_eq!(before.entry(), after.entry());
        assert!(stripped.len() < this.len());
    }

    #[test]
    fn what_is_no_program_is_refused() {
        assert!(strip(b"#!/bin/sh\n").is_err());
    }
}
