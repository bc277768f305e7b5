//! What the disk store does on this machine: how long the medium takes, acknowledged publishes a second, and a start.
//!
//! `cargo run --release -p everwire-brokers --example measure_disk -- DIR [MIB]`; DIR is made, and removed again.
#![expect(clippy::print_stdout, reason = "it is a program")]

use std::fs::File;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use everwire_brokers::answers::Answers;
use everwire_brokers::disk::{Disk, SEGMENT_BYTES, Settings, Sync};
use everwire_engine::channel::{Cell, Draft, HistoryLimits, Namespaces, Options, Publisher, Shared};
use everwire_engine::inbox::{Answer, Inbox, Item};
use everwire_engine::limits::NodeLimits;
use everwire_engine::name::ChannelName;
use everwire_engine::ports::{Ask, Asked, Broker, Ticket};
use everwire_engine::time::{Entropy, Now};
use everwire_proto::payload::Payload;

const CHANNELS: usize = 1_000;
const PAYLOAD: usize = 200;
const THREADS: u16 = 2;

struct Counting(std::sync::atomic::AtomicU64);

impl Entropy for Counting {
    fn bits(&self) -> u128 {
        u128::from(self.0.fetch_add(0x9e37_79b9_7f4a_7c15, std::sync::atomic::Ordering::Relaxed))
    }
}

fn main() {
    let mut args = std::env::args().skip(1);
    let Some(dir) = args.next().map(PathBuf::from) else {
        println!("say where: a folder that does not exist yet, on the medium that is meant");
        return;
    };
    let mib: usize = args.next().and_then(|mib| mib.parse().ok()).unwrap_or(256);
    std::fs::create_dir(&dir).expect("a folder that does not exist yet");
    medium(&dir);
    for clients in [100, 1_000, 4_000] {
        for sync in [Sync::Always, Sync::Interval(Duration::from_millis(100)), Sync::None] {
            publishes(&dir, sync, clients);
        }
    }
    start(&dir, mib);
    std::fs::remove_dir_all(&dir).expect("our own folder");
}

/// What this process has used of all cores; a busy machine makes everything last longer and this not.
fn cpu_seconds() -> f64 {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap_or_default();
    let fields: Vec<_> = stat.rsplit(')').next().unwrap_or_default().split_whitespace().collect();
    let ticks = |at: usize| fields.get(at).and_then(|field| field.parse::<f64>().ok()).unwrap_or_default();
    (ticks(11) + ticks(12)) / 100.0
}

/// Appends and waits for the medium, as the writer does.
fn medium(dir: &Path) {
    let path = dir.join("medium");
    let mut file = File::create_new(&path).expect("a file");
    for bytes in [4 << 10, 64 << 10, 1 << 20] {
        let block = vec![1; bytes];
        let mut times: Vec<_> = (0..200)
            .map(|_| {
                let begun = Instant::now();
                file.write_all(&block).expect("room");
                file.sync_data().expect("a medium");
                begun.elapsed()
            })
            .collect();
        times.sort_unstable();
        println!("fdatasync after {} KiB: p50 {:?}, p99 {:?}", bytes >> 10, times[100], times[198]);
    }
    std::fs::remove_file(path).expect("our own file");
}

struct Rig {
    disk: Arc<Disk>,
    shared: Arc<Shared>,
    cells: Vec<Arc<Cell>>,
    now: Now,
}

