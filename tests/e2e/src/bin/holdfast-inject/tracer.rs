//! Follows every thread of one program from call to call. Never its children: what a script does is its own.

use crate::call::Call;
use crate::options::{Fault, Options, suits};
use anyhow::{Context as _, Result, bail};
use nix::errno::Errno;
use nix::libc;
use nix::sys::ptrace;
use nix::sys::signal::{Signal, kill};
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::Pid;
use std::collections::BTreeMap;
use std::fs::File;
use std::io::{BufRead as _, BufReader, Write as _};
use std::os::unix::process::CommandExt as _;
use std::process::{Command, Stdio};

/// What the tracer says once it follows.
const READY: &str = "seized";

/// Becomes the program, or follows it.
pub(crate) fn main() -> Result<()> {
    let options = Options::parse(std::env::args_os().skip(1))?;
    match options.seize {
        Some(program) => Tracer::seize(Pid::from_raw(program), options)?.follow(),
        None => become_traced(&options),
    }
}

/// Starts the tracer, and becomes the program once it is followed: so it is the caller's own child, whose
/// signals and end are the program's.
fn become_traced(options: &Options) -> Result<()> {
    let mut tracer = Command::new(std::env::current_exe()?)
        .args(["--seize", &std::process::id().to_string()])
        .args(std::env::args_os().skip(1))
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()
        .context("starting the tracer")?;
    let said = tracer.stdout.take().context("the tracer's output")?;
    let mut line = String::new();
    BufReader::new(said).read_line(&mut line)?;
    if line.trim() != READY {
        bail!("the tracer may not follow: it needs the right to trace processes of its own user");
    }
    let (program, arguments) = options.program.split_first().context("a program")?;
    let error = Command::new(program).args(arguments).exec();
    Err(error).with_context(|| program.display().to_string())
}

struct Tracer {
    program: Pid,
    options: Options,
    log: File,
    /// Calls so far.
    count: u64,
    /// Whether a fault that comes once has come.
    fired: bool,
    /// Threads within a call that is to fail, and how.
    failing: BTreeMap<Pid, Errno>,
}

impl Tracer {
    fn seize(program: Pid, options: Options) -> Result<Self> {
        let before = std::fs::read_to_string(&options.log).unwrap_or_default();
        let log = File::options()
            .create(true)
            .append(true)
            .open(&options.log)
            .with_context(|| options.log.display().to_string())?;
        let follow = ptrace::Options::PTRACE_O_TRACESYSGOOD
            | ptrace::Options::PTRACE_O_TRACECLONE
            | ptrace::Options::PTRACE_O_EXITKILL;
        ptrace::seize(program, follow).context("PTRACE_SEIZE")?;
        ptrace::interrupt(program).context("PTRACE_INTERRUPT")?;
        waitpid(program, Some(WaitPidFlag::__WALL))?;
        writeln!(std::io::stdout(), "{READY}")?;
        ptrace::syscall(program, None)?;
        Ok(Self {
            program,
            options,
            log,
            count: before.lines().count() as u64,
            fired: before.contains(INJECTED),
            failing: BTreeMap::new(),
        })
    }

    /// Until the program and all its threads have ended.
    fn follow(mut self) -> Result<()> {
        loop {
            match waitpid(None::<Pid>, Some(WaitPidFlag::__WALL)) {
                Ok(WaitStatus::PtraceSyscall(thread)) => {
                    // A thread that is gone meanwhile is no fault: its end is told next.
                    let _ = self.at_call(thread);
                    go_on(thread, None);
                }
                Ok(WaitStatus::Stopped(thread, signal)) => go_on(thread, Some(signal)),
                Ok(WaitStatus::PtraceEvent(thread, ..)) => go_on(thread, None),
                Ok(WaitStatus::Exited(thread, _) | WaitStatus::Signaled(thread, ..)) => {
                    self.failing.remove(&thread);
                }
                Ok(WaitStatus::Continued(_) | WaitStatus::StillAlive) | Err(Errno::EINTR) => {}
                Err(Errno::ECHILD) => return Ok(()),
                Err(error) => return Err(error).context("waiting for the program"),
            }
        }
    }

    fn at_call(&mut self, thread: Pid) -> Result<()> {
        let mut regs = ptrace::getregs(thread)?;
        if ptrace::syscall_info(thread)?.op == libc::PTRACE_SYSCALL_INFO_EXIT {
            if let Some(errno) = self.failing.remove(&thread) {
                regs.rax = (-i64::from(errno as i32)).cast_unsigned();
                ptrace::setregs(thread, regs)?;
            }
            return Ok(());
        }
        let Some(call) = Call::of(thread, &regs, &self.options.under) else {
            return Ok(());
        };
        self.count += 1;
        let fault = self.fault(&call);
        let path = call.path.strip_prefix(&self.options.under);
        let path = path.unwrap_or(&call.path).display();
        let injected = match fault {
            None => String::new(),
            Some(None) => format!("{INJECTED}KILL"),
            Some(Some(errno)) => format!("{INJECTED}{errno:?}"),
        };
        let line = format!("{} {}\t{path}{injected}\n", self.count, call.name);
        self.log.write_all(line.as_bytes())?;
        match fault {
            None => {}
            Some(None) => kill(self.program, Signal::SIGKILL)?,
            Some(Some(errno)) => {
                // No call has this number: the kernel does nothing.
                regs.orig_rax = u64::MAX;
                ptrace::setregs(thread, regs)?;
                self.failing.insert(thread, errno);
            }
        }
        Ok(())
    }

    /// Whether the call is hit: by a kill (`Some(None)`) or by an error.
    fn fault(&mut self, call: &Call) -> Option<Option<Errno>> {
        let (hit, what) = match &self.options.fault {
            Fault::None => (false, None),
            Fault::Kill(at) => (!self.fired && self.count >= *at, None),
            Fault::Once(at, errno) => {
                let hit = !self.fired && self.count >= *at && suits(*errno, call);
                (hit, Some(*errno))
            }
            Fault::Until(at, errno, file) => {
                let hit = self.count >= *at && suits(*errno, call) && !file.exists();
                (hit, Some(*errno))
            }
        };
        self.fired |= hit;
        hit.then_some(what)
    }
}

/// Before the name of what was done to a call, in the log.
const INJECTED: &str = "\t! ";

fn go_on(thread: Pid, signal: Option<Signal>) {
    // It may have been killed; its end is told next.
    let _ = ptrace::syscall(thread, signal);
}
