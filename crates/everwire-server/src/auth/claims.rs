//! What a token says: RFC 7519 section 4.1, and our own claims.

use std::fmt;
use std::sync::Arc;

use bytes::Bytes;
use everwire_engine::limits::LEEWAY_MS;
use everwire_engine::name::ChannelName;
use everwire_engine::permit::{Permit, Right, Rule};
use everwire_engine::ports::{Entrance, Identity};
use everwire_engine::time::Now;
use everwire_proto::payload::Payload;
use serde::de::{MapAccess, Visitor};
use serde::{Deserialize, Deserializer};
use serde_json::Value;

use super::parts::object;
use super::{Demands, Fault};

/// The end of the year 9999, in seconds.
const LAST_SECOND: u64 = 253_402_300_799;
/// Of `sub` and `jti`, bytes.
const NAME_BYTES: usize = 255;
const INFO_BYTES: usize = 1_024;
/// Lines of `allow`.
const RULES: usize = 64;
/// Names in `channels`.
const SUBSCRIPTIONS: usize = 64;

/// What a good token says. Its `Debug` shows nothing of it.
#[derive(Deserialize)]
pub struct Claims {
    sub: Option<String>,
    exp: Option<u64>,
    nbf: Option<u64>,
    iat: Option<u64>,
    iss: Option<String>,
    aud: Option<Audience>,
    jti: Option<String>,
    info: Option<Value>,
    allow: Option<Allow>,
    limits: Option<OwnLimits>,
    channels: Option<Vec<String>>,
    channel: Option<String>,
    /// No claim: the number of the key that signed it.
    #[serde(skip)]
    signed_by: u32,
}

impl fmt::Debug for Claims {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Claims(***)")
    }
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Audience {
    One(String),
    Many(Vec<String>),
}

#[derive(Deserialize)]
struct OwnLimits {
    channels: Option<u32>,
    commands_per_second: Option<u32>,
}

/// Lines as they came: a map would lose one that stands twice, and with it a right.
struct Allow(Vec<(String, Vec<String>)>);

impl<'de> Deserialize<'de> for Allow {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Lines;
        impl<'de> Visitor<'de> for Lines {
            type Value = Allow;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object of lists")
            }
            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Allow, A::Error> {
                let mut lines = Vec::new();
                while let Some(line) = map.next_entry()? {
                    lines.push(line);
                }
                Ok(Allow(lines))
            }
        }
        deserializer.deserialize_map(Lines)
    }
}

impl Claims {
    /// Reads a payload whose signature is good. Types are strict: a claim of the wrong one is no claim that is absent.
    pub(super) fn read(payload: &[u8]) -> Result<Self, Fault> {
        let claims: Self = object(payload).ok_or(Fault::Claims)?;
        let named = |name: &Option<String>| {
            name.as_ref()
                .is_none_or(|n| (1..=NAME_BYTES).contains(&n.len()) && !n.chars().any(char::is_control))
        };
        let in_time = [claims.exp, claims.nbf, claims.iat].iter().flatten().all(|at| *at <= LAST_SECOND);
        let channel = claims.channel.as_deref().is_none_or(|name| ChannelName::check(name).is_ok());
        if !named(&claims.sub) || !named(&claims.jti) || !in_time || !channel {
            return Err(Fault::Claims);
        }
        Ok(claims)
    }

    /// Times, audience, issuer.
    pub(super) fn check(&self, demands: &Demands, now: Now) -> Result<(), Fault> {
        match self.expires_at() {
            None if demands.exp_required => return Err(Fault::NoEnd),
            Some(end) if end + LEEWAY_MS <= now.unix_ms => return Err(Fault::Expired),
            _ => {}
        }
        if [self.nbf, self.iat].iter().flatten().any(|at| at * 1_000 > now.unix_ms + LEEWAY_MS) {
            return Err(Fault::TooEarly);
        }
        if demands.issuer.is_some() && demands.issuer != self.iss {
            return Err(Fault::Issuer);
        }
        let named = |one: &String| demands.audience.contains(one);
        let ours = match &self.aud {
            Some(Audience::One(one)) => named(one),
            Some(Audience::Many(many)) => many.iter().any(named),
            None => false,
        };
        if !demands.audience.is_empty() && !ours {
            return Err(Fault::Audience);
        }
        Ok(())
    }

