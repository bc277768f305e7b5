//! `everwire token` and `everwire explain`: what an operator asks when a user may not do what the user should.

use std::fmt::Write as _;
use std::io::Read as _;
use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Subcommand};
use everwire_engine::permit::Right;
use everwire_engine::ports::Identity;
use everwire_engine::time::Now;
use serde_json::{Map, Value, json};

use crate::auth::{self, TOKEN_BYTES, Tokens, Wanted};
use crate::config::Config;
use crate::verdict::{Verdict, verdict};

/// What to do with a token.
#[derive(Debug, Subcommand)]
pub enum TokenTask {
    /// Make a token, for trying out; your backend makes the real ones
    New(NewToken),
    /// Say whether a token is accepted, and why not
    Check {
        /// The config whose keys and demands hold
        #[arg(long, value_name = "FILE")]
        config: PathBuf,
        /// The token; without it, it is read from the standard input, where no shell remembers it
        token: Option<String>,
    },
}

/// What a new token says.
#[derive(Debug, Args)]
pub struct NewToken {
    /// The config whose secret signs it
    #[arg(long, value_name = "FILE")]
    pub config: PathBuf,
    /// The id of the key; without it, the first one that has a secret
    #[arg(long, value_name = "ID")]
    pub key: Option<String>,
    /// The user (`sub`); without it, the token is of nobody
    #[arg(long)]
    pub user: Option<String>,
    /// How long it is good, such as 30s, 10m, 12h, 7d
    #[arg(long, value_name = "TIME", default_value = "1h", value_parser = duration)]
    pub lasts: Duration,
    /// Rights in a channel, or in all that begin so: 'chat:*=subscribe,publish'; may be repeated
    #[arg(long, value_name = "CHANNEL=RIGHTS", value_parser = line_of_allow)]
    pub allow: Vec<(String, Vec<Right>)>,
    /// What everybody may know of the user, as JSON
    #[arg(long, value_name = "JSON", value_parser = json_of)]
    pub info: Option<Value>,
    /// Make it a token for this channel alone, for `subscribe`
    #[arg(long, value_name = "CHANNEL", conflicts_with_all = ["allow", "info"])]
    pub channel: Option<String>,
    /// The token's id (`jti`), by which it can be revoked
    #[arg(long, value_name = "ID")]
    pub id: Option<String>,
}

/// What to explain.
#[derive(Debug, Args)]
pub struct Explain {
    /// The config that decides
    #[arg(long, value_name = "FILE")]
    pub config: PathBuf,
    /// The token of whoever wants to; `-` reads it from the standard input, without it nobody is known
    #[arg(long, allow_hyphen_values = true)]
    pub token: Option<String>,
    /// In which channel
    #[arg(long)]
    pub channel: String,
    /// To do what: subscribe, publish, presence, history
    #[arg(long, value_parser = right)]
    pub action: Right,
}

/// What an operator is told.
#[derive(Debug, PartialEq, Eq)]
pub enum Told {
    /// It is so.
    Yes(String),
    /// It is not so.
    No(String),
    /// The config is at fault.
    BadConfig(String),
}

fn duration(text: &str) -> Result<Duration, String> {
    let wrong = || format!("{text:?} is no time; write such as 30s, 10m, 12h, 7d");
    let unit = text.chars().next_back().ok_or_else(wrong)?;
    let seconds = match unit {
        's' => 1,
        'm' => 60,
        'h' => 3_600,
        'd' => 86_400,
        _ => return Err(wrong()),
    };
    let count: u32 = text.strip_suffix(unit).and_then(|n| n.parse().ok()).ok_or_else(wrong)?;
    Ok(Duration::from_secs(u64::from(count) * seconds))
}

fn right(word: &str) -> Result<Right, String> {
    let words = Right::ALL.map(Right::as_str).join(", ");
    Right::parse(word).ok_or_else(|| format!("{word:?} is none of {words}"))
}

fn line_of_allow(text: &str) -> Result<(String, Vec<Right>), String> {
    let (channel, rights) = text
        .rsplit_once('=')
        .ok_or_else(|| format!("{text:?} has no `=`; write 'chat:*=subscribe,publish'"))?;
    let rights = rights.split(',').map(right).collect::<Result<_, _>>()?;
    Ok((channel.to_owned(), rights))
}

fn json_of(text: &str) -> Result<Value, String> {
    serde_json::from_str(text).map_err(|error| format!("this is no JSON: {error}"))
}

fn load(path: &std::path::Path) -> Result<Config, Told> {
    Config::load(path).map_err(|faults| Told::BadConfig(faults.to_string()))
}

fn tokens_of(config: &Config) -> Result<&Tokens, Told> {
    let words = "the config has no [tokens], so no token is accepted";
    config.tokens.as_deref().ok_or_else(|| Told::BadConfig(words.to_owned()))
}

/// The token of the command line, or of the standard input.
pub(super) fn token_of(given: Option<&str>) -> Result<String, Told> {
    if let Some(token) = given {
        return Ok(token.trim().to_owned());
    }
    let mut text = String::new();
    // One byte more than a token may have, and some line ends: what is longer is refused as such.
    let read = std::io::stdin().take(TOKEN_BYTES as u64 + 16).read_to_string(&mut text);
    read.map_err(|error| Told::No(format!("the standard input can't be read: {error}")))?;
    Ok(text.trim().to_owned())
}

impl TokenTask {
    /// Does it.
    pub fn run(&self, now: Now) -> Told {
        let told = match self {
            Self::New(new) => load(&new.config).and_then(|config| new.make(tokens_of(&config)?, now)),
            Self::Check { config, token } => {
                load(config).and_then(|config| check(tokens_of(&config)?, &token_of(token.as_deref())?, now))
            }
        };
        told.map_or_else(|told| told, Told::Yes)
    }
}

