//! kill -9 at random moments: nothing that was acknowledged is lost, nothing that was heard is forgotten, and everybody goes
//! on where he was. `EVERWIRE_CRASHES` says how often; `cargo xtask crash --times N` sets it.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use everwire_client::{Client, TalkError};
use serde_json::{Value, json};

use crate::durable::{Data, options, serve};
use crate::wire::PATIENCE;
use crate::world::until;

const CHANNELS: [&str; 3] = ["one", "two", "three"];
/// Publishes that a publisher does not wait for.
const IN_FLIGHT: usize = 16;

/// One publisher, over all lives of the server.
struct Publisher {
    channel: &'static str,
    sent: u64,
    /// What is not answered yet; nobody knows what becomes of it when the server goes.
    unknown: VecDeque<String>,
    /// Offset and text.
    acknowledged: Vec<(u64, String)>,
}

impl Publisher {
    fn text(&mut self) -> String {
        self.sent += 1;
        format!("{}-{}", self.channel, self.sent)
    }

    /// Publishes until the server is gone.
    fn run(&mut self, addr: SocketAddr, count: &AtomicUsize) {
        // An anonymous session ends with its server, and its message ids with it: these are not sent again.
        self.unknown.clear();
        let Ok(mut client) = Client::connect(&format!("ws://{addr}/ws"), &options()) else { return };
        loop {
            while self.unknown.len() < IN_FLIGHT {
                let text = self.text();
                self.unknown.push_back(text);
            }
            let send = |text: &String| {
                client.send("publish", &json!({ "channel": self.channel, "data": text, "message_id": text }))
            };
            let Ok(tickets) = self.unknown.iter().map(send).collect::<Result<Vec<_>, _>>() else { return };
            for ticket in tickets {
                match client.reply(ticket) {
                    Ok(done) => {
                        let text = self.unknown.pop_front().unwrap();
                        self.acknowledged.push((done["position"]["offset"].as_u64().unwrap(), text));
                        count.fetch_add(1, Ordering::Relaxed);
                    }
                    Err(TalkError::Denied(denied)) => panic!("{denied}"),
                    Err(_) => return,
                }
            }
        }
    }
}

/// One subscriber, over all lives of the server.
#[derive(Default)]
struct Subscriber {
    seen: BTreeMap<String, BTreeMap<u64, String>>,
    /// By channel.
    positions: BTreeMap<String, Value>,
    recoveries: usize,
}

impl Subscriber {
    /// Goes on where it was.
    fn subscribe(&mut self, addr: SocketAddr) -> Client {
        let mut client = Client::connect(&format!("ws://{addr}/ws"), &options()).unwrap();
        for channel in CHANNELS {
            let since = self.positions.get(channel);
            let answer = client.ask("subscribe", &json!({ "channel": channel, "since": since })).unwrap();
            if since.is_some() {
                assert_eq!(answer["recovered"], true, "{since:?}: {answer}");
                self.recoveries += 1;
            } else {
                let start = json!({ "epoch": answer["position"]["epoch"], "offset": 0 });
                assert_eq!(answer["position"], start, "nothing was published yet");
                self.positions.insert(channel.to_owned(), start);
            }
        }
        client
    }

    fn hear(&mut self, message: &Value) {
        assert_eq!(message["type"], "message", "{message}");
        let channel = message["channel"].as_str().unwrap();
        let offset = message["offset"].as_u64().unwrap();
        let position = self.positions.get_mut(channel).unwrap();
        assert_eq!(position["offset"].as_u64(), Some(offset - 1), "each once, in order: {message}");
        position["offset"] = offset.into();
        let text = message["data"].as_str().unwrap().to_owned();
        self.seen.entry(channel.to_owned()).or_default().insert(offset, text);
    }

    /// Listens until the server is gone.
    fn run(&mut self, client: &mut Client) {
        while let Ok(message) = client.push() {
            self.hear(&message);
        }
    }

    fn has(&self, publisher: &Publisher) -> bool {
        let seen = self.seen.get(publisher.channel);
        publisher.acknowledged.iter().all(|(offset, text)| seen.and_then(|s| s.get(offset)) == Some(text))
    }
}

/// A number that looks random: Knuth's MMIX generator.
struct Dice(u64);

impl Dice {
    fn below(&mut self, limit: usize) -> usize {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        usize::try_from(self.0 >> 33).unwrap() % limit
    }
}

#[test]
fn kill_9_loses_nothing_that_was_acknowledged() {
    let times = std::env::var("EVERWIRE_CRASHES").map_or(20, |times| times.parse().unwrap());
    let data = Data::new();
    let publisher =
        |channel| Publisher { channel, sent: 0, unknown: VecDeque::new(), acknowledged: Vec::new() };
    let mut publishers = CHANNELS.map(publisher);
    let (mut subscriber, mut dice) = (Subscriber::default(), Dice(20));
    let mut slowest = Duration::ZERO;
    for _ in 0..times {
        let begun = Instant::now();
        let mut server = serve(data.path(), "");
        slowest = slowest.max(begun.elapsed());
        let (addr, count) = (server.addr, AtomicUsize::new(0));
        let mut client = subscriber.subscribe(addr);
        std::thread::scope(|scope| {
            scope.spawn(|| subscriber.run(&mut client));
            for publisher in &mut publishers {
                scope.spawn(|| publisher.run(addr, &count));
            }
            let enough = dice.below(300);
            until("publishes are acknowledged", || count.load(Ordering::Relaxed) > enough);
            server.kill();
        });
    }
    let server = serve(data.path(), "");
    let mut client = subscriber.subscribe(server.addr);
    let begun = Instant::now();
    while !publishers.iter().all(|publisher| subscriber.has(publisher)) {
        assert!(begun.elapsed() < PATIENCE, "an acknowledged message is lost");
        let message = client.push().unwrap();
        subscriber.hear(&message);
    }
    let acknowledged: usize = publishers.iter().map(|publisher| publisher.acknowledged.len()).sum();
    for publisher in &publishers {
        let seen = &subscriber.seen[publisher.channel];
        let texts: BTreeSet<_> = seen.values().collect();
        assert_eq!(texts.len(), seen.len(), "a message was stored twice");
    }
    assert_eq!(subscriber.recoveries, CHANNELS.len() * times, "every one was whole");
    println!("{times} times kill -9: {acknowledged} acknowledged, 0 lost, slowest start {slowest:?}");
}
