//! `channels`: those that this node uses, and behind them those of which only the store knows.

use std::fmt;
use std::sync::Arc;

use everwire_brokers::disk::Disk;
use everwire_engine::channel::{Cell, Namespaces};
use everwire_engine::node::ChannelCursor;
use everwire_engine::session::Deny;
use everwire_proto::api::Paging;
use everwire_proto::codes::ErrorCode;
use everwire_proto::position::Position;
use serde::Serialize;

use super::access::Caller;
use super::channels::Place;
use super::written;
use crate::site::Site;

#[derive(Serialize)]
struct List {
    r#type: &'static str,
    channels: Vec<Known>,
    #[serde(skip_serializing_if = "Option::is_none")]
    next: Option<String>,
}

#[derive(Serialize)]
struct Known {
    channel: String,
    subscribed: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    position: Option<Place>,
    #[serde(skip_serializing_if = "Option::is_none")]
    users: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    clients: Option<u64>,
}

impl Known {
    fn of(cell: &Cell, disk: Option<&Disk>) -> Self {
        let counts = cell.has_presence().then(|| cell.presence_summary());
        // A cell that nobody listens to does not know how far its stream has got; the store does.
        let known = cell.is_live() || !cell.is_foreign();
        let position = cell.keeps_history().then_some(disk).and_then(|disk| match disk {
            Some(disk) if !known => disk.top(cell.name.as_str()),
            _ => known.then(|| cell.top()),
        });
        Self {
            channel: cell.name.as_str().to_owned(),
            subscribed: cell.has_interest(),
            position: position.as_ref().map(Place::of),
            users: counts.map(|counts| counts.users),
            clients: counts.map(|counts| counts.clients),
        }
    }

    /// One that nobody has used since the start.
    fn stored(channel: &str, position: &Position, namespaces: &Namespaces) -> Self {
        let presence = namespaces.options_of(channel).is_some_and(|options| options.presence);
        let nobody = presence.then_some(0);
        let position = Some(Place::of(position));
        Self { channel: channel.to_owned(), subscribed: false, position, users: nobody, clients: nobody }
    }
}

/// Where a list goes on: among the channels of the node, or among those of the store.
enum From {
    Node(ChannelCursor),
    Store(usize),
}

impl From {
    fn parse(text: &str) -> Option<Self> {
        match text.strip_prefix("store-") {
            Some(slot) => slot.parse().ok().map(Self::Store),
            None => ChannelCursor::parse(text).map(Self::Node),
        }
    }
}

impl fmt::Display for From {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Node(cursor) => cursor.fmt(f),
            Self::Store(slot) => write!(f, "store-{slot}"),
        }
    }
}

pub(super) fn list(site: &Site, caller: &Caller, prefix: &str, page: &Paging<'_>) -> Result<Vec<u8>, Deny> {
    let unread =
        || Deny::new(ErrorCode::BadRequest, "`after` must be the `next` of the page before, as it was");
    let from = page.after.as_deref().map(|after| From::parse(after).ok_or_else(unread)).transpose()?;
    let wanted = |name: &str| name.starts_with(prefix) && caller.is_for(name);
    let (disk, mut channels) = (site.disk.as_deref(), Vec::new());
    let first = match from.unwrap_or(From::Node(ChannelCursor::default())) {
        From::Store(slot) => slot,
        From::Node(cursor) => {
            let (cells, next): (Vec<Arc<Cell>>, _) = site.node.channels(&cursor, page.limit, wanted);
            channels.extend(cells.iter().map(|cell| Known::of(cell, disk)));
            if let Some(next) = next {
                return Ok(told(channels, Some(From::Node(next))));
            }
            0
        }
    };
    let Some(disk) = disk else { return Ok(told(channels, None)) };
    let namespaces = &site.node.settings().namespaces;
    // What no namespace keeps any more can't be read either.
    let kept = |name: &str| namespaces.options_of(name).is_some_and(|options| options.history.is_some());
    let room = page.limit - channels.len();
    let (stored, next) = disk.channels(first, room, |name| wanted(name.as_str()) && kept(name.as_str()));
    // What the node knows was among its own. It is asked when the store's lock is free again.
    let alone = stored.iter().filter(|(name, _)| site.node.find(name.as_str()).is_none());
    channels.extend(alone.map(|(name, position)| Known::stored(name.as_str(), position, namespaces)));
    Ok(told(channels, next.map(From::Store)))
}

fn told(channels: Vec<Known>, next: Option<From>) -> Vec<u8> {
    written(&List { r#type: "channels", channels, next: next.map(|next| next.to_string()) })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cursors_round_trip() {
        for text in ["0-", "63-chat:a-b", "store-0", "store-4000000000"] {
            assert_eq!(From::parse(text).map(|from| from.to_string()), Some(text.to_owned()));
        }
        for bad in ["", "store-", "store--1", "store-x", "64-", "stores-1"] {
            assert!(From::parse(bad).is_none(), "{bad}");
        }
    }
}
