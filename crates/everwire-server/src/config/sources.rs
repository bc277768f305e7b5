//! Where a config comes from: defaults < file < environment < flags.

use std::io;
use std::net::IpAddr;
use std::path::Path;

use super::Config;
use super::fields::{fresh_key, read_root};
use super::section::Section;
use super::setting::{Book, Fault, Faults, Setting};
use super::unknown;
use super::value::{self, Table, Written};

/// What a name in the environment begins with.
pub const ENV: &str = "EVERWIRE_";
/// Names in the environment that are no settings.
const NO_SETTINGS: [&str; 2] = ["EVERWIRE_LOG", "EVERWIRE_CONFIG"];
/// A config file has at most so many bytes.
const FILE_BYTES: u64 = 4 << 20;

/// What to write when there is no file yet: a line that says so, and an example below it. The key is made on the spot, so that nobody has the same one.
const FIRST_FILE: &str = "there is no such file.
`everwire init` writes one with every setting in it; in this one your backend publishes and
everybody may listen:

    listen = [\"127.0.0.1:8765\"]
    api_keys = [\"KEY\"]

    [namespaces.default]
    access = { subscribe = \"anyone\", history = \"anyone\" }
    history = {}

For a first try `everwire dev` needs no config.";

/// All that a config is made of.
#[derive(Clone, Debug, Default)]
pub struct Sources {
    /// The file's name, for faults and for what stands beside it.
    pub file: String,
    /// Its text.
    pub text: String,
    /// Names and values of the environment; those that don't begin with [`ENV`] are left alone.
    pub env: Vec<(String, String)>,
    /// Dotted keys and values of flags.
    pub set: Vec<(String, String)>,
    /// Allows what nobody should put on the internet.
    pub insecure: bool,
}

/// A config, and how it came about.
#[derive(Debug)]
pub struct Gathered {
    /// The config.
    pub config: Config,
    /// Every setting that was asked for.
    pub settings: Vec<Setting>,
}

impl Sources {
    /// What a file says, and this process's environment.
    ///
    /// # Errors
    /// One fault: the file can't be read.
    pub fn of(file: &Path) -> Result<Self, Faults> {
        let text = read_text(file)?;
        let name = file.display().to_string();
        // What is no Unicode can be no setting's name, and is told as a value that can't be read.
        let env = std::env::vars_os()
            .map(|(name, value)| (name.to_string_lossy().into_owned(), value.to_string_lossy().into_owned()));
        Ok(Self { file: name, text, env: env.collect(), ..Self::default() })
    }

    /// Reads and checks everything.
    ///
    /// # Errors
    /// All faults at once, each with its place.
    pub fn gather(&self) -> Result<Gathered, Faults> {
        let mut table = value::read_file(&self.text).map_err(|(line, words)| {
            let words = format!("this is no TOML: {words}");
            let fault = Fault { place: Written::Line(line), key: String::new(), words };
            Faults { file: self.file.clone(), faults: vec![fault] }
        })?;
        let mut faults = Vec::new();
        self.lay_over(&mut table, &mut faults);
        let book = Book { insecure: self.insecure, ..Book::default() };
        let (config, book) = read_root(Section::root(table, book), Path::new(&self.file));
        let Book { faults: mut found, unknown, settings, named_env, .. } = book;
        let known = if unknown.is_empty() { Vec::new() } else { describe() };
        for at in unknown {
            if let Some(words) = unknown::meant(&found[at], &known) {
                found[at].words = words;
            }
        }
        faults.extend(found);
        faults.retain(|fault| !matches!(&fault.place, Written::Env(name) if named_env.contains(name)));
        if faults.is_empty() {
            return Ok(Gathered { config, settings });
        }
        faults.sort_by(|a, b| a.place.cmp(&b.place));
        Err(Faults { file: self.file.clone(), faults })
    }

    fn lay_over(&self, table: &mut Table, faults: &mut Vec<Fault>) {
        let ours = self
            .env
            .iter()
            .filter(|(name, value)| !NO_SETTINGS.contains(&name.as_str()) && !is_of_kubernetes(name, value));
        let env = ours.filter_map(|(name, text)| {
            let path = name.strip_prefix(ENV)?.to_ascii_lowercase();
            Some((path.split("__").map(str::to_owned).collect::<Vec<_>>(), text, Written::Env(name.clone())))
        });
        let flags = self.set.iter().map(|(key, text)| {
            (key.split('.').map(str::to_owned).collect::<Vec<_>>(), text, Written::Flag(key.clone()))
        });
        for (path, text, place) in env.chain(flags) {
            if let Err(above) = value::put(table, &path, text, &place) {
                let words = format!("{above} is no table, so nothing can be set in it");
                faults.push(Fault { place, key: path.join("."), words });
            }
        }
    }
}

/// What Kubernetes sets in every container for a service that is named `everwire`, or `everwire-metrics` and so on (the
/// chapter "Service" of its manual, environment variables). Nobody means anything by it. The value must have the form too:
/// who sets `EVERWIRE_PORT=8080` has a wish, and is told where it belongs.
fn is_of_kubernetes(name: &str, value: &str) -> bool {
    // Two underscores part a table from its key: that is a setting, if a wrong one.
    let Some(rest) = name.strip_prefix(ENV).filter(|rest| !rest.contains("__")) else { return false };
    let is_port = |text: &str| text.parse::<u16>().is_ok();
    let is_address = |text: &str| text.parse::<IpAddr>().is_ok();
    let is_protocol =
        |text: &str| ["tcp", "udp", "sctp"].iter().any(|known| text.eq_ignore_ascii_case(known));
    let is_link = |text: &str| text.split_once("://").is_some_and(|(protocol, _)| is_protocol(protocol));
    // What stands before may be the rest of the service's name.
    let behind = |word: &str| {
        let found = rest
            .strip_prefix(word)
            .or_else(|| rest.split_once(&format!("_{word}")).map(|(_, behind)| behind));
        let found = found.filter(|behind| behind.is_empty() || behind.starts_with('_'));
        found.map(|behind| behind.split('_').skip(1).collect::<Vec<_>>())
    };
    if rest == "SERVICE_HOST" || rest.ends_with("_SERVICE_HOST") {
        return is_address(value);
    }
    if behind("SERVICE_PORT").is_some() {
        return is_port(value);
    }
    match behind("PORT").as_deref() {
        Some([]) => is_link(value),
        Some([port, protocol, part @ ..]) if is_port(port) && is_protocol(protocol) => match part {
            [] => is_link(value),
            ["PROTO"] => is_protocol(value),
            ["PORT"] => is_port(value),
            ["ADDR"] => is_address(value),
            _ => false,
        },
        _ => false,
    }
}

fn read_text(file: &Path) -> Result<String, Faults> {
    let told = |words: String| {
        let fault = Fault { place: Written::File, key: String::new(), words };
        Faults { file: file.display().to_string(), faults: vec![fault] }
    };
    let large = std::fs::metadata(file).is_ok_and(|meta| meta.len() > FILE_BYTES);
    if large {
        return Err(told(format!("a config has at most {FILE_BYTES} bytes")));
    }
    std::fs::read_to_string(file).map_err(|error| {
        told(match error.kind() {
            io::ErrorKind::NotFound => FIRST_FILE.replace("KEY", &fresh_key()),
            io::ErrorKind::PermissionDenied => format!(
                "the config file can't be read: {error}. Whoever runs this needs the right: under systemd that is the user \
                 everwire, so `chown root:everwire` and `chmod 640` it, as `everwire init` says"
            ),
            _ => format!("the config file can't be read: {error}"),
        })
    })
}

impl Config {
    /// Reads a file, with the environment over it; what is insecure is allowed, for whoever only looks.
    ///
    /// # Errors
    /// All faults at once, each with its place; a file that can't be read is one fault.
    pub fn load(path: &Path) -> Result<Self, Faults> {
        let sources = Sources { insecure: true, ..Sources::of(path)? };
        sources.gather().map(|gathered| gathered.config)
    }

    /// Checks the text of a file; `file` is its name in the faults. What is insecure is allowed.
    ///
    /// # Errors
    /// All faults at once, each with its line.
    pub fn read(file: &str, text: &str) -> Result<Self, Faults> {
        let (file, text) = (file.to_owned(), text.to_owned());
        let sources = Sources { file, text, insecure: true, ..Sources::default() };
        sources.gather().map(|gathered| gathered.config)
    }
}

/// Every setting that there is, each once, with its default.
pub fn describe() -> Vec<Setting> {
    let book = Book { describing: true, ..Book::default() };
    let (_, book) = read_root(Section::root(Table::new(), book), Path::new("everwire.toml"));
    book.settings
}
