//! `everwire config`: what a config says, what it could say, and what is wrong with it.

use std::path::PathBuf;

use clap::{Args, Subcommand};

use crate::banner;
use crate::config::{self, Faults, Gathered, Sources};
use crate::listen::Listen;
use crate::tls::Tls;

use super::Told;

/// Where a config comes from.
#[derive(Clone, Debug, Default, Args)]
pub struct From {
    /// The config file (TOML); `EVERWIRE_CONFIG` names it too
    #[arg(long, value_name = "FILE", env = "EVERWIRE_CONFIG")]
    pub config: PathBuf,
    /// Set one key over file and environment, such as limits.channels=500; may be repeated
    #[arg(long, value_name = "KEY=VALUE", value_parser = assignment)]
    pub set: Vec<(String, String)>,
    /// Allow what nobody should put on the internet: anybody may publish, plain TCP for everyone, short keys
    #[arg(long)]
    pub insecure: bool,
}

/// What to do with a config.
#[derive(Debug, Subcommand)]
pub enum ConfigTask {
    /// Say whether `serve` would take it, and everything that is wrong with it
    Check(From),
    /// Print a config file with every setting and its default, commented out
    Default,
    /// Print every name that the environment may set
    Env,
    /// Print a JSON Schema of the config file, for editors
    Schema,
    /// Print the reference page, as Markdown
    Reference,
    /// Say what differs from the defaults, or from another file
    Diff {
        /// The config file
        file: PathBuf,
        /// Another one; without it, the defaults
        other: Option<PathBuf>,
    },
}

fn assignment(text: &str) -> Result<(String, String), String> {
    let parts = text.split_once('=').filter(|(key, _)| !key.trim().is_empty());
    let (key, value) =
        parts.ok_or_else(|| format!("{text:?} has no key and value; write limits.channels=500"))?;
    Ok((key.trim().to_owned(), value.trim().to_owned()))
}

impl From {
    /// Reads and checks it.
    ///
    /// # Errors
    /// All faults.
    pub fn gather(&self) -> Result<Gathered, Faults> {
        let sources = Sources::of(&self.config)?;
        Sources { set: self.set.clone(), insecure: self.insecure, ..sources }.gather()
    }
}

impl ConfigTask {
    /// Does it.
    pub fn run(&self) -> Told {
        match self {
            Self::Check(from) => check(from),
            Self::Default => Told::Yes(config::template(&config::describe(), &[]).trim_end().to_owned()),
            Self::Env => Told::Yes(config::env_names(&config::describe()).trim_end().to_owned()),
            Self::Schema => Told::Yes(format!("{:#}", config::schema(&config::describe()))),
            Self::Reference => Told::Yes(config::reference(&config::describe()).trim_end().to_owned()),
            Self::Diff { file, other } => {
                diff(file, other.as_ref()).unwrap_or_else(|faults| Told::BadConfig(faults.to_string()))
            }
        }
    }
}

fn check(from: &From) -> Told {
    match from.gather() {
        Err(faults) => Told::BadConfig(faults.to_string()),
        Ok(Gathered { config, settings }) => {
            // What a start would refuse is no good config, whoever wrote the file.
            if let Some(Err(error)) = config.tls.clone().map(Tls::load) {
                return Told::BadConfig(format!("{}: {error}", from.config.display()));
            }
            let set = settings.iter().filter(|setting| setting.is_value() && setting.place.is_some()).count();
            let s = if set == 1 { "" } else { "s" };
            let mut words = format!("{}: good; {set} setting{s} of its own", from.config.display());
            let at = |listen: &Listen| if let Listen::At(addr) = listen { Some(*addr) } else { None };
            let addrs: Vec<_> = config.listen.iter().filter_map(at).collect();
            for warning in banner::warnings(&config, &addrs, None) {
                words.push_str("\n  warning: ");
                words.push_str(&warning);
            }
            Told::Yes(words)
        }
    }
}

fn diff(file: &std::path::Path, other: Option<&PathBuf>) -> Result<Told, Faults> {
    let read = |file: &std::path::Path| {
        let sources = Sources { env: Vec::new(), insecure: true, ..Sources::of(file)? };
        sources.gather().map(|gathered| gathered.settings)
    };
    let settings = read(file)?;
    let (from, to) = match other {
        Some(other) => (settings, read(other)?),
        None => {
            let empty = Sources { insecure: true, ..Sources::default() };
            (empty.gather().map(|gathered| gathered.settings)?, settings)
        }
    };
    let words = config::difference(&from, &to);
    Ok(Told::Yes(if words.is_empty() { "nothing differs".to_owned() } else { words.trim_end().to_owned() }))
}
