//! The agent's program: its arguments go to the command line, which answers with an exit code.
//! Never holds anything itself.

use std::process::ExitCode;

fn main() -> ExitCode {
    holdfast_agent::cli::main(std::env::args_os().skip(1)).into()
}
