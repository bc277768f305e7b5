//! `info`.

use std::sync::atomic::Ordering;

use serde::Serialize;

use super::{Verb, most_bytes, written};
use crate::site::Site;

#[derive(Serialize)]
struct Info<'a> {
    r#type: &'static str,
    version: &'static str,
    node: &'a str,
    mode: &'static str,
    uptime_ms: u64,
    connections: usize,
    channels: usize,
    messages: u64,
    limits: Limits,
}

#[derive(Serialize)]
struct Limits {
    message_bytes: u32,
    channels: u32,
    commands_per_second: u32,
    items: u32,
    body_bytes: usize,
}

pub(super) fn info(site: &Site) -> Vec<u8> {
    let (node, limits) = (&site.node, &site.config().limits);
    written(&Info {
        r#type: "info",
        version: env!("CARGO_PKG_VERSION"),
        node: &node.settings().name,
        mode: site.config().mode.as_str(),
        uptime_ms: site.clock.now().mono_ms,
        connections: site.connections(),
        channels: node.channel_count(),
        messages: node.counters.published.load(Ordering::Relaxed),
        limits: Limits {
            message_bytes: limits.message_bytes,
            channels: limits.channels,
            commands_per_second: limits.commands_per_second,
            items: site.config().api_limits.items,
            body_bytes: most_bytes(&site.config(), Verb::Batch),
        },
    })
}
