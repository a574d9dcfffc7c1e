//! What each chore is for, and what it takes: shown by `--help`, and beside what it does not know.
//! Never parses: each chore reads its own flags.

use holdfast_cross::targets;
use std::fmt::Write as _;

/// A chore's pages.
pub(crate) struct Usage {
    /// What it is called by.
    pub(crate) name: &'static str,
    /// What it takes: one line or more.
    synopsis: &'static [&'static str],
    /// What it is for, in a line.
    summary: &'static str,
    /// What each thing that it takes means.
    details: &'static str,
}

const CHORES: &[Usage] = &[
    Usage {
        name: "demo",
        synopsis: &["[--once] [--agents N]"],
        summary: "build, then run a bridge and agents of this very machine",
        details: "
  --once       show the whole main job by itself; fails unless each part was seen to work
  --agents N   run N agents, 1 to 200; one unless given",
    },
    Usage {
        name: "test",
        synopsis: &[""],
        summary: "install what is missing (and say so), then run every check",
        details: "
  It takes no options. docs/testing.md says what it runs, and how to run a part of it.",
    },
    Usage {
        name: "bench",
        synopsis: &[
            "[NAME…] [--quick] [--json]",
            "--reliability [NAME…] [--quick]",
            "--size",
        ],
        summary: "print our figures beside a peer's",
        details: "
  NAME           only these figures; an unknown name is answered with those that there are
  --quick        fewer rounds and CI's counts
  --json         for programs
  --reliability  what the reliability promise rests on: its tests' figures, at full counts
                 unless --quick
  --size         what is in the static agent, by crate and by feature",
    },
    Usage {
        name: "dist",
        synopsis: &["[--target T]… [--tier 1|2|all] [--road rustup|debian] [--only-agent] [--minimal]
                 [--check] [--smoke] [--size] [--twice]
                 [--packages [--sign KEY] [--sign-rpm NAME]]"],
        summary: "build the static programs that are shipped, into dist/",
        details: "
  --target T       build for this target; may be given more than once
  --tier 1|2|all   build for this tier's targets; tier 1 unless a target is named
  --road WORD      whose compiler builds, with the standard library: `debian`'s, which a release is
                   made by, or the one of `rustup`; the first that is open unless given
  --only-agent     no bridge
  --minimal        the agent for the smallest devices instead, and no bridge
  --check          hold the programs to cross/budgets.toml; refuse a dynamic dependency, a folder of
                   this machine in a program, or idle code that is not laid apart. With --packages:
                   lint, install, upgrade and remove them in real systems too (as root)
  --smoke          run the main job with each agent, on this machine or under qemu
  --size           show what is in each agent, by crate and by feature
  --twice          build each agent once more in another folder, and compare byte by byte
  --packages       write deb, rpm, ipk, apk and tarballs, what they contain, and checksums
  --sign KEY       sign the checksums with a key of ssh-keygen's; with --packages
  --sign-rpm NAME  sign the rpm packages with a key of gpg's; with --packages",
    },
    Usage {
        name: "guest",
        synopsis: &["[TEST…]"],
        summary: "boot a whole machine under qemu, cut its power, kill it",
        details: "
  TEST   only tests whose names hold this word\n\n  HOLDFAST_FULL=1 takes the full counts (docs/testing.md).",
    },
    Usage {
        name: "sim",
        synopsis: &[
            "--seed N [--without A,B] [--trace]",
            "--seeds COUNT [--from N] [--first]",
            "--mutants [NAME…]",
        ],
        summary: "replay one run of the simulated world, run many, or attack it",
        details: "
  --seed N          replay one world
  --without A,B     leave these of its events out
  --trace           print what happens in it
  --seeds COUNT     run many; new ones unless told, and printed
  --from N          the first of them
  --first           end at the first violation
  --mutants [NAME…] show that it finds deliberate defects: all, or these",
    },
    Usage {
        name: "tidy",
        synopsis: &[""],
        summary: "check the crate graph and the cores' purity",
        details: "
  It takes no options.",
    },
    Usage {
        name: "model",
        synopsis: &["--from service-2.json --version X [--check]"],
        summary: "regenerate the SSM service table, or check it",
        details: "
  --from FILE   the service's model, with its paginators beside it
  --version X   the version of botocore that it is from
  --check       compare with the table that is there, and write nothing",
    },
];

/// The page of a chore.
pub(crate) fn of(name: &str) -> Option<&'static Usage> {
    CHORES.iter().find(|usage| usage.name == name)
}

/// Every chore, a line each and what it takes.
pub(crate) fn overview() -> String {
    let mut text = String::from("cargo xtask <chore>; `cargo xtask <chore> --help` says more\n");
    for usage in CHORES {
        let _ = write!(text, "\n  {:8}{}", usage.name, usage.summary);
    }
    text
}

impl Usage {
    /// Everything about it.
    pub(crate) fn page(&self) -> String {
        let mut text = String::new();
        for synopsis in self.synopsis {
            let line = format!("cargo xtask {} {synopsis}", self.name);
            text += line.trim_end();
            text.push('\n');
        }
        let _ = write!(text, "\n{}\n{}", self.summary, self.details);
        // The table is part of the program: it cannot be missing.
        if self.name == "dist"
            && let Ok(targets) = targets::all()
        {
            text += "\n\nTargets (cross/targets.toml):\n";
            for target in targets {
                let bridge = if target.bridge {
                    ", with the bridge"
                } else {
                    ""
                };
                let _ = write!(text, "\n  {:32}tier {}{bridge}", target.triple, target.tier);
            }
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_chore_has_a_page_with_everything_that_its_first_lines_name() {
        for usage in CHORES {
            let page = of(usage.name).unwrap().page();
            assert!(overview().contains(usage.summary));
            let given = usage.synopsis.join(" ");
            let flags = given.split(|at: char| !(at.is_ascii_alphanumeric() || at == '-'));
            for flag in flags.filter(|word| word.starts_with("--")) {
                assert!(page.contains(&format!("\n  {flag}")), "{flag}: {page}");
            }
            assert!(
                page.lines().all(|line| line.chars().count() <= 100),
                "{page}"
            );
        }
    }
}