    /// The same, signed by the key of this number.
    pub(super) fn signed_by(self, signed_by: u32) -> Self {
        Self { signed_by, ..self }
    }

    /// The user.
    pub fn user(&self) -> Option<&str> {
        self.sub.as_deref()
    }

    /// The token's id.
    pub fn token_id(&self) -> Option<&str> {
        self.jti.as_deref()
    }

    /// The one channel that it is for.
    pub fn channel(&self) -> Option<&str> {
        self.channel.as_deref()
    }

    /// When it ends, ms since 1970 UTC.
    pub fn expires_at(&self) -> Option<u64> {
        self.exp.map(|seconds| seconds * 1_000)
    }

    /// When it was made, ms since 1970 UTC.
    pub(super) fn issued_at(&self) -> Option<u64> {
        self.iat.map(|seconds| seconds * 1_000)
    }

    /// A token for connecting.
    pub(super) fn identity(self) -> Result<Identity, Fault> {
        if self.channel.is_some() {
            return Err(Fault::ForChannel);
        }
        Ok(Identity {
            expires_at: self.expires_at(),
            permit: permit(self.allow, self.limits, self.channels)?.map(Arc::new),
            info: self.info.as_ref().map(info).transpose()?,
            user: self.sub.map(Into::into),
            token_id: self.jti.map(Into::into),
            signed_by: self.signed_by,
        })
    }

    /// A token for one channel.
    pub(super) fn entrance(self) -> Result<Entrance, Fault> {
        let (expires_at, signed_by) = (self.expires_at(), self.signed_by);
        let token_id = self.token_id().map(Into::into);
        let channel = self.channel.ok_or(Fault::ForConnect)?.into();
        Ok(Entrance { user: self.sub.map(Into::into), channel, expires_at, token_id, signed_by })
    }
}

fn info(value: &Value) -> Result<Arc<Payload>, Fault> {
    let text = value.to_string();
    if text.len() > INFO_BYTES {
        return Err(Fault::Info);
    }
    Ok(Arc::new(Payload::Json(Bytes::from(text))))
}

fn permit(
    allow: Option<Allow>,
    limits: Option<OwnLimits>,
    channels: Option<Vec<String>>,
) -> Result<Option<Permit>, Fault> {
    let mut rules = Vec::new();
    for (pattern, words) in allow.map(|allow| allow.0).unwrap_or_default() {
        let rights: Option<Vec<_>> = words.iter().map(|word| Right::parse(word)).collect();
        let rights = rights.filter(|_| (1..=256).contains(&pattern.len())).ok_or(Fault::Allow)?;
        rules.push(Rule::new(&pattern, rights));
    }
    if rules.len() > RULES {
        return Err(Fault::Allow);
    }
    let subscriptions = subscriptions(channels.unwrap_or_default())?;
    let limits = limits.unwrap_or(OwnLimits { channels: None, commands_per_second: None });
    let OwnLimits { channels, commands_per_second } = limits;
    if channels == Some(0) || commands_per_second == Some(0) {
        return Err(Fault::Claims);
    }
    let permit = Permit { rules: rules.into(), subscriptions, channels, commands_per_second };
    Ok((permit != Permit::default()).then_some(permit))
}

/// Good names, each once.
fn subscriptions(channels: Vec<String>) -> Result<Box<[Box<str>]>, Fault> {
    let mut names: Vec<Box<str>> = channels.into_iter().map(Into::into).collect();
    names.sort_unstable();
    names.dedup();
    if names.len() > SUBSCRIPTIONS || names.iter().any(|name| ChannelName::check(name).is_err()) {
        return Err(Fault::Channels);
    }
    Ok(names.into())
}
