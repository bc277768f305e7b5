//! Attacks on a server of their own. Each must leave every other connection working, and memory and descriptors where
//! they were.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use everwire_client::{Client, Options, TalkError};
use serde_json::json;

use crate::peer::{Peer, dial};
use crate::process::Process;
use crate::wire::PATIENCE;
use crate::world::until;

/// What an attack may leave behind at last, KB: pages that the allocator happens to keep.
const LEFT_KB: usize = 4 * 1024;
/// So many attacks may size buffers and tables: each thread has its own, and not every attack meets all threads. What
/// leaks does so every time.
const ATTACKS: usize = 6;

/// No round of a witness may take so long. Generous, because the machine may be full of other tests.
const ROUND: Duration = Duration::from_secs(10);

/// The server to attack: what its config has besides the ordinary, and the memory it may take while it sizes itself.
pub struct Siege {
    /// Lines of the root table.
    pub root: &'static str,
    /// Lines of `[limits]`.
    pub limits: &'static str,
    /// Lines of `[times]`.
    pub times: &'static str,
    /// How much all of them may leave, KB: buffers and tables of the size that was needed.
    pub grown_kb: usize,
    /// Whether a session can stand, for the witness.
    pub sessions: bool,
}

impl Default for Siege {
    fn default() -> Self {
        Self { root: "", limits: "", times: "", grown_kb: 24 * 1024, sessions: true }
    }
}

impl Siege {
    pub fn config(&self) -> String {
        let Self { root, limits, times, .. } = self;
        format!(
            "listen = [\"127.0.0.1:0\"]\necho = true\ncompression = \"on\"\nshards = 2\n{root}\n\
             [limits]\ncommands_per_second = 1_000_000\ncommands_burst = 1_000_000\n{limits}\n[times]\n{times}\n\
             [namespaces.default]\npresence = true\nhistory = {{}}\n\
             access = {{ subscribe = \"anyone\", publish = \"anyone\", presence = \"anyone\", history = \"anyone\" }}\n"
        )
    }

    /// Runs an attack, while two witnesses go on talking, until it leaves nothing behind: what it costs may stay the first
    /// times, not for ever.
    pub fn withstands(&self, attack: impl Fn(&Process)) {
        let server = Process::serve(&self.config());
        let witness = Witness::call(server.addr, self.sessions);
        witness.sees_a_round();
        let (descriptors, resident_kb) = (server.descriptors(), server.resident_kb());
        let mut after_kb = Vec::new();
        let settled = (0..ATTACKS).any(|_| {
            attack(&server);
            witness.sees_a_round();
            until("the descriptors are back", || server.descriptors() <= descriptors);
            after_kb.push(server.resident_kb());
            matches!(after_kb[..], [.., before, last] if last <= before + LEFT_KB)
        });
        let words = format!("resident before {resident_kb} KB, after the attacks {after_kb:?} KB");
        assert!(settled, "{words}");
        assert!(after_kb.iter().all(|kb| *kb <= resident_kb + self.grown_kb + LEFT_KB), "{words}");
        witness.dismiss();
    }
}

/// Connections that must not notice anything: an echo, and a session that publishes to itself.
pub struct Witness {
    rounds: Arc<AtomicU64>,
    enough: Arc<AtomicBool>,
    thread: JoinHandle<()>,
}

impl Witness {
    pub fn call(addr: SocketAddr, sessions: bool) -> Self {
        let (rounds, enough) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicBool::new(false)));
        let (counted, told) = (rounds.clone(), enough.clone());
        let thread = std::thread::spawn(move || {
            let mut echo = Peer::open(addr, "/echo/raw");
            let mut session = sessions.then(|| {
                let options = Options { dial: dial(), patience: PATIENCE, ..Options::default() };
                let mut client = Client::connect(&format!("ws://{addr}/ws"), &options).unwrap();
                client.ask("subscribe", &json!({ "channel": "witness" })).unwrap();
                client
            });
            while !told.load(Ordering::Relaxed) {
                let begun = Instant::now();
                round(&mut echo, session.as_mut(), counted.load(Ordering::Relaxed));
                assert!(begun.elapsed() < ROUND, "a witness waited for {:?}", begun.elapsed());
                counted.fetch_add(1, Ordering::Relaxed);
            }
        });
        Self { rounds, enough, thread }
    }

    /// A round begins and ends from now on.
    pub fn sees_a_round(&self) {
        let before = self.rounds.load(Ordering::Relaxed);
        until("the witnesses go on", || {
            assert!(!self.thread.is_finished(), "a witness was disturbed");
            self.rounds.load(Ordering::Relaxed) >= before + 2
        });
    }

    pub fn dismiss(self) {
        self.enough.store(true, Ordering::Relaxed);
        self.thread.join().expect("a witness was disturbed");
    }
}

fn round(echo: &mut Peer, session: Option<&mut Client>, number: u64) {
    let word = number.to_string();
    echo.text(&word);
    while echo.next() != Some(everwire_client::Message::Text(word.clone())) {}
    if let Some(client) = session {
        client.ask("publish", &json!({ "channel": "witness", "data": number })).unwrap();
        let message = client.wait_for("message").unwrap();
        assert_eq!(
            (&message["data"], &message["offset"]),
            (&number.into(), &(number + 1).into()),
            "{message}"
        );
    }
    // Nothing comes that was not asked for, and the machine is left to the attack for a moment.
    let silence = echo.socket.receive(Duration::from_millis(10));
    assert!(
        matches!(silence, Err(TalkError::Timeout(_)) | Ok(everwire_client::Message::Ping(_))),
        "{silence:?}"
    );
}
