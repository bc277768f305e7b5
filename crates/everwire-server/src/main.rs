//! The Everwire server: the command line around [`everwire_server::app`].

use std::io::{IsTerminal as _, Write as _};
use std::process::ExitCode;
use std::time::Instant;

use clap::Parser as _;
use everwire_server::app::{self, PORT, StartError};
use everwire_server::cli::{Cli, Verb};
use everwire_server::config::{ApiKey, Config};
use everwire_server::{banner, descriptors};
use tracing_subscriber::EnvFilter;

fn main() -> ExitCode {
    let begun = Instant::now();
    let command = Cli::parse().command.unwrap_or(Verb::Dev { listen: Vec::new() });
    if let Verb::Version { json } = command {
        return print_version(json);
    }
    log_to_stderr();
    match config_of(command) {
        Ok(config) => run(config, begun),
        Err(faults) => {
            complain(&faults);
            // EX_CONFIG of sysexits(3).
            ExitCode::from(78)
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

fn log_to_stderr() {
    let filter = EnvFilter::try_from_env("EVERWIRE_LOG").unwrap_or_else(|_| EnvFilter::new("info"));
    let log = tracing_subscriber::fmt().with_env_filter(filter).with_target(false);
    log.with_ansi(std::io::stderr().is_terminal()).with_writer(std::io::stderr).init();
}

fn complain(words: &str) {
    // With no stderr there is nobody to complain to.
    let _ = writeln!(std::io::stderr(), "{words}");
}

fn config_of(command: Verb) -> Result<Config, String> {
    match command {
        Verb::Serve { config, listen } => {
            let mut config = Config::load(&config).map_err(|faults| faults.to_string())?;
            if !listen.is_empty() {
                config.listen = listen;
            }
            Ok(config)
        }
        Verb::Dev { listen } => {
            let mut config = Config::dev();
            config.listen = listen;
            config.api_keys = vec![fresh_key()?];
            Ok(config)
        }
        Verb::Version { .. } => Ok(Config::dev()),
    }
}

fn fresh_key() -> Result<ApiKey, String> {
    let mut bits = [0; 16];
    getrandom::fill(&mut bits).map_err(|error| format!("the system gives no randomness: {error}"))?;
    Ok(ApiKey::new(&format!("dev-{:032x}", u128::from_le_bytes(bits))))
}

fn run(config: Config, begun: Instant) -> ExitCode {
    let descriptors = descriptors::raise();
    let running = match app::start(config) {
        Ok(running) => running,
        Err(error) => {
            complain(&explain(&error));
            return ExitCode::FAILURE;
        }
    };
    let config = &running.site.config;
    let warnings = banner::warnings(config, &running.addrs, descriptors);
    let text = banner::banner(config, &running.addrs, &warnings, begun.elapsed().as_millis());
    // A closed stdout is no reason not to serve.
    let _ = std::io::stdout().write_all(text.as_bytes());
    match running.wait_for_signal() {
        Ok(signal) => tracing::info!(signal, "stopping"),
        Err(error) => {
            complain(&format!("signals can't be received: {error}"));
            return ExitCode::FAILURE;
        }
    }
    running.stop();
    ExitCode::SUCCESS
}

/// A start that failed, with the line to type.
fn explain(error: &StartError) -> String {
    match error {
        StartError::Taken(addr) => {
            let other = if addr.port() == PORT { PORT + 1 } else { 0 };
            let is_default = if addr.port() == PORT { ", perhaps another Everwire" } else { "" };
            let hint = format!("everwire dev --listen localhost:{other}");
            format!("{error}{is_default}. Stop that program, or take another port:\n\n    {hint}\n")
        }
        StartError::Address(_) | StartError::Listen(..) | StartError::System(_) => error.to_string(),
    }
}
