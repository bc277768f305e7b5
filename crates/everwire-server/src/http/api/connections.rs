//! `connections`, `subscribe`, `unsubscribe`, `disconnect`, `refresh`: what the shards do with their connections.

use std::sync::Arc;
use std::time::Duration;

use everwire_engine::inbox::{Expelled, Expulsion, Listing, Order, Report, Seen};
use everwire_engine::session::{Deny, known_channel};
use everwire_proto::api::{Paging, Which, Whom};
use everwire_proto::codes::{CloseCode, ErrorCode};
use everwire_proto::command::Since;
use everwire_proto::ids::{ClientId, Epoch};
use everwire_proto::position::Position;
use serde::Serialize;

use super::access::Caller;
use super::written;
use crate::site::Site;

/// A list asks the shards so often; what is left then is for the next page.
const LOOKS: u32 = 64;

#[derive(Serialize)]
struct List {
    r#type: &'static str,
    connections: Vec<Connection>,
    #[serde(skip_serializing_if = "Option::is_none")]
    next: Option<String>,
}

#[derive(Serialize)]
struct Connection {
    client: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    user: Option<String>,
    channels: usize,
    connected_ms: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    expires_at: Option<u64>,
}

impl Connection {
    fn of(seen: Seen) -> Self {
        let Seen { client, user, channels, connected_ms, expires_at } = seen;
        let user = user.as_deref().map(str::to_owned);
        Self { client: client.to_string(), user, channels, connected_ms, expires_at }
    }
}

#[derive(Serialize)]
struct Done<'a> {
    r#type: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    channel: Option<&'a str>,
    connections: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    refused: Option<u64>,
}

fn client_id(text: &str) -> Result<ClientId, Deny> {
    let words = "`client` must be the `client` of a `connected`: 16 characters of [A-Za-z0-9_-]";
    ClientId::parse(text).ok_or_else(|| Deny::new(ErrorCode::BadRequest, words))
}

fn expelled(whom: &Whom<'_>) -> Result<Expelled, Deny> {
    Ok(match whom {
        Whom::User(user) => Expelled::User(Box::from(&**user)),
        Whom::Client(id) => Expelled::Client(client_id(id)?),
    })
}

async fn order(site: &Site, shard: u16, order: Arc<Order>) -> Result<Report, Deny> {
    let waiter = site.desk.wait_for_report();
    site.node.order(shard, order, waiter.reply_to());
    let patience = Duration::from_millis(site.node.settings().times.ask_ms);
    let late =
        || Deny::new(ErrorCode::Timeout, "a part of the server did not answer in time; its log says why");
    waiter.report(patience).await.ok_or_else(late)
}

/// Has every shard do it, all at once.
async fn order_all(site: &Site, what: Order) -> Result<Report, Deny> {
    let what = Arc::new(what);
    let begun = (0..site.node.shard_count()).map(|shard| {
        let waiter = site.desk.wait_for_report();
        site.node.order(shard, what.clone(), waiter.reply_to());
        waiter
    });
    let begun: Vec<_> = begun.collect();
    let mut all = Report::default();
    for waiter in begun {
        let patience = Duration::from_millis(site.node.settings().times.ask_ms);
        let late =
            || Deny::new(ErrorCode::Timeout, "a part of the server did not answer in time; its log says why");
        let report = waiter.report(patience).await.ok_or_else(late)?;
        all.meant += report.meant;
        all.refused += report.refused;
    }
    Ok(all)
}

/// Where a list goes on: a shard, and a place in it.
fn cursor(after: Option<&str>) -> Result<(u16, u32), Deny> {
    let Some(text) = after else { return Ok((0, 0)) };
    let read = text.split_once('-').and_then(|(shard, slot)| Some((shard.parse().ok()?, slot.parse().ok()?)));
    read.ok_or_else(|| {
        Deny::new(ErrorCode::BadRequest, "`after` must be the `next` of the page before, as it was")
    })
}

