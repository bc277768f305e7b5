//! `POST /api/log_level`: how much is logged, changed while the server runs.

use std::net::SocketAddr;
use std::time::Duration;

use axum::body::{Body, to_bytes};
use axum::http::header::CONTENT_TYPE;
use axum::http::{Request, Response, StatusCode};
use everwire_engine::session::Deny;
use everwire_proto::api::Grant;
use everwire_proto::codes::ErrorCode;
use serde_json::{Value, json};

use super::api;
use crate::log;
use crate::origins;
use crate::site::Site;

/// Bytes of a body.
const BODY_BYTES: usize = 1_024;

/// Changes the level, for whoever has a key of the API.
pub(super) async fn serve(site: &Site, peer: SocketAddr, request: Request<Body>) -> Response<Body> {
    let (head, body) = request.into_parts();
    if let Err(words) = origins::check(site, &head.headers) {
        return api::refuse(StatusCode::FORBIDDEN, &words);
    }
    let kind = head.headers.get(CONTENT_TYPE).and_then(|kind| kind.to_str().ok()).unwrap_or_default();
    if !kind.split(';').next().unwrap_or_default().trim().eq_ignore_ascii_case("application/json") {
        return api::refuse(StatusCode::UNSUPPORTED_MEDIA_TYPE, "Content-Type must be application/json");
    }
    let granted = || api::access::caller(site, peer, &head.headers)?.must_be_granted(Grant::LogLevel);
    if let Err(deny) = granted() {
        return api::refuse_with(deny);
    }
    let patience = Duration::from_millis(site.config().body_ms);
    let Ok(whole) = tokio::time::timeout(patience, to_bytes(body, BODY_BYTES)).await else {
        return api::refuse(StatusCode::REQUEST_TIMEOUT, "the body was not whole in time");
    };
    let bad = |words: String| api::refuse_with(Deny::new(ErrorCode::BadRequest, words));
    let object: Value = match whole.ok().and_then(|bytes| serde_json::from_slice(&bytes).ok()) {
        Some(object) => object,
        None => return bad(format!("the body must be a JSON object of at most {BODY_BYTES} bytes")),
    };
    let Some(level) = object["level"].as_str() else {
        return bad(r#"`level` must be a string, such as {"level":"debug"}"#.to_owned());
    };
    match log::read_level(level) {
        Err(words) => bad(format!("`level`: {words}")),
        Ok(filter) => match log::set_level(filter) {
            Ok(()) => {
                tracing::info!(level, "the log's level was changed");
                let told = json!({ "type": "log_level", "level": level });
                api::json_answer(StatusCode::OK, told.to_string().into_bytes())
            }
            Err(words) => api::refuse_with(Deny::new(ErrorCode::NotAvailable, words)),
        },
    }
}
