//! A scripted run of the real agent, again and again: killed at each call by which it changes or opens a file
//! of its state directory, or with an error in that call's place. What ended stays ended, and nothing begins twice.
//! Never on calls outside that directory: other tests take the link, the memory and the whole disk.
#![cfg(target_arch = "x86_64")]
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test fails by panicking"
)]

use holdfast_e2e::commands::{self, Gate, Marks, text};
use holdfast_e2e::figures::{self, Bound};
use holdfast_e2e::{
    Activation, Agent, AgentOptions, Link, PATIENCE, Random, World, cases, say, until,
};
use serde_json::json;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

/// Runs at once: an agent that is told what to do mostly waits.
const WORKERS: usize = 6;
/// What stands before the fault in a line of the tracer's log.
const INJECTED: &str = "\t! ";
/// A fault that lasts is repaired so long after it was first met.
const LASTS: Duration = Duration::from_secs(1);
/// Longer than the command that ends without the link takes.
const WITHOUT_LINK: Duration = Duration::from_secs(5);
/// A service manager's wait before it starts again what has ended; that of the packaged unit.
const RESTART: Duration = Duration::from_secs(2);
const RESUMES_WITHIN_S: f64 = 5.0;
/// The bound above is a figure; a test on a busy machine fails only beyond this.
const RESUMES_AT_ALL_S: f64 = 60.0;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fault {
    None,
    Kill(usize),
    Once(usize, &'static str),
    Lasting(usize, &'static str),
}

/// How often a kill is tried again whose run had no such call.
const TRIES_MORE: usize = 3;

/// What a run came to.
#[derive(Debug, Default)]
struct Outcome {
    /// The tracer's lines.
    calls: Vec<String>,
    twice: usize,
    lost: usize,
    /// From the repair of a lasting fault until a command began or a result arrived; and whether the
    /// agent had ended by itself meanwhile.
    resumed: Option<(f64, bool)>,
    ends: BTreeMap<String, usize>,
}

impl Outcome {
    /// Whether it met its fault.
    fn is_hit(&self) -> bool {
        self.calls.iter().any(|line| line.contains(INJECTED))
    }
}

struct Run<'a> {
    world: &'a World,
    link: &'a Link,
    fault: Fault,
    folder: PathBuf,
    node: String,
    agent: Agent,
    marks: Marks,
    /// Mark and command.
    sent: Vec<(String, String)>,
    shown: BTreeMap<String, String>,
    replaced: usize,
    ended_at: Option<Instant>,
    revived: usize,
    met_at: Option<Instant>,
    /// When it was repaired; marks and ends seen until then, and lives.
    repaired: Option<(Instant, usize, usize)>,
    resumed: Option<(f64, bool)>,
}

impl<'a> Run<'a> {
    fn new(world: &'a World, link: &'a Link, number: usize, fault: Fault) -> Self {
        let folder = world.path(&format!("run-{number}"));
        std::fs::create_dir(&folder).unwrap();
        let state = folder.join("state");
        let log = Some(folder.join("agent.log"));
        let options = AgentOptions {
            wrapper: tracer(&folder, fault),
            log,
            ..AgentOptions::default()
        };
        Self {
            world,
            link,
            fault,
            node: String::new(),
            agent: Agent::new(&world.binaries, &state, options),
            marks: Marks::at(folder.join("marks")),
            folder,
            sent: Vec::new(),
            shown: BTreeMap::new(),
            replaced: 0,
            ended_at: None,
            revived: 0,
            met_at: None,
            repaired: None,
            resumed: None,
        }
    }

    /// A registration, commands that end while the link is there, one that ends while it is not, a stop
    /// and a start.
    fn play(mut self, activation: &Activation) -> Outcome {
        until("it is registered", PATIENCE, || {
            let registered = self.agent.register(self.link.address(), activation);
            self.repair();
            std::thread::park_timeout(Duration::from_millis(50));
            // Where only the last sync failed, the next try says which node it is already.
            Ok(registered.map_or_else(|error| node_named(&error.to_string()), Some))
        })
        .map(|node| self.node = node)
        .unwrap_or_else(|error| panic!("{:?}: {error}", self.fault));
        let plain = self.marks.line("a");
        self.send("a", &plain);
        let long = format!(
            "{}; head -c 3000 /dev/zero | tr '\\0' x",
            self.marks.line("b")
        );
        self.send("b", &long);
        self.agent.start().unwrap();
        self.until("the first commands have ended", |run| run.all_ended());
        let gate = Gate::at(&self.folder.join("gate"));
        let marks = &self.marks;
        let gated = format!(
            "{}; {}; {}",
            marks.line("c"),
            gate.line(),
            marks.line("end")
        );
        let revived = self.revived;
        self.send("c", &gated);
        self.until("the next one runs", |run| run.began("c") || run.all_ended());
        self.link.cut();
        gate.open().unwrap();
        let cut = Instant::now();
        self.until("it has ended without the link", |run| {
            // A step whose files could not be made leaves no mark.
            run.began("end") || run.revived > revived || cut.elapsed() > WITHOUT_LINK
        });
        self.link.restore();
        self.until("its end has arrived", |run| run.all_ended());
        self.agent.stop().unwrap();
        self.agent.start().unwrap();
        let last = self.marks.line("d");
        self.send("d", &last);
        self.until("the last one has ended", |run| run.all_ended());
        if matches!(self.fault, Fault::Lasting(..)) && self.met_at.is_some() {
            let more = self.marks.line("e");
            self.send("e", &more);
            self.until("work has gone on", |run| {
                run.resumed.is_some() && run.all_ended()
            });
        }
        self.agent.stop().unwrap();
        self.judge()
    }

    fn send(&mut self, mark: &str, script: &str) {
        let api = &self.world.api;
        let more = json!({"TimeoutSeconds": 3600});
        let command = commands::send_script(api, &[&self.node], script, &more).unwrap();
        self.sent.push((mark.to_owned(), command));
    }

    fn began(&self, mark: &str) -> bool {
        self.marks.all().unwrap().iter().any(|found| found == mark)
    }

    fn all_ended(&self) -> bool {
        self.shown.len() == self.sent.len()
    }

    fn until(&mut self, what: &str, condition: impl Fn(&Self) -> bool) {
        let patience = PATIENCE * 2;
        let waited = until(what, patience, || {
            self.supervise();
            self.look();
            self.repair();
            std::thread::park_timeout(Duration::from_millis(50));
            Ok(condition(self).then_some(()))
        });
        waited.unwrap_or_else(|error| {
            panic!("{:?}, in {}: {error}", self.fault, self.folder.display());
        });
    }

    /// Starts again what has ended, as a service manager does; after a kill at once, to save time.
    fn supervise(&mut self) {
        if self.agent.ended().unwrap().is_none() {
            return;
        }
        if self.ended_at.is_none() && !matches!(self.fault, Fault::Kill(_)) {
            let log = std::fs::read_to_string(self.folder.join("agent.log")).unwrap_or_default();
            let said = log.lines().last().unwrap_or_default();
            say(format!("{:?} ended the agent: {said}", self.fault));
        }
        let ended = *self.ended_at.get_or_insert_with(Instant::now);
        if !matches!(self.fault, Fault::Kill(_)) && ended.elapsed() < RESTART {
            return;
        }
        self.ended_at = None;
        self.agent.kill().unwrap();
        self.agent.start().unwrap();
        self.revived += 1;
    }

    /// Notes the ends that the API shows, and whether one is another now.
    fn look(&mut self) {
        let own = json!({"InstanceId": self.node});
        for invocation in commands::invocations(&self.world.api, &own).unwrap() {
            if !commands::is_terminal(text(&invocation, "Status")) {
                continue;
            }
            // The API has no status for what was interrupted; the reason says it.
            let end = match text(&invocation, "TraceOutput") {
                reason if reason.starts_with("Interrupted: ") => "Interrupted",
                _ => text(&invocation, "StatusDetails"),
            };
            let command = text(&invocation, "CommandId").to_owned();
            let before = self.shown.insert(command, end.to_owned());
            self.replaced += usize::from(before.is_some_and(|before| before != end));
        }
    }

    /// Repairs a lasting fault when its time has come, and sees when work goes on.
    fn repair(&mut self) {
        if !matches!(self.fault, Fault::Lasting(..)) || self.resumed.is_some() {
            return;
        }
        let work = self.marks.all().unwrap().len() + self.shown.len();
        if let Some((at, before, revived)) = self.repaired {
            if work > before {
                let seconds = at.elapsed().as_secs_f64();
                self.resumed = Some((seconds, self.revived > revived));
            }
            return;
        }
        if self.met_at.is_none() && self.log().contains(INJECTED) {
            self.met_at = Some(Instant::now());
        }
        if self.met_at.is_some_and(|met| met.elapsed() >= LASTS) {
            std::fs::write(self.folder.join("repaired"), "").unwrap();
            self.repaired = Some((Instant::now(), work, self.revived));
        }
    }

    fn log(&self) -> String {
        std::fs::read_to_string(self.folder.join("calls")).unwrap_or_default()
    }

    fn judge(mut self) -> Outcome {
        self.look();
        let counts = self.marks.counts().unwrap();
        let log = self.log();
        // A step whose own files could not be made has failed, and says so.
        let in_step = |line: &str| line.contains(INJECTED) && line.contains("\trun");
        let step_hit = log.lines().any(in_step);
        let mut outcome = Outcome {
            calls: log.lines().map(str::to_owned).collect(),
            lost: self.replaced,
            resumed: self.resumed,
            ..Outcome::default()
        };
        for (mark, command) in &self.sent {
            let runs = counts.get(mark).copied().unwrap_or(0);
            outcome.twice += usize::from(runs > 1);
            let end = self.shown[command].as_str();
            *outcome.ends.entry(end.to_owned()).or_default() += 1;
            match end {
                "Success" => outcome.lost += usize::from(runs == 0),
                "Interrupted" => {}
                "Failed" if step_hit => {}
                other => panic!("{:?}: {mark} ended {other}", self.fault),
            }
        }
        if outcome.lost + outcome.twice == 0 {
            std::fs::remove_dir_all(&self.folder).unwrap();
        } else {
            say(format!("{:?}: see {}", self.fault, self.folder.display()));
        }
        outcome
    }
}

/// The node that a refusal to register names.
fn node_named(refusal: &str) -> Option<String> {
    let (_, named) = refusal.split_once("this state directory is node ")?;
    Some(named.split(' ').next()?.to_owned())
}

/// Words before the agent that have it traced.
fn tracer(folder: &Path, fault: Fault) -> Vec<String> {
    let path = |name: &str| folder.join(name).display().to_string();
    let (log, under) = (path("calls"), path("state"));
    let mut words: Vec<String> = [
        env!("CARGO_BIN_EXE_holdfast-inject"),
        "--log",
        &log,
        "--under",
        &under,
    ]
    .map(str::to_owned)
    .to_vec();
    let mut more = |given: &[&str]| words.extend(given.iter().map(|word| (*word).to_owned()));
    match fault {
        Fault::None => {}
        Fault::Kill(at) => more(&["--kill", &at.to_string()]),
        Fault::Once(at, error) => more(&["--error", error, "--at", &at.to_string()]),
        Fault::Lasting(at, error) => {
            more(&["--error", error, "--at", &at.to_string()]);
            more(&["--until", &path("repaired")]);
        }
    }
    more(&["--"]);
    words
}

/// Plays each fault's run, several at once; outcomes in the order of their ends.
/// Plays a run with each fault; the first has the number `first`.
fn play_all(world: &World, first: usize, faults: &[Fault]) -> Vec<(Fault, Outcome)> {
    let next = AtomicUsize::new(0);
    let outcomes = Mutex::new(Vec::new());
    std::thread::scope(|scope| {
        for _ in 0..WORKERS {
            scope.spawn(|| {
                let link = Link::to(world.bridge.mqtt).unwrap();
                loop {
                    let number = next.fetch_add(1, Ordering::Relaxed);
                    let Some(fault) = faults.get(number) else {
                        return;
                    };
                    // A registration that breaks off may have been counted.
                    let activation = world.bridge.activation(&["--limit", "5"]).unwrap();
                    let run = Run::new(world, &link, first + number, *fault);
                    let outcome = run.play(&activation);
                    if number % 50 == 49 {
                        say(format!("{} of {} runs", number + 1, faults.len()));
                    }
                    outcomes.lock().unwrap().push((*fault, outcome));
                }
            });
        }
    });
    outcomes.into_inner().unwrap()
}

/// The calls of a run without a fault: `number name\tpath`.
fn undisturbed() -> Vec<String> {
    let world = World::start().unwrap();
    let mut outcomes = play_all(&world, 0, &[Fault::None]);
    let (_, outcome) = outcomes.pop().unwrap();
    assert_eq!(outcome.ends, [("Success".to_owned(), 4)].into());
    let mut kinds = BTreeMap::<String, usize>::new();
    for line in &outcome.calls {
        let call = line.split(['\t', ' ']).nth(1).unwrap();
        *kinds.entry(call.to_owned()).or_default() += 1;
    }
    let count = outcome.calls.len();
    say(format!("{count} calls of an undisturbed run: {kinds:?}"));
    for call in [
        "open",
        "write",
        "fsync",
        "fdatasync",
        "rename",
        "unlink",
        "mkdir",
    ] {
        assert!(kinds.contains_key(call), "{call} is not traced: {kinds:?}");
    }
    outcome.calls
}

/// Some of them, or all.
fn sample<T: Copy>(random: &mut Random, all: &[T], subset: usize) -> Vec<T> {
    let wanted = cases(subset, all.len()).min(all.len());
    if wanted == all.len() {
        return all.to_vec();
    }
    (0..wanted)
        .map(|_| *random.of_these(all).unwrap())
        .collect()
}

fn record(outcomes: &[(Fault, Outcome)]) -> usize {
    let sum = |of: fn(&Outcome) -> usize| outcomes.iter().map(|(_, one)| of(one)).sum::<usize>();
    let mut ends = BTreeMap::<&str, usize>::new();
    for (end, count) in outcomes.iter().flat_map(|(_, one)| &one.ends) {
        *ends.entry(end).or_default() += count;
    }
    say(format!("ends: {ends:?}"));
    let hits = outcomes.iter().filter(|(_, one)| one.is_hit()).count();
    let none = Bound::Exactly(0.0);
    let (lost, twice) = (sum(|one| one.lost), sum(|one| one.twice));
    figures::record("acknowledged results lost", lost as f64, "", none);
    figures::record("commands started twice", twice as f64, "", none);
    assert_eq!((lost, twice), (0, 0));
    hits
}

#[test]
fn killed_at_any_call_it_loses_nothing_and_starts_nothing_twice() {
    let calls = undisturbed();
    let mut random = Random::of("killed_at_any_call_it_loses_nothing_and_starts_nothing_twice");
    let all: Vec<usize> = (1..=calls.len()).collect();
    let faults: Vec<Fault> = sample(&mut random, &all, 8)
        .into_iter()
        .map(Fault::Kill)
        .collect();
    let world = World::start().unwrap();
    let mut outcomes = play_all(&world, 0, &faults);
    // What is written together differs from run to run: one may end before the call that is meant.
    for _ in 0..TRIES_MORE {
        let is_killed =
            |fault: &Fault| outcomes.iter().any(|(of, one)| of == fault && one.is_hit());
        let missed: Vec<Fault> = faults
            .iter()
            .filter(|fault| !is_killed(fault))
            .copied()
            .collect();
        outcomes.extend(play_all(&world, outcomes.len(), &missed));
    }
    let hits = record(&outcomes);
    figures::record("calls of the run killed at", hits as f64, "", Bound::None);
    // The last ones of one run may come in no other.
    assert!(hits * 4 >= faults.len() * 3, "{hits} of {}", faults.len());
}

/// Whether the system would answer the call so.
fn suits(error: &str, line: &str) -> bool {
    let call = line.split(['\t', ' ']).nth(1).unwrap_or_default();
    match error {
        "EMFILE" => call == "open",
        // Opens that make a file are told apart by the tracer alone: the next call that suits is hit.
        "ENOSPC" | "EROFS" => call != "open",
        _ => true,
    }
}

#[test]
fn errors_of_the_disk_are_never_told_as_success_and_work_goes_on_after_them() {
    let calls = undisturbed();
    let test = "errors_of_the_disk_are_never_told_as_success_and_work_goes_on_after_them";
    let mut random = Random::of(test);
    let mut faults = Vec::new();
    for error in ["EIO", "ENOSPC", "EROFS", "EMFILE"] {
        let suiting = calls
            .iter()
            .enumerate()
            .filter(|(_, line)| suits(error, line));
        let all: Vec<usize> = suiting.map(|(at, _)| at + 1).collect();
        let once = sample(&mut random, &all, 2).into_iter();
        faults.extend(once.map(|at| Fault::Once(at, error)));
        let lasting = sample(&mut random, &all, 2).into_iter();
        faults.extend(lasting.map(|at| Fault::Lasting(at, error)));
    }
    let world = World::start().unwrap();
    let outcomes = play_all(&world, 0, &faults);
    let hits = record(&outcomes);
    figures::record("calls of the run that failed", hits as f64, "", Bound::None);
    // Runs differ by some calls: the last ones of one may not come in another.
    assert!(hits * 4 >= faults.len() * 3, "{hits} of {}", faults.len());
    let mut resumed: Vec<_> = outcomes
        .iter()
        .filter_map(|(fault, one)| Some((one.resumed?, *fault)))
        .collect();
    resumed.sort_by(|one, other| one.0.0.total_cmp(&other.0.0));
    let ended = resumed.iter().filter(|((_, ended), _)| *ended).count();
    let late = resumed.iter().filter(|((s, _), _)| *s > RESUMES_WITHIN_S);
    let late = late.count();
    let lasted = resumed.len();
    let ((slowest, _), which) = *resumed.last().unwrap();
    let (middle, _) = resumed[lasted / 2].0;
    say(format!(
        "{lasted} lasting faults, {ended} of them ended the agent; {late} resumed after more than {RESUMES_WITHIN_S} s; slowest: {which:?}"
    ));
    let bound = Bound::AtMost(RESUMES_WITHIN_S);
    figures::record("lasting faults", lasted as f64, "", Bound::None);
    figures::record("repair to work again, median", middle, "s", bound);
    figures::record("repair to work again, longest", slowest, "s", bound);
    assert!(slowest < RESUMES_AT_ALL_S, "{which:?}: {slowest} s");
}

#[test]
fn a_disk_that_fails_while_the_journal_is_opened_does_not_end_the_agent() {
    let calls = undisturbed();
    // The first of an agent's life: it makes its journal's cursor. Runs do not differ so early.
    let first = |line: &String| line.contains(" fallocate\t");
    let fault = Fault::Lasting(calls.iter().position(first).unwrap() + 1, "EIO");
    let world = World::start().unwrap();
    let outcomes = play_all(&world, 0, &[fault]);
    assert_eq!(record(&outcomes), 1);
    let (_, ended) = outcomes[0].1.resumed.unwrap();
    assert!(!ended, "the agent ended");
}
