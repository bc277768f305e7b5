//! What every broker must do, whatever stands behind it: one suite for all of them.
//!
//! A law gets a fresh broker and asks it the way a shard does. Brokers that answer later are given their chance by
//! `settle`, which the test of that broker brings: it carries what is on the way, or waits for it.

use std::sync::Arc;

use everwire_proto::ids::{ClientId, Epoch};
use everwire_proto::payload::Payload;
use everwire_proto::position::Position;

use super::central::Carried;
use super::ledger::payload_of;
use super::seed::Seeded;
use crate::channel::{Cell, Draft, HistoryQuery, Options, Publisher, Shared};
use crate::inbox::{Answer, HubKey, Inbox, Item, Page};
use crate::limits::NodeLimits;
use crate::name::ChannelName;
use crate::ports::{Ask, Asked, Broker, Ticket};
use crate::time::{Entropy, Now};

/// Makes a broker whose cells push into these inboxes, and what lets it work on.
pub type Make<'m> = &'m dyn Fn(Arc<Shared>, Arc<dyn Entropy>) -> Carried;

type Law = fn(&mut Rig) -> Result<(), String>;

const LAWS: [(&str, Law); 8] = [
    ("answers name the places, and places rise", places_rise),
    ("every listening shard hears everything, in order, once", listeners_hear),
    ("publishes that were not waited for keep their order", asks_keep_their_order),
    ("history gives what was asked for, and says whether there is more", history_pages),
    ("a message id is stored once per publisher", ids_are_known),
    ("volatile messages have no place and are not kept", volatile_is_live_only),
    ("who stopped listening hears nothing, and can read it later", silence_after_detach),
    ("offsets of another epoch bound nothing", foreign_epochs_bound_nothing),
];

/// Checks every law, each on a fresh broker.
///
/// # Errors
/// The first law that was broken, and how.
pub fn check(make: Make<'_>) -> Result<(), String> {
    for (law, holds) in LAWS {
        holds(&mut Rig::new(make)).map_err(|how| format!("{law}: {how}"))?;
    }
    Ok(())
}

/// Checks that a broker can forget, on a fresh one; not every broker can.
///
/// # Errors
/// How it went wrong.
pub fn check_clear(make: Make<'_>) -> Result<(), String> {
    histories_are_cleared(&mut Rig::new(make))
}

struct Rig {
    shared: Arc<Shared>,
    broker: Arc<dyn Broker>,
    settle: Box<dyn FnMut(Now)>,
    now: Now,
    tickets: u64,
    /// Items that were taken while an answer was waited for.
    items: [Vec<Item>; SHARDS],
}

const SHARDS: usize = 2;

/// A broker that has not answered after so many rounds never will.
const ROUNDS: usize = 200;

fn ensure(holds: bool, how: impl FnOnce() -> String) -> Result<(), String> {
    if holds { Ok(()) } else { Err(how()) }
}

impl Rig {
    fn new(make: Make<'_>) -> Self {
        let limits = NodeLimits::default();
        let inboxes = (0..SHARDS).map(|_| Arc::new(Inbox::new(limits.inbox_bytes))).collect();
        let shared = Arc::new(Shared { inboxes, limits, history_bytes: 0.into(), message_ids: 0.into() });
        let (broker, settle) = make(shared.clone(), Arc::new(Seeded::new(11)));
        let now = Now { mono_ms: 1_000, unix_ms: 1_700_000_000_000 };
        Self { shared, broker, settle, now, tickets: 0, items: [Vec::new(), Vec::new()] }
    }

    fn cell(&self, name: &str) -> Arc<Cell> {
        let name = ChannelName::parse(name).expect("a good name");
        Arc::new(self.broker.cell(name, Arc::new(Options::open()), self.now))
    }

    fn round(&mut self) {
        self.now.mono_ms += 10;
        self.now.unix_ms += 10;
        (self.settle)(self.now);
        for shard in 0..SHARDS {
            let mut fresh = Vec::new();
            self.shared.inboxes[shard].take(&mut fresh);
            self.items[shard].append(&mut fresh);
        }
    }

