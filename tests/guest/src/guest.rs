//! The machine: started from its disk, told what to do, killed, cut off from power.
//! Never a network but the host's loopback, and never a file of the host but those given.

use crate::control::Control;
use crate::disk::{Cut, Disk};
use crate::nbd::Server;
use crate::parts::Parts;
use crate::{initramfs, state};
use anyhow::{Context as _, Result, bail, ensure};
use holdfast_e2e::{Activation, Exit, PATIENCE, Random, Running, say, until};
use serde_json::Value;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

/// The host's loopback, as the machine sees it.
pub const HOST: &str = "10.0.2.2";

/// The agent's directory in the machine.
const STATE_DIR: &str = "/state/agent";

/// The kernel's command line: quiet, ended by a panic, and without what costs an emulated machine a
/// third of its boot and has nothing to do with disks, networks or processes.
const KERNEL: &str = "console=ttyAMA0 quiet panic=-1 \
                      nokaslr rodata=off mitigations=off audit=0 cryptomgr.notests";

/// Lines of the console shown after a failure.
const CONSOLE_LINES: usize = 40;

/// A machine that is on.
#[derive(Debug)]
struct On {
    qemu: Running,
    control: Control,
}

/// A machine, on or off, and its disk.
#[derive(Debug)]
pub struct Guest {
    parts: Parts,
    folder: PathBuf,
    disk: Server,
    on: Option<On>,
}

impl Guest {
    /// A machine with an empty disk; its files go into a folder, which is made.
    ///
    /// # Errors
    /// When a part or `mkfs.ext4` is missing.
    pub fn new(parts: &Parts, folder: &Path) -> Result<Self> {
        std::fs::create_dir(folder).with_context(|| folder.display().to_string())?;
        std::fs::write(folder.join("initramfs"), initramfs::build(parts)?)?;
        let disk = Disk::new(state::empty(&folder.join("empty"))?);
        Ok(Self {
            parts: parts.clone(),
            disk: Server::start(&folder.join("disk.sock"), disk)?,
            folder: folder.to_owned(),
            on: None,
        })
    }

    /// Its disk.
    #[must_use]
    pub fn disk(&self) -> &Server {
        &self.disk
    }

    /// Switches it on and waits until it has come up; the time that took.
    ///
    /// # Errors
    /// When it is on, or does not come up.
    pub fn boot(&mut self) -> Result<Duration> {
        ensure!(self.on.is_none(), "the machine is on");
        let started = Instant::now();
        let socket = self.folder.join("control.sock");
        // Each boot binds its own; the last one's is left over.
        let _ = std::fs::remove_file(&socket);
        let listener = Control::listen(&socket)?;
        let mut qemu = Running::start(&mut self.command(&socket))?;
        let control = Control::accept(&listener, || {
            let ended = qemu.ended()?;
            ensure!(ended.is_none(), "qemu ended: {ended:?}");
            Ok(())
        })?;
        self.on = Some(On { qemu, control });
        Ok(started.elapsed())
    }

    fn command(&self, control: &Path) -> Command {
        let mut command = Command::new("qemu-system-aarch64");
        let path = |path: &Path| path.display().to_string();
        let console = self.folder.join("console.log");
        command
            .args(["-machine", "virt", "-cpu", "cortex-a53", "-m", "128"])
            .args(["-nodefaults", "-display", "none", "-no-reboot"])
            .args(["-kernel", &path(&self.parts.kernel())])
            .args(["-initrd", &path(&self.folder.join("initramfs"))])
            .args(["-append", KERNEL]);
        let console = format!("file,id=console,append=on,path={}", path(&console));
        let control = format!("socket,id=control,path={}", path(control));
        let disk = format!(
            "driver=nbd,node-name=disk,server.type=unix,server.path={}",
            path(self.disk.socket())
        );
        command
            .args(["-chardev", &console, "-serial", "chardev:console"])
            .args(["-chardev", &control, "-device", "virtio-serial-device"])
            .args(["-device", "virtserialport,chardev=control"])
            .args(["-blockdev", &disk])
            .args(["-device", "virtio-blk-device,drive=disk,write-cache=on"])
            .args(["-netdev", "user,id=net,ipv6=off"])
            .args(["-device", "virtio-net-device,netdev=net"])
            .stdout(Stdio::null());
        command
    }

