//! One client's protocol state. A session checks what a command asks against what the client may do, and says what is
//! to be done; it delivers nothing and knows no other connection.

mod charge;
mod connect;
mod history;
mod presence;
mod publish;
mod refresh;
mod right;
mod subscribe;

use std::collections::VecDeque;
use std::sync::Arc;

use everwire_proto::codes::{CloseCode, ErrorCode};
use everwire_proto::ids::{ClientId, Epoch, SessionKey};
use everwire_proto::payload::Payload;
use everwire_proto::position::Position;
use everwire_proto::secret::Secret;

pub use charge::Pause;
pub use connect::ConnectAsk;
pub use history::{HISTORY_BYTES, HistoryAsk, checked_query};
pub use presence::{PresenceAsk, StateAsk, checked_page, member_token};
pub use publish::{PublishAsk, check_rate, draft_for_backend};
pub use right::{Ruling, rule_on};
pub use subscribe::SubscribeAsk;

use crate::channel::{Namespaces, Options};
use crate::entry::{Form, MemberCard, Sender};
use crate::limits::ConnectionLimits;
use crate::name::ChannelName;
use crate::node::Full;
use crate::party::Part;
use crate::permit::Right;
use crate::plant::{Bug, planted};
use crate::ports::Identity;
use crate::time::{Bucket, Now, SharedBucket};

/// Where a session is in its life.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// Nothing was asked yet.
    Fresh,
    /// `connected` was sent.
    Connected,
    /// A close frame is on its way; at this time the socket is cut even if it was not taken.
    Closing(u64),
}

/// A refusal on its way to the client.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Deny {
    /// The code.
    pub code: ErrorCode,
    /// What happened, which value, what to do.
    pub message: String,
    /// Where there is a time.
    pub retry_after_ms: Option<u64>,
    /// The channel's position, for `unrecoverable_position`.
    pub position: Option<Position>,
}

impl Deny {
    /// A refusal without a time.
    pub fn new(code: ErrorCode, message: impl Into<String>) -> Self {
        Self { code, message: message.into(), retry_after_ms: None, position: None }
    }

    /// What the broker could not do.
    pub fn failed(code: ErrorCode) -> Self {
        let text = match code {
            ErrorCode::Timeout => "the broker did not answer in time; whether it was stored is not known",
            ErrorCode::Overloaded => "the broker has more to do than it can, or no room left; try again",
            _ => "the broker could not do it; the log of the server says why",
        };
        Self::new(code, text)
    }
}

impl From<Full> for Deny {
    fn from(full: Full) -> Self {
        let text =
            format!("this server has {} channels in use, which is its limit; try again later", full.channels);
        Self { retry_after_ms: Some(1_000), ..Self::new(ErrorCode::Overloaded, text) }
    }
}

/// One client.
#[derive(Debug)]
pub struct Session {
    /// The public id.
    pub client: ClientId,
    /// The secret.
    pub key: SessionKey,
    /// Who it is.
    pub identity: Identity,
    /// Where it is in its life.
    pub phase: Phase,
    /// How it reads and writes.
    pub form: Form,
    /// It wants visible pings.
    pub heartbeat: bool,
    /// It was pinged and has been silent since.
    pub pinged: bool,
    /// Unique in the node's life.
    pub holder: u64,
    /// A token that came with the upgrade.
    pub token: Option<Secret<Box<str>>>,
    /// Since when it is here, ms of the clock that never jumps.
    pub opened_ms: u64,
    /// When something was last received.
    pub heard_ms: u64,
    /// The bucket of commands.
    pub commands: Bucket,
    /// The bucket of `subscribe` and `unsubscribe`.
    pub subscribes: Bucket,
    /// The bucket of publishes, where fewer of them are allowed than of commands.
    publishes: Bucket,
    /// Its part of all connections of its user, from `connect` to its end.
    pub party: Option<Part>,
    /// The bucket of all connections from its address.
    pub address: Option<Arc<SharedBucket>>,
    /// Itself as a sender, from its first publication on.
    sender: Option<Arc<Sender>>,
    /// When its last unreadable commands came.
    bad_ms: VecDeque<u64>,
}

impl Session {
    /// A session that has said nothing yet.
    pub fn new(
        client: ClientId,
        key: SessionKey,
        form: Form,
        token: Option<Secret<Box<str>>>,
        holder: u64,
        now: Now,
    ) -> Self {
        Self {
            client,
            key,
            identity: Identity::default(),
            phase: Phase::Fresh,
            form,
            heartbeat: false,
            pinged: false,
            holder,
            token,
            opened_ms: now.mono_ms,
            heard_ms: now.mono_ms,
            commands: Bucket::default(),
            subscribes: Bucket::default(),
            publishes: Bucket::default(),
            party: None,
            address: None,
            sender: None,
            bad_ms: VecDeque::new(),
        }
    }

