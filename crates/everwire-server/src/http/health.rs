//! `/health`: the process lives. `/ready`: messages flow, and the node stays.

use axum::body::Body;
use axum::http::header::CACHE_CONTROL;
use axum::http::{HeaderValue, Response, StatusCode};
use serde_json::{Value, json};

use super::api::json_answer;
use crate::flow::Check;
use crate::site::Site;

/// A shard that sleeps turns once a second; one that has not turned for so long hangs.
const HUNG_MS: u64 = 5_000;

/// Whether every shard still turns.
pub(crate) fn health(site: &Site) -> Response<Body> {
    let now_ms = site.clock.now().mono_ms;
    let since = site.shards.iter().map(|shard| now_ms.saturating_sub(shard.gauge.turned_ms()));
    let hung = since.enumerate().filter(|(_, ms)| *ms > HUNG_MS);
    let hung = hung.map(|(number, ms)| format!("shard {number} has done nothing for {ms} ms"));
    answer(&[Check { name: "shards", words: hung.collect::<Vec<_>>().join("; ") }])
}

/// Whether messages flow.
pub(crate) async fn ready(site: &Site) -> Response<Body> {
    if site.is_draining() {
        return tell(StatusCode::SERVICE_UNAVAILABLE, "draining", json!({ "server": "draining" }));
    }
    answer(&site.flow.look(site.way()).await)
}

fn answer(checks: &[Check]) -> Response<Body> {
    let (status, word) = match checks.iter().all(Check::is_well) {
        true => (StatusCode::OK, "ok"),
        false => (StatusCode::SERVICE_UNAVAILABLE, "failing"),
    };
    let said = |check: &Check| match check.is_well() {
        true => Value::from("ok"),
        false => check.words.as_str().into(),
    };
    let checks: serde_json::Map<_, _> =
        checks.iter().map(|check| (check.name.to_owned(), said(check))).collect();
    tell(status, word, checks.into())
}

fn tell(status: StatusCode, word: &str, checks: Value) -> Response<Body> {
    let body = json!({ "status": word, "checks": checks });
    let mut response = json_answer(status, body.to_string().into_bytes());
    response.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}
