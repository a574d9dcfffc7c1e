//! Commands for a machine, and all that was ever told about them, kept on the host: what ran, by its
//! witness, and how it ended, by the API. Never takes the agent's word for either.

use crate::{Guest, Parts, Witness};
use anyhow::{Context as _, Result, ensure};
use holdfast_e2e::commands::{self, text};
use holdfast_e2e::{PATIENCE, World, say, until};
use serde_json::{Value, json};
use std::collections::BTreeMap;

/// How a command ended, as the API shows it.
#[derive(Debug, Clone, PartialEq, Eq)]
struct End {
    details: String,
    /// The disk's position when it was first seen.
    position: usize,
}

/// Something that the agent told: whatever happens afterwards, its disk must know it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Told {
    /// The command that had begun.
    pub command: String,
    /// How it had ended; `None` when only its beginning is told.
    pub end: Option<String>,
    /// The disk's position when the host knew.
    pub position: usize,
}

/// A machine that is a node, its bridge, and the record. The machine is dropped before its world.
#[derive(Debug)]
pub struct Load {
    /// The machine.
    pub guest: Guest,
    /// Who hears the scripts.
    pub witness: Witness,
    /// The bridge and the link to it.
    pub world: World,
    /// The node's id.
    pub node: String,
    /// By the word that its script tells: the command.
    sent: BTreeMap<String, String>,
    /// By command; nothing may replace them.
    ends: BTreeMap<String, End>,
}

impl Load {
    /// Boots a machine and enrols it. Its disk is recorded from the beginning where asked for.
    ///
    /// # Errors
    /// When a part of it does not work.
    pub fn start(parts: &Parts, recorded: bool) -> Result<Self> {
        let world = World::start()?;
        let mut guest = Guest::new(parts, &world.path("guest"))?;
        if recorded {
            guest.disk().with(crate::disk::Disk::start_recording);
        }
        let witness = Witness::start(guest.disk().position())?;
        let booted = guest.boot()?;
        say(format!("up after {:.1} s", booted.as_secs_f64()));
        let activation = world.bridge.activation(&[])?;
        let node = guest.register(world.link.address(), &activation)?;
        let load = Self {
            guest,
            witness,
            world,
            node,
            sent: BTreeMap::new(),
            ends: BTreeMap::new(),
        };
        Ok(load)
    }

    /// Starts the agent and waits until the bridge sees it.
    ///
    /// # Errors
    /// When it does not come online.
    pub fn online(&mut self) -> Result<()> {
        self.guest.start_agent()?;
        self.world.until_online(&self.node, true)
    }

    /// Sends a script that tells its word, prints some sectors' worth, then takes `seconds`. Returns
    /// the word.
    ///
    /// # Errors
    /// When the API refuses.
    pub fn send(&mut self, seconds: f64) -> Result<String> {
        let word = format!("m{}", self.sent.len());
        let script = format!("{}; seq 1000; sleep {seconds}", self.witness.line(&word));
        let api = &self.world.api;
        let command = commands::send_script(api, &[&self.node], &script, &Value::Null)?;
        self.sent.insert(word.clone(), command);
        Ok(word)
    }

    /// Notes the ends that the API shows now, and that none has changed.
    ///
    /// # Errors
    /// When one was replaced.
    pub fn look(&mut self) -> Result<()> {
        let position = self.guest.disk().position();
        for invocation in commands::invocations(&self.world.api, &Value::Null)? {
            let details = match text(&invocation, "TraceOutput") {
                // The API has no status for what was interrupted; the reason says it.
                reason if reason.starts_with("Interrupted: ") => "Interrupted",
                _ => text(&invocation, "StatusDetails"),
            };
            if !commands::is_terminal(text(&invocation, "Status")) {
                continue;
            }
            let command = text(&invocation, "CommandId").to_owned();
            let end = self.ends.entry(command).or_insert_with(|| End {
                details: details.to_owned(),
                position: position(),
            });
            ensure!(end.details == details, "{end:?} was replaced: {invocation}");
        }
        Ok(())
    }

    /// How many commands have no end yet.
    #[must_use]
    pub fn open(&self) -> usize {
        self.sent.len() - self.ends.len()
    }