    /// Counts a command that could not be read; `Some`: that was one too many.
    pub fn count_bad(&mut self, limit: u32, now: Now) -> Option<CloseCode> {
        let seen = &mut self.bad_ms;
        while seen.front().is_some_and(|at| now.mono_ms.saturating_sub(*at) > 10_000) {
            seen.pop_front();
        }
        seen.push_back(now.mono_ms);
        (seen.len() > limit as usize && !planted(Bug::BabbleBorne)).then_some(CloseCode::Policy)
    }

    /// The user, unless anonymous.
    pub fn user(&self) -> Option<&str> {
        self.identity.user.as_deref()
    }

    fn who(&self) -> String {
        match self.user() {
            Some(user) => format!("user {user}"),
            None => "an anonymous client".to_owned(),
        }
    }

    /// This session as a sender. Who it is is settled when it connects, before it publishes anything.
    fn sender(&mut self) -> Arc<Sender> {
        let Self { client, identity, sender, .. } = self;
        let own = || Sender { client: *client, user: identity.user.clone(), info: identity.info.clone() };
        sender.get_or_insert_with(|| Arc::new(own())).clone()
    }

    /// This session as a member.
    pub fn card(&self) -> MemberCard {
        MemberCard {
            client: self.client,
            user: self.identity.user.clone(),
            info: self.identity.info.clone(),
            state: None,
        }
    }

    /// How many channels it may have: its token may allow fewer than the config.
    pub fn most_channels(&self, limits: &ConnectionLimits) -> u32 {
        let own = self.identity.permit.as_ref().and_then(|permit| permit.channels);
        own.map_or(limits.channels, |own| own.min(limits.channels))
    }

    /// Commands a second, and at once: its token may allow fewer than the config.
    pub fn command_rate(&self, limits: &ConnectionLimits) -> (u32, u32) {
        let own = self.identity.permit.as_ref().and_then(|permit| permit.commands_per_second);
        match own.filter(|own| *own < limits.commands_per_second) {
            None => (limits.commands_per_second, limits.commands_burst),
            Some(own) => (own, limits.commands_burst.min(own.saturating_mul(2))),
        }
    }

    /// The settings of a channel, if its name is good, its namespace is known and this session has the right.
    fn channel<'n>(
        &self,
        name: &str,
        namespaces: &'n Namespaces,
        right: Right,
    ) -> Result<&'n Arc<Options>, Deny> {
        let options = known_channel(name, namespaces)?;
        self.may(right, name, options)?;
        Ok(options)
    }

    /// Whether it has the right in a channel with these settings.
    fn may(&self, right: Right, channel: &str, options: &Options) -> Result<(), Deny> {
        if !rule_on(&self.identity, channel, options, right).admits() {
            let text = format!("{} may not {} {channel}", self.who(), right.phrase());
            return Err(Deny::new(ErrorCode::PermissionDenied, text));
        }
        Ok(())
    }
}

/// The settings of a channel, if its name is good and its namespace is known.
pub fn known_channel<'n>(name: &str, namespaces: &'n Namespaces) -> Result<&'n Arc<Options>, Deny> {
    ChannelName::check(name).map_err(|bad| Deny::new(ErrorCode::BadChannelName, bad.to_string()))?;
    namespaces.options_of(name).ok_or_else(|| {
        let text = match name.split_once(':') {
            Some((namespace, _)) => {
                format!("no namespace {namespace:?} is configured on this server (channel {name})")
            }
            None => format!("this server has no default namespace (channel {name}); use <namespace>:<name>"),
        };
        Deny::new(ErrorCode::UnknownChannel, text)
    })
}

/// A position as the client wrote it; its form was checked when it was read.
fn position(since: &everwire_proto::command::Since<'_>) -> Result<Position, Deny> {
    let epoch = Epoch::parse(&since.epoch)
        .ok_or_else(|| Deny::new(ErrorCode::BadRequest, "an epoch is 1..64 characters of [A-Za-z0-9_-]"))?;
    Ok(Position { epoch, offset: since.offset })
}

/// A presence state or payload, kept.
fn kept(data: Option<&everwire_proto::payload::Data<'_>>) -> Option<Arc<Payload>> {
    data.map(|d| Arc::new(d.to_payload()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bad_commands_are_counted_over_any_ten_seconds() {
        let at = |mono_ms| Now { mono_ms, unix_ms: 0 };
        let new = || Session::new(ClientId([0; 12]), SessionKey([0; 16]), Form::Json, None, 1, at(0));
        let mut slow = new();
        assert!((0..200).all(|n| slow.count_bad(20, at(n * 501)).is_none()), "20 in 10 s are borne");
        let mut late = new();
        assert!((0..20).all(|n| late.count_bad(20, at(9_000 + n)).is_none()));
        assert_eq!(
            late.count_bad(20, at(10_100)),
            Some(CloseCode::Policy),
            "no round number resets the count"
        );
    }
}