    fn listen(&mut self, cell: &Arc<Cell>, shard: u16) -> Result<(), String> {
        let key = HubKey { index: u32::from(shard), generation: 0 };
        let first = cell.enter_interest(shard, key, self.now).ok_or("the cell is dead")?;
        if first {
            self.broker.attach(cell, self.now);
        }
        for _ in 0..ROUNDS {
            if cell.is_live() {
                return Ok(());
            }
            self.round();
        }
        Err("the channel never became live".to_owned())
    }

    fn stop_listening(&mut self, cell: &Arc<Cell>, shard: u16) {
        if cell.leave_interest(shard, self.now) {
            self.broker.detach(cell, self.now);
        }
        (0..20).for_each(|_| self.round());
    }

    fn ask(&mut self, cell: &Arc<Cell>, ask: Ask) -> Result<Result<Answer, u64>, String> {
        self.tickets += 1;
        let ticket = Ticket { shard: 0, number: self.tickets };
        match self.broker.ask(cell, ask, ticket, self.now) {
            Asked::Now(answer) => Ok(Ok(answer)),
            Asked::Later => Ok(Err(ticket.number)),
            Asked::Dead(_) => Err("the cell is dead".to_owned()),
        }
    }

    fn answer(&mut self, asked: Result<Answer, u64>) -> Result<Answer, String> {
        let number = match asked {
            Ok(answer) => return Ok(answer),
            Err(number) => number,
        };
        for _ in 0..ROUNDS {
            let mine = |item: &Item| matches!(item, Item::Answer(n, _) if *n == number);
            if let Some(at) = self.items[0].iter().position(mine)
                && let Item::Answer(_, answer) = self.items[0].remove(at)
            {
                return Ok(answer);
            }
            self.round();
        }
        Err("an ask was never answered".to_owned())
    }

    fn published(&mut self, asked: Result<Answer, u64>) -> Result<(Option<Position>, bool), String> {
        match self.answer(asked)? {
            Answer::Published { position, duplicate } => Ok((position, duplicate)),
            other => Err(format!("a publish was answered with {other:?}")),
        }
    }

    fn publish(&mut self, cell: &Arc<Cell>, draft: Draft) -> Result<(Option<Position>, bool), String> {
        let asked = self.ask(cell, Ask::Publish(draft))?;
        self.published(asked)
    }

    fn publish_all(&mut self, cell: &Arc<Cell>, texts: &[&str]) -> Result<Vec<Position>, String> {
        let place = |rig: &mut Self, text: &&str| {
            let (position, duplicate) = rig.publish(cell, draft(text))?;
            ensure(!duplicate, || format!("{text} was called a duplicate"))?;
            position.ok_or_else(|| format!("{text} has no position"))
        };
        texts.iter().map(|text| place(self, text)).collect()
    }

    fn history(&mut self, cell: &Arc<Cell>, query: HistoryQuery) -> Result<Page, String> {
        let asked = self.ask(cell, Ask::History(query))?;
        match self.answer(asked)? {
            Answer::Page(page) => Ok(page),
            other => Err(format!("a history was answered with {other:?}")),
        }
    }

    /// What a shard heard since the last call, as soon as there are so many.
    fn heard(&mut self, shard: usize, wanted: usize) -> Vec<(Option<Position>, String)> {
        let mut heard = Vec::new();
        for _ in 0..20 {
            self.round();
            let mut items = std::mem::take(&mut self.items[shard]);
            items.retain(|item| {
                let Item::Entry(_, entry) = item else { return true };
                heard.extend(payload_of(entry).map(|text| (entry.position.clone(), text)));
                false
            });
            self.items[shard] = items;
            if heard.len() > wanted {
                break;
            }
        }
        heard
    }
}

fn draft(text: &str) -> Draft {
    Draft {
        payload: Payload::Json(format!("\"{text}\"").into_bytes().into()),
        message_id: None,
        publisher: Publisher::Backend,
        from: None,
        tags: Box::default(),
        volatile: false,
    }
}

