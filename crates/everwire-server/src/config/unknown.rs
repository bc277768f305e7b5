//! What was meant by a key that is none of its table: one of another table, a habit of another server, a name of the
//! environment with an underscore too few.

use super::setting::{Fault, Setting};
use super::value::Written;

/// What other servers call the place to listen on.
const PLACES: [&str; 6] = ["port", "host", "bind", "address", "addr", "ip"];
/// Tables that are named at most.
const TABLES: usize = 3;

/// The known key that is nearly this one. Of a short word most letters may be other ones, and what is left is no guess.
pub(super) fn nearest<'k>(known: &[&'k str], key: &str) -> Option<&'k str> {
    let nearest = known.iter().min_by_key(|known| distance(known, key)).copied();
    nearest.filter(|known| distance(known, key) <= key.chars().count() / 3)
}

/// Letters to insert, delete or replace (Levenshtein).
fn distance(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.chars().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, y) in b.iter().enumerate() {
            let replaced = diagonal + usize::from(x != *y);
            diagonal = row[j + 1];
            row[j + 1] = replaced.min(row[j] + 1).min(diagonal + 1);
        }
    }
    row[b.len()]
}

/// Better words for an unknown key, if something is known of it; `settings` are all that there are.
pub(super) fn meant(fault: &Fault, settings: &[Setting]) -> Option<String> {
    let (table, key) = fault.key.rsplit_once('.').unwrap_or(("", &fault.key));
    if let Written::Env(name) = &fault.place {
        // A guess that was made in its own table stays.
        return in_environment(name, key, settings).or_else(|| {
            (!fault.words.contains("did you mean"))
                .then(|| "unknown key; `everwire config env` prints all names that there are".to_owned())
        });
    }
    if table.is_empty() && PLACES.contains(&key) {
        return Some("unknown key; write listen = [\"localhost:8080\"]".to_owned());
    }
    let tables = tables_with(key, settings);
    let first = *tables.first()?;
    if let Written::Flag(_) = fault.place {
        let paths: Vec<_> = tables.iter().map(|table| path_in(table, key)).collect();
        return Some(format!("unknown key; it may be {}", paths.join(" or ")));
    }
    if first.is_empty() {
        return Some(format!("unknown key; {key} stands above the first line in brackets"));
    }
    let heads: Vec<_> = tables.iter().map(|table| head(table)).collect();
    let its_line =
        if let [head] = heads.as_slice() { format!("its line {head}") } else { "that line".to_owned() };
    Some(format!("unknown key; {key} is a key of {}; is {its_line} still a comment?", heads.join(" or ")))
}

/// The same of a name in the environment.
fn in_environment(name: &str, key: &str, settings: &[Setting]) -> Option<String> {
    let single = |name: &str| name.replace("__", "_");
    let near = settings.iter().find(|setting| setting.has_env() && single(&setting.env()) == single(name));
    if let Some(near) = near {
        return Some(format!("unknown key; write {}", near.env()));
    }
    if PLACES.contains(&key) {
        return Some("unknown key; write EVERWIRE_LISTEN=localhost:8080".to_owned());
    }
    let all: Vec<_> = settings.iter().filter(|setting| setting.has_env() && ends_in(setting, key)).collect();
    let [one] = all.as_slice() else { return None };
    Some(format!("unknown key; write {}", one.env()))
}

fn ends_in(setting: &Setting, key: &str) -> bool {
    setting.path.rsplit('.').next() == Some(key)
}

/// Tables that have such a key; an empty one is the top of the file.
fn tables_with<'a>(key: &str, settings: &'a [Setting]) -> Vec<&'a str> {
    let own = settings.iter().filter(|setting| ends_in(setting, key));
    own.map(|setting| setting.path.rsplit_once('.').map_or("", |(table, _)| table)).take(TABLES).collect()
}

fn path_in(table: &str, key: &str) -> String {
    if table.is_empty() { key.to_owned() } else { format!("{table}.{key}") }
}

/// The line with which a table begins.
fn head(table: &str) -> String {
    match table.strip_suffix("[]") {
        Some(list) => format!("[[{list}]]"),
        None => format!("[{table}]"),
    }
}

#[cfg(test)]
mod tests {
    use super::super::Sources;
    use super::distance;

    fn told(text: &str, env: &[(&str, &str)], set: &[(&str, &str)]) -> String {
        let pairs = |pairs: &[(&str, &str)]| {
            pairs.iter().map(|(a, b)| ((*a).to_owned(), (*b).to_owned())).collect::<Vec<_>>()
        };
        let sources = Sources {
            file: "f".into(),
            text: text.into(),
            env: pairs(env),
            set: pairs(set),
            insecure: false,
        };
        sources.gather().unwrap_err().to_string()
    }

    #[test]
    fn distances() {
        for (a, b, d) in [("", "", 0), ("channels", "channls", 1), ("kitten", "sitting", 3), ("", "abc", 3)] {
            assert_eq!((distance(a, b), distance(b, a)), (d, d), "{a} {b}");
        }
    }

    #[test]
    fn a_key_below_the_wrong_head_is_told_its_own() {
        for (text, wanted) in [
            (
                "[api]\ncert_file = \"c\"\n",
                "f:2: api.cert_file: unknown key; cert_file is a key of [tls]; is its line [tls] still a comment?",
            ),
            ("[api]\nsecret = \"c\"\n", "a key of [[tokens.keys]]; is its line [[tokens.keys]] still"),
            ("[tls]\nuser_channels = true\n", "a key of [namespaces.<name>]; is its line"),
            (
                "[times]\nchannels = 5\n",
                "a key of [[api_keys]] or [limits] or [node]; is that line still a comment?",
            ),
            ("[history]\necho = true\n", "echo stands above the first line in brackets"),
            ("port = 8080\n", "f:1: port: unknown key; write listen = [\"localhost:8080\"]"),
            ("bind = \"x\"\n", "write listen = ["),
            ("hosts = 1\n", "unknown key; known here: listen, "),
        ] {
            assert!(told(text, &[], &[]).contains(wanted), "{text}: {}", told(text, &[], &[]));
        }
        let flag = told("", &[], &[("cert_file", "c")]);
        assert!(flag.contains("unknown key; it may be tls.cert_file"), "{flag}");
    }

    #[test]
    fn a_name_of_the_environment_is_told_what_is_missing() {
        for (name, wanted) in [
            ("EVERWIRE_LIMITS_CHANNELS", "write EVERWIRE_LIMITS__CHANNELS"),
            ("EVERWIRE_LIMITS__COMMANDS__BURST", "write EVERWIRE_LIMITS__COMMANDS_BURST"),
            ("EVERWIRE_CERT_FILE", "write EVERWIRE_TLS__CERT_FILE"),
            ("EVERWIRE_PORT", "write EVERWIRE_LISTEN=localhost:8080"),
            ("EVERWIRE_FOO", "`everwire config env` prints all"),
            ("EVERWIRE_ECO", "did you mean \"echo\"?"),
        ] {
            let told = told("", &[(name, "1")], &[]);
            assert!(told.contains(wanted), "{name}: {told}");
        }
    }
}
