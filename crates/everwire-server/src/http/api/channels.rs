//! `history`, `history_clear`, `presence`, `presence_stats`, `channels`.

use std::sync::Arc;
use std::time::Duration;

use everwire_engine::channel::Cell;
use everwire_engine::node::ChannelCursor;
use everwire_engine::session::{Deny, checked_page, member_token};
use everwire_engine::verbs;
use everwire_proto::api::Paging;
use everwire_proto::codes::ErrorCode;
use everwire_proto::command::History;
use everwire_proto::json;
use everwire_proto::position::Position;
use everwire_proto::reply::Outgoing;
use serde::Serialize;

use super::access::Caller;
use super::written;
use crate::site::Site;

#[derive(Serialize)]
struct Place {
    epoch: String,
    offset: u64,
}

impl Place {
    fn of(position: &Position) -> Self {
        Self { epoch: position.epoch.as_str().to_owned(), offset: position.offset }
    }
}

#[derive(Serialize)]
struct Cleared<'a> {
    r#type: &'static str,
    channel: &'a str,
    position: Place,
}

#[derive(Serialize)]
struct Stats<'a> {
    r#type: &'static str,
    channel: &'a str,
    version: u64,
    users: u64,
    clients: u64,
}

#[derive(Serialize)]
struct List<'a> {
    r#type: &'static str,
    channels: Vec<Known<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    next: Option<String>,
}

#[derive(Serialize)]
struct Known<'a> {
    channel: &'a str,
    subscribed: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    position: Option<Place>,
    #[serde(skip_serializing_if = "Option::is_none")]
    users: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    clients: Option<u64>,
}

impl<'a> Known<'a> {
    fn of(cell: &'a Cell) -> Self {
        let counts = cell.has_presence().then(|| cell.presence_summary());
        // What its broker has not told yet is not known.
        let known = cell.keeps_history() && (cell.is_live() || !cell.is_foreign());
        Self {
            channel: cell.name.as_str(),
            subscribed: cell.has_interest(),
            position: known.then(|| Place::of(&cell.top())),
            users: counts.map(|counts| counts.users),
            clients: counts.map(|counts| counts.clients),
        }
    }
}

fn patience(site: &Site) -> Duration {
    Duration::from_millis(site.node.settings().times.ask_ms)
}

pub(super) async fn history(site: &Site, ask: &History<'_>) -> Result<Vec<u8>, Deny> {
    let waiter = site.desk.wait();
    let mut asked = verbs::ask_history(&site.node, ask, waiter.ticket, site.clock.now())?;
    let answer = match asked.answer.take() {
        Some(answer) => answer,
        None => waiter.answer(patience(site)).await,
    };
    let page = asked.page(answer)?;
    let mut out = Vec::new();
    json::encode(None, &Outgoing::History(verbs::history_page(&asked.cell.name, &page)), &mut out);
    Ok(out)
}

pub(super) async fn history_clear(site: &Site, channel: &str) -> Result<Vec<u8>, Deny> {
    let waiter = site.desk.wait();
    let answer = match verbs::ask_clear(&site.node, channel, waiter.ticket, site.clock.now())? {
        Some(answer) => answer,
        None => waiter.answer(patience(site)).await,
    };
    let position = verbs::cleared(answer)?;
    Ok(written(&Cleared { r#type: "history_cleared", channel, position: Place::of(&position) }))
}

pub(super) fn presence(
    site: &Site,
    channel: &str,
    limit: Option<u64>,
    after: Option<&str>,
) -> Result<Vec<u8>, Deny> {
    let (limit, after) = checked_page(limit, after)?;
    let after_client = after.map(|(client, _)| client);
    let view = verbs::presence(&site.node, channel, limit, after_client, site.clock.now())?;
    let first = after.map_or(view.summary.version, |(_, version)| version);
    let next = view.next.map(|client| member_token(client, first));
    let page = verbs::presence_page(channel, &view, next.as_deref(), first);
    let mut out = Vec::new();
    json::encode(None, &Outgoing::Presence(page), &mut out);
    Ok(out)
}

pub(super) fn presence_stats(site: &Site, channel: &str) -> Result<Vec<u8>, Deny> {
    let counts = verbs::presence_stats(&site.node, channel)?;
    let (version, users, clients) = (counts.version, counts.users, counts.clients);
    Ok(written(&Stats { r#type: "presence_stats", channel, version, users, clients }))
}

pub(super) fn list(site: &Site, caller: &Caller, prefix: &str, page: &Paging<'_>) -> Result<Vec<u8>, Deny> {
    let unread =
        || Deny::new(ErrorCode::BadRequest, "`after` must be the `next` of the page before, as it was");
    let from = page.after.as_deref().map(|after| ChannelCursor::parse(after).ok_or_else(unread));
    let from = from.transpose()?.unwrap_or_default();
    let wanted = |name: &str| name.starts_with(prefix) && caller.is_for(name);
    let (cells, next): (Vec<Arc<Cell>>, _) = site.node.channels(&from, page.limit, wanted);
    let channels = cells.iter().map(|cell| Known::of(cell)).collect();
    Ok(written(&List { r#type: "channels", channels, next: next.map(|next| next.to_string()) }))
}
