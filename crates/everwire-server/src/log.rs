//! How a line of the log is written, and how much is. Whatever a peer has sent stands in it escaped: it can't begin a line of its own or
//! colour a terminal.

use std::fmt;
use std::io::IsTerminal as _;
use std::sync::OnceLock;

use serde_json::{Map, Value};
use tracing::field::{Field, Visit};
use tracing::{Event, Level, Subscriber};
use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::fmt::time::{FormatTime as _, SystemTime};
use tracing_subscriber::fmt::{FmtContext, FormatEvent, FormatFields};
use tracing_subscriber::registry::LookupSpan;

/// The form of the log.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum LogFormat {
    /// For people.
    #[default]
    Pretty,
    /// One object a line.
    Json,
    /// `key=value`.
    Logfmt,
}

impl std::str::FromStr for LogFormat {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "pretty" => Ok(Self::Pretty),
            "json" => Ok(Self::Json),
            "logfmt" => Ok(Self::Logfmt),
            _ => Err(format!("{text:?} is none of pretty, json, logfmt")),
        }
    }
}

/// What the config says of the log.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LogSettings {
    /// How much, as [`read_level`] takes it; unset: `info`. The variable `EVERWIRE_LOG` wins.
    pub level: Option<String>,
    /// Its form; the flag `--log-format` wins.
    pub format: LogFormat,
}

/// What a level may be at most, bytes.
const LEVEL_BYTES: usize = 256;

const LEVELS: [&str; 6] = ["off", "error", "warn", "info", "debug", "trace"];

/// How much is logged: a level, or several with the part of the program that each is for.
///
/// # Errors
/// What to write instead. A word that is no level is no name of a part either: it would only look as if it did something.
pub fn read_level(text: &str) -> Result<EnvFilter, String> {
    let is_level = |part: &str| {
        let level = part.rsplit_once('=').map_or(part, |(_, level)| level).trim();
        LEVELS.iter().any(|known| known.eq_ignore_ascii_case(level))
    };
    if text.len() <= LEVEL_BYTES
        && text.split(',').all(is_level)
        && let Ok(filter) = EnvFilter::try_new(text)
    {
        return Ok(filter);
    }
    let shown: String = text.chars().take(40).collect();
    Err(format!(
        "{shown:?} is no level; write one of {}, or with parts of the program info,everwire_server::front=debug",
        LEVELS.join(", ")
    ))
}

/// How much the variable `EVERWIRE_LOG` asks for, which goes before the config; `None`: it asks for nothing.
///
/// # Errors
/// As of [`read_level`].
pub fn asked() -> Option<Result<EnvFilter, String>> {
    let text = std::env::var_os("EVERWIRE_LOG").filter(|text| !text.is_empty())?;
    Some(read_level(&text.to_string_lossy()))
}

type SetLevel = Box<dyn Fn(EnvFilter) -> Result<(), String> + Send + Sync>;

/// How the level is changed, once the log of this process has begun.
static SET_LEVEL: OnceLock<SetLevel> = OnceLock::new();

/// Begins the log of this process, to stderr; once.
pub fn begin(format: LogFormat, filter: EnvFilter) {
    let log = tracing_subscriber::fmt().with_env_filter(filter).with_ansi(std::io::stderr().is_terminal());
    let log = log.event_format(format).with_writer(std::io::stderr).with_filter_reloading();
    let handle = log.reload_handle();
    log.init();
    let set = move |filter| handle.reload(filter).map_err(|error| error.to_string());
    // Whoever began it before has a subscriber too, so `init` would have failed.
    let _ = SET_LEVEL.set(Box::new(set));
}

/// Changes how much is logged.
///
/// # Errors
/// The log is not this program's own.
pub fn set_level(filter: EnvFilter) -> Result<(), String> {
    match SET_LEVEL.get() {
        Some(set) => set(filter),
        None => Err("the log of this process was not begun by the server".to_owned()),
    }
}

/// What an event says.
#[derive(Default)]
struct Said {
    message: String,
    fields: Vec<(&'static str, Value)>,
}

impl Said {
    fn keep(&mut self, field: &Field, value: Value) {
        self.fields.push((field.name(), value));
    }
}

impl Visit for Said {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        let text = format!("{value:?}");
        if field.name() == "message" { self.message = text } else { self.keep(field, text.into()) }
    }
    fn record_str(&mut self, field: &Field, value: &str) {
        self.keep(field, value.into());
    }
    fn record_u64(&mut self, field: &Field, value: u64) {
        self.keep(field, value.into());
    }
    fn record_i64(&mut self, field: &Field, value: i64) {
        self.keep(field, value.into());
    }
    fn record_bool(&mut self, field: &Field, value: bool) {
        self.keep(field, value.into());
    }
}

impl<S, N> FormatEvent<S, N> for LogFormat
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
{
    fn format_event(&self, _: &FmtContext<'_, S, N>, mut out: Writer<'_>, event: &Event<'_>) -> fmt::Result {
        let mut said = Said::default();
        event.record(&mut said);
        let mut time = String::new();
        SystemTime.format_time(&mut Writer::new(&mut time))?;
        let level = *event.metadata().level();
        match self {
            Self::Pretty => pretty(&mut out, &time, level, &said),
            Self::Json => json(&mut out, time, level, said),
            Self::Logfmt => logfmt(&mut out, &time, level, &said),
        }
    }
}

