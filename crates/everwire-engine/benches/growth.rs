//! What an operation costs where there are many channels and connections: `everwire-growth [MOST]`.
//!
//! One node each with 10, 100, .. MOST clients, each in a channel of its own, stand in one process; the same operations
//! are done on all of them in turns, in blocks of a fraction of a millisecond, so that whatever else the machine does
//! falls on all alike. Of the blocks the lower quartile counts: what a disturbed block says is not ours.
//!
//! Two tables. *Near*: the operations go to the same 10 channels, as many as the smallest node has, so growth is that of our
//! structures. *Spread*: they go to channels all over the node, so it is also that of the processor's caches and page
//! tables, which no program escapes: a bare table with as many names stands beside it, measured in the same blocks. Then what
//! grows by nature: the time of it all for n, and the exponent of n that fits, beside those of a bare walk over n messages.

#![allow(clippy::print_stdout, reason = "its tables are read from there")]
#![allow(unreachable_pub, missing_docs, reason = "a program has no public interface")]

mod stage;

use std::collections::HashMap;
use std::hint::black_box;
use std::time::Instant;

use everwire_proto::payload::Format;

use self::stage::{Stage, frame, publish};

/// Operations of a block; as many clients do them, each one.
const BLOCK: u32 = 64;
/// Blocks of each operation on each node.
const ROUNDS: usize = 120;
/// Channels that the operations of the first table go to: what more channels cost the caches is not our growth.
const NEAR: u32 = 10;
/// Over three decades an operation may cost so many times as much.
const GOAL: f64 = 1.3;
/// What costs n may cost n to this power.
const EXPONENT: f64 = 1.05;

const OPERATIONS: [&str; 4] = ["subscribe", "unsubscribe", "publish to nobody", "recover one message"];

/// As many bytes as a message of 128 has on its way.
const MESSAGE: usize = 256;

/// What the machine asks for so much, with nothing of ours: a name leads to a message.
struct Bare {
    table: HashMap<Box<str>, usize>,
    messages: Vec<Box<[u8]>>,
    next: u32,
}

impl Bare {
    fn new(size: u32) -> Self {
        let mut bare = Self { table: HashMap::new(), messages: Vec::new(), next: 1 };
        for i in 0..size {
            bare.table.insert(format!("c{i}").into(), bare.messages.len());
            bare.messages.push([b'x'; MESSAGE].into());
        }
        bare
    }

    /// One block of look-ups all over the table, each of which writes to what it finds: nanoseconds of each.
    fn block(&mut self) -> f64 {
        let size = u32::try_from(self.messages.len()).expect("a number of names");
        let names: Vec<_> = (0..BLOCK).map(|_| format!("c{}", choose(&mut self.next, size))).collect();
        let begun = Instant::now();
        for name in &names {
            self.messages[self.table[name.as_str()]][0] ^= 1;
        }
        nanos(begun) / f64::from(BLOCK)
    }

    /// Every message is copied to one place, in the order in which they were stored: nanoseconds of it all.
    fn walk(&self) -> f64 {
        let mut sink = [0; MESSAGE];
        let begun = Instant::now();
        for message in &self.messages {
            sink.copy_from_slice(message);
            black_box(&mut sink);
        }
        nanos(begun)
    }
}

/// Every number below `among` once in a while, far apart: 2^32 divided by the golden ratio.
fn choose(next: &mut u32, among: u32) -> u32 {
    *next = next.wrapping_add(0x9e37_79b9);
    u32::try_from((u64::from(*next) * u64::from(among)) >> 32).expect("it is below `among`")
}

/// A node with a crowd, and a few who do something.
struct Node {
    stage: Stage,
    size: u32,
    /// For the choice of channels.
    next: u32,
}

impl Node {
    fn new(size: u32) -> Self {
        let mut stage = Stage::new();
        stage.crowd(0, size, Format::Json);
        for slot in size..size + BLOCK {
            stage.open(slot, Format::Json);
        }
        // As many again that nobody listens to.
        for i in 0..size {
            stage.say(size, &mut publish(Format::Json, &format!("q{i}"), None));
        }
        Self { stage, size, next: 1 }
    }

    /// A channel's number: one of a few, or any.
    fn choose(&mut self, spread: bool) -> u32 {
        choose(&mut self.next, if spread { self.size } else { self.size.min(NEAR) })
    }

