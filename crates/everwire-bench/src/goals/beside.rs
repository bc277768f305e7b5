//! Something small on a shard that has something huge to do.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::{Result, anyhow};
use everwire_client::{Dial, Socket};
use hdrhistogram::Histogram;

use super::fanout::server_side;
use super::{Bench, Finding};
use crate::alternate::Side;
use crate::clock::now_ns;
use crate::server::Server;

/// The 99th percentile of an echo on a shard that serves a channel of so many, against the same shard when it is quiet.
pub(super) fn echo(bench: Bench, subscribers: usize, floor_ns: f64) -> Result<Finding> {
    let server = Server::start(bench.server_core, "", "")?;
    let swarm = bench.swarm()?;
    let mut busy = server_side(&swarm, &server, subscribers, 1)?;
    let block = bench.rounds.block * 2;
    let url = format!("ws://{}/echo/raw", server.address);
    let quiet = listen(&url, || {
        std::thread::sleep(block);
        Ok(())
    })?;
    let loud = listen(&url, || busy.block(block * 2).map(drop))?;
    let [quiet, loud] = [quiet, loud].map(|h| h.value_at_quantile(0.99) as f64 / 1e3);
    let most = quiet + 2.0 * 512.0 * floor_ns / 1e6;
    Ok(Finding {
        goal: "S15",
        what: format!("p99 of an echo on the shard of a channel of {subscribers}"),
        floor: format!("{quiet:.3} ms when quiet; 512 bare sends {:.2} ms", 512.0 * floor_ns / 1e6),
        figure: format!("{loud:.2} ms"),
        value: loud / most,
        limit: 1.0,
        more_is_better: false,
        note: "the limit is the quiet p99 and twice the time of 512 bare sends; the echo shares the load tool's core"
            .to_owned(),
    })
}

/// Latencies of an echo, µs, while something else is done.
fn listen(url: &str, meanwhile: impl FnOnce() -> Result<()>) -> Result<Histogram<u64>> {
    let over = Arc::new(AtomicBool::new(false));
    let (ends, url) = (over.clone(), url.to_owned());
    let listener = std::thread::spawn(move || -> Result<Histogram<u64>> {
        // Ahead of the thread that reads eighteen thousand sockets, where that is allowed; else it waits for it too.
        let _ = rustix::process::nice(-20);
        let mut socket = Socket::connect(&url, &Dial::default())?;
        let mut latencies = Histogram::new_with_max(60_000_000, 3)?;
        while !ends.load(Ordering::Relaxed) {
            let sent = now_ns();
            socket.send_text("how long does this take")?;
            socket.receive(Duration::from_secs(10))?;
            latencies.saturating_record((now_ns() - sent) / 1_000);
            // A pause, so that it asks at any time of a walk.
            std::thread::sleep(Duration::from_micros(500 + (sent / 7) % 3_000));
        }
        Ok(latencies)
    });
    let done = meanwhile();
    over.store(true, Ordering::Relaxed);
    let latencies = listener.join().map_err(|_| anyhow!("the echo ended with a bug"))??;
    done?;
    Ok(latencies)
}
