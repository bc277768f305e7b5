//! `subscribe`: from where, and how.

use std::sync::Arc;

use everwire_proto::codes::ErrorCode;
use everwire_proto::command::Subscribe;

use super::{Deny, Session, position};
use crate::channel::{Namespaces, Options, Wanted};
use crate::plant::{Bug, planted};

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
}

impl Session {
    /// Checks a `subscribe`; `subscribed` is how many channels it has, `limit` how many it may have.
    pub fn ask_subscribe(
        &self,
        ask: &Subscribe<'_>,
        namespaces: &Namespaces,
        subscribed: usize,
        limit: u32,
    ) -> Result<SubscribeAsk, Deny> {
        let options = self.channel(&ask.channel, namespaces, "subscribe to", |o| o.access.subscribe)?;
        if subscribed >= limit as usize && !planted(Bug::EndlessChannels) {
            let text = format!(
                "this connection has {subscribed} channels, and {limit} is the limit; unsubscribe first"
            );
            return Err(Deny::new(ErrorCode::LimitExceeded, text));
        }
        if ask.max_rate.is_some() {
            let text = "`max_rate` is not offered by this server; subscribe without it";
            return Err(Deny::new(ErrorCode::NotAvailable, text));
        }
        if ask.presence && !options.presence {
            let text = format!("presence is off for {}; subscribe without `presence`", ask.channel);
            return Err(Deny::new(ErrorCode::NotAvailable, text));
        }
        if ask.presence {
            self.channel(&ask.channel, namespaces, "see who is in", |o| o.access.presence)?;
        }
        let since = ask.since.as_ref().map(position).transpose()?;
        Ok(SubscribeAsk {
            options: options.clone(),
            wanted: Wanted { since, rewind: ask.rewind },
            watch: ask.presence,
            mute: ask.echo == Some(false),
        })
    }
}
