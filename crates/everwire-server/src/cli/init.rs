//! `everwire init`: the files of a new server.

use std::fs::{File, OpenOptions};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

use clap::Args;

use crate::config::{self, fresh_key, fresh_secret};

use super::Told;

/// Where to write them.
#[derive(Debug, Args)]
pub struct Init {
    /// The folder; it is made where it is not there
    #[arg(default_value = ".")]
    pub dir: PathBuf,
}

/// What a new server allows: the backend publishes, everybody listens, and users have a channel of their own.
const NAMESPACES: &str = r#"
# What this server begins with: your backend publishes, everybody may listen and see who is there.
[namespaces.default]
presence = true
access = { subscribe = "anyone", presence = "anyone", history = "anyone" }
history = {}

# And `user:ann` is the user ann's own: whoever has a token with `sub` = "ann".
[namespaces.user]
user_channels = true
access = { publish = "deny" }
history = { messages = 100 }
"#;

/// The unit, as it stands in `deploy/`.
const UNIT: &str = include_str!("../../../../deploy/everwire.service");

/// What to type, as root, for a service of a user of its own, which can read its config and write nowhere but to its
/// history. `docs/running.md` has the same lines.
fn install(config: &str, unit: &str) -> String {
    format!(
        "    useradd --system --user-group --no-create-home --shell /usr/sbin/nologin everwire\n    \
         install -D -o root -g everwire -m 640 {config} /etc/everwire/everwire.toml\n    \
         install -m 644 {unit} /etc/systemd/system/everwire.service\n    \
         systemctl daemon-reload\n    \
         systemctl enable --now everwire"
    )
}

impl Init {
    /// Writes what is not there yet.
    pub fn run(&self) -> Told {
        if let Err(error) = std::fs::create_dir_all(&self.dir) {
            return Told::No(format!("the folder {} can't be made: {error}", self.dir.display()));
        }
        let key = fresh_key();
        let given = [
            ("listen", "[\"localhost:8765\"]".to_owned()),
            ("api_keys", format!("[\"{key}\"]")),
            ("tokens.keys[].algorithm", "\"HS256\"".to_owned()),
            ("tokens.keys[].secret", format!("\"{}\"", fresh_secret())),
        ];
        let text = format!("{}{NAMESPACES}", config::template(&config::describe(), &given));
        let path = self.dir.join("everwire.toml");
        let unit = self.dir.join("everwire.service");
        for (path, text) in [(&path, text.as_str()), (&unit, UNIT)] {
            if let Err(error) = write_new(path, text) {
                return Told::No(match error.kind() {
                    io::ErrorKind::AlreadyExists => {
                        format!("{} is there already, and stays as it is", path.display())
                    }
                    _ => format!("{} can't be written: {error}", path.display()),
                });
            }
        }
        let (config, unit) = (path.display().to_string(), unit.display().to_string());
        Told::Yes(format!(
            "{config} and {unit} are written. Start with\n\n    everwire serve --config {config}\n\n\
             and publish with the key that stands in the config:\n\n    \
             curl http://localhost:8765/api/publish -H 'Authorization: Bearer KEY' \\\n        \
             -H 'Content-Type: application/json' -d '{{\"channel\":\"news\",\"data\":\"hello\"}}'\n\n\
             Your backend signs tokens for users with the secret under [[tokens.keys]]. One to try out:\n\n    \
             everwire token new --config {config} --user ann\n\n\
             As a service of systemd, with the program at /usr/local/bin/everwire, as root:\n\n{}",
            install(&config, &unit),
        ))
    }
}

/// A new file that only its owner can read: there is a key in it.
fn write_new(path: &Path, text: &str) -> io::Result<()> {
    let mut options = OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    let mut file: File = options.open(path)?;
    file.write_all(text.as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_manual_has_the_same_lines() {
        let manual = include_str!("../../../../docs/running.md");
        for line in install("everwire.toml", "everwire.service").lines() {
            assert!(manual.contains(line.trim()), "docs/running.md is to have: {line}");
        }
    }
}
