//! Arguments become a verb with typed values.
//! Never repeats an activation's code in an error.

use super::help::Topic;
use super::read;
use crate::link::address::{Address, InvalidAddress};
use crate::plugin::gatherer;
use crate::register::Registration;
use crate::run::settings::{self, Settings};
use crate::state::DEFAULT_PATH;
use holdfast_protocol::ActivationId;
use holdfast_protocol::id::InvalidId;
use lexopt::{Arg, Parser};
use std::ffi::OsString;
use std::ops::RangeInclusive;
use std::path::PathBuf;

/// What to do.
pub enum Verb {
    /// Become a node.
    Register(Registration),
    /// Serve.
    Run(Settings),
    /// Show the agent's state.
    Status,
    /// Show what the journal's files hold.
    JournalInspect,
    /// Show what is on this machine.
    Inventory {
        /// With every attribute.
        full: bool,
    },
    /// Compare with a patch baseline.
    PatchScan {
        /// Root of the system to scan.
        root: PathBuf,
        /// The baseline; the platform's default without one.
        baseline: Option<PathBuf>,
    },
    /// Run a document here and now.
    DocumentRun {
        /// The document; `-` is standard input.
        file: PathBuf,
        /// Its parameters, JSON.
        parameters: Option<String>,
    },
    /// Gather for the agent that started this process.
    Gather {
        /// What, as that agent wrote it.
        wanted: String,
    },
}

/// A verb with what all verbs have.
pub struct Arguments {
    /// What to do.
    pub verb: Verb,
    /// Where the agent's state is.
    pub state_dir: PathBuf,
    /// For scripts.
    pub json: bool,
}

/// What the arguments ask for.
pub enum Invocation {
    /// A verb.
    Run(Box<Arguments>),
    /// Help on something.
    Help(Topic),
    /// The version.
    Version,
}