    /// Has its shell run a line.
    ///
    /// # Errors
    /// When it is off or does not answer; a failed line is in [`Exit`].
    pub fn run(&mut self, line: &str) -> Result<Exit> {
        let on = self.on.as_mut().context("the machine is off")?;
        on.control.run(line).with_context(|| line.to_owned())
    }

    /// Runs one of the agent's verbs on its state directory.
    ///
    /// # Errors
    /// When the machine does not answer, or the verb failed.
    pub fn verb(&mut self, words: &str) -> Result<String> {
        let line = format!("holdfast-agent {words} --state-dir {STATE_DIR}");
        self.run(&line)?.success().with_context(|| line)
    }

    /// Registers its agent with a bridge on the host's loopback; the node's id.
    ///
    /// # Errors
    /// When it was refused.
    pub fn register(&mut self, bridge: SocketAddr, activation: &Activation) -> Result<String> {
        let printed = self.verb(&format!(
            "register --json --bridge mqtts://{HOST}:{} --activation-id {} --activation-code {} --ca-sha256 {}",
            bridge.port(),
            activation.id,
            activation.code,
            activation.ca_sha256
        ))?;
        let printed: Value = serde_json::from_str(&printed)?;
        let node = printed.get("node_id").and_then(Value::as_str);
        Ok(node.context("node_id")?.to_owned())
    }

    /// Starts the agent; its log goes to the console.
    ///
    /// # Errors
    /// When the machine does not answer.
    pub fn start_agent(&mut self) -> Result<()> {
        let line = format!("holdfast-agent run --state-dir {STATE_DIR} >/dev/console 2>&1 &");
        self.run(&line)?.success()?;
        Ok(())
    }

    /// `status --json` of the agent.
    ///
    /// # Errors
    /// As [`Self::verb`].
    pub fn status(&mut self) -> Result<Value> {
        Ok(serde_json::from_str(&self.verb("status --json")?)?)
    }

    /// `kill -9` of qemu. Whatever had reached the disk is there afterwards, flushed or not.
    ///
    /// # Errors
    /// When it is off.
    pub fn kill(&mut self) -> Result<()> {
        let mut on = self.on.take().context("the machine is off")?;
        on.qemu.kill()?;
        self.disk.until_free()
    }

    /// Cuts the power: `kill -9`, and a disk that keeps of what was not flushed what the seed says.
    ///
    /// # Errors
    /// When it is off.
    pub fn cut(&mut self, random: &mut Random) -> Result<Cut> {
        self.disk.power_off();
        self.kill()?;
        self.disk.power_on(random)
    }

    /// Shuts it down in order.
    ///
    /// # Errors
    /// When it does not end.
    pub fn shut_down(&mut self) -> Result<()> {
        self.run("kill $(pidof holdfast-agent)")?;
        until("the agent has ended", PATIENCE, || {
            Ok((self.run("pidof holdfast-agent")?.code != 0).then_some(()))
        })?;
        self.run("umount /state")?.success()?;
        // It dies of this line, without an answer.
        let Some(mut on) = self.on.take() else {
            bail!("the machine is off");
        };
        let _ = on.control.run("poweroff -f");
        until("qemu has ended", PATIENCE, || on.qemu.ended())?;
        self.disk.until_free()
    }
}

impl Drop for Guest {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            return;
        }
        let text = std::fs::read(self.folder.join("console.log")).unwrap_or_default();
        let text = String::from_utf8_lossy(&text);
        let lines: Vec<&str> = text.lines().collect();
        say("end of the machine's console:");
        for line in lines.iter().skip(lines.len().saturating_sub(CONSOLE_LINES)) {
            say(format!("  {line}"));
        }
    }
}
