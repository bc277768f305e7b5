//! A server of one's own for each test, on a port of the system's choice.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use everwire_server::app::{self, Running};
use everwire_server::config::{ApiKey, Config, History};
use everwire_server::notify::Notifier;
use everwire_server::tls::Tls;

use crate::peer::Peer;
use crate::wire::Wire;

pub const KEY: &str = "0123456789abcdef";

pub struct World {
    running: Option<Running>,
}

/// A server in dev mode with two shards.
pub fn world() -> World {
    world_with(|_| {})
}

/// The same, changed.
pub fn world_with(change: impl FnOnce(&mut Config)) -> World {
    let mut config = Config::dev();
    config.listen = vec!["127.0.0.1:0".parse().unwrap()];
    config.api_keys = vec![ApiKey::new(KEY)];
    config.shards = 2;
    change(&mut config);
    World { running: Some(app::start(config).unwrap()) }
}

/// What a config file with this text says, with its history in memory.
pub fn served(text: &str) -> Config {
    Config { history: History::Memory, ..Config::read("f", text).unwrap() }
}

impl World {
    fn running(&self) -> &Running {
        self.running.as_ref().unwrap()
    }

    pub fn tls(&self) -> &Tls {
        self.running().site.tls.as_ref().unwrap()
    }

    pub fn addr(&self) -> SocketAddr {
        self.running().addrs[0]
    }

    /// Where it tells metrics, if that is somewhere else.
    pub fn watch_addr(&self) -> SocketAddr {
        self.running().watch_addrs[0]
    }

    /// Tells systemd of it.
    pub fn notify(&mut self, notifier: Notifier) {
        self.running.as_mut().unwrap().notify(notifier);
    }

    /// A plain TCP connection.
    pub fn dial(&self) -> Wire {
        Wire::dial(self.addr())
    }

    /// A WebSocket.
    pub fn open(&self, path: &str) -> Peer {
        Peer::open(self.addr(), path)
    }

    /// A WebSocket with a session that stands.
    pub fn session(&self) -> Peer {
        Peer::session(self.addr())
    }

    /// Where the API has a listener of its own.
    pub fn api_addr(&self) -> SocketAddr {
        self.running().api_addrs[0]
    }

    /// One HTTP request; the head and the body of the answer.
    pub fn http(&self, method: &str, path: &str, lines: &str, body: &str) -> (String, String) {
        Self::http_at(self.addr(), method, path, lines, body)
    }

    /// The same, to some address.
    pub fn http_at(addr: SocketAddr, method: &str, path: &str, lines: &str, body: &str) -> (String, String) {
        let mut client = Wire::dial(addr);
        let head = format!(
            "{method} {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nContent-Length: {}\r\n{lines}\r\n",
            body.len()
        );
        client.raw(format!("{head}{body}").as_bytes());
        client.read_head();
        let body = String::from_utf8(client.read_to_end()).unwrap();
        (client.head, body)
    }

    /// The newest number that the node published to itself and that came back.
    pub fn came_back(&self) -> u64 {
        *self.running().site.shards[0].came_back.borrow()
    }

    /// One shard ends, and nobody notices but who asks.
    pub fn end_shard(&self, number: usize) {
        self.running().site.shards[number].stop_within(3_000);
    }

    pub fn connections(&self) -> usize {
        self.running().site.connections()
    }

    /// Connections that are no WebSocket.
    pub fn waiting(&self) -> u32 {
        self.running().site.gate.addresses().waiting()
    }

    /// Addresses that have a connection.
    pub fn addresses(&self) -> usize {
        self.running().site.gate.addresses().present()
    }

    /// Connections that were ended because they did not read.
    pub fn ended_as_slow(&self) -> u64 {
        self.running().site.node.counters.slow.load(std::sync::atomic::Ordering::Relaxed)
    }

    /// Every connection is gone from the shards.
    pub fn until_empty(&self) {
        until("the shards are empty", || self.connections() == 0);
    }

    pub fn stop(mut self) {
        self.running.take().unwrap().stop();
    }
}

impl Drop for World {
    fn drop(&mut self) {
        if let Some(running) = self.running.take() {
            running.stop();
        }
    }
}

/// Waits for a condition that nothing reports.
pub fn until(what: &str, mut holds: impl FnMut() -> bool) {
    let begun = Instant::now();
    while !holds() {
        assert!(begun.elapsed() < Duration::from_secs(20), "{what}: not after 20 s");
        std::thread::yield_now();
    }
}
