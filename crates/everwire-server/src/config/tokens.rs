//! `[tokens]`: which keys sign them, and what is asked of them.

use std::path::Path;

use super::section::Section;
use super::value::Written;
use crate::auth::{Algorithm, Demands, Key, Tokens};

/// Where the bytes of a key may stand: in the file itself, in another one, in the environment.
const SECRET: [&str; 3] = ["secret", "secret_file", "secret_env"];
const PUBLIC: [&str; 3] = ["public_key", "public_key_file", "public_key_env"];
const KEYS: [(&str, &str); 6] = [
    ("secret", "The secret itself."),
    ("secret_file", "Or the file that has it, from where the config file stands."),
    ("secret_env", "Or the name in the environment that has it."),
    ("public_key", "The public key itself."),
    ("public_key_file", "Or the file that has it."),
    ("public_key_env", "Or the name in the environment that has it."),
];

/// Reads the section; files are looked for beside the config.
pub(super) fn read_tokens(section: &mut Section, beside: &Path) -> Tokens {
    let mut demands = Demands::default();
    let doc = "`aud` must name one of these; left out: it is not looked at.";
    demands.audience.extend(section.texts("audience", doc, "[]").into_iter().map(|(text, _)| text));
    let doc = "`iss` must be this; left out: it is not looked at.";
    demands.issuer = section.text("issuer", doc, "").map(|(text, _)| text);
    section.flag("exp_required", "A token without an end is refused.", &mut demands.exp_required);
    let mut keys: Vec<Key> = Vec::new();
    let has_keys = section.has("keys");
    let many = section.tables("keys", "Keys that sign tokens; any of them is good.", |table| {
        let (key, place) = read_key(table, beside);
        let Some(key) = key else { return };
        if key.id().is_some() && keys.iter().any(|other| other.id() == key.id()) {
            table.fault("id", place, "another key has this id; a key that takes over gets one of its own");
        }
        keys.push(key);
    });
    if many == 0 && !has_keys && !section.is_describing() {
        let place = section.place();
        section.fault("keys", place, "there is no key; write [[tokens.keys]] with algorithm and secret");
    }
    Tokens::new(keys, demands)
}

fn read_key(table: &mut Section, beside: &Path) -> (Option<Key>, Written) {
    let at = table.place();
    let id = table.text("id", "The `kid` of its tokens; may be left out.", "");
    let id_place = id.as_ref().map_or_else(|| at.clone(), |(_, place)| place.clone());
    let mut algorithm = None;
    let words = Algorithm::NAMES.map(|(name, algorithm)| (name, Some(algorithm)));
    let doc =
        "HS...: a secret of at least 32 bytes (`openssl rand -hex 32`); the others: a public key in PEM.";
    let told = table.word("algorithm", doc, &mut algorithm, &words);
    let mut found = Vec::new();
    for (key, doc) in KEYS {
        let text = if key == "secret" { table.secret(key, doc) } else { table.text(key, doc, "") };
        if let Some((text, place)) = text {
            if key.ends_with("_env") {
                table.names_env(&text);
            }
            found.push((key, text, place));
        }
    }
    if table.is_describing() {
        return (None, at);
    }
    let Some(algorithm) = algorithm else {
        if told.is_none() {
            let names = Algorithm::NAMES.map(|(name, _)| name).join(", ");
            table.fault("algorithm", at, format!("is missing; one of {names}"));
        }
        return (None, id_place);
    };
    let wanted = if algorithm.is_secret() { SECRET } else { PUBLIC };
    let [(key, text, place)] = found.as_slice() else {
        let place = found.last().map_or(at, |(_, _, place)| place.clone());
        table.fault(wanted[0], place, format!("one of {} must be there, and no other", wanted.join(", ")));
        return (None, id_place);
    };
    if !wanted.contains(key) {
        let name = algorithm.as_str();
        table.fault(key, place.clone(), format!("{name} wants {}, not {key}", wanted.join(" or ")));
        return (None, id_place);
    }
    let id = id.map(|(text, _)| text);
    let bytes = bytes_of(key, text, beside);
    table.mark(key, bytes.as_deref().unwrap_or_default());
    let made =
        bytes.and_then(|bytes| Key::new(id.as_deref(), algorithm, &bytes).map_err(|fault| fault.to_string()));
    (made.map_err(|words| table.fault(key, place.clone(), words)).ok(), id_place)
}

/// The bytes of a key. What a file or the environment has around them by accident is no part of them.
pub(super) fn bytes_of(key: &str, text: &str, beside: &Path) -> Result<Vec<u8>, String> {
    if key.ends_with("_file") {
        let path = beside.join(text);
        let bytes =
            std::fs::read(&path).map_err(|error| format!("{} can't be read: {error}", path.display()))?;
        return Ok(bytes.trim_ascii().to_vec());
    }
    if key.ends_with("_env") {
        let value =
            std::env::var(text).map_err(|_| format!("the environment has no {text}, or not as text"))?;
        return Ok(value.trim().as_bytes().to_vec());
    }
    Ok(text.as_bytes().to_vec())
}