fn pretty(out: &mut Writer<'_>, time: &str, level: Level, said: &Said) -> fmt::Result {
    let colour = match level {
        Level::ERROR => 31,
        Level::WARN => 33,
        Level::INFO => 32,
        _ => 34,
    };
    if out.has_ansi_escapes() {
        write!(out, "\x1b[2m{time}\x1b[0m \x1b[{colour}m{level:>5}\x1b[0m ")?;
    } else {
        write!(out, "{time} {level:>5} ")?;
    }
    out.write_str(&escaped(&said.message))?;
    for (name, value) in &said.fields {
        match value {
            Value::String(text) => write!(out, " {name}={text:?}")?,
            other => write!(out, " {name}={other}")?,
        }
    }
    out.write_char('\n')
}

fn json(out: &mut Writer<'_>, time: String, level: Level, said: Said) -> fmt::Result {
    let mut object = Map::new();
    // Ours last: no field may pass for one of them.
    object.extend(said.fields.into_iter().map(|(name, value)| (name.to_owned(), value)));
    object.insert("time".into(), time.into());
    object.insert("level".into(), level.as_str().to_ascii_lowercase().into());
    object.insert("message".into(), said.message.into());
    writeln!(out, "{}", Value::Object(object))
}

fn logfmt(out: &mut Writer<'_>, time: &str, level: Level, said: &Said) -> fmt::Result {
    let level = level.as_str().to_ascii_lowercase();
    write!(out, "time={time} level={level} message={}", word(&said.message.as_str().into()))?;
    for (name, value) in &said.fields {
        write!(out, " {name}={}", word(value))?;
    }
    out.write_char('\n')
}

/// A value as one word: in quotes where it would be more than one, or none.
fn word(value: &Value) -> String {
    let Value::String(text) = value else { return value.to_string() };
    let plain = |c: char| c.is_alphanumeric() || "-_./:[]?&%@+,".contains(c);
    if !text.is_empty() && text.chars().all(plain) { text.clone() } else { format!("{text:?}") }
}

/// Without control characters, of which some begin a line and some a colour.
fn escaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        if c.is_control() { out.extend(c.escape_default()) } else { out.push(c) }
    }
    out
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use super::*;

    /// A log that stays in memory.
    struct Kept(Arc<Mutex<Vec<u8>>>);

    impl std::io::Write for Kept {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.0.lock().unwrap().extend_from_slice(bytes);
            Ok(bytes.len())
        }
        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }

    /// The line of an event whose field and message are hostile.
    fn line(format: LogFormat) -> String {
        let out = Arc::new(Mutex::new(Vec::new()));
        let log = tracing_subscriber::fmt().with_ansi(false).event_format(format).with_writer({
            let out = out.clone();
            move || Kept(out.clone())
        });
        let hostile = "a\nlevel=error \x1b[31m\"b\"";
        tracing::subscriber::with_default(log.finish(), || {
            tracing::warn!(path = hostile, shown = %hostile, left_out = 7_u64, ok = true, "said {hostile}");
        });
        let bytes = out.lock().unwrap().clone();
        String::from_utf8(bytes).unwrap()
    }

    #[test]
    fn no_peer_writes_a_line_of_its_own() {
        for format in ["pretty", "json", "logfmt"] {
            let line = line(format.parse().unwrap());
            assert!(line.ends_with('\n') && line.trim_end().chars().all(|c| !c.is_control()), "{line:?}");
            assert!(line.contains("said a\\n") && line.contains("left_out"), "{line:?}");
        }
        assert!("xml".parse::<LogFormat>().unwrap_err().contains("none of pretty, json, logfmt"));
    }

    #[test]
    fn a_level_is_read_or_told() {
        for text in
            ["info", "DEBUG", "off", "warn,everwire_server=trace", "everwire_server::front=debug,error"]
        {
            assert!(read_level(text).is_ok(), "{text}");
        }
        for text in ["", "debgu", "everwire_server", "info,", "info,everwire_server=all", "info=info=loud"] {
            let words = read_level(text).unwrap_err();
            assert!(words.contains("is no level; write one of off, error"), "{words}");
        }
        assert!(read_level(&"info,".repeat(100)).is_err());
        assert!(set_level(EnvFilter::new("info")).is_err(), "nobody began a log here");
    }

    #[test]
    fn each_form_is_what_it_says() {
        let object: Value = serde_json::from_str(&line(LogFormat::Json)).unwrap();
        assert_eq!((&object["level"], &object["left_out"]), (&"warn".into(), &7.into()));
        assert_eq!(object["path"], "a\nlevel=error \x1b[31m\"b\"");
        let logfmt = line(LogFormat::Logfmt);
        assert!(logfmt.starts_with("time=2") && logfmt.contains(" level=warn message=\"said "), "{logfmt}");
        assert!(logfmt.contains(" left_out=7 ok=true"), "{logfmt}");
        let pretty = line(LogFormat::Pretty);
        assert!(pretty.contains("  WARN said ") && pretty.contains(" left_out=7 ok=true"), "{pretty}");
    }
}
