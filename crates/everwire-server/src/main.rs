//! The Everwire server: the command line around [`everwire_server::app`].

use std::io::Write as _;
use std::process::ExitCode;
use std::time::Instant;

use everwire_brokers::disk::{self, Sync};
use everwire_server::app::{self, StartError};
use everwire_server::cli::{Cli, From, HistoryTask, Told, Verb};
use everwire_server::clock::Clock;
use everwire_server::config::{ApiKey, Config, Faults, Gathered, History, PORT, Setting};
use everwire_server::doors::NoDoor;
use everwire_server::listen::{Listen, hint};
use everwire_server::log::{self, LogFormat, LogSettings};
use everwire_server::notify::Notifier;
use everwire_server::reload::{Reloaded, reload};
use everwire_server::site::Site;
use everwire_server::tls::local;
use everwire_server::{banner, descriptors};
use tracing_subscriber::EnvFilter;

/// EX_CONFIG of sysexits(3).
const BAD_CONFIG: u8 = 78;
/// What shells say of a process that such a signal has ended: a second one did not wait for the clients.
const CUT_BY_SIGINT: u8 = 130;
const CUT_BY_SIGTERM: u8 = 143;

fn main() -> ExitCode {
    let begun = Instant::now();
    let args: Vec<_> = std::env::args_os().collect();
    let cli = Cli::read(&args).unwrap_or_else(|error| error.exit());
    let verb =
        cli.command.unwrap_or(Verb::Dev { listen: Vec::new(), origin: Vec::new(), data: None, tls: false });
    match &verb {
        Verb::Version { json } => return print_version(*json),
        Verb::History { task } => return history(task),
        Verb::Bench { task } => return everwire_bench::cli::run(task),
        Verb::Init(init) => return tell(init.run()),
        Verb::Config { task } => return tell(task.run()),
        Verb::Doctor(doctor) => return tell(doctor.run(Clock::start().now().unix_ms)),
        Verb::Token { task } => return tell(task.run(Clock::start().now())),
        Verb::Explain(explain) => return tell(explain.run(Clock::start().now())),
        Verb::Dev { .. } | Verb::Serve { .. } => {}
    }
    match config_of(&verb) {
        Ok(gathered) => {
            log_to_stderr(cli.log_format, &gathered.config.log);
            run(gathered, &verb, begun)
        }
        Err(faults) => {
            // What the environment asks of the log may be wrong too, and all faults are told at once.
            log_to_stderr(cli.log_format, &LogSettings::default());
            complain(&faults);
            ExitCode::from(BAD_CONFIG)
        }
    }
}

fn print_version(json: bool) -> ExitCode {
    let version = env!("CARGO_PKG_VERSION");
    let line = if json { format!("{{\"version\":\"{version}\"}}") } else { format!("everwire {version}") };
    match writeln!(std::io::stdout(), "{line}") {
        Ok(()) => ExitCode::SUCCESS,
        Err(_) => ExitCode::FAILURE,
    }
}

/// 0 for yes, 1 for no.
fn tell(told: Told) -> ExitCode {
    match told {
        Told::Yes(words) => match writeln!(std::io::stdout(), "{words}") {
            Ok(()) => ExitCode::SUCCESS,
            Err(_) => ExitCode::FAILURE,
        },
        Told::No(words) => {
            complain(&words);
            ExitCode::FAILURE
        }
        Told::BadConfig(words) => {
            complain(&words);
            ExitCode::from(BAD_CONFIG)
        }
    }
}

/// Looks at a history, or repairs it. Damage that is still there is no success.
fn history(task: &HistoryTask) -> ExitCode {
    let done = match task {
        HistoryTask::Check { dir } => {
            disk::check(dir).map(|checked| (checked.to_string(), checked.damaged.is_empty()))
        }
        HistoryTask::Repair { dir } => {
            let mut salt = [0; 8];
            if let Err(error) = getrandom::fill(&mut salt) {
                complain(&format!("the system gives no randomness: {error}"));
                return ExitCode::FAILURE;
            }
            let now = Clock::start().now();
            disk::repair(dir, u64::from_le_bytes(salt), now.unix_ms).map(|done| (done.to_string(), true))
        }
    };
    match done {
        Ok((words, sound)) => {
            let told = writeln!(std::io::stdout(), "{words}").is_ok();
            if told && sound { ExitCode::SUCCESS } else { ExitCode::FAILURE }
        }
        Err(error) => {
            complain(&error.to_string());
            ExitCode::FAILURE
        }
    }
}

/// The variable wins over the file, and so does the flag.
fn log_to_stderr(format: Option<LogFormat>, settings: &LogSettings) {
    let level = settings.level.as_deref().unwrap_or("info");
    let (filter, unread) = match log::asked() {
        Some(Ok(filter)) => (filter, None),
        Some(Err(words)) => (EnvFilter::new(level), Some(words)),
        None => (EnvFilter::new(level), None),
    };
    log::begin(format.unwrap_or(settings.format), filter);
    if let Some(fault) = unread {
        tracing::warn!(instead = level, "EVERWIRE_LOG can't be read: {fault}");
    }
}

fn complain(words: &str) {
    // With no stderr there is nobody to complain to.
    let _ = writeln!(std::io::stderr(), "{words}");
}

/// What `serve` is told by file, environment and flags.
fn gather(from: &From, listen: &[Listen]) -> Result<Gathered, Faults> {
    let mut from = from.clone();
    if !listen.is_empty() {
        let all: Vec<_> = listen.iter().map(ToString::to_string).collect();
        from.set.push(("listen".to_owned(), all.join(",")));
    }
    from.gather()
}

