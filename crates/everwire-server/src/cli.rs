//! The command line.

use std::path::PathBuf;

use clap::{Parser, Subcommand};

use crate::listen::Listen;

/// A real-time server: keeps a WebSocket open to each user and moves messages at once, in order, without silent loss.
#[derive(Debug, Parser)]
#[command(name = "everwire", version, about, disable_help_subcommand = true)]
#[command(after_help = "Without a command it runs `dev`: start there, and open http://localhost:8765/.")]
pub struct Cli {
    /// What to do; nothing means `dev`.
    #[command(subcommand)]
    pub command: Option<Verb>,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub enum Verb {
    /// Run for development: no config, everything allowed, on this machine only
    Dev {
        /// Listen here instead of port 8765 of both loopbacks; may be repeated, port 0 takes any free one
        #[arg(long, value_name = "HOST:PORT")]
        listen: Vec<Listen>,
    },
    /// Run with a config file; what it does not allow is denied
    Serve {
        /// The config file (TOML)
        #[arg(long, value_name = "FILE")]
        config: PathBuf,
        /// Listen here instead of where the file says; may be repeated
        #[arg(long, value_name = "HOST:PORT")]
        listen: Vec<Listen>,
    },
    /// Measure a server: this one, or any other that speaks WebSocket
    Bench {
        /// What to measure
        #[command(subcommand)]
        task: everwire_bench::cli::Task,
    },
    /// Print the version
    Version {
        /// As JSON
        #[arg(long)]
        json: bool,
    },
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_grammar_is_sound() {
        use clap::CommandFactory as _;
        Cli::command().debug_assert();
    }

    #[test]
    fn the_forms_of_the_manual() {
        assert!(Cli::try_parse_from(["everwire"]).unwrap().command.is_none());
        let two = ["everwire", "dev", "--listen", "127.0.0.1:0", "--listen", "[::1]:0"];
        let Some(Verb::Dev { listen }) = Cli::try_parse_from(two).unwrap().command else { panic!("not dev") };
        assert_eq!(listen, ["127.0.0.1:0", "[::1]:0"].map(|l| l.parse().unwrap()));
        for bad in
            [&["everwire", "serve"][..], &["everwire", "dve"], &["everwire", "dev", "--listen", "8765"]]
        {
            assert_eq!(Cli::try_parse_from(bad).unwrap_err().exit_code(), 2, "{bad:?}");
        }
    }
}
