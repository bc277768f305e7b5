//! The command `cargo xtask`.

use std::process::ExitCode;

use clap::Parser as _;

fn main() -> ExitCode {
    xtask::cli::run(xtask::cli::Cli::parse())
}