fn open(dir: &Path, sync: Sync) -> Rig {
    let limits = NodeLimits::default();
    let history = HistoryLimits { messages: 10_000_000, age_ms: u64::MAX >> 2, bytes: 1 << 40 };
    let options = Arc::new(Options { history: Some(history), ..Options::open() });
    let namespaces = Namespaces { default: Some(options.clone()), ..Namespaces::default() };
    let inboxes = (0..THREADS).map(|_| Arc::new(Inbox::new(limits.inbox_bytes))).collect();
    let shared = Arc::new(Shared { inboxes, limits, history_bytes: 0.into(), message_ids: 0.into() });
    let answers = Answers::new(shared.clone(), Arc::new(Inbox::new(1 << 20)));
    let now = Now { mono_ms: 1, unix_ms: 1_700_000_000_000 };
    let settings = Settings { sync, namespaces, limits, segment_bytes: SEGMENT_BYTES, max_bytes: 0 };
    let entropy = Arc::new(Counting(1.into()));
    let disk = Disk::open(dir, settings, answers, entropy, now).expect("a store");
    let name = |i: usize| ChannelName::parse(&format!("channel-{i}")).expect("a name");
    let cells = (0..CHANNELS).map(|i| Arc::new(disk.cell(name(i), options.clone(), now))).collect();
    Rig { disk, shared, cells, now }
}

impl Rig {
    fn publish(&self, shard: u16, number: u64) {
        let draft = Draft {
            payload: Payload::Json(format!("\"{number:0>width$}\"", width = PAYLOAD - 2).into_bytes().into()),
            message_id: None,
            publisher: Publisher::Backend,
            from: None,
            tags: Box::default(),
            volatile: false,
        };
        let cell = &self.cells[usize::try_from(number).unwrap_or(0) % CHANNELS];
        let asked = self.disk.ask(cell, Ask::Publish(draft), Ticket { shard, number }, self.now);
        assert!(matches!(asked, Asked::Later), "refused");
    }

    /// `clients` that publish again as soon as they are answered, half of them in this shard; how many answers came.
    fn run(&self, shard: u16, clients: u64, enough: impl Fn(u64) -> bool) -> u64 {
        let (mut sent, mut answered) = (0, 0);
        let mut items = Vec::new();
        while sent < clients {
            self.publish(shard, sent);
            sent += 1;
        }
        while answered < sent {
            self.shared.inboxes[usize::from(shard)].take(&mut items);
            if items.is_empty() {
                std::thread::sleep(Duration::from_micros(50));
            }
            for item in items.drain(..) {
                assert!(matches!(item, Item::Answer(_, Answer::Published { .. })), "{item:?}");
                answered += 1;
                if !enough(sent) {
                    self.publish(shard, sent);
                    sent += 1;
                }
            }
        }
        answered
    }
}

fn publishes(dir: &Path, sync: Sync, clients: u64) {
    let dir = dir.join("publishes");
    let rig = open(&dir, sync);
    let begun = Instant::now();
    let enough = |_| begun.elapsed() > Duration::from_secs(3);
    let answered: u64 = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..THREADS)
            .map(|shard| {
                let rig = &rig;
                scope.spawn(move || rig.run(shard, clients / u64::from(THREADS), enough))
            })
            .collect();
        threads.into_iter().map(|thread| thread.join().expect("no bug")).sum()
    });
    let rate = answered as f64 / begun.elapsed().as_secs_f64();
    println!("{clients} clients, sync {sync:?}: {rate:.0} acknowledged publishes/s of {PAYLOAD} bytes");
    drop(rig);
    std::fs::remove_dir_all(dir).expect("our own folder");
}

fn start(dir: &Path, mib: usize) {
    let dir = dir.join("start");
    let rig = open(&dir, Sync::None);
    let messages = (mib << 20) as u64 / (PAYLOAD as u64 + 60);
    rig.run(0, 4_000, |sent| sent >= messages);
    drop(rig);
    for _ in 0..3 {
        let (begun, cpu) = (Instant::now(), cpu_seconds());
        let rig = open(&dir, Sync::None);
        let (took, cpu) = (begun.elapsed(), cpu_seconds() - cpu);
        let gib = rig.disk.start.bytes as f64 / f64::from(1 << 30);
        let per_gib = took.as_secs_f64() / gib;
        let cpu = cpu / gib;
        println!(
            "a start with {messages} messages, {gib:.2} GiB: {took:?}, {per_gib:.2} s per GiB, {cpu:.2} s of CPU per GiB"
        );
    }
}
