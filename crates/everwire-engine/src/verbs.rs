//! What sockets and the HTTP API ask alike: the same limits, the same cells, the same answers.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use everwire_proto::codes::ErrorCode;
use everwire_proto::command::{History, Publish};
use everwire_proto::ids::{ClientId, Epoch};
use everwire_proto::position::Position;
use everwire_proto::reply::{HistoryPage, PresencePage, PresenceSummary};

use crate::channel::{Cell, PresenceView};
use crate::entry::Kind;
use crate::inbox::{Answer, Page};
use crate::name::ChannelName;
use crate::node::Node;
use crate::plant::{Bug, planted};
use crate::ports::{Ask, Asked, Ticket};
use crate::session::{Deny, check_rate, checked_query, draft_for_backend, known_channel};
use crate::time::Now;

/// Nobody hears what is answered under this: for callers that can't wait.
const NO_TICKET: Ticket = Ticket { shard: Ticket::DESK, number: u64::MAX };

/// Publishes for the application's backend. `None`: the answer comes later, under this ticket.
pub fn ask_publish(node: &Node, ask: &Publish<'_>, ticket: Ticket, now: Now) -> Result<Option<Answer>, Deny> {
    let ask_of = draft_for_backend(ask, &node.settings().namespaces)?;
    let cell = node.cell(&ask.channel, &ask_of.options, now)?;
    check_rate(&cell, now)?;
    node.counters.published.fetch_add(1, Ordering::Relaxed);
    ask_broker(node, cell, Ask::Publish(ask_of.draft), ticket, now)
}

/// What a publish came to. The position is `None` for volatile messages.
pub fn published(answer: Answer) -> Result<(Option<Position>, bool), Deny> {
    match answer {
        Answer::Published { position, duplicate } => Ok((position, duplicate)),
        Answer::Failed(code) => Err(Deny::failed(code)),
        Answer::Page(_) | Answer::Cleared(_) => Err(later()),
    }
}

/// The same in one, of a broker that answers at once.
pub fn publish(node: &Node, ask: &Publish<'_>, now: Now) -> Result<(Option<Position>, bool), Deny> {
    published(ask_publish(node, ask, NO_TICKET, now)?.ok_or_else(later)?)
}

/// A history that was asked for.
#[derive(Debug)]
pub struct AskedHistory {
    /// The channel.
    pub cell: Arc<Cell>,
    /// The epoch of the position that was asked for.
    epoch: Option<Epoch>,
    /// `None`: the answer comes later.
    pub answer: Option<Answer>,
}

/// Reads history for the application's backend.
pub fn ask_history(node: &Node, ask: &History<'_>, ticket: Ticket, now: Now) -> Result<AskedHistory, Deny> {
    let settings = node.settings();
    let options = known_channel(&ask.channel, &settings.namespaces)?;
    let query = checked_query(ask, options)?;
    let cell = node.cell(&ask.channel, options, now)?;
    let epoch = query.query.epoch.clone();
    let answer = ask_broker(node, cell.clone(), Ask::History(query.query), ticket, now)?;
    Ok(AskedHistory { cell, epoch, answer })
}

impl AskedHistory {
    /// The page, once it is there.
    pub fn page(&self, answer: Answer) -> Result<Page, Deny> {
        match answer {
            Answer::Page(page) => {
                check_epoch(&self.cell.name, self.epoch.as_ref(), &page)?;
                Ok(page)
            }
            Answer::Failed(code) => Err(Deny::failed(code)),
            Answer::Published { .. } | Answer::Cleared(_) => Err(later()),
        }
    }
}

/// The same in one, of a broker that answers at once.
pub fn history(node: &Node, ask: &History<'_>, now: Now) -> Result<(Arc<Cell>, Page), Deny> {
    let mut asked = ask_history(node, ask, NO_TICKET, now)?;
    let answer = asked.answer.take().ok_or_else(later)?;
    let page = asked.page(answer)?;
    Ok((asked.cell, page))
}

