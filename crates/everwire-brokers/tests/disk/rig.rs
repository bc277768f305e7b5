//! A store in a folder of its own, asked the way a shard asks.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use everwire_brokers::answers::Answers;
use everwire_brokers::disk::{Disk, OpenError, SEGMENT_BYTES, Settings, Sync, Wrap};
use everwire_engine::channel::{
    Cell, Draft, HistoryLimits, HistoryQuery, Namespaces, Options, Publisher, Shared,
};
use everwire_engine::inbox::{Answer, HubKey, Inbox, Item, Page};
use everwire_engine::limits::NodeLimits;
use everwire_engine::name::ChannelName;
use everwire_engine::ports::{Ask, Asked, Broker, Ticket};
use everwire_engine::testing::Seeded;
use everwire_engine::time::Now;
use everwire_proto::payload::{Payload, View};
use everwire_proto::position::Position;

/// A folder that is gone with the test.
pub struct Folder(PathBuf);

impl Folder {
    pub fn new() -> Self {
        static COUNT: AtomicU64 = AtomicU64::new(0);
        let count = COUNT.fetch_add(1, Ordering::Relaxed);
        let path = std::env::temp_dir().join(format!("everwire-store-{}-{count}", std::process::id()));
        std::fs::create_dir(&path).unwrap();
        Self(path)
    }

    pub fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

pub fn now() -> Now {
    Now { mono_ms: 1_000, unix_ms: 1_700_000_000_000 }
}

/// `now`, so much later, after a restart of the clock that never jumps.
pub fn later(ms: u64) -> Now {
    Now { mono_ms: 10, unix_ms: now().unix_ms + ms }
}

pub fn settings(sync: Sync) -> Settings {
    Settings {
        sync,
        namespaces: Namespaces::open(),
        limits: NodeLimits::default(),
        segment_bytes: SEGMENT_BYTES,
        max_bytes: 0,
    }
}

pub fn shared() -> Arc<Shared> {
    let limits = NodeLimits::default();
    Arc::new(Shared {
        inboxes: vec![Arc::new(Inbox::new(limits.inbox_bytes))],
        limits,
        history_bytes: 0.into(),
        message_ids: 0.into(),
    })
}

pub struct Store {
    pub disk: Arc<Disk>,
    shared: Arc<Shared>,
    pub now: Now,
    tickets: u64,
    items: Vec<Item>,
    pub history: HistoryLimits,
}

impl Store {
    pub fn open(dir: &Path) -> Self {
        Self::open_with(dir, settings(Sync::Always), now()).unwrap()
    }

    pub fn open_with(dir: &Path, settings: Settings, now: Now) -> Result<Self, OpenError> {
        Self::open_on(dir, settings, now, Box::new(|file| Box::new(file)))
    }

    pub fn open_on(dir: &Path, settings: Settings, now: Now, wrap: Wrap) -> Result<Self, OpenError> {
        let shared = shared();
        let answers = Answers::new(shared.clone(), Arc::new(Inbox::new(1 << 20)));
        let seed = now.mono_ms ^ now.unix_ms;
        let disk = Disk::open_on(dir, settings, answers, Arc::new(Seeded::new(seed)), now, wrap)?;
        Ok(Self { disk, shared, now, tickets: 0, items: Vec::new(), history: HistoryLimits::default() })
    }

    pub fn cell(&self, name: &str) -> Arc<Cell> {
        let options = Options { history: Some(self.history), ..Options::open() };
        Arc::new(self.disk.cell(ChannelName::parse(name).unwrap(), Arc::new(options), self.now))
    }

    /// Asks, and does not wait.
    pub fn ask(&mut self, cell: &Arc<Cell>, ask: Ask) -> u64 {
        self.tickets += 1;
        match self.disk.ask(cell, ask, Ticket { shard: 0, number: self.tickets }, self.now) {
            Asked::Later => {}
            Asked::Now(answer) => self.items.push(Item::Answer(self.tickets, answer)),
            Asked::Dead(_) => panic!("a dead cell"),
        }
        self.tickets
    }

