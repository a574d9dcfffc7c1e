//! What a killed agent's steps left running: noted as a step begins, ended when the next agent starts.
//! Never ends a process that is not proven to be a step's: the system gives process ids out again.

use super::process::GRACE;
use super::script::SCRIPT;
use crate::clock;
use rustix::process::{Pid, Signal, kill_process_group};
use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::thread::sleep;
use std::time::{Duration, Instant};

/// Of the file beside a step's directory.
const EXTENSION: &str = "group";
/// Room for a boot, a process id and a start.
const NOTE_BYTES: usize = 80;
/// A step of which no process is noted may be one that is just being started: waited for at most this.
const START_LIMIT: Duration = Duration::from_secs(1);
/// How long the system may take to end what was killed.
const KILLED_LIMIT: Duration = Duration::from_secs(2);
const LOOK_AGAIN: Duration = Duration::from_millis(20);

/// Where the process group of a running step is noted. Lies in the page cache: an agent that is
/// killed leaves it there, and a machine that goes down leaves no process.
#[derive(Debug)]
pub(super) struct Note {
    file: File,
    path: PathBuf,
}

impl Note {
    /// Makes room for it before anything runs.
    ///
    /// # Errors
    /// The system's.
    pub(super) fn create(directory: &Path) -> io::Result<Self> {
        let path = directory.with_extension(EXTENSION);
        let file = File::create(&path)?;
        file.write_all_at(&[b' '; NOTE_BYTES], 0)?;
        Ok(Self { file, path })
    }

    /// Notes the leader of a group that has just begun.
    ///
    /// # Errors
    /// The system's.
    pub(super) fn write(&self, leader: Pid) -> io::Result<()> {
        let pid = leader.as_raw_nonzero().get();
        let started = Process::read(pid).map_or(0, |process| process.started);
        let boot = hex::encode(clock::boot_id()?);
        self.file
            .write_all_at(format!("{boot} {pid} {started}").as_bytes(), 0)
    }

    /// Its step has ended.
    pub(super) fn remove(&self) {
        let _ = fs::remove_file(&self.path);
    }
}

/// A process as `/proc` tells of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Process {
    pid: i32,
    group: i32,
    /// Clock ticks after boot.
    started: u64,
}

impl Process {
    /// `None` when there is none, or when nothing but its exit code is left of it.
    fn read(pid: i32) -> Option<Self> {
        let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
        // A name may hold spaces and brackets; the fields count from behind its last one.
        let mut fields = stat.rsplit_once(')')?.1.split_ascii_whitespace();
        let state = fields.next()?;
        let group = fields.nth(1)?.parse().ok()?;
        let started = fields.nth(16)?.parse().ok()?;
        (state != "Z").then_some(Self {
            pid,
            group,
            started,
        })
    }

    fn all() -> impl Iterator<Item = Self> {
        let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
        entries.filter_map(|entry| Self::read(entry.file_name().to_str()?.parse().ok()?))
    }

    /// Whether it leads a group and has no words yet: it is just being started. The kernel's own
    /// threads have none either, and lead no group.
    fn is_starting(self) -> bool {
        let words = fs::read(format!("/proc/{}/cmdline", self.pid));
        self.group == self.pid && words.is_ok_and(|words| words.is_empty())
    }

    /// Whether one of its words, `of` which file, is this.
    fn says(self, of: &str, word: &[u8]) -> bool {
        let words = fs::read(format!("/proc/{}/{of}", self.pid)).unwrap_or_default();
        words.split(|byte| *byte == 0).any(|found| found == word)
    }
}

/// A note that an agent left.
struct Left {
    /// The leader and its start, when it came to that.
    leader: Option<(i32, u64)>,
    /// What every process of the command has in its environment.
    variable: String,
    /// What the leader was started with.
    script: PathBuf,
}

impl Left {
    fn read(path: &Path, boot: &str) -> Option<Self> {
        let (command, _) = path.file_stem()?.to_str()?.rsplit_once('-')?;
        let text = fs::read_to_string(path).ok()?;
        let mut words = text.split_ascii_whitespace();
        let leader = match words.next() {
            Some(noted) if noted != boot => return None,
            Some(_) => Some((words.next()?.parse().ok()?, words.next()?.parse().ok()?)),
            None => None,
        };
        Some(Self {
            leader,
            variable: format!("AWS_SSM_COMMAND_ID={command}"),
            script: path.with_extension("").join(SCRIPT),
        })
    }

    /// Whether a process proves that its group is the step's.
    fn owns(&self, process: Process) -> bool {
        match self.leader {
            Some(leader) if (process.pid, process.started) == leader => true,
            // The leader may have ended before the others of its group.
            Some((leader, _)) => {
                process.group == leader && process.says("environ", self.variable.as_bytes())
            }
            // The agent was killed between the start and its note.
            None => {
                process.group == process.pid
                    && process.says("cmdline", self.script.as_os_str().as_encoded_bytes())
            }
        }
    }
}