fn texts(page: &Page) -> Vec<String> {
    page.entries.iter().filter_map(|entry| payload_of(entry)).collect()
}

fn query(limit: usize) -> HistoryQuery {
    HistoryQuery { limit, max_bytes: 1 << 20, ..HistoryQuery::default() }
}

fn places_rise(rig: &mut Rig) -> Result<(), String> {
    let cell = rig.cell("room");
    let places = rig.publish_all(&cell, &["a", "b", "c"])?;
    let rising = places.windows(2).all(|w| w[0].epoch == w[1].epoch && w[0].offset < w[1].offset);
    ensure(rising && places[0].offset >= 1, || format!("{places:?}"))?;
    let page = rig.history(&cell, query(10))?;
    let there: Vec<_> = page.entries.iter().filter_map(|e| e.position.clone()).collect();
    ensure(there == places && page.position == places[2], || format!("{places:?}, and history has {there:?}"))
}

fn listeners_hear(rig: &mut Rig) -> Result<(), String> {
    let cell = rig.cell("room");
    for shard in [0, 1] {
        rig.listen(&cell, shard)?;
    }
    let places = rig.publish_all(&cell, &["a", "b", "c", "d"])?;
    let wanted: Vec<_> = places.into_iter().map(Some).zip(["a", "b", "c", "d"].map(str::to_owned)).collect();
    for shard in 0..SHARDS {
        let heard = rig.heard(shard, wanted.len());
        ensure(heard == wanted, || format!("shard {shard} heard {heard:?}, not {wanted:?}"))?;
    }
    Ok(())
}

fn asks_keep_their_order(rig: &mut Rig) -> Result<(), String> {
    let cell = rig.cell("room");
    let mut asked = Vec::new();
    for number in 0..20 {
        asked.push(rig.ask(&cell, Ask::Publish(draft(&number.to_string())))?);
    }
    let mut offsets = Vec::new();
    for one in asked {
        offsets.push(rig.published(one)?.0.map(|p| p.offset));
    }
    ensure(offsets.is_sorted() && offsets.iter().all(Option::is_some), || format!("{offsets:?}"))
}

fn history_pages(rig: &mut Rig) -> Result<(), String> {
    let cell = rig.cell("room");
    let empty = rig.history(&cell, query(10))?;
    ensure(empty.entries.is_empty() && !empty.more && empty.position.offset == 0, || {
        format!("empty: {empty:?}")
    })?;
    let places = rig.publish_all(&cell, &["a", "b", "c", "d", "e"])?;
    let at = |place: &Position| (Some(place.epoch.clone()), Some(place.offset));
    let ((epoch, after), (_, before)) = (at(&places[0]), at(&places[4]));
    let cases = [
        (query(3), vec!["a", "b", "c"], true),
        (HistoryQuery { reverse: true, ..query(2) }, vec!["e", "d"], true),
        (HistoryQuery { epoch: epoch.clone(), after, ..query(10) }, vec!["b", "c", "d", "e"], false),
        (
            HistoryQuery { epoch: epoch.clone(), before, reverse: true, ..query(10) },
            vec!["d", "c", "b", "a"],
            false,
        ),
        (HistoryQuery { epoch, after, ..query(2) }, vec!["b", "c"], true),
        (HistoryQuery::page_after(&places[4], 1 << 20), vec![], false),
    ];
    for (query, wanted, more) in cases {
        let page = rig.history(&cell, query.clone())?;
        let found = texts(&page);
        ensure(found == wanted && page.more == more, || {
            format!("{query:?} gave {found:?}, more: {}", page.more)
        })?;
    }
    Ok(())
}

fn ids_are_known(rig: &mut Rig) -> Result<(), String> {
    let cell = rig.cell("room");
    let by = |publisher: Publisher| Draft { message_id: Some("m1".into()), publisher, ..draft("x") };
    let ann = || by(Publisher::User("ann".into()));
    let first = rig.publish(&cell, ann())?;
    let again = rig.publish(&cell, ann())?;
    ensure(again == (first.0.clone(), true) && !first.1, || format!("{first:?}, then {again:?}"))?;
    for other in [Publisher::Backend, Publisher::Client(ClientId([7; 12]))] {
        let (position, duplicate) = rig.publish(&cell, by(other))?;
        ensure(!duplicate && position != first.0, || "ids of different publishers met".to_owned())?;
    }
    ensure(texts(&rig.history(&cell, query(10))?).len() == 3, || "not three messages".to_owned())
}

