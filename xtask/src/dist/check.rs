//! What must hold of each program that is shipped: its size, that it needs nothing beside it, and
//! that it does not tell where it was built.
//! Never repairs: a fault is named with what it costs or shows.

use super::road::cargo_home;
use anyhow::{Context as _, Result};
use object::read::elf::{Dyn as _, FileHeader, ProgramHeader as _};
use object::{FileKind, elf};
use std::path::Path;

/// Characters shown of a path that should not be there.
const SHOWN_MAX: usize = 100;

/// Folders of this machine that no program may name.
///
/// # Errors
/// When cargo's folder is not known.
pub(crate) fn build_folders(root: &Path) -> Result<Vec<String>> {
    let mut folders = vec![
        root.display().to_string(),
        cargo_home()?.display().to_string(),
        "/usr/lib/rustlib".into(),
        "/.cargo/registry/".into(),
        "/.rustup/toolchains/".into(),
    ];
    // A home of `/` would forbid every path.
    folders.extend(std::env::var("HOME").ok().filter(|home| home.len() > 1));
    Ok(folders)
}

/// Everything wrong with a program; empty: it may be shipped.
///
/// # Errors
/// When it is no ELF program.
pub(crate) fn faults(program: &[u8], bytes_max: u64, folders: &[String]) -> Result<Vec<String>> {
    let mut faults = Vec::new();
    let bytes = program.len() as u64;
    if bytes > bytes_max {
        faults.push(format!(
            "{bytes} B, {} above the {bytes_max} B allowed by cross/budgets.toml; `cargo xtask dist --size` shows what is in it",
            bytes.saturating_sub(bytes_max)
        ));
    }
    let kind = FileKind::parse(program).context("the kind of program")?;
    let needs = if kind == FileKind::Elf32 {
        needs::<elf::FileHeader32<object::Endianness>>(program)?
    } else {
        needs::<elf::FileHeader64<object::Endianness>>(program)?
    };
    faults.extend(
        needs
            .into_iter()
            .map(|need| format!("needs {need}: it must be static")),
    );
    for folder in folders {
        if let Some(shown) = path_within(program, folder.as_bytes()) {
            faults.push(format!(
                "names a folder of the machine that built it: {shown}"
            ));
        }
    }
    Ok(faults)
}

/// The interpreter and the shared libraries that a program asks for.
fn needs<Elf: FileHeader<Endian = object::Endianness>>(program: &[u8]) -> Result<Vec<String>> {
    let header = Elf::parse(program).context("the ELF header")?;
    let endian = header.endian().context("the ELF header's byte order")?;
    let segments = header
        .program_headers(endian, program)
        .context("the program headers")?;
    let mut needs = Vec::new();
    for segment in segments {
        if let Some(interpreter) = segment.interpreter(endian, program).ok().flatten() {
            needs.push(format!(
                "the interpreter {}",
                String::from_utf8_lossy(interpreter)
            ));
        }
        let dynamic = segment.dynamic(endian, program).ok().flatten();
        let libraries = dynamic
            .unwrap_or_default()
            .iter()
            .filter(|entry| entry.tag(endian) == elf::DT_NEEDED)
            .count();
        if libraries > 0 {
            needs.push(format!("{libraries} shared libraries"));
        }
    }
    Ok(needs)
}

/// The text around the first place where a folder is named.
fn path_within(program: &[u8], folder: &[u8]) -> Option<String> {
    let at = program
        .windows(folder.len())
        .position(|window| window == folder)?;
    let text = program.get(at..)?;
    let shown: Vec<u8> = text
        .iter()
        .copied()
        .take(SHOWN_MAX)
        .take_while(|byte| byte.is_ascii_graphic())
        .collect();
    Some(String::from_utf8_lossy(&shown).into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A static program with nothing in it: only headers.
    fn blank(class: u8) -> Vec<u8> {
        let (size, machine) = if class == 1 { (52u8, 40u8) } else { (64, 62) };
        let mut program = vec![0; usize::from(size)];
        program[..7].copy_from_slice(&[0x7f, b'E', b'L', b'F', class, 1, 1]);
        // An executable, its machine, and the current version.
        (program[16], program[18], program[20]) = (2, machine, 1);
        let header_size = if class == 1 { 40 } else { 52 };
        program[header_size] = size;
        program
    }

    fn found(program: &[u8], bytes_max: u64) -> Vec<String> {
        faults(program, bytes_max, &["/home/builder/holdfast".into()]).unwrap()
    }

    #[test]
    fn a_static_program_within_its_budget_has_no_fault() {
        for class in [1, 2] {
            assert_eq!(found(&blank(class), 64), Vec::<String>::new());
        }
    }

    #[test]
    fn a_byte_above_the_budget_is_a_fault_that_names_both() {
        let faults = found(&blank(2), 63);
        assert_eq!(faults.len(), 1);
        assert!(
            faults[0].starts_with("64 B, 1 above the 63 B"),
            "{faults:?}"
        );
    }

    #[test]
    fn a_program_that_needs_a_loader_or_a_library_is_a_fault() {
        // This very test is linked dynamically.
        let this = std::fs::read("/proc/self/exe").unwrap();
        let faults = found(&this, u64::MAX);
        assert!(
            faults
                .iter()
                .any(|fault| fault.contains("the interpreter /lib")),
            "{faults:?}"
        );
        assert!(
            faults
                .iter()
                .any(|fault| fault.contains("shared libraries")),
            "{faults:?}"
        );
    }

    #[test]
    fn a_path_of_the_building_machine_is_a_fault_that_shows_it() {
        let mut program = blank(1);
        program.extend_from_slice(b"\0/home/builder/holdfast/agent/src/main.rs\0more");
        let faults = found(&program, u64::MAX);
        assert_eq!(
            faults,
            [
                "names a folder of the machine that built it: /home/builder/holdfast/agent/src/main.rs"
            ]
        );
    }

    #[test]
    fn what_is_no_program_is_an_error_and_not_a_pass() {
        assert!(faults(b"#!/bin/sh\n", 100, &[]).is_err());
    }
}
