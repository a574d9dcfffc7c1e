//! `cargo xtask dist`: builds the static programs that are shipped, measures and runs them.
//! Never takes a program for shipped that it did not just build.

mod check;
mod compile;
mod layout;
mod options;
mod packages;
mod road;
mod size;
mod smoke;
mod strip;

use crate::{say, tidy};
use anyhow::{Context as _, Result, bail, ensure};
use compile::Program;
use holdfast_cross::budgets::{self, Agent as Budget, Budgets};
use holdfast_cross::targets::{self, Target};
use options::Options;
use road::Tools;
use std::path::{Path, PathBuf};
use std::time::Instant;

/// One target with what was built for it.
struct Built {
    target: Target,
    /// Which agent.
    shape: Program,
    agent: PathBuf,
    bridge: Option<PathBuf>,
    seconds: u64,
}

impl Built {
    /// What its agent may cost.
    fn budget<'a>(&self, budgets: &'a Budgets) -> &'a Budget {
        match self.shape {
            Program::Minimal => &budgets.minimal,
            Program::Agent | Program::Without(_) | Program::Bridge => &budgets.agent,
        }
    }
}

pub(crate) fn run(mut arguments: lexopt::Parser) -> Result<()> {
    let options = Options::read(&mut arguments)?;
    let targets = options.targets()?;
    let budgets = budgets::all()?;
    let root = tidy::workspace_root()?;
    let tools = road::prepare(&root, options.road)?;
    if options.packages {
        // A release is made afresh: nothing of an earlier run is listed in it, or signed.
        clear(&root.join("dist"))?;
    }
    let built = targets
        .into_iter()
        .map(|target| build(&root, &tools, target, &options))
        .collect::<Result<Vec<_>>>()?;
    summary(&built, &budgets)?;
    for built in &built {
        if options.size {
            breakdown(built)?;
            features(&root, &tools, built)?;
        }
        if options.twice {
            same_again(&root, &tools, built)?;
        }
    }
    if options.check {
        check(&root, &built, &budgets)?;
    }
    if options.packages {
        packages::write(&root, &built, &options)?;
    }
    if options.smoke {
        smoke_all(&built, &budgets)?;
    }
    if options.packages {
        packages::seal(&root, options.sign.as_deref())?;
    }
    Ok(())
}

fn clear(dist: &Path) -> Result<()> {
    match std::fs::remove_dir_all(dist) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(error).with_context(|| dist.display().to_string())
        }
        Ok(()) | Err(_) => Ok(()),
    }
}

/// Runs each agent, and prints how long each took to build and to run.
fn smoke_all(built: &[Built], budgets: &Budgets) -> Result<()> {
    let bridge = native_bridge(built)?;
    let mut table = String::from("\n| target | built in | seen to work in |\n|---|---|---|");
    for built in built {
        let started = Instant::now();
        smoke::run(built, &bridge, built.budget(budgets))?;
        table += &format!(
            "\n| {} | {} s | {} s |",
            built.target.triple,
            built.seconds,
            started.elapsed().as_secs()
        );
    }
    say(table);
    Ok(())
}

fn build(root: &Path, tools: &Tools, target: Target, options: &Options) -> Result<Built> {
    let started = Instant::now();
    let shape = if options.minimal {
        Program::Minimal
    } else {
        Program::Agent
    };
    let agent = compile::build(root, tools, &target, shape)?;
    let with_bridge = target.bridge && !options.only_agent && !options.minimal;
    let bridge = with_bridge.then(|| compile::build(root, tools, &target, Program::Bridge));
    Ok(Built {
        shape,
        agent,
        bridge: bridge.transpose()?,
        seconds: started.elapsed().as_secs(),
        target,
    })
}

/// Builds the static agent of this machine's own processor; its path.
///
/// # Errors
/// When there is no such target or it does not build.
pub(crate) fn native_agent() -> Result<PathBuf> {
    agent(&native_triple())
}

/// Builds the static agent of one target; its path.
///
/// # Errors
/// As [`native_agent`].
pub(crate) fn agent(triple: &str) -> Result<PathBuf> {
    let root = tidy::workspace_root()?;
    let target = targets::find(triple)?;
    let tools = road::prepare(&root, None)?;
    compile::build(&root, &tools, &target, Program::Agent)
}

/// The target of this machine's own processor.
pub(crate) fn native_triple() -> String {
    format!("{}-unknown-linux-musl", std::env::consts::ARCH)
}

/// A bridge that this machine runs: the one that was just built, else the checks' own.
fn native_bridge(built: &[Built]) -> Result<PathBuf> {
    let native = built.iter().find(|built| is_native(&built.target));
    if let Some(bridge) = native.and_then(|native| native.bridge.clone()) {
        return Ok(bridge);
    }
    crate::cargo::build_programs()?;
    Ok(holdfast_e2e::Binaries::find()?.bridge)
}

