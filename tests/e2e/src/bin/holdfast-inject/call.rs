//! A system call as a tracer finds it in the registers of `x86_64`: its name, and the path that it is about.
//! Never anything but calls that open or change files.

use nix::libc::{self, user_regs_struct};
use nix::unistd::Pid;
use std::fs::File;
use std::os::unix::ffi::OsStringExt as _;
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};

const PAGE: u64 = 4096;

/// A call on a path.
#[derive(Debug)]
pub(crate) struct Call {
    pub(crate) name: &'static str,
    pub(crate) path: PathBuf,
    /// It makes a descriptor.
    pub(crate) opens: bool,
    /// It may need blocks of the device.
    pub(crate) takes_room: bool,
    /// A file system that is read-only refuses it.
    pub(crate) changes: bool,
}

/// How the call names its path: in which registers.
enum Named {
    /// By an open file.
    Descriptor(u64),
    /// By the address of a string, below the working directory.
    Path(u64),
    /// By the address of a string, below an open directory.
    Below(u64, u64),
}

impl Call {
    /// The call that a thread is about to make, where it is one on something below `under`.
    pub(crate) fn of(thread: Pid, regs: &user_regs_struct, under: &Path) -> Option<Self> {
        let (name, named) = named(regs)?;
        let path = match named {
            Named::Descriptor(descriptor) => open_path(thread, descriptor)?,
            Named::Path(address) => text(thread, address)?,
            Named::Below(directory, address) => {
                let path = text(thread, address)?;
                if path.is_absolute() {
                    path
                } else {
                    open_path(thread, directory)?.join(path)
                }
            }
        };
        if !path.starts_with(under) {
            return None;
        }
        let opens = name == "open";
        let flags = if regs.orig_rax == number(libc::SYS_open) {
            regs.rsi
        } else {
            regs.rdx
        };
        let wanted = |flag: libc::c_int| flags & u64::from(flag.unsigned_abs()) != 0;
        let creates = opens && wanted(libc::O_CREAT);
        let writes = creates || (opens && wanted(libc::O_WRONLY | libc::O_RDWR));
        Some(Self {
            name,
            path,
            opens,
            takes_room: creates || !(opens || matches!(name, "unlink" | "ftruncate")),
            changes: writes || !opens,
        })
    }
}

fn number(call: libc::c_long) -> u64 {
    u64::try_from(call).unwrap_or(u64::MAX)
}

fn named(regs: &user_regs_struct) -> Option<(&'static str, Named)> {
    let call = libc::c_long::try_from(regs.orig_rax).ok()?;
    Some(match call {
        libc::SYS_write | libc::SYS_pwrite64 | libc::SYS_writev | libc::SYS_pwritev => {
            ("write", Named::Descriptor(regs.rdi))
        }
        libc::SYS_fsync => ("fsync", Named::Descriptor(regs.rdi)),
        libc::SYS_fdatasync => ("fdatasync", Named::Descriptor(regs.rdi)),
        libc::SYS_ftruncate => ("ftruncate", Named::Descriptor(regs.rdi)),
        libc::SYS_fallocate => ("fallocate", Named::Descriptor(regs.rdi)),
        libc::SYS_open => ("open", Named::Path(regs.rdi)),
        libc::SYS_openat => ("open", Named::Below(regs.rdi, regs.rsi)),
        libc::SYS_rename => ("rename", Named::Path(regs.rdi)),
        libc::SYS_renameat | libc::SYS_renameat2 => ("rename", Named::Below(regs.rdi, regs.rsi)),
        libc::SYS_unlink | libc::SYS_rmdir => ("unlink", Named::Path(regs.rdi)),
        libc::SYS_unlinkat => ("unlink", Named::Below(regs.rdi, regs.rsi)),
        libc::SYS_mkdir => ("mkdir", Named::Path(regs.rdi)),
        libc::SYS_mkdirat => ("mkdir", Named::Below(regs.rdi, regs.rsi)),
        _ => return None,
    })
}

/// What a descriptor is open on; a descriptor has 32 bits.
fn open_path(thread: Pid, descriptor: u64) -> Option<PathBuf> {
    let descriptor = descriptor & u64::from(u32::MAX);
    std::fs::read_link(format!("/proc/{thread}/fd/{descriptor}")).ok()
}

/// The string at an address of a thread's memory.
fn text(thread: Pid, address: u64) -> Option<PathBuf> {
    let memory = File::open(format!("/proc/{thread}/mem")).ok()?;
    let mut text = Vec::new();
    let mut at = address;
    // A page at a time: what follows the string may not be mapped.
    while text.len() < usize::try_from(PAGE).ok()? {
        let mut page = vec![0; usize::try_from(PAGE - at % PAGE).ok()?];
        let length = memory
            .read_at(&mut page, at)
            .ok()
            .filter(|read| *read > 0)?;
        let piece = page.get(..length)?;
        if let Some(end) = piece.iter().position(|byte| *byte == 0) {
            text.extend_from_slice(piece.get(..end)?);
            return Some(PathBuf::from(std::ffi::OsString::from_vec(text)));
        }
        text.extend_from_slice(piece);
        at += length as u64;
    }
    None
}
