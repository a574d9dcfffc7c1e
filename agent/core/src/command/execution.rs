//! One command's way through its plan: which step is next, what its end means, what the whole came to.
//! Never starts or kills anything itself.

use crate::effect::{KillReason, Run};
use crate::input::{Monotonic, StepEnd, StepExit};
use crate::store::{Place, Written};
use holdfast_documents::{Disposition, OnFailure, OnSuccess, Plan, PlannedStep};
use holdfast_protocol::CommandId;
use holdfast_protocol::bounded::Text;
use holdfast_protocol::limits::{
    INVOCATION_OUTPUT_BYTES_MAX, OUTPUT_CHUNK_BYTES_MAX, STDERR_BYTES_MAX, STDOUT_BYTES_MAX,
};
use holdfast_protocol::up::{
    InvocationState, OutputChunk, OutputStream, Stamp, StepResult, StepState,
};

/// A step's own exit code: reboot, then run this step again.
const EXIT_REBOOT: i32 = 194;
/// A step's own exit code: succeed and skip the rest.
const EXIT_SUCCEED: i32 = 168;
/// A step's own exit code: fail and skip the rest.
const EXIT_FAIL: i32 = 169;
/// Reboots that one command may ask for.
const REBOOTS_MAX: u32 = 16;
/// Longest detail of a step, so that a terminal update with all steps fits its room.
const DETAIL_BYTES_MAX: usize = 256;
/// Bytes of records that output may take.
const OUTPUT_RECORDS_BYTES_MAX: u64 = super::RESULT_BYTES_MAX - super::TERMINAL_BYTES_MAX;

/// What follows.
#[derive(Debug)]
pub(super) enum Next {
    /// Run a step.
    Run(Box<Run>),
    /// Reboot, then go on.
    Reboot(Box<Place>),
    /// It has ended so, for this reason where there is more to say.
    End(InvocationState, &'static str),
}

/// A command that runs.
#[derive(Debug)]
pub(super) struct Execution {
    plan: Plan,
    step: usize,
    results: Vec<StepResult>,
    failed: bool,
    timed_out: bool,
    /// Nothing but a final step may follow.
    exiting: bool,
    /// Nothing at all may follow.
    broken: Option<KillReason>,
    rebooting: bool,
    reboots: u32,
    kept_bytes: u64,
    record_bytes: u64,
    /// The running step's standard output and error: over all boots one sequence of bytes each.
    written: [Written; 2],
    started: Option<Stamp>,
    deadline: Option<Monotonic>,
    killed: Option<KillReason>,
    /// The step has ended, but what it reported is not durable yet.
    ended: Option<StepEnd>,
}

impl Execution {
    /// From the first step, or from where a reboot left it.
    pub(super) fn new(plan: Plan, place: Option<Place>) -> Self {
        let place = place.unwrap_or(Place {
            boot: 0,
            step: 0,
            reboots: 0,
            results: Vec::new(),
            failed: (false, false),
            kept: (0, 0),
            written: [Written::default(); 2],
        });
        Self {
            plan,
            step: place.step,
            results: place.results,
            failed: place.failed.0,
            timed_out: place.failed.1,
            exiting: false,
            broken: None,
            rebooting: false,
            reboots: place.reboots,
            kept_bytes: place.kept.0,
            record_bytes: place.kept.1,
            written: place.written,
            started: None,
            deadline: None,
            killed: None,
            ended: None,
        }
    }

    /// The step that runs, from 0.
    pub(super) fn step(&self) -> usize {
        self.step
    }

    /// When the running step has to be killed.
    pub(super) fn deadline(&self) -> Option<Monotonic> {
        self.deadline
            .filter(|_| self.killed.is_none() && self.ended.is_none())
    }

    pub(super) fn take_results(&mut self) -> Vec<StepResult> {
        std::mem::take(&mut self.results)
    }

    /// Marks the running step as killed; `None` when it has ended or is being killed already.
    pub(super) fn kill(&mut self, why: KillReason) -> Option<u8> {
        if self.killed.is_some() || self.ended.is_some() || self.started.is_none() {
            if why != KillReason::TimedOut {
                self.broken = Some(why);
            }
            return None;
        }
        self.killed = Some(why);
        u8::try_from(self.step).ok()
    }

