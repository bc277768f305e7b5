//! `subscribe`: from where, and how.

use std::sync::Arc;

use everwire_proto::codes::ErrorCode;
use everwire_proto::command::Subscribe;
use everwire_proto::position::Position;

use super::{Deny, Ruling, Session, known_channel, position, rule_on};
use crate::channel::{Namespaces, Options, Wanted};
use crate::permit::Right;
use crate::plant::{Bug, planted};
use crate::ports::{Authority, Entrance};
use crate::time::Now;

/// A subscribe that may go through.
#[derive(Clone, Debug)]
pub struct SubscribeAsk {
    /// The channel's settings.
    pub options: Arc<Options>,
    /// What it asks of the past.
    pub wanted: Wanted,
    /// Wants presence events.
    pub watch: bool,
    /// Is spared its own live messages.
    pub mute: bool,
    /// Wants at most so many live messages a second.
    pub max_rate: Option<u32>,
    /// It came in by a token for this channel alone. Boxed: nearly nobody does.
    pub entrance: Option<Box<Entrance>>,
    /// Nobody asked: the server does it, and tells.
    pub by_server: bool,
}

/// A rate above this is this: a shard does not look more often than every ms.
const MOST_RATE: u32 = 1_000;

impl Session {
    /// Checks a `subscribe`; `subscribed` is how many channels it has, `limit` how many it may have.
    /// A token in the command lets in where the namespace leaves it to tokens.
    pub fn ask_subscribe(
        &self,
        ask: &Subscribe<'_>,
        namespaces: &Namespaces,
        authority: &dyn Authority,
        (subscribed, limit): (usize, u32),
        now: Now,
    ) -> Result<SubscribeAsk, Deny> {
        let entrance = ask.token.as_ref().map(|token| self.enter_by(token, &ask.channel, authority, now));
        let entrance = entrance.transpose()?;
        let options = match &entrance {
            Some(_) => self.not_denied(&ask.channel, namespaces)?,
            None => self.channel(&ask.channel, namespaces, Right::Subscribe)?,
        };
        check_room(subscribed, limit)?;
        if ask.max_rate == Some(0) {
            let text = "`max_rate` is 0; it must be 1 or more messages a second";
            return Err(Deny::new(ErrorCode::BadRequest, text));
        }
        if ask.presence && !options.presence {
            let text = format!("presence is off for {}; subscribe without `presence`", ask.channel);
            return Err(Deny::new(ErrorCode::NotAvailable, text));
        }
        if ask.presence {
            self.channel(&ask.channel, namespaces, Right::Presence)?;
        }
        let since = ask.since.as_ref().map(position).transpose()?;
        Ok(SubscribeAsk {
            options: options.clone(),
            wanted: Wanted { since, rewind: ask.rewind },
            watch: ask.presence,
            // A subscriber may only narrow what the namespace allows.
            mute: ask.echo == Some(false) || !options.echo,
            max_rate: ask.max_rate.map(|rate| u32::try_from(rate).unwrap_or(MOST_RATE).min(MOST_RATE)),
            entrance: entrance.map(Box::new),
            by_server: false,
        })
    }

    /// Checks a subscription that a token asks for.
    pub fn ask_appointed(
        &self,
        channel: &str,
        since: Option<Position>,
        namespaces: &Namespaces,
        (subscribed, limit): (usize, u32),
    ) -> Result<SubscribeAsk, Deny> {
        let options = self.channel(channel, namespaces, Right::Subscribe)?.clone();
        check_room(subscribed, limit)?;
        let wanted = Wanted { since, rewind: None };
        let mute = !options.echo;
        Ok(SubscribeAsk {
            options,
            wanted,
            watch: false,
            mute,
            max_rate: None,
            entrance: None,
            by_server: true,
        })
    }

    /// What a token for one channel says, if it is for this one and for this user.
    fn enter_by(
        &self,
        token: &str,
        channel: &str,
        authority: &dyn Authority,
        now: Now,
    ) -> Result<Entrance, Deny> {
        let entrance = authority.check_entrance(token, now).map_err(|(code, text)| Deny::new(code, text))?;
        if *entrance.channel != *channel || entrance.user.as_deref() != self.user() {
            let text = format!("the token does not let {} in to {channel}", self.who());
            return Err(Deny::new(ErrorCode::PermissionDenied, text));
        }
        Ok(entrance)
    }

    /// The settings of a channel that a token lets in to: only what the namespace denies to all stays shut.
    fn not_denied<'n>(&self, name: &str, namespaces: &'n Namespaces) -> Result<&'n Arc<Options>, Deny> {
        let options = known_channel(name, namespaces)?;
        match rule_on(&self.identity, name, options, Right::Subscribe) {
            Ruling::Denied | Ruling::NotOwner => self.channel(name, namespaces, Right::Subscribe),
            _ => Ok(options),
        }
    }
}

fn check_room(subscribed: usize, limit: u32) -> Result<(), Deny> {
    if subscribed < limit as usize || planted(Bug::EndlessChannels) {
        return Ok(());
    }
    let text =
        format!("this connection has {subscribed} channels, and {limit} is the limit; unsubscribe first");
    Err(Deny::new(ErrorCode::LimitExceeded, text))
}