#[cfg(test)]
mod tests {
    use super::super::Config;

    const SECRET: &str = "0123456789abcdef0123456789abcdef";

    fn config(keys: &str) -> Result<Config, String> {
        let file = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/keys/config.toml");
        Config::read(file, keys).map_err(|faults| faults.to_string().replace(file, "f"))
    }

    #[test]
    fn keys_come_from_the_file_from_others_and_from_the_environment() {
        // Cargo sets it for every test; as a secret it is of a good length.
        let text = format!(
            "[tokens]\naudience = [\"a\"]\nissuer = \"i\"\nexp_required = false\n\
             [[tokens.keys]]\nid = \"1\"\nalgorithm = \"HS256\"\nsecret = \"{SECRET}\"\n\
             [[tokens.keys]]\nid = \"2\"\nalgorithm = \"HS512\"\nsecret_env = \"CARGO_PKG_DESCRIPTION\"\n\
             [[tokens.keys]]\nalgorithm = \"RS256\"\npublic_key_file = \"rsa.pub.pem\"\n\
             [[tokens.keys]]\nalgorithm = \"ES256\"\npublic_key = \"\"\"\n{}\"\"\"\n",
            include_str!("../../tests/keys/ec.pub.pem")
        );
        let config = config(&text).unwrap();
        let tokens = format!("{:?}", config.tokens);
        for part in ["id: Some(\"1\")", "Hs512", "Rs256", "Es256", "exp_required: false"] {
            assert!(tokens.contains(part), "{tokens}");
        }
        assert!(!tokens.contains(SECRET), "{tokens}");
    }

    #[test]
    fn every_fault_of_a_key_is_told_with_its_line() {
        let hs = "[[tokens.keys]]\nalgorithm = \"HS256\"\n";
        for (keys, wanted) in [
            ("[tokens]\n".to_owned(), "f:1: tokens.keys: there is no key"),
            ("[tokens]\nkeys = 7\n".to_owned(), "f:2: tokens.keys: expected a list of tables, found"),
            (hs.to_owned(), "f:1: tokens.keys.secret: one of secret, secret_file, secret_env must be there"),
            (format!("{hs}secret = \"short\"\n"), "f:3: tokens.keys.secret: the secret has 5 bytes"),
            (
                format!("{hs}secret = \"change-me-{SECRET}\"\n"),
                "f:3: tokens.keys.secret: this is the secret of the example",
            ),
            (format!("{hs}secret = \"{SECRET}\"\nsecret_env = \"X\"\n"), "f:4: tokens.keys.secret: one of"),
            (
                format!("{hs}public_key_file = \"rsa.pub.pem\"\n"),
                "f:3: tokens.keys.public_key_file: HS256 wants secret",
            ),
            (format!("{hs}secret_file = \"nowhere\"\n"), "f:3: tokens.keys.secret_file: "),
            (
                format!("{hs}secret_env = \"EVERWIRE_NO_SUCH\"\n"),
                "f:3: tokens.keys.secret_env: the environment has no EVERWIRE_NO_SUCH",
            ),
            (
                "[[tokens.keys]]\nalgorithm = \"RS256\"\npublic_key_file = \"rsa.pem\"\n".to_owned(),
                "f:3: tokens.keys.public_key_file: this is a private key",
            ),
            (
                "[[tokens.keys]]\nalgorithm = \"ES256\"\npublic_key_file = \"ed.pub.pem\"\n".to_owned(),
                "f:3: tokens.keys.public_key_file: this key is none for ES256",
            ),
            (
                format!("[[tokens.keys]]\nalgorithm = \"none\"\nsecret = \"{SECRET}\"\n"),
                "f:2: tokens.keys.algorithm: \"none\" is none of \"HS256\"",
            ),
            (
                format!("[[tokens.keys]]\nsecret = \"{SECRET}\"\n"),
                "f:1: tokens.keys.algorithm: is missing; one of HS256",
            ),
            (
                format!("{hs}secrt = \"{SECRET}\"\n"),
                "f:3: tokens.keys.secrt: unknown key; did you mean \"secret\"?",
            ),
        ] {
            let told = config(&keys).unwrap_err();
            assert!(told.lines().any(|line| line.starts_with(wanted)), "{keys}\n{told}\nwanted {wanted}");
            assert!(!told.contains(SECRET), "{told}");
        }
        let key = format!("{hs}id = \"a\"\nsecret = \"{SECRET}\"\n");
        let told = config(&format!("{key}{key}")).unwrap_err();
        assert!(told.contains("tokens.keys.id: another key has this id"), "{told}");
    }
}
