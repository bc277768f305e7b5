//! `api_keys` and `[api]`: who may ask the HTTP API for what, and where.

use std::path::Path;

use everwire_engine::name::ChannelName;
use everwire_proto::api::{Grant, MOST_ITEMS};

use super::section::Section;
use super::tokens::bytes_of;
use super::value::Written;
use super::{ApiKey, Config};
use crate::listen::NoAddress;

/// A key shorter than this can be guessed by who tries long enough.
const KEY_BYTES: usize = 32;
/// And one shorter than this by anybody.
const LEAST_KEY_BYTES: usize = 16;
/// The key in our examples begins so, and is no secret.
pub(super) const EXAMPLE_KEY: &str = "change-me";
/// Where a key may stand: in the config itself, in another file, in the environment.
const PLACES: [&str; 3] = ["key", "key_file", "key_env"];
/// Channels, or beginnings of them, that one key may name.
const PATTERNS: usize = 1_000;

/// Reads the keys: each is a string, which allows everything, or a table that says what it allows.
pub(super) fn read_keys(root: &mut Section, beside: &Path, keys: &mut Vec<ApiKey>) {
    let least = if root.is_insecure() { LEAST_KEY_BYTES } else { KEY_BYTES };
    let doc = "Keys of the HTTP API, at least 32 characters each, such as `openssl rand -hex 16` prints. Without one the \
               API refuses everything. A string may do everything; a table may do what its rights say, in the channels that \
               it names (left out: all): `{ key_env = \"SHOP_KEY\", rights = [\"publish\"], channels = [\"shop:*\"] }`. \
               Instead of `key_env` there may be `key_file` or `key`. The rights: publish, history, history_clear, presence, \
               channels, connections, subscribe, disconnect, revoke, refresh, info, explain, metrics, log_level.";
    root.secrets_or_tables("api_keys", doc, |section, text| match text {
        Some((key, place)) => {
            if let Err(words) = check(&key, least) {
                section.fault("api_keys", place, words);
            }
            section.mark("api_keys", key.as_bytes());
            keys.push(ApiKey::new(&key));
        }
        None => keys.extend(read_key(section, beside, least)),
    });
    if let Some((path, place)) = root.text("api_keys_file", "More of them: a file with one in each line.", "")
    {
        match std::fs::read_to_string(beside.join(&path)) {
            Ok(text) => {
                root.mark("api_keys_file", text.as_bytes());
                for line in text.lines().map(str::trim).filter(|line| !line.is_empty()) {
                    if let Err(words) = check(line, least) {
                        root.fault("api_keys_file", place.clone(), words);
                    }
                    keys.push(ApiKey::new(line));
                }
            }
            Err(error) => root.fault("api_keys_file", place, format!("{path} can't be read: {error}")),
        }
    }
}

fn check(key: &str, least: usize) -> Result<(), String> {
    if key.starts_with(EXAMPLE_KEY) {
        return Err("this is the key of the example, which everybody knows; write one of your own, such as `openssl rand -hex 16` prints".to_owned());
    }
    if key.len() < least {
        return Err(format!("a key has at least {least} characters, such as `openssl rand -hex 16` prints"));
    }
    Ok(())
}

fn read_key(table: &mut Section, beside: &Path, least: usize) -> Option<ApiKey> {
    let at = table.place();
    let mut found: Vec<(&str, (String, Written))> = Vec::new();
    for place in PLACES {
        if let Some(text) = table.secret(place, "") {
            if place == "key_env" {
                table.names_env(&text.0);
            }
            found.push((place, text));
        }
    }
    let limited = (table.has("rights"), table.has("channels"));
    let (rights, channels) = (read_rights(table), read_channels(table));
    let [(place, (text, at))] = found.as_slice() else {
        table.fault(PLACES[0], at, format!("one of {} must be there, and no other", PLACES.join(", ")));
        return None;
    };
    let bytes = bytes_of(place, text, beside);
    table.mark(place, bytes.as_deref().unwrap_or_default());
    let text = bytes.and_then(|bytes| String::from_utf8(bytes).map_err(|_| "a key is text".to_owned()));
    let key = text.and_then(|key| check(&key, least).map(|()| ApiKey::new(&key)));
    let mut key = key.map_err(|words| table.fault(place, at.clone(), words)).ok()?;
    if limited.0 {
        key = key.with_grants(&rights);
    }
    if limited.1 {
        key = key.with_channels(&channels);
    }
    Some(key)
}