pub(super) async fn list(
    site: &Site,
    caller: &Caller,
    which: &Which<'_>,
    page: &Paging<'_>,
) -> Result<Vec<u8>, Deny> {
    if which.channel.is_none() && !caller.is_for_all_channels() {
        let words = "this API key is for some channels only: say with `channel` which of them is meant";
        return Err(Deny::new(ErrorCode::PermissionDenied, words));
    }
    if let Some(channel) = &which.channel {
        everwire_engine::name::ChannelName::check(channel)
            .map_err(|bad| Deny::new(ErrorCode::BadChannelName, bad.to_string()))?;
    }
    let wanted = Listing {
        user: which.user.as_deref().map(Into::into),
        client: which.client.as_deref().map(client_id).transpose()?,
        channel: which.channel.as_deref().map(Into::into),
        ..Listing::default()
    };
    let (mut shard, mut from) = cursor(page.after.as_deref())?;
    let mut connections = Vec::new();
    for _ in 0..LOOKS {
        if shard >= site.node.shard_count() {
            break;
        }
        let most = page.limit - connections.len();
        let report =
            order(site, shard, Arc::new(Order::List(Listing { from, most, ..wanted.clone() }))).await?;
        connections.extend(report.seen.into_iter().map(Connection::of));
        match report.next {
            Some(slot) => from = slot,
            None => (shard, from) = (shard + 1, 0),
        }
        if report.next.is_some() && connections.len() == page.limit {
            break;
        }
    }
    let next = (shard < site.node.shard_count()).then(|| format!("{shard}-{from}"));
    Ok(written(&List { r#type: "connections", connections, next }))
}

pub(super) async fn subscribe(
    site: &Site,
    whom: &Whom<'_>,
    channel: &str,
    since: Option<&Since<'_>>,
    rewind: Option<u64>,
) -> Result<Vec<u8>, Deny> {
    known_channel(channel, &site.node.settings().namespaces)?;
    let unread = || Deny::new(ErrorCode::BadRequest, "an epoch is 1..64 characters of [A-Za-z0-9_-]");
    let position = |since: &Since<'_>| {
        let epoch = Epoch::parse(&since.epoch);
        epoch.map(|epoch| Position { epoch, offset: since.offset }).ok_or_else(unread)
    };
    let since = since.map(position);
    let (whom, since) = (expelled(whom)?, since.transpose()?);
    let report = order_all(site, Order::Subscribe { whom, channel: channel.into(), since, rewind }).await?;
    Ok(written(&Done {
        r#type: "subscribed",
        channel: Some(channel),
        connections: report.meant,
        refused: Some(report.refused),
    }))
}

pub(super) async fn unsubscribe(site: &Site, whom: &Whom<'_>, channel: &str) -> Result<Vec<u8>, Deny> {
    known_channel(channel, &site.node.settings().namespaces)?;
    let whom = expelled(whom)?;
    let report = order_all(site, Order::Unsubscribe { whom, channel: channel.into() }).await?;
    // Who was not in it is not meant.
    let connections = report.meant - report.refused;
    Ok(written(&Done { r#type: "unsubscribed", channel: Some(channel), connections, refused: None }))
}

pub(super) async fn refresh(site: &Site, whom: &Whom<'_>, expires_at: u64) -> Result<Vec<u8>, Deny> {
    let report = order_all(site, Order::Refresh { whom: expelled(whom)?, expires_at }).await?;
    Ok(written(&Done { r#type: "refreshed", channel: None, connections: report.meant, refused: None }))
}

pub(super) fn disconnect(
    site: &Site,
    whom: &Whom<'_>,
    code: Option<u16>,
    reason: Option<&str>,
) -> Result<Vec<u8>, Deny> {
    let reason = reason.unwrap_or("the application ended this connection").into();
    let code = code.unwrap_or(CloseCode::Kicked.code());
    site.node.expel(Expulsion { whom: expelled(whom)?, code, reason });
    Ok(br#"{"type":"disconnected"}"#.to_vec())
}