    /// Waits until something that came satisfies this.
    fn wait<T>(&mut self, what: &str, mut found: impl FnMut(&mut Vec<Item>) -> Option<T>) -> T {
        let begun = Instant::now();
        loop {
            let mut fresh = Vec::new();
            self.shared.inboxes[0].take(&mut fresh);
            self.items.append(&mut fresh);
            if let Some(found) = found(&mut self.items) {
                return found;
            }
            assert!(begun.elapsed() < Duration::from_secs(20), "{what}: not after 20 s");
            std::thread::yield_now();
        }
    }

    pub fn answer(&mut self, number: u64) -> Answer {
        self.wait("an answer", |items| {
            let at = items.iter().position(|item| matches!(item, Item::Answer(n, _) if *n == number))?;
            let Item::Answer(_, answer) = items.remove(at) else { return None };
            Some(answer)
        })
    }

    pub fn publish(&mut self, channel: &str, text: &str) -> Position {
        let (position, duplicate) = self.publish_draft(channel, draft(text));
        assert!(!duplicate, "{text}");
        position
    }

    pub fn publish_draft(&mut self, channel: &str, draft: Draft) -> (Position, bool) {
        let cell = self.cell(channel);
        let number = self.ask(&cell, Ask::Publish(draft));
        match self.answer(number) {
            Answer::Published { position, duplicate } => (position.unwrap(), duplicate),
            other => panic!("{other:?}"),
        }
    }

    pub fn page(&mut self, channel: &str) -> Page {
        let cell = self.cell(channel);
        let query = HistoryQuery { limit: 100_000, max_bytes: usize::MAX, ..HistoryQuery::default() };
        let number = self.ask(&cell, Ask::History(query));
        match self.answer(number) {
            Answer::Page(page) => page,
            other => panic!("{other:?}"),
        }
    }

    pub fn clear(&mut self, channel: &str) -> Position {
        let cell = self.cell(channel);
        let number = self.ask(&cell, Ask::Clear);
        match self.answer(number) {
            Answer::Cleared(position) => position,
            other => panic!("{other:?}"),
        }
    }

    /// Offsets and payloads of what is kept.
    pub fn kept(&mut self, channel: &str) -> Vec<(u64, String)> {
        let entry = |entry: &Arc<everwire_engine::entry::Entry>| match entry
            .message()
            .expect("a gap in history")
            .payload
        {
            View::Json(text) => {
                let text = String::from_utf8(text.to_vec()).unwrap();
                (entry.position.as_ref().unwrap().offset, text.trim_matches('"').to_owned())
            }
            other => panic!("{other:?}"),
        };
        self.page(channel).entries.iter().map(entry).collect()
    }

    pub fn listen(&mut self, cell: &Arc<Cell>) {
        if cell.enter_interest(0, HubKey { index: 0, generation: 0 }, self.now).unwrap() {
            self.disk.attach(cell, self.now);
        }
        self.wait("the channel is live", |_| cell.is_live().then_some(()));
    }

    /// The offsets that a shard heard, as soon as there are so many.
    pub fn heard(&mut self, count: usize) -> Vec<u64> {
        self.wait("messages", |items| {
            let entries = items.iter().filter_map(|item| match item {
                Item::Entry(_, entry) => entry.position.as_ref().map(|p| p.offset),
                _ => None,
            });
            let entries: Vec<_> = entries.collect();
            (entries.len() >= count).then_some(entries)
        })
    }
}

pub fn draft(text: &str) -> Draft {
    Draft {
        payload: Payload::Json(format!("\"{text}\"").into_bytes().into()),
        message_id: None,
        publisher: Publisher::Backend,
        from: None,
        tags: Box::default(),
        volatile: false,
    }
}

pub fn with_id(text: &str, id: &str) -> Draft {
    Draft { message_id: Some(id.into()), ..draft(text) }
}

/// Waits until the store has been through all that was asked before.
pub fn settle(disk: &Disk, now: Now) {
    // It does one thing after the other: a channel that is live was behind all of them.
    let name = ChannelName::parse("settled").unwrap();
    let cell = Arc::new(Cell::foreign(name, Arc::new(Options::open()), shared(), now));
    cell.enter_interest(0, HubKey { index: 0, generation: 0 }, now).unwrap();
    disk.attach(&cell, now);
    let begun = Instant::now();
    while !cell.is_live() {
        assert!(begun.elapsed() < Duration::from_secs(20), "the store does not answer");
        std::thread::yield_now();
    }
    cell.leave_interest(0, now);
    disk.detach(&cell, now);
}
