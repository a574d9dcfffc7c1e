//! A whole aarch64 machine under qemu: Debian's kernel, the agent as it is shipped, a disk that a
//! power cut treats as the worst real one would. Never reaches beyond this machine's loopback.

mod control;
mod cpio;
pub mod disk;
mod guest;
mod initramfs;
mod load;
pub mod nbd;
mod parts;
pub mod replay;
pub mod state;
mod witness;

pub use guest::{Guest, HOST};
pub use load::{Load, Settled, Started, Told, ledger_faults};
pub use parts::{MODULES, Parts};
pub use witness::{Mark, Witness};