/// Forgets what a channel has kept, for the application's backend. `None`: the answer comes later, under this ticket.
pub fn ask_clear(node: &Node, channel: &str, ticket: Ticket, now: Now) -> Result<Option<Answer>, Deny> {
    let settings = node.settings();
    let options = known_channel(channel, &settings.namespaces)?;
    if options.history.is_none() {
        return Err(Deny::new(ErrorCode::NotAvailable, format!("{channel} keeps no history")));
    }
    let cell = node.cell(channel, options, now)?;
    ask_broker(node, cell, Ask::Clear, ticket, now)
}

/// The position before which nothing is kept any more.
pub fn cleared(answer: Answer) -> Result<Position, Deny> {
    match answer {
        Answer::Cleared(position) => Ok(position),
        Answer::Failed(code) => Err(Deny::failed(code)),
        Answer::Page(_) | Answer::Published { .. } => Err(later()),
    }
}

/// Reads who is there for the application's backend: at most `limit` members after `after`.
pub fn presence(
    node: &Node,
    channel: &str,
    limit: usize,
    after: Option<ClientId>,
    now: Now,
) -> Result<PresenceView, Deny> {
    let settings = node.settings();
    let options = known_channel(channel, &settings.namespaces)?;
    if !options.presence {
        return Err(Deny::new(ErrorCode::NotAvailable, format!("presence is off for {channel}")));
    }
    Ok(node.cell(channel, options, now)?.presence(limit, after))
}

/// Counts who is there for the application's backend. A channel that nobody uses is not made for it.
pub fn presence_stats(node: &Node, channel: &str) -> Result<PresenceSummary, Deny> {
    let settings = node.settings();
    let options = known_channel(channel, &settings.namespaces)?;
    if !options.presence {
        return Err(Deny::new(ErrorCode::NotAvailable, format!("presence is off for {channel}")));
    }
    let nobody = PresenceSummary { users: 0, clients: 0, version: 0 };
    Ok(node.find(channel).map_or(nobody, |cell| cell.presence_summary()))
}

fn ask_broker(
    node: &Node,
    mut cell: Arc<Cell>,
    mut ask: Ask,
    ticket: Ticket,
    now: Now,
) -> Result<Option<Answer>, Deny> {
    loop {
        match node.broker.ask(&cell, ask, ticket, now) {
            Asked::Now(answer) => return Ok(Some(answer)),
            Asked::Later => return Ok(None),
            Asked::Dead(again) => {
                cell = node.cell(cell.name.as_str(), &cell.options(), now)?;
                ask = again;
            }
        }
    }
}

fn later() -> Deny {
    Deny::new(ErrorCode::NotAvailable, "this server's broker does not answer at once")
}

/// Whether the position that was asked for belongs to the stream that the page is of.
pub fn check_epoch(channel: &ChannelName, asked: Option<&Epoch>, page: &Page) -> Result<(), Deny> {
    let Some(foreign) = asked.filter(|epoch| **epoch != page.position.epoch) else { return Ok(()) };
    let text = format!(
        "the position's epoch {} is not that of {}, whose past was lost; start from the position given here",
        foreign.as_str(),
        channel.as_str()
    );
    let position = Some(page.position.clone());
    Err(Deny { position, ..Deny::new(ErrorCode::UnrecoverablePosition, text) })
}

/// A page of history as it stands on the wire.
pub fn history_page<'a>(channel: &'a ChannelName, page: &'a Page) -> HistoryPage<'a> {
    let messages = page.entries.iter().filter_map(|entry| match &entry.kind {
        Kind::Message(publication) => Some(publication.message(entry.position.as_ref().map(|p| p.offset))),
        Kind::Gap { .. } => None,
    });
    let last = page.entries.last().and_then(|e| e.position.clone());
    HistoryPage {
        channel: channel.as_str(),
        position: &page.position,
        messages: messages.collect(),
        next: last.filter(|_| page.more),
    }
}

/// A page of members as it stands on the wire; `first` is the version of the first page.
pub fn presence_page<'a>(
    channel: &'a str,
    view: &'a PresenceView,
    next: Option<&'a str>,
    first: u64,
) -> PresencePage<'a> {
    PresencePage {
        channel,
        summary: view.summary,
        members: view.members.iter().map(|m| m.view()).collect(),
        next,
        stale: first != view.summary.version && !planted(Bug::StaleUnsaid),
    }
}