fn histories_are_cleared(rig: &mut Rig) -> Result<(), String> {
    let cell = rig.cell("room");
    rig.listen(&cell, 1)?;
    let by_id = || Draft { message_id: Some("m1".into()), ..draft("b") };
    let first = rig.publish_all(&cell, &["a"])?;
    let second = rig.publish(&cell, by_id())?.0;
    let asked = rig.ask(&cell, Ask::Clear)?;
    let cleared = match rig.answer(asked)? {
        Answer::Cleared(position) => position,
        other => return Err(format!("a clearing was answered with {other:?}")),
    };
    let page = rig.history(&cell, query(10))?;
    let empty = page.entries.is_empty() && page.position == cleared && page.floor == cleared;
    ensure(empty, || format!("cleared at {cleared:?}, and history has {page:?}"))?;
    ensure(rig.publish(&cell, by_id())? == (second, true), || "an id was forgotten with its message".into())?;
    let third = rig.publish_all(&cell, &["c"])?;
    let goes_on = third[0].epoch == first[0].epoch && third[0].offset > cleared.offset;
    ensure(goes_on, || format!("{cleared:?}, then {third:?}"))?;
    let heard: Vec<_> = rig.heard(1, 3).into_iter().map(|(_, text)| text).collect();
    ensure(heard == ["a", "b", "c"], || format!("the listener heard {heard:?}"))?;
    let page = rig.history(&cell, HistoryQuery::page_after(&first[0], 1 << 20))?;
    ensure(texts(&page) == ["c"], || format!("after the clearing: {page:?}"))
}

fn volatile_is_live_only(rig: &mut Rig) -> Result<(), String> {
    let cell = rig.cell("room");
    rig.listen(&cell, 1)?;
    let (position, _) = rig.publish(&cell, Draft { volatile: true, ..draft("now") })?;
    ensure(position.is_none(), || format!("it has the position {position:?}"))?;
    let heard = rig.heard(1, 1);
    ensure(heard == [(None, "now".to_owned())], || format!("heard {heard:?}"))?;
    let page = rig.history(&cell, query(10))?;
    ensure(page.entries.is_empty(), || format!("kept: {page:?}"))
}

fn silence_after_detach(rig: &mut Rig) -> Result<(), String> {
    let cell = rig.cell("room");
    rig.listen(&cell, 0)?;
    let first = rig.publish_all(&cell, &["a"])?;
    let heard = rig.heard(0, 1);
    ensure(heard.len() == 1, || format!("heard {heard:?}"))?;
    rig.stop_listening(&cell, 0);
    rig.publish_all(&cell, &["b", "c"])?;
    let heard = rig.heard(0, 0);
    ensure(heard.is_empty(), || format!("heard {heard:?} after it stopped"))?;
    rig.listen(&cell, 0)?;
    let page = rig.history(&cell, HistoryQuery::page_after(&first[0], 1 << 20))?;
    ensure(texts(&page) == ["b", "c"] && !page.more, || format!("missed: {page:?}"))?;
    rig.publish_all(&cell, &["d"])?;
    let heard: Vec<_> = rig.heard(0, 1).into_iter().map(|(_, text)| text).collect();
    ensure(heard == ["d"], || format!("heard {heard:?} after it came back"))
}

fn foreign_epochs_bound_nothing(rig: &mut Rig) -> Result<(), String> {
    let cell = rig.cell("room");
    rig.publish_all(&cell, &["a", "b"])?;
    let epoch = Epoch::parse("another");
    let page = rig.history(&cell, HistoryQuery { epoch, after: Some(1_000), ..query(10) })?;
    ensure(texts(&page) == ["a", "b"], || format!("{page:?}"))
}
