//! The command line.

mod token;
mod config;
mod init;
mod ports;
mod doctor;

use std::ffi::OsString;
use std::path::PathBuf;

use clap::error::{ContextKind, ContextValue, ErrorKind};
use clap::{Parser, Subcommand};

use crate::config::{PORT, read_origin};
use crate::listen::Listen;
use crate::log::LogFormat;

pub use self::config::{ConfigTask, From};
pub use self::doctor::Doctor;
pub use self::init::Init;
pub use self::token::{Explain, NewToken, TokenTask, Told};

/// A real-time server: keeps a WebSocket open to each user and moves messages at once, in order, without silent loss.
#[derive(Debug, Parser)]
#[command(name = "everwire", version, about, disable_help_subcommand = true)]
#[command(after_help = "Without a command it runs `dev`: start there, and open http://localhost:8765/.")]
pub struct Cli {
    /// What to do; nothing means `dev`.
    #[command(subcommand)]
    pub command: Option<Verb>,
    /// How the log is written: pretty, json or logfmt; where neither this nor the config says so, pretty
    #[arg(long, global = true, value_name = "FORMAT")]
    pub log_format: Option<LogFormat>,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub enum Verb {
    /// Run for development: no config, everything allowed, on this machine only
    Dev {
        /// Listen here instead of port 8765 of both loopbacks; may be repeated, port 0 takes any free one
        #[arg(long, value_name = "HOST:PORT")]
        listen: Vec<Listen>,
        /// Admit pages of this origin too, such as `http://mybox.local:8765`; may be repeated
        #[arg(long, value_name = "ORIGIN", value_parser = read_origin)]
        origin: Vec<String>,
        /// Keep the history of channels in this folder, so that a restart goes on with it
        #[arg(long, value_name = "DIR")]
        data: Option<PathBuf>,
        /// Speak TLS, https:// and wss://, with a certificate for localhost that is made on the spot
        #[arg(long)]
        tls: bool,
    },
    /// Run with a config file; what it does not allow is denied
    Serve {
        /// Where the config comes from
        #[command(flatten)]
        from: From,
        /// Listen here instead of where the file says; may be repeated
        #[arg(long, value_name = "HOST:PORT")]
        listen: Vec<Listen>,
    },
    /// Write a config with every setting in it, and a systemd unit, for a server of your own
    Init(Init),
    /// Check a config, or say what there is to set
    Config {
        /// What to do
        #[command(subcommand)]
        task: ConfigTask,
    },
    /// Look for what keeps a good config from working: descriptors, clock, ports, folder, and a WebSocket of a client's
    Doctor(Doctor),
    /// Make or check a token
    Token {
        /// What to do
        #[command(subcommand)]
        task: TokenTask,
    },
    /// Say who may do what in a channel, and which rule decides
    Explain(Explain),
    /// Look at the history of a server that does not run, or repair it
    History {
        /// What to do
        #[command(subcommand)]
        task: HistoryTask,
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

/// What to do with a history.
#[derive(Debug, Subcommand)]
pub enum HistoryTask {
    /// Read all of it, and tell what is damaged
    Check {
        /// The folder
        dir: PathBuf,
    },
    /// Save what can be read of a damaged one; the old files are kept aside
    Repair {
        /// The folder
        dir: PathBuf,
    },
}

impl Cli {
    /// Reads the arguments; the program's name is the first.
    ///
    /// # Errors
    /// As the grammar has it, with a tip where we know what was meant.
    pub fn read(args: &[OsString]) -> Result<Self, clap::Error> {
        Self::try_parse_from(args).map_err(|mut error| {
            if let Some(tip) = tip(&error, args) {
                error.insert(ContextKind::Suggested, ContextValue::StyledStrs(vec![tip.into()]));
            }
            error
        })
    }
}

/// Commands beside `serve` that take a config.
const TAKES_CONFIG: [&str; 4] = ["token", "explain", "config", "doctor"];

/// What to write instead, for habits that other servers have taught.
fn tip(error: &clap::Error, args: &[OsString]) -> Option<String> {
    if error.kind() == ErrorKind::MissingRequiredArgument {
        let serve = args.get(1).is_some_and(|verb| verb == "serve");
        return serve.then(|| {
            "everwire serve --config everwire.toml, which `everwire init` writes; for a first try `everwire dev` needs no config".to_owned()
        });
    }
    if let Some(ContextValue::String(unknown)) = error.get(ContextKind::InvalidSubcommand) {
        return match unknown.as_str() {
            "help" => Some("everwire --help, or everwire dev --help for one command".to_owned()),
            "start" | "run" | "server" => Some(
                "everwire dev for a first try, everwire serve --config everwire.toml for a server of your own".to_owned(),
            ),
            _ => None,
        };
    }
    // A load tool has addresses of its own.
    let bench = args.get(1).is_some_and(|verb| verb == "bench");
    let Some(ContextValue::String(unknown)) = error.get(ContextKind::InvalidArg).filter(|_| !bench) else {
        return None;
    };
    let verb = args.get(1).and_then(|verb| verb.to_str()).filter(|verb| !verb.starts_with('-'));
    let takes_config = verb.is_some_and(|verb| TAKES_CONFIG.contains(&verb));
    match unknown.as_str() {
        "--port" | "-p" => {
            let port = port_in(args).unwrap_or(PORT);
            // Without a command nothing takes the flag either.
            let before = if verb.is_none() { "everwire dev " } else { "" };
            Some(format!("a port is part of the address: {before}--listen 127.0.0.1:{port}"))
        }
        "-c" if takes_config || verb == Some("serve") => {
            let file = args.iter().skip_while(|arg| *arg != "-c").nth(1).and_then(|file| file.to_str());
            Some(format!("the config is named in full: --config {}", file.unwrap_or("FILE")))
        }
        "--config" | "-c" if !takes_config => {
            Some("a config is for serve: everwire serve --config FILE".to_owned())
        }
        file if verb == Some("serve") && !file.starts_with('-') => {
            Some(format!("the config is named by a flag: everwire serve --config {file}"))
        }
        "--listen" | "--origin" => Some(format!("say which command is meant: everwire dev {unknown} ...")),
        _ => None,
    }
}

/// The number behind `--port` or `-p`, or in it.
fn port_in(args: &[OsString]) -> Option<u16> {
    let mut args = args.iter().filter_map(|arg| arg.to_str());
    let given = args.find_map(|arg| arg.strip_prefix("--port").or_else(|| arg.strip_prefix("-p")))?;
    let given = if given.is_empty() { args.next()? } else { given.trim_start_matches('=') };
    given.parse().ok()
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
        let Some(Verb::Dev { listen, .. }) = Cli::try_parse_from(two).unwrap().command else {
            panic!("not dev")
        };
        assert_eq!(listen, ["127.0.0.1:0", "[::1]:0"].map(|l| l.parse().unwrap()));
        for bad in
            [&["everwire", "serve"][..], &["everwire", "dve"], &["everwire", "dev", "--listen", "8765"]]
        {
            assert_eq!(Cli::try_parse_from(bad).unwrap_err().exit_code(), 2, "{bad:?}");
        }
    }

    #[test]
    fn habits_get_a_tip() {
        for (args, tip) in [
            (&["dev", "--port", "1234"][..], "--listen 127.0.0.1:1234"),
            (&["dev", "--port=1234"], "--listen 127.0.0.1:1234"),
            (&["-p", "1234"], "everwire dev --listen 127.0.0.1:1234"),
            (&["-p1234"], "everwire dev --listen 127.0.0.1:1234"),
            (&["dev", "--port"], "--listen 127.0.0.1:8765"),
            (&["serve", "--port", "x", "--config", "f"], "--listen 127.0.0.1:8765"),
            (&["--listen", "127.0.0.1:0"], "everwire dev --listen"),
            (&["dev", "--config", "f"], "everwire serve --config FILE"),
            (&["serve"], "everwire serve --config everwire.toml"),
            (&["serve", "my.toml"], "everwire serve --config my.toml"),
            (&["serve", "-c", "my.toml"], "--config my.toml"),
            (&["token", "new", "-c", "my.toml"], "--config my.toml"),
            (&["help"], "everwire --help"),
            (&["start"], "everwire dev for a first try"),
            (&["run"], "everwire serve --config everwire.toml"),
        ] {
            let args: Vec<OsString> = ["everwire"].iter().chain(args).map(Into::into).collect();
            let error = Cli::read(&args).unwrap_err();
            assert_eq!(error.exit_code(), 2, "{args:?}");
            let words = error.to_string();
            assert!(words.contains("  tip: ") && words.contains(tip), "{args:?}: {words}");
        }
    }
}
