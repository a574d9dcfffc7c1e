//! A network of its own for a test: an agent behind a virtual cable whose far end can be pulled, so
//! that packets vanish and nobody is told. Never touches the machine's own network.

use crate::process::{Exit, Running};
use crate::{say, until};
use anyhow::{Context as _, Result, ensure};
use std::net::{IpAddr, Ipv4Addr};
use std::process::Command;
use std::time::Duration;

/// Set in the copy of a test that runs in namespaces.
const INSIDE: &str = "HOLDFAST_E2E_INSIDE";

/// The cable's end at the bridge, and the one at the agent.
const ENDS: [&str; 2] = ["hf-bridge", "hf-agent"];

/// Address of the bridge's end.
pub const BRIDGE: IpAddr = IpAddr::V4(Ipv4Addr::new(10, 77, 0, 1));

/// The network in which an agent runs.
#[derive(Debug)]
pub struct Namespace {
    holder: Running,
}

impl Namespace {
    /// Runs the calling test again in a network of its own, where root may do everything; `test` is
    /// its name in its file. Returns `false` once that copy has passed: nothing is left to do.
    ///
    /// # Errors
    /// When the copy failed, or when this machine allows no namespaces: says what is missing.
    pub fn enter(test: &str) -> Result<bool> {
        if std::env::var_os(INSIDE).is_some() {
            ip(&["link", "set", "lo", "up"])?;
            return Ok(true);
        }
        let root = rustix::process::geteuid().is_root();
        let unshare = || {
            let mut command = Command::new("unshare");
            if !root {
                command.args(["--user", "--map-root-user"]);
            }
            command.args(["--net", "--"]);
            command
        };
        let probe = Exit::of(unshare().args(["ip", "link"]));
        let said = probe.and_then(Exit::success);
        said.context(
            "this test needs `unshare` (util-linux), `ip` (iproute2), and either root or user namespaces \
             for everyone (sysctl kernel.unprivileged_userns_clone=1, kernel.apparmor_restrict_unprivileged_userns=0)",
        )?;
        let copy = Exit::of(
            unshare()
                .arg(std::env::current_exe()?)
                .args(["--exact", test, "--nocapture"])
                .env(INSIDE, "1"),
        )?;
        copy.stderr.lines().for_each(say);
        ensure!(
            copy.code == 0 && copy.stdout.contains("1 passed"),
            "in its own network: {}",
            copy.stdout
        );
        Ok(false)
    }

    /// Makes the agent's network and the cable to it.
    ///
    /// # Errors
    /// When the kernel refuses one of the steps.
    pub fn new() -> Result<Self> {
        let mut holder =
            Running::start(Command::new("unshare").args(["--net", "sleep", "infinity"]))?;
        let own = std::fs::read_link("/proc/self/ns/net")?;
        let path = format!("/proc/{}/ns/net", holder.id());
        until(
            "the agent's network is there",
            Duration::from_secs(10),
            || {
                ensure!(holder.ended()?.is_none(), "`unshare --net` was refused");
                Ok(std::fs::read_link(&path).ok().filter(|other| *other != own))
            },
        )?;
        let process = holder.id().to_string();
        let [bridge, agent] = ENDS;
        ip(&["link", "add", bridge, "type", "veth", "peer", "name", agent])?;
        ip(&["link", "set", agent, "netns", &process])?;
        ip(&["address", "add", &format!("{BRIDGE}/24"), "dev", bridge])?;
        ip(&["link", "set", bridge, "up"])?;
        let namespace = Self { holder };
        for step in [
            &["link", "set", "lo", "up"][..],
            &["address", "add", "10.77.0.2/24", "dev", agent],
            &["link", "set", agent, "up"],
        ] {
            let mut command = Command::new("nsenter");
            command.args(namespace.wrapper().iter().skip(1)).arg("ip");
            Exit::of(command.args(step))?.success()?;
        }
        Ok(namespace)
    }

    /// Words before a command line that make it run in the agent's network, under its own process id.
    #[must_use]
    pub fn wrapper(&self) -> Vec<String> {
        let process = self.holder.id().to_string();
        ["nsenter", "--net", "--target", &process, "--"]
            .map(str::to_owned)
            .to_vec()
    }

    /// Makes the cable slow and lossy both ways: so many bits a second leave each end, and of what arrives at
    /// the other one so many of a hundred packets are lost. By `tbf` and nftables, which more kernels have
    /// than `netem`.
    ///
    /// # Errors
    /// When `tc` or `nft` is missing, or the kernel refuses.
    pub fn shape(&self, kilobits: u32, loss_percent: u32) -> Result<()> {
        for (end, inside) in [(ENDS[0], false), (ENDS[1], true)] {
            // Room for two seconds, as a modem has it.
            let script = format!(
                "tc qdisc replace dev {end} root tbf rate {kilobits}kbit burst 1600 latency 2s
                 nft add table inet lossy
                 nft add chain inet lossy arrives '{{ type filter hook input priority 0; }}'
                 nft add rule inet lossy arrives iifname {end} numgen random mod 100 '<' {loss_percent} counter drop"
            );
            let wrapper = if inside { self.wrapper() } else { Vec::new() };
            let mut words = wrapper
                .iter()
                .map(String::as_str)
                .chain(["sh", "-ec", &script]);
            let mut command = Command::new(words.next().unwrap_or("sh"));
            Exit::of(command.args(words))?
                .success()
                .context("`tc` (iproute2) with tbf and `nft` (nftables) with numgen are needed")?;
        }
        Ok(())
    }

    /// Bytes that have left the agent's end and the bridge's, packet headers and repeats included.
    ///
    /// # Errors
    /// When the counters cannot be read.
    pub fn sent_bytes(&self) -> Result<u64> {
        // Not /sys: that shows the devices of the network in which it was mounted.
        let devices = std::fs::read_to_string("/proc/self/net/dev")?;
        let counters = devices
            .lines()
            .find_map(|line| line.trim().strip_prefix(ENDS[0])?.strip_prefix(':'))
            .context("the cable's end among the devices")?;
        let counters: Vec<u64> = counters
            .split_whitespace()
            .map(str::parse)
            .collect::<Result<_, _>>()?;
        // Received come first, sent after eight columns.
        let both = [counters.first(), counters.get(8)];
        Ok(both.into_iter().flatten().sum())
    }

    /// Pulls the cable at the bridge's end: packets vanish, connections are not told.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub fn cut(&self) -> Result<()> {
        ip(&["link", "set", ENDS[0], "down"])
    }

    /// Plugs it in again.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub fn restore(&self) -> Result<()> {
        ip(&["link", "set", ENDS[0], "up"])
    }
}

impl Drop for Namespace {
    fn drop(&mut self) {
        // The kernel would do so later; the next cable has the same name.
        let _ = ip(&["link", "del", ENDS[0]]);
    }
}

fn ip(arguments: &[&str]) -> Result<()> {
    Exit::of(Command::new("ip").args(arguments))?
        .success()
        .with_context(|| format!("ip {}", arguments.join(" ")))?;
    Ok(())
}
