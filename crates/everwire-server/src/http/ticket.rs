//! `POST /ticket`: a token in a header gives a ticket for a URL.

use std::net::{IpAddr, SocketAddr};

use axum::body::Body;
use axum::http::header::CACHE_CONTROL;
use axum::http::{HeaderMap, HeaderValue, Response, StatusCode};
use everwire_engine::session::Deny;
use everwire_proto::codes::ErrorCode;

use super::api;
use crate::auth::TICKET_MS;
use crate::origins;
use crate::site::Site;

/// Gives a ticket. A page of another site gets here neither by its origin nor by a header that it may not set.
pub(super) fn serve(site: &Site, from: SocketAddr, headers: &HeaderMap) -> Response<Body> {
    match give(site, from.ip(), headers) {
        Ok(ticket) => {
            let body =
                format!("{{\"type\":\"ticket\",\"ticket\":\"{ticket}\",\"expires_in_ms\":{TICKET_MS}}}");
            let mut response = api::json_answer(StatusCode::OK, body.into_bytes());
            response.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
            response
        }
        Err(deny) => {
            site.node.counters.refuse(deny.code);
            api::refuse_with(deny)
        }
    }
}

fn give(site: &Site, from: IpAddr, headers: &HeaderMap) -> Result<String, Deny> {
    let now = site.clock.now();
    // A signature is checked for it, so it costs what a handshake does.
    if !from.is_unspecified() {
        site.gate.shake(from, &site.config().limits, &*site.node.entropy, now)?;
    }
    origins::check(site, headers).map_err(|words| Deny::new(ErrorCode::PermissionDenied, words))?;
    let token = api::bearer(headers).and_then(|bytes| std::str::from_utf8(bytes).ok()).ok_or_else(|| {
        Deny::new(ErrorCode::Unauthorized, "send the token as `Authorization: Bearer <token>`")
    })?;
    site.node.authority.check(token, now).map_err(|(code, words)| Deny::new(code, words))?;
    site.tickets.give(token, site.node.entropy.bits(), now).map_err(|_| Deny {
        retry_after_ms: Some(TICKET_MS),
        ..Deny::new(ErrorCode::Overloaded, "more tickets are out than this server keeps; try again later")
    })
}