fn config_of(verb: &Verb) -> Result<Gathered, String> {
    let (mut config, listen) = match verb {
        Verb::Serve { from, listen } => return gather(from, listen).map_err(|faults| faults.to_string()),
        Verb::Dev { listen, origin, data, tls } => {
            let mut config = dev(origin)?;
            if *tls {
                let (files, _) =
                    local::certificate(Clock::start().now().unix_ms).map_err(|error| error.to_string())?;
                config.tls = Some(files);
            }
            if let Some(data) = data.clone() {
                config.history = History::Disk { data, sync: Sync::Always };
            }
            (config, listen.as_slice())
        }
        Verb::Version { .. }
        | Verb::Bench { .. }
        | Verb::History { .. }
        | Verb::Init(_)
        | Verb::Doctor(_)
        | Verb::Config { .. }
        | Verb::Token { .. }
        | Verb::Explain(_) => (dev(&[])?, &[][..]),
    };
    if !listen.is_empty() {
        config.listen = listen.to_vec();
    }
    Ok(Gathered { config, settings: Vec::new() })
}

/// At a SIGHUP: reads the config again.
fn reload_into(site: &Site, verb: &Verb, settings: &mut Vec<Setting>) {
    let Verb::Serve { from, listen } = verb else {
        return tracing::info!("SIGHUP: dev mode has no config that could be read again");
    };
    let gathered = match gather(from, listen) {
        Ok(gathered) => gathered,
        Err(faults) => {
            // A line each, as they are told at a start: in a field of one line nobody reads them.
            faults.lines().for_each(|fault| tracing::warn!("{fault}"));
            let faults = faults.faults.len();
            return tracing::warn!(faults, "SIGHUP: the config has faults, and nothing has changed");
        }
    };
    match reload(site, settings, gathered) {
        Ok(Reloaded { changed, waiting, settings: fresh }) => {
            tracing::info!(changed = changed.join(", "), "SIGHUP: the config was read again");
            if !waiting.is_empty() {
                tracing::warn!(waiting = waiting.join(", "), "these settings hold after the next start");
            }
            *settings = fresh;
        }
        Err(error) => tracing::warn!(%error, "SIGHUP: the config is not taken over, and nothing has changed"),
    }
}

fn dev(origins: &[String]) -> Result<Config, String> {
    let mut bits = [0; 16];
    getrandom::fill(&mut bits).map_err(|error| format!("the system gives no randomness: {error}"))?;
    let key = ApiKey::new(&format!("dev-{:032x}", u128::from_le_bytes(bits)));
    Ok(Config { api_keys: vec![key], origins: origins.to_vec(), ..Config::dev() })
}

fn run(gathered: Gathered, verb: &Verb, begun: Instant) -> ExitCode {
    let Gathered { config, mut settings } = gathered;
    let descriptors = descriptors::raise();
    // Signals before the banner: who reads it may stop us at once.
    let started = app::start(config).and_then(|running| Ok((running.signals()?, running)));
    let (mut signals, mut running) = match started {
        Ok(started) => started,
        Err(error) => {
            complain(&explain(&error, verb));
            return ExitCode::FAILURE;
        }
    };
    let config = &*running.site.config();
    let warnings = banner::warnings(config, &running.addrs, descriptors);
    let text = banner::banner(
        config,
        (&running.addrs, banner::own_address()),
        &warnings,
        begun.elapsed().as_millis(),
    );
    // A closed stdout is no reason not to serve.
    let _ = std::io::stdout().write_all(text.as_bytes());
    if let Some(notifier) = Notifier::from_env() {
        running.notify(notifier);
    }
    let signal = running.wait_for(&mut signals, |site| reload_into(site, verb, &mut settings));
    tracing::info!(signal, "stopping; a second signal stops at once");
    let cut = running.drain(&mut signals);
    match cut {
        None => tracing::info!("ended"),
        Some(signal) => tracing::info!(signal, "ended at once"),
    }
    match cut {
        None => ExitCode::SUCCESS,
        Some("SIGINT") => ExitCode::from(CUT_BY_SIGINT),
        Some(_) => ExitCode::from(CUT_BY_SIGTERM),
    }
}

/// A start that failed, with the lines to type.
fn explain(error: &StartError, verb: &Verb) -> String {
    let addr = match error {
        StartError::Door(NoDoor::Taken(addr)) => addr,
        StartError::Door(NoDoor::Listen(addr, why)) => {
            let hint = hint(*addr, why.kind()).map_or_else(String::new, |hint| format!("\n{hint}"));
            return format!("{error}{hint}");
        }
        _ => return error.to_string(),
    };
    let known = if addr.port() == PORT { ", perhaps another Everwire" } else { "" };
    let other = Listen::BothLoopbacks(if addr.port() == PORT { PORT + 1 } else { 0 });
    let program = as_started();
    let again = match verb {
        Verb::Serve { from, .. } => {
            format!("{program} serve --config {} --listen {other}", from.config.display())
        }
        _ => format!("{program} dev --listen {other}"),
    };
    let port = addr.port();
    format!(
        "{error}{known}. See which one it is, and stop it:\n\n    ss -ltnp 'sport = :{port}'\n\n\
         or take another port:\n\n    {again}\n"
    )
}

/// How this program was started, for a line to type that works where the first one did.
fn as_started() -> String {
    // Cargo sets it for the program that it runs.
    if std::env::var_os("CARGO_PKG_NAME").is_some() {
        return if cfg!(debug_assertions) { "cargo run --" } else { "cargo run --release --" }.to_owned();
    }
    std::env::args_os()
        .next()
        .map_or_else(|| "everwire".to_owned(), |name| name.to_string_lossy().into_owned())
}
