//! `/health`: the process lives. `/ready`: messages flow, shown by one that went the whole way.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use axum::body::Body;
use axum::http::header::CACHE_CONTROL;
use axum::http::{HeaderValue, Response, StatusCode};
use serde_json::{Value, json};
use tokio::sync::Mutex;

use super::api::json_answer;
use crate::site::Site;

/// A shard that sleeps turns once a second; one that has not turned for so long hangs.
const HUNG_MS: u64 = 5_000;
/// A message of the node to itself is back by then.
const BACK: Duration = Duration::from_secs(1);
/// An answer of `/ready` is good for so long: who asks often learns nothing new, and costs nothing.
const FRESH: Duration = Duration::from_secs(1);

/// Whether every shard still turns.
pub(super) fn health(site: &Site) -> Response<Body> {
    let now_ms = site.clock.now().mono_ms;
    let since = site.shards.iter().map(|shard| now_ms.saturating_sub(shard.gauge.turned_ms()));
    let hung = since.enumerate().filter(|(_, ms)| *ms > HUNG_MS);
    let hung = hung.map(|(number, ms)| format!("shard {number} has done nothing for {ms} ms"));
    let hung = hung.collect::<Vec<_>>().join("; ");
    if hung.is_empty() { answer(&[], &["shards"]) } else { answer(&[("shards", hung)], &[]) }
}

/// What `/ready` found last, and when.
#[derive(Debug, Default)]
pub(super) struct Ready {
    last: Mutex<Option<(Instant, Verdict)>>,
    number: AtomicU64,
}

/// What each dependency answered; empty words: it is well.
type Verdict = Vec<(&'static str, String)>;

impl Ready {
    /// Whether messages flow. Who asks while somebody else does waits for the same answer.
    pub(super) async fn answer(&self, site: &Arc<Site>) -> Response<Body> {
        if site.shards.iter().all(|shard| shard.is_stopping()) {
            return answer(&[("server", "it stops".to_owned())], &[]);
        }
        let mut last = self.last.lock().await;
        if last.as_ref().is_none_or(|(at, _)| at.elapsed() >= FRESH) {
            let verdict = self.ask(site).await;
            *last = Some((Instant::now(), verdict));
        }
        let all = last.as_ref().map_or(&[][..], |(_, verdict)| verdict);
        let failing: Vec<_> = all.iter().filter(|(_, words)| !words.is_empty()).cloned().collect();
        let well: Vec<_> = all.iter().filter(|(_, words)| words.is_empty()).map(|(name, _)| *name).collect();
        answer(&failing, &well)
    }

    async fn ask(&self, site: &Site) -> Verdict {
        let number = self.number.fetch_add(1, Ordering::Relaxed) + 1;
        if let Err(deny) = site.loopback.publish(&site.node, number, site.clock.now()) {
            return vec![("broker", deny.message), ("shards", "not asked".to_owned())];
        }
        let until = tokio::time::Instant::now() + BACK;
        let mut silent = Vec::new();
        for (index, shard) in site.shards.iter().enumerate() {
            let mut came_back = shard.came_back.subscribe();
            let back = came_back.wait_for(|newest| *newest >= number);
            if !matches!(tokio::time::timeout_at(until, back).await, Ok(Ok(_))) {
                silent.push(index.to_string());
            }
        }
        let words = match silent.len() {
            0 => String::new(),
            _ => format!(
                "no message came back from shard {} within {} ms",
                silent.join(", "),
                BACK.as_millis()
            ),
        };
        vec![("broker", String::new()), ("shards", words)]
    }
}

fn answer(failing: &[(&str, String)], well: &[&str]) -> Response<Body> {
    let (status, word) = match failing {
        [] => (StatusCode::OK, "ok"),
        _ => (StatusCode::SERVICE_UNAVAILABLE, "failing"),
    };
    let mut checks: serde_json::Map<String, Value> =
        well.iter().map(|name| ((*name).into(), "ok".into())).collect();
    checks.extend(failing.iter().map(|(name, words)| ((*name).to_owned(), Value::from(words.as_str()))));
    let body = json!({ "status": word, "checks": checks });
    let mut response = json_answer(status, body.to_string().into_bytes());
    response.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}
