//! What a recorded disk held at any moment, and a real agent of this machine started on it.
//! Never lets that agent reach a bridge: it would be a clone of the node.

use crate::disk::{Disk, Event, Recording};
use anyhow::{Context as _, Result, ensure};
use holdfast_e2e::{Agent, AgentOptions, Binaries, Exit, PATIENCE, Random, until};
use serde_json::Value;
use std::fs::File;
use std::os::unix::fs::FileExt as _;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::Command;
use tempfile::TempDir;

/// Bytes of an image that are left out of its file when all of them are zero.
const HOLE_BYTES: usize = 64 << 10;

/// Nobody listens there.
const NOWHERE: &str = "mqtts://127.0.0.1:9";

/// A recorded disk, at a flush.
#[derive(Debug)]
pub struct Replay<'a> {
    disk: Disk,
    events: &'a [Event],
    position: usize,
}

impl<'a> Replay<'a> {
    /// From the beginning of a recording.
    #[must_use]
    pub fn new(recording: &'a Recording) -> Self {
        Self {
            disk: Disk::new(recording.image.clone()),
            events: &recording.events,
            position: 0,
        }
    }

    /// How many events the disk has had.
    #[must_use]
    pub fn position(&self) -> usize {
        self.position
    }

    /// Goes on to the next flush. `None` when there is none left.
    pub fn next_flush(&mut self) -> Option<()> {
        while let Some(event) = self.events.get(self.position) {
            self.position += 1;
            match event {
                // It was in range when it was recorded.
                Event::Write(write) => {
                    let _ = self.disk.write(write.clone());
                }
                Event::Flush => {
                    self.disk.flush();
                    return Some(());
                }
            }
        }
        None
    }

    /// The last position of which this is what the medium held for sure: the next flush's.
    #[must_use]
    pub fn holds_until(&self) -> usize {
        let after = self.events.get(self.position..).unwrap_or_default();
        let next = after.iter().position(|event| *event == Event::Flush);
        self.position + next.unwrap_or(after.len())
    }

    /// What the medium held for sure.
    #[must_use]
    pub fn medium(&self) -> &[u8] {
        self.disk.medium()
    }

    /// What a cut could have left at some moment before the next flush.
    #[must_use]
    pub fn cut(&self, random: &mut Random) -> Vec<u8> {
        let mut disk = self.disk.clone();
        let until = self.position + random.below(self.holds_until() - self.position + 1);
        let after = self.events.get(self.position..until).unwrap_or_default();
        for event in after {
            if let Event::Write(write) = event {
                let _ = disk.write(write.clone());
            }
        }
        disk.cut(random);
        disk.medium().to_vec()
    }
}

/// An agent of this machine on a copy of the guest's disk, mounted where only it looks.
#[derive(Debug)]
pub struct Replica {
    agent: Agent,
    program: PathBuf,
    // Goes after the agent, and with it the mount.
    _folder: TempDir,
}

impl Replica {
    /// Writes the image, mounts it, which recovers its file system, and starts the agent on it. The
    /// mount ends with the agent. What the agent says goes to the end of `log`.
    ///
    /// # Errors
    /// When the file system does not mount or the agent does not come up.
    pub fn start(binaries: &Binaries, image: &[u8], log: &Path) -> Result<Self> {
        let folder = TempDir::with_prefix("holdfast-replica-")?;
        let (file, mount) = (folder.path().join("image"), folder.path().join("mount"));
        std::fs::create_dir(&mount).with_context(|| mount.display().to_string())?;
        write_sparse(&file, image)?;
        let script = format!(
            "mount -o loop '{}' '{}'; exec \"$@\"",
            file.display(),
            mount.display()
        );
        let wrapper = ["unshare", "--mount", "sh", "-e", "-c", &script, "sh"];
        let options = AgentOptions {
            wrapper: wrapper.map(str::to_owned).to_vec(),
            more: ["--bridge", NOWHERE].map(str::to_owned).to_vec(),
            log: Some(log.to_owned()),
            ..AgentOptions::default()
        };
        let mut agent = Agent::new(binaries, &mount.join("agent"), options);
        agent.start()?;
        let mut replica = Self {
            agent,
            program: binaries.agent.clone(),
            _folder: folder,
        };
        until("the agent has started", PATIENCE, || {
            let ended = replica.agent.ended()?;
            ensure!(ended.is_none(), "the agent ended: {ended:?}");
            Ok(UnixStream::connect(replica.control()?).ok())
        })?;
        Ok(replica)
    }

    /// Its control socket, as seen from outside its mounts. Only a running agent answers there: a verb
    /// that asked too early would take the directory's lock itself.
    fn control(&self) -> Result<PathBuf> {
        let process = self.agent.id().context("the agent does not run")?;
        let state_dir = self.agent.state_dir().strip_prefix("/")?;
        let root = PathBuf::from(format!("/proc/{process}/root"));
        Ok(root.join(state_dir).join("control.sock"))
    }

    /// What a verb of the agent prints as JSON, beside the running agent.
    ///
    /// # Errors
    /// When it fails.
    pub fn verb(&self, words: &[&str]) -> Result<Value> {
        let process = self.agent.id().context("the agent does not run")?;
        let mut command = Command::new("nsenter");
        command
            .args(["--target", &process.to_string(), "--mount", "--"])
            .arg(&self.program)
            .args(words)
            .arg("--state-dir")
            .arg(self.agent.state_dir());
        Ok(serde_json::from_str(&Exit::of(&mut command)?.success()?)?)
    }
}

fn write_sparse(path: &Path, image: &[u8]) -> Result<()> {
    let file = File::create(path).with_context(|| path.display().to_string())?;
    file.set_len(image.len() as u64)?;
    for (at, part) in image.chunks(HOLE_BYTES).enumerate() {
        if part.iter().any(|byte| *byte != 0) {
            file.write_all_at(part, (at * HOLE_BYTES) as u64)?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::disk::{SECTOR_BYTES, Write};

    fn write(sector: usize, byte: u8) -> Event {
        Event::Write(Write {
            offset: sector * SECTOR_BYTES,
            bytes: vec![byte; SECTOR_BYTES],
        })
    }

    #[test]
    fn each_flush_shows_what_came_before_it_and_holds_until_the_next() {
        let events = [
            write(0, 1),
            Event::Flush,
            write(1, 2),
            write(0, 3),
            Event::Flush,
        ];
        let recording = Recording {
            image: vec![0; 2 * SECTOR_BYTES],
            events: events.to_vec(),
        };
        let mut replay = Replay::new(&recording);
        let ends = |image: &[u8]| (image[0], image[SECTOR_BYTES]);
        replay.next_flush().unwrap();
        assert_eq!(ends(replay.medium()), (1, 0));
        assert_eq!(replay.holds_until(), 4);
        let mut seen: Vec<_> = (0..64)
            .map(|seed| ends(&replay.cut(&mut Random::new(seed))))
            .collect();
        seen.sort_unstable();
        seen.dedup();
        assert_eq!(seen, [(1, 0), (1, 2), (3, 0), (3, 2)]);
        replay.next_flush().unwrap();
        assert_eq!(ends(replay.medium()), (3, 2));
        assert_eq!(replay.holds_until(), 5);
        assert_eq!(replay.next_flush(), None);
    }
}
