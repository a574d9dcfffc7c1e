//! The program `holdfast-bridge`. Never does more than call the command line.

use std::process::ExitCode;

fn main() -> ExitCode {
    holdfast_bridge::cli::main()
}
