//! Every metric of our own: name, meaning, and where it is read.

use std::borrow::Cow;
use std::sync::atomic::{AtomicU64, Ordering};

use everwire_brokers::disk::{self, SYNC_BOUNDS_US};
use everwire_engine::node::Payer;
use everwire_proto::codes::{CloseCode, ErrorCode};

use crate::shard::{LAG_BOUNDS_US, LagReading, Reading, TURN_BOUNDS_US};
use crate::site::Site;
use crate::tls::Handshakes;

/// A label and its value.
pub(super) type Label = (&'static str, Cow<'static, str>);

/// The values of a metric.
#[derive(Debug)]
pub(super) enum Samples {
    /// What only rises, by label where there is one.
    Counter(Vec<(Option<Label>, f64)>),
    /// What rises and falls.
    Gauge(f64),
    /// How many of each length, seconds.
    Histogram {
        /// All lengths together.
        sum: f64,
        /// Upper bounds, and how many are below each and above the one before.
        buckets: Vec<(f64, u64)>,
    },
    /// Words.
    Info(Vec<Label>),
}

/// A metric. Counters have their `_total`, and an info its `_info`, only in the text.
#[derive(Debug)]
pub(super) struct Family {
    pub(super) name: &'static str,
    pub(super) help: &'static str,
    pub(super) samples: Samples,
}

pub(super) fn counter(name: &'static str, help: &'static str, value: f64) -> Family {
    Family { name, help, samples: Samples::Counter(vec![(None, value)]) }
}

pub(super) fn gauge(name: &'static str, help: &'static str, value: f64) -> Family {
    Family { name, help, samples: Samples::Gauge(value) }
}