/// Whether this machine runs a target's programs at full speed and one thread each.
fn is_native(target: &Target) -> bool {
    target.triple.starts_with(std::env::consts::ARCH)
}

fn summary(built: &[Built], budgets: &Budgets) -> Result<()> {
    say("\n| target | agent, bytes | budget | above the floor | built in |\n|---|---|---|---|---|");
    for built in built {
        let bytes = std::fs::metadata(&built.agent)?.len();
        let budget = built.budget(budgets);
        let allowed = budget.size_bytes(&built.target.triple)?;
        let verdict = if bytes <= allowed { "met" } else { "MISSED" };
        let floor = budgets.agent.floor_bytes.get(&built.target.triple);
        let above = floor.map(|floor| bytes.saturating_sub(*floor).to_string());
        say(format!(
            "| {} | {bytes} | {allowed}, {verdict} | {} | {} s |",
            built.target.triple,
            above.unwrap_or_default(),
            built.seconds
        ));
    }
    Ok(())
}

fn breakdown(built: &Built) -> Result<()> {
    let symbols = compile::symbols_of(&built.agent);
    let program = std::fs::read(&symbols).with_context(|| symbols.display().to_string())?;
    say(format!("\n==> what is in {}", built.agent.display()));
    size::show(&size::breakdown(&program)?);
    Ok(())
}

/// Builds the agent without each of its features, and shows what each brought.
fn features(root: &Path, tools: &Tools, built: &Built) -> Result<()> {
    if built.shape != Program::Agent {
        return Ok(());
    }
    let whole = std::fs::metadata(&built.agent)?.len();
    let folder = compile::folder(root, tools);
    let mut table = String::from("\n| feature | bytes |\n|---|---|\n");
    for feature in compile::FEATURES {
        let without = Program::Without(feature);
        let program = compile::build_in(root, tools, &built.target, without, &folder)?;
        let bytes = strip::strip(&std::fs::read(program)?)?.len() as u64;
        table += &format!("| {feature} | {} |\n", whole.saturating_sub(bytes));
    }
    say(table);
    Ok(())
}

/// Builds an agent again with nothing left over from the first time, and compares byte by byte.
fn same_again(root: &Path, tools: &Tools, built: &Built) -> Result<()> {
    say("==> once more, in another folder");
    let folder = tempfile::Builder::new()
        .prefix("again-")
        .tempdir_in(root.join("target"))?;
    let second = compile::build_in(root, tools, &built.target, built.shape, folder.path())?;
    let second = strip::strip(&std::fs::read(second)?)?;
    ensure!(
        second == std::fs::read(&built.agent)?,
        "{}: two builds of one source differ",
        built.agent.display()
    );
    say("    the same, byte by byte");
    Ok(())
}

fn check(root: &Path, built: &[Built], budgets: &Budgets) -> Result<()> {
    let folders = check::build_folders(root)?;
    let mut faults = Vec::new();
    for built in built {
        let allowed = built.budget(budgets).size_bytes(&built.target.triple)?;
        let programs = [
            (Some(&built.agent), allowed),
            (built.bridge.as_ref(), u64::MAX),
        ];
        for (program, bytes_max) in programs {
            let Some(program) = program else {
                continue;
            };
            let bytes = std::fs::read(program).with_context(|| program.display().to_string())?;
            let mut found = check::faults(&bytes, bytes_max, &folders)?;
            if *program == built.agent {
                found.extend(layout::fault(&bytes)?);
            }
            let shown = program.strip_prefix(root).unwrap_or(program).display();
            faults.extend(found.iter().map(|fault| format!("{shown}: {fault}")));
        }
    }
    if !faults.is_empty() {
        bail!("not fit to ship:\n{}", faults.join("\n"));
    }
    say("==> checked: sizes, linkage, layout, and that no program names this machine's folders");
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_program_that_is_wrong_in_every_way_is_not_fit_to_ship_and_each_way_is_named() {
        let root = tidy::workspace_root().unwrap();
        // This very test: above every budget, linked dynamically, without the layout, and built
        // here. The folder that it names is added, since cargo may have named none.
        let folder = tempfile::tempdir().unwrap();
        let agent = folder.path().join("holdfast-agent");
        let mut program = std::fs::read("/proc/self/exe").unwrap();
        program.extend_from_slice(root.join("agent/src/main.rs").to_str().unwrap().as_bytes());
        std::fs::write(&agent, program).unwrap();
        let built = Built {
            target: targets::find(&native_triple()).unwrap(),
            shape: Program::Agent,
            agent,
            bridge: None,
            seconds: 0,
        };
        let refusal = check(&root, &[built], &budgets::all().unwrap()).unwrap_err();
        let refusal = refusal.to_string();
        for fault in [
            "allowed by cross/budgets.toml",
            "needs the interpreter",
            "shared libraries: it must be static",
            "names a folder of the machine that built it",
            "stand apart as not run when idle",
        ] {
            assert!(refusal.contains(fault), "{fault}: {refusal}");
        }
    }
}
