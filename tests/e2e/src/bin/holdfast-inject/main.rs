//! `holdfast-inject --log FILE --under DIR [FAULT] -- PROGRAM…`: becomes the program, with a tracer beside
//! it that counts the calls by which it changes or opens what is below DIR, over all its threads, and kills
//! it or lets a call fail at a chosen one. Never touches another call, such as those on sockets.
//!
//! strace can inject too, but counts in each thread by itself; the agent hands its writes from thread to
//! thread, so that "the n-th write of the run" cannot be said to it.

#[cfg(target_arch = "x86_64")]
mod call;
#[cfg(target_arch = "x86_64")]
mod options;
#[cfg(target_arch = "x86_64")]
mod tracer;

#[cfg(target_arch = "x86_64")]
fn main() -> anyhow::Result<()> {
    tracer::main()
}

#[cfg(not(target_arch = "x86_64"))]
fn main() -> anyhow::Result<()> {
    anyhow::bail!("the registers of a call are known for x86_64 alone")
}
