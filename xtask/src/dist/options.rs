//! What `cargo xtask dist` was asked for.
//! Never a default that skips a check that was asked for.

use super::road::Road;
use anyhow::{Result, bail};
use holdfast_cross::targets::{self, Target};
use lexopt::prelude::*;
use std::path::PathBuf;

/// The flags.
#[derive(Debug, Default)]
pub(crate) struct Options {
    targets: Vec<String>,
    tier: Option<Tier>,
    /// The road; by default the first that is open.
    pub(crate) road: Option<Road>,
    /// The agent for the smallest devices instead of the whole one, and no bridge.
    pub(crate) minimal: bool,
    /// No bridge.
    pub(crate) only_agent: bool,
    /// Show what is in the programs.
    pub(crate) size: bool,
    /// Hold the programs to the budgets and rules.
    pub(crate) check: bool,
    /// Run the main job with each agent.
    pub(crate) smoke: bool,
    /// Write the packages, their contents' list and their checksums.
    pub(crate) packages: bool,
    /// The key that signs the checksums, as `ssh-keygen` makes one.
    pub(crate) sign: Option<PathBuf>,
    /// The OpenPGP key that signs the rpm packages, as gpg names it.
    pub(crate) sign_rpm: Option<String>,
    /// Build each agent a second time elsewhere and compare.
    pub(crate) twice: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Tier {
    Only(u8),
    All,
}

impl Options {
    /// Reads the flags.
    ///
    /// # Errors
    /// For a flag or value that there is not.
    pub(crate) fn read(arguments: &mut lexopt::Parser) -> Result<Self> {
        let mut options = Self::default();
        while let Some(argument) = arguments.next()? {
            match argument {
                Long("target") => options.targets.push(arguments.value()?.string()?),
                Long("tier") => {
                    options.tier = Some(match arguments.value()?.string()?.as_str() {
                        "1" => Tier::Only(1),
                        "2" => Tier::Only(2),
                        "all" => Tier::All,
                        other => bail!("--tier `{other}`: there are 1, 2 and all"),
                    });
                }
                Long("road") => options.road = Some(Road::parse(&arguments.value()?.string()?)?),
                Long("minimal") => options.minimal = true,
                Long("only-agent") => options.only_agent = true,
                Long("size") => options.size = true,
                Long("check") => options.check = true,
                Long("smoke") => options.smoke = true,
                Long("packages") => options.packages = true,
                Long("sign") => options.sign = Some(arguments.value()?.into()),
                Long("sign-rpm") => options.sign_rpm = Some(arguments.value()?.string()?),
                Long("twice") => options.twice = true,
                Short(_) | Long(_) | Value(_) => return Err(argument.unexpected().into()),
            }
        }
        if options.packages && options.minimal {
            bail!("--packages are of the whole agent: leave --minimal out");
        }
        if options.sign_rpm.is_some() && !options.packages {
            bail!("--sign-rpm signs what --packages writes: give both");
        }
        if options.sign.is_some() && !options.packages {
            bail!("--sign signs the checksums of --packages: give both");
        }
        Ok(options)
    }

    /// The targets meant: those named, else those of the tier, else tier one.
    ///
    /// # Errors
    /// For a target that the table does not have.
    pub(crate) fn targets(&self) -> Result<Vec<Target>> {
        if !self.targets.is_empty() {
            let named = self.targets.iter().map(|triple| targets::find(triple));
            return Ok(named.collect::<Result<_, _>>()?);
        }
        let mut meant = targets::all()?;
        match self.tier.unwrap_or(Tier::Only(1)) {
            Tier::Only(tier) => meant.retain(|target| target.tier == tier),
            Tier::All => {}
        }
        Ok(meant)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(line: &str) -> Result<Options> {
        Options::read(&mut lexopt::Parser::from_args(line.split_whitespace()))
    }

    #[test]
    fn without_a_flag_tier_one_is_meant() {
        let targets = read("").unwrap().targets().unwrap();
        assert!(targets.len() >= 3 && targets.iter().all(|target| target.tier == 1));
        let all = read("--tier all").unwrap().targets().unwrap();
        assert!(all.len() > targets.len());
    }

    #[test]
    fn an_unknown_target_tier_road_or_flag_is_refused_with_what_there_is() {
        let unknown = read("--target sparc").unwrap().targets().unwrap_err();
        assert!(unknown.to_string().contains("aarch64-unknown-linux-musl"));
        for (line, there_is) in [
            ("--tier 3", "1, 2 and all"),
            ("--road brick", "rustup and debian"),
            ("--chek", "chek"),
        ] {
            let refusal = read(line).unwrap_err().to_string();
            assert!(refusal.contains(there_is), "{refusal}");
        }
    }

    #[test]
    fn the_page_shows_every_flag_that_is_read_and_every_target() {
        let page = crate::usage::of("dist").unwrap().page();
        let flags = page.lines().filter_map(|line| {
            let flag = line.trim_start().split(' ').next()?;
            (line.starts_with("  --")).then_some(flag)
        });
        for flag in flags {
            // One that takes a value lacks it here: all that counts is that it is known.
            let refusal = read(flag).err().map(|refusal| refusal.to_string());
            let unknown = refusal.filter(|refusal| refusal.contains("invalid option"));
            assert_eq!(unknown, None, "{flag}");
        }
        for target in targets::all().unwrap() {
            assert!(page.contains(&target.triple), "{page}");
        }
    }
}