    /// One block of an operation: nanoseconds of each.
    fn block(&mut self, operation: usize, spread: bool) -> f64 {
        let channels: Vec<u32> = (0..BLOCK).map(|_| self.choose(spread)).collect();
        let recover = operation == 3;
        let mut come: Vec<_> = channels.iter().map(|c| self.subscribe(*c, recover)).collect();
        let mut go: Vec<_> = channels.iter().map(|c| on(&format!("c{c}"), "unsubscribe")).collect();
        let mut said: Vec<_> =
            channels.iter().map(|c| publish(Format::Json, &format!("q{c}"), None)).collect();
        match operation {
            0 | 3 => {
                let ns = self.timed(&mut come);
                self.timed(&mut go);
                ns
            }
            1 => {
                self.timed(&mut come);
                self.timed(&mut go)
            }
            _ => self.timed(&mut said),
        }
    }

    fn subscribe(&self, channel: u32, recover: bool) -> Vec<u8> {
        let name = format!("c{channel}");
        if !recover {
            return on(&name, "subscribe");
        }
        let cell = self.stage.turn.node().find(&name).expect("it has a subscriber");
        let epoch = cell.top().epoch;
        let since = format!(r#"{{"epoch":"{}","offset":0}}"#, epoch.as_str());
        frame(Format::Json, &format!(r#"{{"type":"subscribe","id":1,"channel":"{name}","since":{since}}}"#))
    }

    /// Each of the few says one of these, in a turn of its own.
    fn timed(&mut self, frames: &mut [Vec<u8>]) -> f64 {
        let count = frames.len();
        let begun = Instant::now();
        for (slot, bytes) in (self.size..).zip(frames) {
            self.stage.say(slot, bytes);
        }
        nanos(begun) / per(count)
    }

    /// One message in every channel: nanoseconds of the turns that deliver them.
    fn burst(&mut self) -> f64 {
        for i in 0..self.size {
            let bytes = &mut publish(Format::Json, &format!("c{i}"), None);
            self.stage.read(self.size, bytes);
        }
        self.settled()
    }

    /// Everybody is told something of its own in one turn, as after a restart.
    fn greet(&mut self) -> f64 {
        let mut ping = frame(Format::Json, r#"{"type":"ping","id":1}"#);
        for slot in 0..self.size {
            self.stage.read(slot, &mut ping);
        }
        self.settled()
    }

    /// One message to everybody.
    fn fanout(&mut self) -> f64 {
        self.stage.read(self.size, &mut publish(Format::Json, "all", None));
        self.settled()
    }

    fn settled(&mut self) -> f64 {
        let before = self.stage.sink.sends;
        let begun = Instant::now();
        self.stage.settle();
        let ns = nanos(begun);
        let sends = self.stage.sink.sends - before;
        assert_eq!(sends, usize::try_from(self.size).expect("a number of clients"), "one send each");
        ns
    }

    /// A second passes: what the shard does then, whatever happens.
    fn second(&mut self) -> f64 {
        self.stage.now.mono_ms += 1_000;
        self.stage.now.unix_ms += 1_000;
        let begun = Instant::now();
        self.stage.turn.run_wheel(self.stage.now);
        nanos(begun)
    }

    /// Everybody's socket ends in one turn.
    fn end(&mut self) -> f64 {
        let begun = Instant::now();
        for slot in 0..self.size {
            self.stage.turn.closed(slot, self.stage.now);
        }
        self.stage.settle();
        nanos(begun)
    }
}

fn on(channel: &str, verb: &str) -> Vec<u8> {
    frame(Format::Json, &format!(r#"{{"type":"{verb}","id":1,"channel":"{channel}"}}"#))
}

fn nanos(since: Instant) -> f64 {
    since.elapsed().as_secs_f64() * 1e9
}

fn per(count: usize) -> f64 {
    f64::from(u32::try_from(count).expect("a small number"))
}

fn quartile(mut blocks: Vec<f64>) -> f64 {
    blocks.sort_by(f64::total_cmp);
    blocks[blocks.len() / 4]
}

fn main() {
    let most: u32 = std::env::args().nth(1).map_or(1_000_000, |n| n.parse().expect("MOST is a number"));
    let sizes: Vec<u32> = (1..).map(|n| 10_u32.pow(n)).take_while(|n| *n <= most).collect();
    let mut nodes: Vec<Node> = sizes.iter().map(|size| Node::new(*size)).collect();
    let mut bare: Vec<Bare> = sizes.iter().map(|size| Bare::new(*size)).collect();
    let mut missed = 0;
    let mut verdict = |value: f64, goal: f64| {
        missed += usize::from(value > goal);
        if value <= goal { "met" } else { "MISSED" }
    };
    println!("\nnear: the same 10 channels; ns an operation\n{}   per three decades", header(&sizes));
    for (operation, name) in OPERATIONS.iter().enumerate() {
        let [row, _] = constant(&mut nodes, &mut bare, operation, false);
        let growth = three_decades(&row);
        println!("{}   x {growth:.2}  {}", line(name, &row), verdict(growth, GOAL));
    }
    println!("\nspread: channels all over the node; ns an operation\n{}   per three decades", header(&sizes));
    let spread = [0, 1, 2, 3].map(|operation| constant(&mut nodes, &mut bare, operation, true));
    println!("{}", line("a bare look-up", &spread[0][1]));
    for ([row, _], name) in spread.iter().zip(OPERATIONS) {
        let growth = three_decades(row);
        println!("{}   x {growth:.2}  {}", line(name, row), verdict(growth, GOAL));
    }
    println!("\nwhat grows by nature; ns for each of n\n{}   exponent of n", header(&sizes));
    let walks: Vec<f64> = bare.iter().map(|b| best(|| b.walk()) / per(b.messages.len())).collect();
    println!("{}   {:.2}", line("a bare walk", &walks), 1.0 + slope(&sizes, &walks));
    for (name, work) in works() {
        let row: Vec<f64> = nodes.iter_mut().map(|node| work(node) / f64::from(node.size)).collect();
        let exponent = 1.0 + slope(&sizes, &row);
        println!("{}   {exponent:.2}  {}", line(name, &row), verdict(exponent, EXPONENT));
    }
    println!("\n{missed} over the goal of x {GOAL}, or of an exponent of {EXPONENT}");
}

type Work = fn(&mut Node) -> f64;

/// What costs n. The last one leaves nobody behind.
fn works() -> [(&'static str, Work); 6] {
    [
        ("a message in each", |node| best(|| node.burst())),
        ("a reply to each", |node| best(|| node.greet())),
        ("all enter one", |node| {
            let begun = Instant::now();
            for slot in 0..node.size {
                node.stage.say(slot, &mut frame(Format::Json, r#"{"type":"subscribe","channel":"all"}"#));
            }
            nanos(begun)
        }),
        ("one message to all", |node| best(|| node.fanout())),
        ("a second passes", |node| (0..8).map(|_| node.second()).fold(0.0, f64::max)),
        ("all end at once", |node| black_box(node.end())),
    ]
}

fn best(work: impl FnMut() -> f64) -> f64 {
    std::iter::repeat_with(work).take(5).fold(f64::INFINITY, f64::min)
}

/// An operation on each node, and beside it the bare table's.
fn constant(nodes: &mut [Node], bare: &mut [Bare], operation: usize, spread: bool) -> [Vec<f64>; 2] {
    let mut blocks = vec![[Vec::with_capacity(ROUNDS), Vec::with_capacity(ROUNDS)]; nodes.len()];
    for _ in 0..ROUNDS {
        for ((node, bare), [ours, floor]) in nodes.iter_mut().zip(&mut *bare).zip(&mut blocks) {
            // The first one fetches again what the nodes before have driven out of the caches.
            node.block(operation, spread);
            ours.push(node.block(operation, spread));
            if spread {
                bare.block();
                floor.push(bare.block());
            }
        }
    }
    let mut of = |side: usize| {
        let rows = blocks.iter_mut().map(|both| std::mem::take(&mut both[side]));
        rows.filter(|row| !row.is_empty()).map(quartile).collect()
    };
    [of(0), of(1)]
}

/// The largest growth from any size to that of a thousand times as many; of the whole row where it is shorter.
fn three_decades(row: &[f64]) -> f64 {
    let last = row.len() - 1;
    let pairs = row.iter().enumerate().map(|(at, from)| row[(at + 3).min(last)] / from);
    pairs.fold(0.0, f64::max)
}

/// The slope of the logarithms, by least squares, from a hundred up: below that what is done once weighs more.
fn slope(sizes: &[u32], row: &[f64]) -> f64 {
    let points = sizes.iter().zip(row).filter(|(size, _)| **size >= 100);
    let points: Vec<_> = points.map(|(size, ns)| (f64::from(*size).ln(), ns.ln())).collect();
    let count = per(points.len());
    let (sum_x, sum_y) = points.iter().fold((0.0, 0.0), |(x, y), point| (x + point.0, y + point.1));
    let (mean_x, mean_y) = (sum_x / count, sum_y / count);
    let above: f64 = points.iter().map(|(x, y)| (x - mean_x) * (y - mean_y)).sum();
    let below: f64 = points.iter().map(|(x, _)| (x - mean_x).powi(2)).sum();
    above / below
}

fn header(sizes: &[u32]) -> String {
    let sizes: String = sizes.iter().map(|size| format!("{size:>10}")).collect();
    format!("{:<20}{sizes}", "")
}

fn line(name: &str, row: &[f64]) -> String {
    let row: String = row.iter().map(|ns| format!("{ns:>10.0}")).collect();
    format!("{name:<20}{row}")
}
