//! Who may ask the API for what.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use axum::http::header::HOST;
use axum::http::{HeaderMap, HeaderValue};
use everwire_engine::session::Deny;
use everwire_proto::api::Grant;
use everwire_proto::codes::ErrorCode;

use super::bearer;
use crate::config::{ApiKey, Config, Mode};
use crate::site::Site;

/// Who asks: the holder of a key, or in dev mode somebody on this machine.
#[derive(Clone, Debug)]
pub(crate) struct Caller {
    config: Arc<Config>,
    /// The number of its key; `None`: nobody limits it.
    key: Option<usize>,
}

/// Whoever sent these headers.
pub(crate) fn caller(site: &Site, peer: SocketAddr, headers: &HeaderMap) -> Result<Caller, Deny> {
    let config = site.config();
    let sent = bearer(headers).or_else(|| headers.get("x-api-key").map(HeaderValue::as_bytes));
    match sent {
        Some(sent) => {
            // All keys are compared, so that the time does not tell which one it was.
            let keys = config.api_keys.iter().enumerate();
            let known = keys.fold(None, |known, (at, key)| if key.matches(sent) { Some(at) } else { known });
            let unknown = || Deny::new(ErrorCode::Unauthorized, "this API key is not known here");
            known.map(|key| Caller { config, key: Some(key) }).ok_or_else(unknown)
        }
        None if is_local(site, peer.ip(), headers) => Ok(Caller { config, key: None }),
        None => {
            let words = "an API key is needed: send `Authorization: Bearer <key>` or `X-API-Key: <key>`";
            Err(Deny::new(ErrorCode::Unauthorized, words))
        }
    }
}

/// Whether a request needs no key: dev mode, from this machine, to a name of this machine. A foreign name that
/// points here (DNS rebinding) is not ours.
pub(crate) fn is_local(site: &Site, peer: IpAddr, headers: &HeaderMap) -> bool {
    let host = headers.get(HOST).and_then(|h| h.to_str().ok()).unwrap_or_default();
    let name =
        host.rsplit_once(':').filter(|(_, p)| p.bytes().all(|b| b.is_ascii_digit())).map_or(host, |(n, _)| n);
    let ours = name.eq_ignore_ascii_case("localhost") || matches!(name, "127.0.0.1" | "[::1]");
    site.config().mode == Mode::Dev && peer.to_canonical().is_loopback() && ours
}

impl Caller {
    fn key(&self) -> Option<&ApiKey> {
        self.key.map(|at| &self.config.api_keys[at])
    }

    /// Refuses what the key does not grant.
    pub(crate) fn must_be_granted(&self, grant: Grant) -> Result<(), Deny> {
        if self.key().is_none_or(|key| key.grants(grant)) {
            return Ok(());
        }
        let words = format!("this API key has no right {:?}; the operator gives it", grant.as_str());
        Err(Deny::new(ErrorCode::PermissionDenied, words))
    }

    /// Whether the key is for this channel.
    pub(crate) fn is_for(&self, channel: &str) -> bool {
        self.key().is_none_or(|key| key.is_for(channel))
    }

    /// Whether the key is for all channels.
    pub(crate) fn is_for_all_channels(&self) -> bool {
        self.key().is_none_or(ApiKey::is_for_all_channels)
    }

    /// Refuses channels that the key is not for.
    pub(crate) fn must_be_for(&self, channel: &str) -> Result<(), Deny> {
        if self.is_for(channel) {
            return Ok(());
        }
        let words = format!("this API key is not for the channel {channel}; the operator names its channels");
        Err(Deny::new(ErrorCode::PermissionDenied, words))
    }
}