impl NewToken {
    fn make(&self, tokens: &Tokens, now: Now) -> Result<String, Told> {
        let mut keys = tokens.keys().iter().filter(|key| key.algorithm().is_secret());
        let key = match &self.key {
            None => keys.next(),
            Some(id) => keys.find(|key| key.id() == Some(id)),
        };
        let none = || {
            Told::BadConfig(
                "the config has no such key with a secret; with a public key only your backend can sign"
                    .to_owned(),
            )
        };
        let key = key.ok_or_else(none)?;
        let mut others = Map::new();
        if !self.allow.is_empty() {
            let line = |(channel, rights): &(String, Vec<Right>)| {
                (channel.clone(), rights.iter().map(|right| right.as_str()).collect::<Vec<_>>().into())
            };
            others.insert("allow".into(), Value::Object(self.allow.iter().map(line).collect()));
        }
        let texts = [("channel", self.channel.clone()), ("jti", self.id.clone())];
        others.extend(texts.into_iter().filter_map(|(key, text)| Some((key.to_owned(), Value::from(text?)))));
        others.extend(self.info.clone().map(|info| ("info".to_owned(), info)));
        let demands = tokens.demands();
        others.extend(demands.audience.first().map(|first| ("aud".to_owned(), json!(first))));
        others.extend(demands.issuer.as_ref().map(|issuer| ("iss".to_owned(), json!(issuer))));
        let issued_s = now.unix_ms / 1_000;
        let expires_s = Some(issued_s + self.lasts.as_secs());
        let wanted = Wanted { user: self.user.clone(), issued_s, expires_s, others };
        let token = auth::sign(key, &wanted).expect("a key with a secret signs");
        // What this program would refuse it does not hand out.
        tokens
            .read(&token, now)
            .map_err(|fault| Told::No(format!("this would be no good token: {fault}")))?;
        Ok(token)
    }
}

/// What a token says, for the operator.
fn check(tokens: &Tokens, token: &str, now: Now) -> Result<String, Told> {
    let refused = |fault| Told::No(format!("refused: {fault}"));
    let claims = tokens.read(token, now).map_err(refused)?;
    let mut words = "accepted".to_owned();
    let mut line = |name: &str, text: &str| {
        let _ = write!(words, "\n  {name:<9} {text}");
    };
    line("user", claims.user().unwrap_or("none: an anonymous client"));
    let ends = claims.expires_at().map(|at| at.saturating_sub(now.unix_ms) / 1_000);
    line("ends", &ends.map_or("never".to_owned(), |seconds| format!("in {seconds} s")));
    if let Some(id) = claims.token_id() {
        line("id", id);
    }
    if let Some(channel) = claims.channel() {
        line("for", &format!("subscribe to {channel}, and nothing else"));
        return Ok(words);
    }
    let identity = tokens.identity(token, now).map_err(refused)?;
    for rule in identity.permit.iter().flat_map(|permit| permit.rules.iter()) {
        line("allows", &rule.to_string());
    }
    Ok(words)
}

impl Explain {
    /// Does it.
    pub fn run(&self, now: Now) -> Told {
        let config = match load(&self.config) {
            Ok(config) => config,
            Err(told) => return told,
        };
        match self.identity(&config, now) {
            Ok(identity) => self.explain(&config, &identity),
            Err(told) => told,
        }
    }

    fn identity(&self, config: &Config, now: Now) -> Result<Identity, Told> {
        let Some(token) = &self.token else { return Ok(Identity::default()) };
        let token = token_of(Some(token.as_str()).filter(|token| *token != "-"))?;
        let identity = tokens_of(config)?.identity(&token, now);
        identity.map_err(|fault| Told::No(format!("denied: the token is refused: {fault}")))
    }

    fn explain(&self, config: &Config, identity: &Identity) -> Told {
        let rules = (&config.namespaces, config.connect_required);
        let who = (identity, self.token.is_some());
        let (ruling, rule) = match verdict(rules, who, &self.channel, self.action) {
            Verdict::Refused(code, words) => return Told::No(format!("denied: {}: {words}", code.as_str())),
            Verdict::Ruled(ruling, rule) => (ruling, rule),
        };
        let verdict = if ruling.admits() { "allowed" } else { "denied" };
        let who =
            identity.user.as_deref().map_or("an anonymous client".to_owned(), |user| format!("user {user}"));
        let mut words =
            format!("{verdict}: {who}, {} {}\n  because   {ruling}", self.action.phrase(), self.channel);
        if let Some(rule) = rule {
            let _ = write!(words, "\n  rule      {rule}");
        }
        if ruling.admits() { Told::Yes(words) } else { Told::No(words) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_stands_on_the_command_line_is_read() {
        for (text, seconds) in [("30s", 30), ("10m", 600), ("12h", 43_200), ("7d", 604_800)] {
            assert_eq!(duration(text), Ok(Duration::from_secs(seconds)));
        }
        for bad in ["", "h", "1", "1 h", "-1s", "1y", "99999999999s", "1µ"] {
            assert!(duration(bad).is_err(), "{bad}");
        }
        let read = line_of_allow("chat:a=b*=subscribe,history").unwrap();
        assert_eq!(read, ("chat:a=b*".to_owned(), vec![Right::Subscribe, Right::History]));
        for bad in ["chat:*", "chat:*=", "chat:*=all", "chat:*=subscribe,"] {
            assert!(line_of_allow(bad).is_err(), "{bad}");
        }
    }
}