    /// What is next, now that no step runs.
    pub(super) fn next(&mut self, id: CommandId, now: Monotonic, stamp: Stamp, boot: u32) -> Next {
        if let Some(why) = self.broken {
            return self.cut_short(why);
        }
        if std::mem::take(&mut self.rebooting) {
            return Next::Reboot(Box::new(self.place(boot)));
        }
        while let Some(step) = self.plan.steps.get(self.step) {
            if self.exiting && !step.finally {
                let skipped = result(
                    step,
                    StepState::Skipped,
                    0,
                    "an earlier step ended the document",
                );
                self.results.push(skipped);
                self.step += 1;
                continue;
            }
            match &step.disposition {
                Disposition::Skip(reason) => {
                    let skipped = result(step, StepState::Skipped, 0, &reason.to_string());
                    self.results.push(skipped);
                    self.step += 1;
                }
                Disposition::Run(inputs) => {
                    let left = INVOCATION_OUTPUT_BYTES_MAX.saturating_sub(self.kept());
                    let [stdout, stderr] = self.written.map(|written| written.kept as usize);
                    let run = Run {
                        command: id,
                        step: u8::try_from(self.step).unwrap_or(u8::MAX),
                        name: step.name.clone(),
                        inputs: inputs.clone(),
                        stdout_bytes_max: left.min(STDOUT_BYTES_MAX.saturating_sub(stdout)),
                        stderr_bytes_max: left.min(STDERR_BYTES_MAX.saturating_sub(stderr)),
                    };
                    self.started = Some(stamp);
                    self.deadline = Some(now.after(u64::from(step.timeout_seconds) * 1000));
                    self.killed = None;
                    return Next::Run(Box::new(run));
                }
            }
        }
        let state = match (self.failed, self.timed_out) {
            (true, _) => InvocationState::Failed,
            (false, true) => InvocationState::TimedOut,
            (false, false) => InvocationState::Success,
        };
        Next::End(state, "")
    }

    fn cut_short(&mut self, why: KillReason) -> Next {
        let [stdout, stderr] = std::mem::take(&mut self.written);
        let mut written = (stdout.total, stderr.total);
        for step in self
            .plan
            .steps
            .get(self.results.len()..)
            .unwrap_or_default()
        {
            let mut skipped = result(step, StepState::Skipped, 0, "the command was stopped");
            // The first may have run before its reboot: what it wrote then is told.
            (skipped.stdout_bytes, skipped.stderr_bytes) = std::mem::take(&mut written);
            self.results.push(skipped);
        }
        match why {
            KillReason::Cancelled => Next::End(InvocationState::Cancelled, "cancelled on request"),
            KillReason::Stopping | KillReason::TimedOut => {
                Next::End(InvocationState::Interrupted, "the agent was stopped")
            }
        }
    }

    /// Where it would have begun: `None` for the first step.
    pub(super) fn unbegun(&self, boot: u32) -> Option<Place> {
        (self.reboots > 0).then(|| self.place(boot))
    }

    fn place(&self, boot: u32) -> Place {
        Place {
            boot,
            step: self.step,
            reboots: self.reboots,
            results: self.results.clone(),
            failed: (self.failed, self.timed_out),
            kept: (self.kept_bytes, self.record_bytes),
            written: self.written,
        }
    }

    fn kept(&self) -> usize {
        usize::try_from(self.kept_bytes).unwrap_or(usize::MAX)
    }

    /// The record for a piece of output: what of it may be kept.
    pub(super) fn output(
        &mut self,
        id: CommandId,
        step: u8,
        stream: OutputStream,
        bytes: &[u8],
    ) -> Option<OutputChunk> {
        if self.started.is_none() || self.ended.is_some() || usize::from(step) != self.step {
            return None;
        }
        let [stdout, stderr] = &mut self.written;
        let (written, max) = match stream {
            OutputStream::Stdout => (stdout, STDOUT_BYTES_MAX),
            OutputStream::Stderr => (stderr, STDERR_BYTES_MAX),
        };
        let left = INVOCATION_OUTPUT_BYTES_MAX
            .saturating_sub(usize::try_from(self.kept_bytes).unwrap_or(usize::MAX))
            .min(max.saturating_sub(written.kept as usize))
            .min(OUTPUT_CHUNK_BYTES_MAX);
        let kept = bytes.get(..bytes.len().min(left)).unwrap_or_default();
        let need = kept.len() as u64 + 2 * super::RECORD_FRAME_BYTES;
        if kept.is_empty() || self.record_bytes + need > OUTPUT_RECORDS_BYTES_MAX {
            return None;
        }
        let chunk = OutputChunk {
            command: id,
            step,
            stream,
            offset: written.kept,
            bytes: holdfast_protocol::bounded::Bytes::new(kept).ok()?,
        };
        self.record_bytes += need;
        self.kept_bytes += kept.len() as u64;
        written.kept += u32::try_from(kept.len()).unwrap_or(u32::MAX);
        Some(chunk)
    }