    /// All that was told, in no order.
    #[must_use]
    pub fn told(&self) -> Vec<Told> {
        let begun = self.witness.marks().into_iter().filter_map(|mark| {
            Some(Told {
                command: self.sent.get(&mark.word)?.clone(),
                end: None,
                position: mark.position,
            })
        });
        let ended = self.ends.iter().map(|(command, end)| Told {
            command: command.clone(),
            end: Some(end.details.clone()),
            position: end.position,
        });
        begun.chain(ended).collect()
    }

    /// What the machine's disk does not know of all that was told. The agent must not run yet, so that
    /// it is the disk which answers.
    ///
    /// # Errors
    /// When the journal cannot be read, or the agent does not answer.
    pub fn faults_of_disk(&mut self) -> Result<Vec<String>> {
        let inspected: Value = serde_json::from_str(&self.guest.verb("journal inspect --json")?)?;
        ledger_faults(&inspected, &self.told(), Started::NotYet)
    }

    /// Waits until every command has ended, then holds all of them against the record.
    ///
    /// # Errors
    /// When one was lost, ran twice, or ended as none of these may; when the bridge counts a gap.
    pub fn settle(&mut self) -> Result<Settled> {
        until("every command has ended", PATIENCE * 3, || {
            self.look()?;
            Ok((self.open() == 0).then_some(()))
        })?;
        let mut settled = Settled::default();
        for (word, command) in &self.sent {
            let runs = self.witness.times(word);
            let details = &self.ends.get(command).context("an end")?.details;
            if runs > 1 {
                settled.twice.push(word.clone());
            }
            match details.as_str() {
                "Success" => ensure!(runs > 0, "{word} is told a success and never ran"),
                // It died in it, and nobody can know how far it came.
                "Interrupted" => {}
                other => anyhow::bail!("{word} ended {other}"),
            }
            *settled.by_end.entry(details.clone()).or_default() += 1;
        }
        let gaps = self.world.bridge.verb(&["node", "gaps", "--json"])?;
        settled.gaps = serde_json::from_str(&gaps.success()?)?;
        Ok(settled)
    }
}

/// How it all ended.
#[derive(Debug, Default)]
pub struct Settled {
    /// Commands by their end.
    pub by_end: BTreeMap<String, usize>,
    /// Words of the commands that ran more than once.
    pub twice: Vec<String>,
    /// What the bridge counts as lost.
    pub gaps: Value,
}

/// Whether an agent has gone through its journal since the cut.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Started {
    /// A result may be in its stream before the ledger says so.
    NotYet,
    /// What was in progress has its end.
    Yes,
}

/// What a journal, as `journal inspect --json` shows it, does not know of what was told; and whatever
/// says that more was lost than a write nobody was told of.
///
/// # Errors
/// When there is not exactly one journal.
pub fn ledger_faults(inspected: &Value, told: &[Told], started: Started) -> Result<Vec<String>> {
    let journals = inspected.get("journals").and_then(Value::as_array);
    let [journal] = journals.map(Vec::as_slice).unwrap_or_default() else {
        anyhow::bail!("not one journal: {inspected}");
    };
    let list = |name: &str| journal.get(name).and_then(Value::as_array);
    let states: BTreeMap<&str, &str> = list("commands")
        .into_iter()
        .flatten()
        .map(|command| (text(command, "command"), text(command, "state")))
        .collect();
    let mut faults = Vec::new();
    for Told { command, end, .. } in told {
        let state = states.get(command.as_str()).copied();
        let is_known = match (state, end) {
            (None | Some("Pending"), _) => false,
            (Some("InProgress"), _) => started == Started::NotYet,
            (Some(state), Some(end)) => state == end,
            (Some(_), None) => true,
        };
        if !is_known {
            faults.push(format!("{command} was told as {end:?} and is {state:?}"));
        }
    }
    for name in ["cursor_lost", "end_lost"] {
        if journal.get(name) != Some(&json!(false)) {
            faults.push(format!("{name}: {journal}"));
        }
    }
    let damage = list("damage").into_iter().flatten();
    faults.extend(
        damage
            .filter(|damage| !text(damage, "why").starts_with("torn at the end"))
            .chain(list("doubtful").into_iter().flatten())
            .map(Value::to_string),
    );
    Ok(faults)
}