/// The arguments are not understood.
#[derive(Debug, thiserror::Error)]
pub enum UsageError {
    /// No such verb.
    #[error(
        "`{found}` is no verb: expected register, run, status, inventory, patch scan, document run or journal inspect"
    )]
    Verb {
        /// What was found.
        found: String,
    },
    /// The first word of a verb.
    #[error("did you mean `{whole}`?")]
    Half {
        /// The verb.
        whole: &'static str,
    },
    /// A flag or value that the verb does not have.
    #[error("{0}; see `holdfast-agent {1} --help`")]
    Unexpected(lexopt::Error, &'static str),
    /// What the verb needs and was not given.
    #[error("{verb} needs {}; see `holdfast-agent {verb} --help`", missing.join(", "))]
    Missing {
        /// The verb.
        verb: &'static str,
        /// The flags or words.
        missing: Vec<&'static str>,
    },
    /// A bridge.
    #[error("--bridge")]
    Bridge(#[from] InvalidAddress),
    /// An activation id.
    #[error("--activation-id")]
    Activation(#[from] InvalidId),
    /// A hash.
    #[error("--ca-sha256 `{found}`: expected the 64 hexadecimal digits of a SHA-256")]
    Hash {
        /// What was found, cut.
        found: String,
    },
    /// A number out of its range.
    #[error("--{flag} `{found}`: expected a number from {} to {}", range.start(), range.end())]
    Number {
        /// The flag.
        flag: String,
        /// What was found, cut.
        found: String,
        /// What is allowed.
        range: RangeInclusive<u64>,
    },
    /// The code on standard input.
    #[error("--activation-code -: standard input gives no code of 1 to 512 characters")]
    Code,
}

/// Reads the arguments, without the program's name.
///
/// # Errors
/// [`UsageError`].
pub fn parse(arguments: impl Iterator<Item = OsString>) -> Result<Invocation, UsageError> {
    let mut parser = Parser::from_args(arguments);
    let mut words = Vec::new();
    let mut flags = Flags::default();
    while let Some(argument) = parser
        .next()
        .map_err(|error| UsageError::Unexpected(error, ""))?
    {
        match argument {
            Arg::Long("help") | Arg::Short('h') => {
                return Ok(Invocation::Help(Topic::of(&words)));
            }
            Arg::Long("version") | Arg::Short('V') if words.is_empty() => {
                return Ok(Invocation::Version);
            }
            Arg::Value(word) => {
                words.push(word.to_string_lossy().into_owned());
                if words.len() == 1 && words.first().is_some_and(|word| word == "help") {
                    let rest = parser.raw_args().map(Iterator::collect::<Vec<_>>);
                    let rest = rest.unwrap_or_default();
                    let rest = rest.iter().map(|word| word.to_string_lossy().into_owned());
                    return Ok(Invocation::Help(Topic::of(&rest.collect::<Vec<_>>())));
                }
            }
            Arg::Long(name) => {
                let name = name.to_owned();
                flags.take(&name, &mut parser, Topic::of(&words).verb())?;
            }
            Arg::Short(_) => {
                return Err(UsageError::Unexpected(
                    argument.unexpected(),
                    Topic::of(&words).verb(),
                ));
            }
        }
    }
    build(&words, flags)
}

#[derive(Default)]
struct Flags {
    state_dir: Option<PathBuf>,
    json: bool,
    bridges: Vec<Address>,
    activation: Option<ActivationId>,
    code: Option<String>,
    root_hash: Option<[u8; 32]>,
    force: bool,
    full: bool,
    root: Option<PathBuf>,
    baseline: Option<PathBuf>,
    parameters: Option<String>,
    settings: Settings,
}

impl Flags {
    fn take(
        &mut self,
        name: &str,
        parser: &mut Parser,
        verb: &'static str,
    ) -> Result<(), UsageError> {
        let allowed: &[&str] = match verb {
            "register" => &[
                "bridge",
                "activation-id",
                "activation-code",
                "ca-sha256",
                "force",
                "json",
            ],
            "run" => &[
                "bridge",
                "max-commands",
                "max-running",
                "queue-bytes",
                "inventory-every",
                "patch-scan-every",
            ],
            "inventory" => &["full", "json"],
            "patch scan" => &["root", "baseline", "json"],
            "document run" => &["parameters", "json"],
            _ => &["json"],
        };
        if name != "state-dir" && !allowed.contains(&name) {
            let error = lexopt::Error::UnexpectedOption(format!("--{name}"));
            return Err(UsageError::Unexpected(error, verb));
        }
        let wrong = |error| UsageError::Unexpected(error, verb);
        if matches!(name, "json" | "force" | "full") {
            let flag = match name {
                "json" => &mut self.json,
                "force" => &mut self.force,
                _ => &mut self.full,
            };
            *flag = true;
            return Ok(());
        }
        let value = parser.value().map_err(wrong)?;
        let text = || value.to_string_lossy().into_owned();
        match name {
            "state-dir" => self.state_dir = Some(value.into()),
            "root" => self.root = Some(value.into()),
            "baseline" => self.baseline = Some(value.into()),
            "bridge" => self.bridges.push(text().parse()?),
            "max-commands" => {
                self.settings.max_commands = Some(number(name, &text(), &settings::MAX_COMMANDS)?);
            }
            "max-running" => {
                self.settings.max_running = Some(number(name, &text(), &settings::MAX_RUNNING)?);
            }
            "queue-bytes" => {
                self.settings.queue_bytes = Some(number(name, &text(), &settings::QUEUE_BYTES)?);
            }
            "inventory-every" => {
                self.settings.inventory_every_s = Some(number(name, &text(), &settings::EVERY_S)?);
            }
            "patch-scan-every" => {
                self.settings.patch_scan_every_s = Some(number(name, &text(), &settings::EVERY_S)?);
            }
            "activation-id" => self.activation = Some(text().parse()?),
            "activation-code" => self.code = Some(text()),
            "ca-sha256" => self.root_hash = Some(hash(&text())?),
            // The list above allows no other.
            _ => self.parameters = Some(text()),
        }
        Ok(())
    }
}

fn number(flag: &str, text: &str, range: &RangeInclusive<u64>) -> Result<u64, UsageError> {
    let number = text.parse().ok().filter(|number| range.contains(number));
    number.ok_or_else(|| UsageError::Number {
        flag: flag.to_owned(),
        found: text.chars().take(80).collect(),
        range: range.clone(),
    })
}

fn hash(text: &str) -> Result<[u8; 32], UsageError> {
    let mut hash = [0; 32];
    hex::decode_to_slice(text, &mut hash).map_err(|_| UsageError::Hash {
        found: text.chars().take(80).collect(),
    })?;
    Ok(hash)
}

fn build(words: &[String], mut flags: Flags) -> Result<Invocation, UsageError> {
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    let verb = match *words {
        [] => return Ok(Invocation::Help(Topic::Program)),
        ["register"] => Verb::Register(registration(&mut flags)?),
        ["run"] => Verb::Run(Settings {
            bridges: flags.bridges,
            ..flags.settings
        }),
        ["status"] => Verb::Status,
        ["journal", "inspect"] => Verb::JournalInspect,
        ["inventory"] => Verb::Inventory { full: flags.full },
        ["patch", "scan"] => Verb::PatchScan {
            root: flags.root.unwrap_or_else(|| "/".into()),
            baseline: flags.baseline,
        },
        ["document", "run", file] => Verb::DocumentRun {
            file: file.into(),
            parameters: flags.parameters,
        },
        [gatherer::VERB, wanted] => Verb::Gather {
            wanted: wanted.to_owned(),
        },
        ["document", "run"] => {
            return Err(UsageError::Missing {
                verb: "document run",
                missing: vec!["FILE"],
            });
        }
        ["patch"] => return Err(half("patch scan")),
        ["document"] => return Err(half("document run FILE")),
        ["journal"] => return Err(half("journal inspect")),
        _ => {
            return Err(UsageError::Verb {
                found: words.join(" ").chars().take(80).collect(),
            });
        }
    };
    let state_dir = flags
        .state_dir
        .or_else(|| std::env::var_os("HOLDFAST_AGENT_STATE_DIR").map(PathBuf::from))
        .unwrap_or_else(|| DEFAULT_PATH.into());
    Ok(Invocation::Run(Box::new(Arguments {
        verb,
        state_dir,
        json: flags.json,
    })))
}

fn half(whole: &'static str) -> UsageError {
    UsageError::Half { whole }
}

/// What `activation create` printed, as it was given. Whatever is not there is named at once.
fn registration(flags: &mut Flags) -> Result<Registration, UsageError> {
    let given = [
        ("--bridge", !flags.bridges.is_empty()),
        ("--activation-id", flags.activation.is_some()),
        ("--activation-code", flags.code.is_some()),
        ("--ca-sha256", flags.root_hash.is_some()),
    ];
    let (Some(activation), Some(code), Some(root), [_, ..]) = (
        flags.activation,
        flags.code.take(),
        flags.root_hash,
        &*flags.bridges,
    ) else {
        let missing = given.iter().filter(|(_, is_given)| !is_given);
        return Err(UsageError::Missing {
            verb: "register",
            missing: missing.map(|(flag, _)| *flag).collect(),
        });
    };
    let code = match &*code {
        "-" => read::line(512).ok_or(UsageError::Code)?,
        _ => code,
    };
    Ok(Registration {
        activation,
        root,
        bridges: std::mem::take(&mut flags.bridges),
        code,
        force: flags.force,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(line: &str) -> Result<Invocation, UsageError> {
        parse(line.split_whitespace().map(OsString::from))
    }

    fn refusal(line: &str) -> String {
        match read(line) {
            Err(error) => crate::error::chain(&error),
            Ok(_) => panic!("{line} was accepted"),
        }
    }

    fn arguments(line: &str) -> Arguments {
        match read(line).unwrap() {
            Invocation::Run(arguments) => *arguments,
            Invocation::Help(_) | Invocation::Version => panic!("{line}"),
        }
    }

    const REGISTER: &str = "register --activation-id 11111111-2222-4333-8444-555555555555 \
         --activation-code s3cret --bridge mqtts://a:1 --bridge=mqtts://b";

    #[test]
    fn a_register_line_is_read() {
        let hash = "ab".repeat(32);
        let line = format!("{REGISTER} --ca-sha256 {hash} --state-dir /x --json");
        let Arguments {
            verb: Verb::Register(registration),
            state_dir,
            json: true,
        } = arguments(&line)
        else {
            panic!("not register");
        };
        assert_eq!(state_dir, PathBuf::from("/x"));
        assert_eq!(registration.bridges.len(), 2);
        assert_eq!(
            (registration.code.as_str(), registration.root),
            ("s3cret", [0xab; 32])
        );
    }

    #[test]
    fn two_words_make_a_verb() {
        assert!(matches!(
            arguments("patch scan --root /mnt").verb,
            Verb::PatchScan { baseline: None, .. }
        ));
        assert!(matches!(
            arguments("document run x.json --parameters {}").verb,
            Verb::DocumentRun {
                parameters: Some(_),
                ..
            }
        ));
    }

    #[test]
    fn what_is_not_understood_is_named_with_a_hint() {
        for (line, expected) in [
            ("regster", "`regster` is no verb"),
            ("run --fast", "'--fast'"),
            ("status --force", "holdfast-agent status --help"),
            (
                "register --activation-id 3f0d8f2c-55a9-4c8e-9d52-0b8f7f5b8f11",
                "register needs --bridge, --activation-code, --ca-sha256;",
            ),
            (
                "register --bridge http://x",
                "`http://x` is not the address",
            ),
            ("register --activation-id 1", "is not an activation id"),
            ("register --ca-sha256 12", "64 hexadecimal digits"),
            ("register --activation-id", "missing argument"),
            ("document run", "document run needs FILE"),
            ("patch", "did you mean `patch scan`?"),
            ("document", "did you mean `document run FILE`?"),
            ("journal", "did you mean `journal inspect`?"),
            ("run --max-commands 0", "a number from 1 to 10000"),
            ("run --queue-bytes lots", "`lots`"),
            ("-x", "'-x'"),
        ] {
            let found = refusal(line);
            assert!(found.contains(expected), "{line}: {found}");
        }
    }

    #[test]
    fn the_code_is_in_no_refusal() {
        for more in ["", " --nonsense", " extra"] {
            let found = refusal(&format!("{REGISTER}{more}"));
            assert!(!found.contains("s3cret"), "{found}");
        }
    }

    #[test]
    fn help_is_by_verb() {
        for (line, topic) in [
            ("", Topic::Program),
            ("--help", Topic::Program),
            ("help", Topic::Program),
            ("help patch scan", Topic::PatchScan),
            ("run --help", Topic::Run),
            ("document run --help", Topic::DocumentRun),
            ("journal inspect --help", Topic::JournalInspect),
        ] {
            assert!(
                matches!(read(line), Ok(Invocation::Help(found)) if found == topic),
                "{line}"
            );
        }
    }
}