fn read_rights(table: &mut Section) -> Vec<Grant> {
    let mut rights = Vec::new();
    for (word, at) in table.texts("rights", "", "[]") {
        match Grant::parse(&word) {
            Some(right) => rights.push(right),
            None => {
                let known: Vec<_> = Grant::ALL.iter().map(|grant| format!("{:?}", grant.as_str())).collect();
                table.fault("rights", at, format!("{word:?} is none of {}", known.join(", ")));
            }
        }
    }
    rights
}

fn read_channels(table: &mut Section) -> Vec<String> {
    let mut channels = Vec::new();
    for (pattern, at) in table.texts("channels", "", "[]") {
        let name = pattern.strip_suffix('*').unwrap_or(&pattern);
        if !(name.is_empty() && pattern == "*")
            && let Err(bad) = ChannelName::check(name)
        {
            table.fault("channels", at.clone(), bad.to_string());
        }
        if channels.len() == PATTERNS {
            table.fault("channels", at, format!("a key names at most {PATTERNS} channels"));
            break;
        }
        channels.push(pattern);
    }
    channels
}

/// Reads `[api]`.
pub(super) fn read_api(root: &mut Section, config: &mut Config) {
    root.section("api", "The HTTP API.", |api| {
        let doc = "Addresses of its own, such as `127.0.0.1:8766`; all others are 404 to it then.";
        for (address, place) in api.texts("listen", doc, "[]") {
            match address.parse() {
                Ok(at) => config.api_listen.push(at),
                Err(error) => api.fault("listen", place, NoAddress::to_string(&error)),
            }
        }
        let limits = &mut config.api_limits;
        let most = MOST_ITEMS as u64;
        api.number(
            "items",
            "Publications of a batch, or channels of a broadcast.",
            &mut limits.items,
            1..=most,
        );
        let doc = "Of the body of a batch or broadcast.";
        api.size("body_bytes", doc, &mut limits.body_bytes, 16 << 10..=64 << 20);
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_strings_or_tables() {
        // Cargo sets it for every test, and it is long enough.
        let text = "api_keys = [\"0123456789abcdef\", { key = \"fedcba9876543210\", rights = [\"publish\"], channels = [\"chat:*\"] }, \
                    { key_env = \"CARGO_PKG_DESCRIPTION\" }]\n[api]\nlisten = [\"127.0.0.1:0\"]\nitems = 5\nbody_bytes = 0x10000\n";
        let config = Config::read("f", text).unwrap();
        let [all, some, env] = config.api_keys.as_slice() else { panic!("{config:?}") };
        assert!(all.matches(b"0123456789abcdef") && all.grants(Grant::Info) && all.is_for("x"));
        assert!(
            some.matches(b"fedcba9876543210") && some.grants(Grant::Publish) && !some.grants(Grant::Info)
        );
        assert!(some.is_for("chat:1") && !some.is_for("x"));
        assert!(env.matches(env!("CARGO_PKG_DESCRIPTION").as_bytes()));
        assert_eq!((config.api_listen.len(), config.api_limits.items), (1, 5));
        assert_eq!(config.api_limits.body_bytes, 65_536);
    }

    #[test]
    fn every_fault_of_a_key_is_told_with_its_line() {
        for (text, wanted) in [
            ("api_keys = 7\n", "f:1: api_keys: expected a list of strings or tables"),
            ("api_keys = [7]\n", "f:1: api_keys: expected a string or a table"),
            ("api_keys = [{}]\n", "f:1: api_keys.key: one of key, key_file, key_env must be there"),
            ("api_keys = [{ key = \"short\" }]\n", "f:1: api_keys.key: a key has at least 16"),
            ("api_keys = [{ key_file = \"nowhere\" }]\n", "f:1: api_keys.key_file: "),
            (
                "api_keys = [{ key = \"0123456789abcdef\", rights = [\"dance\"] }]\n",
                "f:1: api_keys.rights: \"dance\" is none of \"publish\"",
            ),
            (
                "api_keys = [{ key = \"0123456789abcdef\", channels = [\"a b\"] }]\n",
                "f:1: api_keys.channels: the channel name has ' '",
            ),
            (
                "api_keys = [{ key = \"0123456789abcdef\", right = [] }]\n",
                "f:1: api_keys.right: unknown key; did you mean \"rights\"?",
            ),
            ("[api]\nlisten = [\"nowhere\"]\n", "f:2: api.listen: \"nowhere\" is no address"),
            ("[api]\nitems = 0\n", "f:2: api.items: must be from 1 to 10000"),
        ] {
            let told = Config::read("f", text).unwrap_err().to_string();
            assert!(told.lines().any(|line| line.starts_with(wanted)), "{text}\n{told}\nwanted {wanted}");
        }
    }
}
