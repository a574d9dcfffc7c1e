//! `cargo xtask demo`: a bridge and agents of this very machine, the link between them in hand.
//! Never touches anything outside its own folder, which goes when it ends.

mod fleet;
mod once;

use crate::{cargo, say};
use anyhow::{Context as _, Result, bail};
use fleet::Fleet;
use lexopt::prelude::*;
use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::iterator::Signals;
use std::sync::mpsc;

/// Agents that one machine is asked to run at most: each scans and gathers on its own.
const AGENTS_MAX: usize = 200;

struct Options {
    once: bool,
    agents: usize,
}

fn options(mut arguments: lexopt::Parser) -> Result<Options> {
    let mut options = Options {
        once: false,
        agents: 1,
    };
    while let Some(argument) = arguments.next()? {
        match argument {
            Long("once") => options.once = true,
            Long("agents") => options.agents = arguments.value()?.parse()?,
            Short(_) | Long(_) | Value(_) => return Err(argument.unexpected().into()),
        }
    }
    if !(1..=AGENTS_MAX).contains(&options.agents) {
        bail!(
            "--agents {}: between 1 and {AGENTS_MAX} are allowed",
            options.agents
        );
    }
    Ok(options)
}

pub(crate) fn run(arguments: lexopt::Parser) -> Result<()> {
    let options = options(arguments)?;
    cargo::build_programs()?;
    let (wishes, wanted) = mpsc::channel();
    stop_on_signals(wishes.clone())?;
    let fleet = Fleet::start(options.agents)?;
    fleet.show()?;
    if options.once {
        once::main_job(&fleet)?;
    } else {
        attend(&fleet, wishes, &wanted)?;
    }
    fleet.stop()
}

enum Wish {
    Line(String),
    End,
}

/// Has Ctrl-C end the demo at any point of it, its programs and its folder with it; a second one does
/// not wait until they have stopped by themselves.
fn stop_on_signals(wishes: mpsc::Sender<Wish>) -> Result<()> {
    let mut signals = Signals::new([SIGINT, SIGTERM]).context("catching Ctrl-C")?;
    std::thread::spawn(move || {
        for _ in signals.forever() {
            holdfast_e2e::interrupt();
            // Nobody listens before the demo is ready, or after its end.
            let _ = wishes.send(Wish::End);
        }
    });
    Ok(())
}

/// Takes `cut`, `restore` and `quit` from the keyboard until the person has seen enough.
fn attend(fleet: &Fleet, wishes: mpsc::Sender<Wish>, wanted: &mpsc::Receiver<Wish>) -> Result<()> {
    say(
        "\nType `cut` to cut the agents' link, `restore` to bring it back, `quit` or Ctrl-C to end.",
    );
    std::thread::spawn(move || {
        for line in std::io::stdin().lines().map_while(Result::ok) {
            let _ = wishes.send(Wish::Line(line));
        }
        // End of input is not the end of the demo: it may run without a terminal.
    });
    while let Ok(Wish::Line(line)) = wanted.recv() {
        match line.trim() {
            "cut" => {
                fleet.link.cut();
                say(
                    "The link is cut. Send a command: it will be Delayed, and run when the link is back.",
                );
            }
            "restore" => {
                fleet.link.restore();
                say("The link is back; the agents connect within seconds.");
            }
            "quit" => break,
            "" => {}
            other => say(format!("`{other}`? I know `cut`, `restore` and `quit`.")),
        }
    }
    Ok(())
}