fn counters(
    name: &'static str,
    help: &'static str,
    key: &'static str,
    all: Vec<(Cow<'static, str>, u64)>,
) -> Family {
    let all = all.into_iter().map(|(value, count)| (Some((key, value)), number(count)));
    Family { name, help, samples: Samples::Counter(all.collect()) }
}

/// Exact up to 2^53, which is 9 PB.
fn number(count: u64) -> f64 {
    count as f64
}

fn load(counter: &AtomicU64) -> u64 {
    counter.load(Ordering::Relaxed)
}

/// All of a server's own.
pub(super) fn of(site: &Site) -> Vec<Family> {
    let mut shards = Reading::default();
    for shard in &site.shards {
        shard.gauge.add_to(&mut shards);
    }
    let stored = site.disk.as_ref().map(|disk| disk.figures()).unwrap_or_default();
    let mut all = now(site, &shards, &stored);
    all.extend(traffic(site, &shards));
    all.extend(trouble(site, &shards));
    all.extend(limits(site));
    all.extend(tls(site));
    all.extend(lengths(&shards));
    all.extend(store(&stored));
    let words =
        vec![("version", env!("CARGO_PKG_VERSION").into()), ("mode", site.config().mode.as_str().into())];
    let help = "The build that runs, and how";
    all.push(Family { name: "everwire_build", help, samples: Samples::Info(words) });
    all
}

fn now(site: &Site, shards: &Reading, store: &disk::Figures) -> Vec<Family> {
    let history = site.node.shared.history_bytes.load(Ordering::Relaxed) as u64;
    vec![
        gauge("everwire_connections", "WebSockets that are open, echoes included", site.connections() as f64),
        gauge("everwire_sessions", "Connections that speak the protocol", number(shards.sessions)),
        gauge(
            "everwire_seats",
            "Sessions that are known, ended ones that can be resumed included",
            site.node.session_count() as f64,
        ),
        gauge("everwire_subscriptions", "Subscriptions of all connections", number(shards.subscriptions)),
        gauge(
            "everwire_channels",
            "Channels that are known, idle ones included",
            site.node.channel_count() as f64,
        ),
        gauge("everwire_history_bytes", "Bytes of history in memory", number(history)),
        gauge(
            "everwire_outbox_bytes",
            "Bytes that wait for connections that do not read fast enough",
            number(shards.outbox_bytes),
        ),
        gauge(
            "everwire_users",
            "Users that have a connection; anonymous clients are none",
            site.node.user_count() as f64,
        ),
        gauge(
            "everwire_draining",
            "1 while the node is being left, 0 otherwise",
            f64::from(u8::from(site.is_draining())),
        ),
        gauge("everwire_shards", "Threads that serve sockets", site.shards.len() as f64),
        gauge(
            "everwire_addresses",
            "Addresses that a connection comes from",
            site.gate.addresses().present() as f64,
        ),
        gauge(
            "everwire_http_connections",
            "Connections that are no WebSocket, or none yet",
            f64::from(site.gate.addresses().waiting()),
        ),
        gauge(
            "everwire_revocations",
            "Revoked tokens and users that are remembered",
            site.keyring.revoked().count() as f64,
        ),
        gauge(
            "everwire_message_ids",
            "Message ids that are remembered, by the store too",
            site.node.shared.message_ids.load(Ordering::Relaxed) as f64 + number(store.message_ids),
        ),
    ]
}

fn traffic(site: &Site, shards: &Reading) -> Vec<Family> {
    let counters = &site.node.counters;
    let sum = |name, help, count| counter(name, help, number(count));
    vec![
        sum(
            "everwire_messages_in",
            "Messages read of sessions, whether they could be read or not",
            shards.messages_in,
        ),
        sum(
            "everwire_messages_out",
            "Frames given to sessions: messages, replies, pings, closes",
            shards.frames_out,
        ),
        sum("everwire_bytes_in", "Bytes read of the sockets of sessions, after the upgrade", shards.bytes_in),
        sum(
            "everwire_bytes_out",
            "Bytes that the sockets of sessions took, after the upgrade",
            shards.bytes_out,
        ),
        sum(
            "everwire_publishes",
            "Publishes that were allowed, of sessions and of the API",
            load(&counters.published),
        ),
    ]
}

fn trouble(site: &Site, shards: &Reading) -> Vec<Family> {
    let node = &site.node.counters;
    let errors = ErrorCode::ALL.iter().zip(&node.refused).map(|(code, n)| (code.as_str().into(), load(n)));
    let closes =
        CloseCode::ALL.iter().zip(&node.closed).map(|(code, n)| (code.code().to_string().into(), load(n)));
    let drops = vec![
        ("outbox_messages".into(), shards.left_out_volatile),
        ("outbox_presence".into(), shards.left_out_presence),
        ("inbox_messages".into(), load(&node.lost)),
        ("inbox_presence".into(), load(&node.unheard)),
    ];
    let recoveries = vec![("whole".into(), load(&node.recovered)), ("lost".into(), load(&node.unrecovered))];
    let sum = |name, help, count| counter(name, help, number(count));
    vec![
        counters(
            "everwire_command_errors",
            "Commands and API requests that were refused, by error code",
            "code",
            errors.collect(),
        ),
        counters(
            "everwire_closes",
            "Sessions that ended with a close frame of a known code",
            "code",
            closes.collect(),
        ),
        sum("everwire_slow_consumers", "Connections ended because they did not read", load(&node.slow)),
        counters(
            "everwire_drops",
            "Times that something was left out for slow readers; each was told",
            "reason",
            drops,
        ),
        counters(
            "everwire_recoveries",
            "Recoveries: whole, or with something lost that was told",
            "result",
            recoveries,
        ),
        sum(
            "everwire_collapses",
            "Times that too much waited for a channel: stored messages were read from its history, others left out and told",
            shards.collapsed,
        ),
        sum("everwire_gaps", "Gaps that were told to subscribers", load(&node.gaps)),
        sum(
            "everwire_evictions",
            "Idle channels that were forgotten to make room in memory",
            load(&node.evicted),
        ),
    ]
}

/// Limits that were met, besides those that are told with an error or a close code.
fn limits(site: &Site) -> Vec<Family> {
    let node = &site.node.counters;
    let refused = vec![
        ("handshakes".into(), load(&site.gate.too_fast)),
        ("address_handshakes".into(), load(&site.gate.too_fast_here)),
        ("http".into(), load(&site.gate.full)),
        ("address".into(), load(&site.gate.crowded)),
        ("user".into(), load(&node.crowded_users)),
    ];
    let paused = Payer::ALL.iter().zip(&node.paused).map(|(payer, n)| (payer.as_str().into(), load(n)));
    vec![
        counters(
            "everwire_refused_connections",
            "Connections refused, by what there were too many of",
            "reason",
            refused,
        ),
        counters(
            "everwire_pauses",
            "Times that a connection was not read for a while, by whose bucket was empty",
            "bucket",
            paused.collect(),
        ),
        counter(
            "everwire_relieved_outboxes",
            "Outboxes that were emptied or ended because all together held too much",
            number(load(&node.relieved)),
        ),
    ]
}

/// Where no TLS is spoken, all is 0.
fn tls(site: &Site) -> Vec<Family> {
    let none = Handshakes::default();
    let handshakes = site.tls.as_ref().map_or(&none, |tls| &tls.handshakes);
    let named = |(name, count): (&'static str, u64)| (name.into(), count);
    vec![
        counters(
            "everwire_tls_handshakes",
            "Handshakes of TLS, by how they ended",
            "result",
            handshakes.outcomes().map(named).collect(),
        ),
        counters(
            "everwire_tls_versions",
            "Handshakes of TLS that were done, by version",
            "version",
            handshakes.versions().map(named).collect(),
        ),
    ]
}

fn lengths(shards: &Reading) -> Vec<Family> {
    vec![
        histogram(
            "everwire_turn_seconds",
            "How long a shard's turns took: while one lasts, its other connections wait",
            (&TURN_BOUNDS_US, &shards.turns, shards.turn_ns),
        ),
        lag(
            "everwire_publish_seconds",
            "From a connection's publish to its answer, to the millisecond where the store gives it",
            &shards.publishes,
        ),
        lag(
            "everwire_fanout_seconds",
            "From a publish to the last of a shard's subscribers that keep up, for each batch of a channel",
            &shards.fanout,
        ),
    ]
}

fn lag(name: &'static str, help: &'static str, reading: &LagReading) -> Family {
    histogram(name, help, (&LAG_BOUNDS_US, &reading.buckets, reading.sum_ns))
}

/// Upper bounds in µs, counts with one more of them, all together in ns.
fn histogram(
    name: &'static str,
    help: &'static str,
    (bounds_us, counts, sum_ns): (&[u64], &[u64], u64),
) -> Family {
    let bounds = bounds_us.iter().map(|us| *us as f64 / 1e6).chain([f64::INFINITY]);
    let buckets = bounds.zip(counts.iter().copied()).collect();
    Family { name, help, samples: Samples::Histogram { sum: sum_ns as f64 / 1e9, buckets } }
}

/// Of the store; where history is in memory there is none, and all is 0.
fn store(figures: &disk::Figures) -> Vec<Family> {
    let disk::Figures { bytes, segments, waiting, batches, syncs, sync_ns, refuses, given_up, .. } = *figures;
    vec![
        gauge(
            "everwire_store_bytes",
            "Bytes of history on disk, with what waits to be given back",
            number(bytes),
        ),
        gauge("everwire_store_segments", "Files of history on disk, of which each is open", number(segments)),
        gauge("everwire_store_waiting", "Asks that wait for the store's writer", number(waiting)),
        gauge(
            "everwire_store_refuses",
            "1 while publishes are refused because the store is full or fails, 0 otherwise",
            f64::from(u8::from(refuses)),
        ),
        counter(
            "everwire_store_evictions",
            "Channels without messages that the store forgot to make room",
            number(given_up),
        ),
        counter("everwire_store_batches", "Batches that were written to the store", number(batches)),
        histogram(
            "everwire_store_sync_seconds",
            "How long the medium took to have what was written",
            (&SYNC_BOUNDS_US, &syncs, sync_ns),
        ),
    ]
}