/// Ends what steps of an earlier agent left running, as a cancel would. Blocks until it has ended,
/// which is seconds at most.
pub(super) fn end(scripts: &Path) {
    let groups = groups(scripts);
    if groups.is_empty() {
        return;
    }
    tracing::warn!(
        groups = groups.len(),
        "steps of an earlier agent still run, and are ended"
    );
    for (signal, limit) in [(Signal::TERM, GRACE), (Signal::KILL, KILLED_LIMIT)] {
        for group in groups.iter().copied().filter_map(Pid::from_raw) {
            let _ = kill_process_group(group, signal);
        }
        let until = Instant::now() + limit;
        while Process::all().any(|process| groups.contains(&process.group)) {
            if Instant::now() >= until {
                break;
            }
            sleep(LOOK_AGAIN);
        }
    }
}

fn groups(scripts: &Path) -> BTreeSet<i32> {
    let boot = clock::boot_id().map(hex::encode).unwrap_or_default();
    let entries = fs::read_dir(scripts).into_iter().flatten().flatten();
    let left: Vec<Left> = entries
        .map(|entry| entry.path())
        .filter(|path| path.extension().is_some_and(|end| end == EXTENSION))
        .filter_map(|path| Left::read(&path, &boot))
        .collect();
    if left.is_empty() {
        return BTreeSet::new();
    }
    if left.iter().any(|left| left.leader.is_none()) {
        let until = Instant::now() + START_LIMIT;
        while Process::all().any(Process::is_starting) && Instant::now() < until {
            sleep(LOOK_AGAIN);
        }
    }
    let owned = |process: &Process| left.iter().any(|left| left.owns(*process));
    Process::all()
        .filter(owned)
        .map(|process| process.group)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::process::CommandExt;
    use std::process::{Child, Command, Stdio};

    /// A step's process as an agent starts it, and its directory.
    fn begin(home: &Path, script: &str) -> (Child, PathBuf) {
        let directory = home.join("c0ffee-0");
        fs::create_dir_all(&directory).unwrap();
        let file = directory.join(SCRIPT);
        fs::write(&file, script).unwrap();
        let child = Command::new("/bin/sh")
            .arg(&file)
            .env("AWS_SSM_COMMAND_ID", "c0ffee")
            .stdout(Stdio::piped())
            .process_group(0)
            .spawn()
            .unwrap();
        (child, directory)
    }

    fn pid(child: &Child) -> Pid {
        Pid::from_raw(i32::try_from(child.id()).unwrap()).unwrap()
    }

    /// Ends what is left while somebody waits for the child, as init does.
    fn end_beside(home: &Path, mut child: Child) {
        let waiting = std::thread::spawn(move || child.wait().unwrap());
        end(home);
        waiting.join().unwrap();
    }

    fn members(group: Pid) -> usize {
        let group = group.as_raw_nonzero().get();
        Process::all().filter(|found| found.group == group).count()
    }

    #[test]
    fn a_noted_step_is_ended_with_its_whole_group() {
        let home = tempfile::tempdir().unwrap();
        let (child, directory) = begin(home.path(), "sleep 1000 & sleep 1000");
        let leader = pid(&child);
        Note::create(&directory).unwrap().write(leader).unwrap();
        end_beside(home.path(), child);
        assert_eq!(members(leader), 0);
    }

    #[test]
    fn what_a_leader_left_of_its_group_is_ended() {
        let home = tempfile::tempdir().unwrap();
        let (mut child, directory) = begin(home.path(), "read _; sleep 1000 >&- & exit 0");
        let leader = pid(&child);
        Note::create(&directory).unwrap().write(leader).unwrap();
        child.wait().unwrap();
        assert_eq!(members(leader), 1);
        end(home.path());
        assert_eq!(members(leader), 0);
    }

    #[test]
    fn a_step_that_was_not_yet_noted_is_found_by_its_script() {
        let home = tempfile::tempdir().unwrap();
        let (child, directory) = begin(home.path(), "sleep 1000");
        let leader = pid(&child);
        Note::create(&directory).unwrap();
        end_beside(home.path(), child);
        assert_eq!(members(leader), 0);
    }

    #[test]
    fn a_process_that_only_has_the_id_of_a_step_is_left_alone() {
        let home = tempfile::tempdir().unwrap();
        let (mut child, directory) = begin(home.path(), "sleep 1000");
        let leader = pid(&child);
        let note = Note::create(&directory).unwrap();
        note.write(leader).unwrap();
        let path = directory.with_extension(EXTENSION);
        let written = fs::read_to_string(&path).unwrap();
        let words: Vec<&str> = written.split_ascii_whitespace().collect();
        let other_boot = format!("{} {} {}", "0".repeat(32), words[1], words[2]);
        // Begun one tick later, by another command: the same id, used again.
        let used_again = format!("{} {} {}", words[0], words[1], words[2].to_owned() + "0");
        fs::write(&path, other_boot).unwrap();
        end(home.path());
        let of_another = home.path().join("decade-0").with_extension(EXTENSION);
        fs::rename(&path, &of_another).unwrap();
        fs::write(&of_another, used_again).unwrap();
        end(home.path());
        assert!(child.try_wait().unwrap().is_none(), "it still runs");
        kill_process_group(leader, Signal::KILL).unwrap();
        child.wait().unwrap();
        note.remove();
    }
}