    /// The running step has ended. `false` when it is not the one that runs.
    pub(super) fn ended(&mut self, step: u8, end: StepEnd) -> bool {
        if self.started.is_none() || self.ended.is_some() || usize::from(step) != self.step {
            return false;
        }
        self.ended = Some(end);
        true
    }

    /// Judges the step that has ended; `false` while none has.
    pub(super) fn judge(&mut self, stamp: Stamp) -> bool {
        let (Some(end), Some(step)) = (self.ended.take(), self.plan.steps.get(self.step)) else {
            return false;
        };
        let started = self.started.take();
        self.deadline = None;
        let (state, exit_code, detail) = match (self.killed.take(), end.exit) {
            (Some(why), exit) => killed(why, step, &exit),
            (None, StepExit::Code(EXIT_REBOOT)) if self.reboots < REBOOTS_MAX => {
                self.reboots += 1;
                self.rebooting = true;
                self.count(end.stdout_bytes, end.stderr_bytes);
                return true;
            }
            (None, StepExit::Code(EXIT_REBOOT)) => {
                let detail = format!("asked for more than {REBOOTS_MAX} reboots");
                (StepState::Failed, EXIT_REBOOT, detail)
            }
            (None, StepExit::Code(code)) => {
                self.exiting |= matches!(code, EXIT_SUCCEED | EXIT_FAIL);
                let success = matches!(code, 0 | EXIT_SUCCEED);
                let state = if success {
                    StepState::Success
                } else {
                    StepState::Failed
                };
                (state, code, String::new())
            }
            (None, StepExit::Signal(signal)) => {
                let detail = format!("ended by signal {signal}");
                (StepState::Failed, -1, detail)
            }
            (None, StepExit::Failed(why)) => (StepState::Failed, -1, why),
        };
        let mut outcome = result(step, state, exit_code, &detail);
        outcome.started = started;
        outcome.ended = Some(stamp);
        let [stdout, stderr] = std::mem::take(&mut self.written);
        outcome.stdout_bytes = stdout.total.saturating_add(end.stdout_bytes);
        outcome.stderr_bytes = stderr.total.saturating_add(end.stderr_bytes);
        let (on_failure, on_success) = (step.on_failure, step.on_success);
        self.results.push(outcome);
        self.step += 1;
        self.follow(state, on_failure, on_success);
        true
    }

    /// Adds what the running step wrote in this boot.
    fn count(&mut self, stdout_bytes: u64, stderr_bytes: u64) {
        for (written, bytes) in self.written.iter_mut().zip([stdout_bytes, stderr_bytes]) {
            written.total = written.total.saturating_add(bytes);
        }
    }

    fn follow(&mut self, state: StepState, on_failure: OnFailure, on_success: OnSuccess) {
        match state {
            StepState::Success => self.exiting |= on_success == OnSuccess::Exit,
            StepState::Cancelled => self.broken = Some(KillReason::Cancelled),
            StepState::Interrupted => self.broken = Some(KillReason::Stopping),
            StepState::Skipped => {}
            StepState::Failed | StepState::TimedOut => {
                self.exiting |= on_failure != OnFailure::Continue;
                if on_failure != OnFailure::SuccessAndExit {
                    self.failed |= state == StepState::Failed;
                    self.timed_out |= state == StepState::TimedOut;
                }
            }
        }
    }
}

fn killed(why: KillReason, step: &PlannedStep, exit: &StepExit) -> (StepState, i32, String) {
    let code = match exit {
        StepExit::Code(code) => *code,
        StepExit::Signal(_) | StepExit::Failed(_) => -1,
    };
    match why {
        KillReason::TimedOut => {
            let detail = format!("ran past its timeout of {} s", step.timeout_seconds);
            (StepState::TimedOut, code, detail)
        }
        KillReason::Cancelled => (StepState::Cancelled, code, String::new()),
        KillReason::Stopping => {
            let detail = "the agent was stopped".to_owned();
            (StepState::Interrupted, code, detail)
        }
    }
}

fn result(step: &PlannedStep, state: StepState, exit_code: i32, detail: &str) -> StepResult {
    StepResult {
        name: Text::cut(&step.name),
        action: Text::cut(step.action.as_str()),
        state,
        exit_code,
        started: None,
        ended: None,
        stdout_bytes: 0,
        stderr_bytes: 0,
        detail: Text::cut(Text::<DETAIL_BYTES_MAX>::cut(detail).as_str()),
    }
}
