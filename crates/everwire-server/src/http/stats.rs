//! `/stats`: what runs, in numbers.

use std::net::SocketAddr;
use std::sync::atomic::Ordering;

use axum::http::HeaderMap;
use axum::http::header::HOST;
use everwire_proto::api::Grant;
use serde_json::{Map, Value, json};

use super::api::access::{self, is_local};
use crate::banner::Addresses;
use crate::config::Mode;
use crate::origins;
use crate::site::Site;

/// The object. Figures stand in it for whoever may know them. The API's key stands in it only in dev mode, for a page of ours on this machine.
pub(super) fn stats(site: &Site, peer: SocketAddr, headers: &HeaderMap) -> Vec<u8> {
    let host = headers.get(HOST).and_then(|h| h.to_str().ok()).unwrap_or_default();
    let at = Addresses::asked_at(site.config().place(), host, site.port);
    let mut addresses = Map::new();
    addresses.insert("home".into(), at.home.into());
    addresses.insert("ws".into(), at.ws.into());
    if site.config().echo {
        addresses.insert("echo".into(), at.echo.into());
    }
    if site.config().api_listen.is_empty() {
        addresses.insert("api".into(), at.api.into());
    }
    let ours = is_local(site, peer.ip(), headers) && origins::are_admitted(site, headers);
    if let Some(key) = site.config().api_keys.first().filter(|_| ours) {
        addresses.insert("key".into(), key.reveal().into());
    }
    let mut stats = json!({
        "version": env!("CARGO_PKG_VERSION"),
        "mode": site.config().mode.as_str(),
        // What our pages need; one that lacks it says so instead of waiting.
        "echo": site.config().echo,
        "demo": site.config().is_open_to_pages("demo:wire"),
        "chat": site.config().is_open_to_pages("chat:lobby"),
        "addresses": Value::Object(addresses),
    });
    if may_count(site, peer, headers) {
        stats["uptime_ms"] = site.clock.now().mono_ms.into();
        stats["connections"] = site.connections().into();
        stats["channels"] = site.node.channel_count().into();
        stats["messages"] = site.node.counters.published.load(Ordering::Relaxed).into();
    }
    stats.to_string().into_bytes()
}

/// How much a server has to do is its operator's business: the figures are for dev mode, and for whoever has a key of the API
/// with the right `info`, which tells the same.
fn may_count(site: &Site, peer: SocketAddr, headers: &HeaderMap) -> bool {
    let granted = || access::caller(site, peer, headers)?.must_be_granted(Grant::Info);
    site.config().mode == Mode::Dev || granted().is_ok()
}
