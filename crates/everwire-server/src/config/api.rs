//! `api_keys` and `[api]`: who may ask the HTTP API for what, and where.

use std::path::Path;

use everwire_engine::name::ChannelName;
use everwire_proto::api::{Grant, MOST_ITEMS};

use super::section::{Item, Section};
use super::tokens::bytes_of;
use super::{ApiKey, Config};
use crate::listen::NoAddress;

/// A key shorter than this can be guessed.
pub(super) const KEY_BYTES: usize = 16;
/// The key in our example begins so, and is no secret.
pub(super) const EXAMPLE_KEY: &str = "change-me";
/// Where a key may stand: in the config itself, in another file, in the environment.
const PLACES: [&str; 3] = ["key", "key_file", "key_env"];
/// Channels, or beginnings of them, that one key may name.
const PATTERNS: usize = 1_000;

/// Reads the keys: each is a string, which allows everything, or a table that says what it allows.
pub(super) fn read_keys(root: &mut Section<'_>, beside: &Path, keys: &mut Vec<ApiKey>) {
    for (item, at) in root.items("api_keys") {
        match item {
            Item::Text(key) => {
                if let Err(words) = check(&key) {
                    root.fault("api_keys", at, words);
                }
                keys.push(ApiKey::new(&key));
            }
            Item::Table(mut table) => {
                keys.extend(read_key(&mut table, beside, at));
                root.join(table.end());
            }
        }
    }
}

fn check(key: &str) -> Result<(), String> {
    if key.starts_with(EXAMPLE_KEY) {
        return Err("this is the key of the example, which everybody knows; write one of your own, such as `openssl rand -hex 16` prints".to_owned());
    }
    if key.len() < KEY_BYTES {
        return Err(format!("a key has at least {KEY_BYTES} characters"));
    }
    Ok(())
}

fn read_key(table: &mut Section<'_>, beside: &Path, at: usize) -> Option<ApiKey> {
    let found: Vec<_> = PLACES.into_iter().filter_map(|place| Some((place, table.text(place)?))).collect();
    let limited = (table.has("rights"), table.has("channels"));
    let (rights, channels) = (read_rights(table), read_channels(table));
    let [(place, (text, at))] = found.as_slice() else {
        table.fault(PLACES[0], at, format!("one of {} must be there, and no other", PLACES.join(", ")));
        return None;
    };
    let bytes = bytes_of(place, text, beside);
    let text = bytes.and_then(|bytes| String::from_utf8(bytes).map_err(|_| "a key is text".to_owned()));
    let key = text.and_then(|key| check(&key).map(|()| ApiKey::new(&key)));
    let mut key = key.map_err(|words| table.fault(place, *at, words)).ok()?;
    if limited.0 {
        key = key.with_grants(&rights);
    }
    if limited.1 {
        key = key.with_channels(&channels);
    }
    Some(key)
}

fn read_rights(table: &mut Section<'_>) -> Vec<Grant> {
    let mut rights = Vec::new();
    for (word, at) in table.texts("rights") {
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

fn read_channels(table: &mut Section<'_>) -> Vec<String> {
    let mut channels = Vec::new();
    for (pattern, at) in table.texts("channels") {
        let name = pattern.strip_suffix('*').unwrap_or(&pattern);
        if !(name.is_empty() && pattern == "*")
            && let Err(bad) = ChannelName::check(name)
        {
            table.fault("channels", at, bad.to_string());
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
pub(super) fn read_api(root: &mut Section<'_>, config: &mut Config) {
    let Some(mut api) = root.section("api") else { return };
    for (address, at) in api.texts("listen") {
        match address.parse() {
            Ok(place) => config.api_listen.push(place),
            Err(error) => api.fault("listen", at, NoAddress::to_string(&error)),
        }
    }
    api.number("items", &mut config.api_limits.items, 1, MOST_ITEMS as u64);
    api.number("body_bytes", &mut config.api_limits.body_bytes, 16 << 10, 64 << 20);
    root.join(api.end());
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
