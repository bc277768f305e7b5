//! From an HTTP request to a socket in a shard: which path, which origin, which subprotocol.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use everwire_engine::entry::Form;
use everwire_engine::session::Deny;
use everwire_engine::time::Now;
use everwire_engine::turn::Peer;
use everwire_proto::codes::ErrorCode;
use everwire_proto::payload::Format;
use everwire_proto::secret::Secret;
use everwire_proto::ws::deflate::Agreed;
use everwire_proto::ws::handshake::{self, Upgrade};
use hyper::body::Incoming;
use hyper::header::{self, HeaderMap, HeaderName, HeaderValue};
use hyper::{Request, Response, StatusCode, Version};
use hyper_util::rt::TokioIo;

use super::caller::{self, Caller};
use super::stream::Stream;
use crate::addresses::Place;
use crate::auth::Tickets;
use crate::banner::Addresses;
use crate::http::api;
use crate::origins;
use crate::shard::{Arrival, Purpose};
use crate::site::Site;
use crate::told::Reason;

const JSON: &str = "everwire.v1";
const MSGPACK: &str = "everwire.v1.msgpack";
/// All versions and formats of the protocol, also those to come.
const OURS: &str = "everwire.";
/// Who is turned away because the node is left may try again after so long, ms.
const ELSEWHERE_MS: u64 = 1_000;
/// The log shows so much of a path that somebody asked for.
const SHOWN: usize = 200;

/// What a path upgrades to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Door {
    /// The protocol.
    Session,
    /// An echo.
    Echo {
        /// Unchanged.
        raw: bool,
    },
}

/// The door behind a request, if it asks for one. `/` and `/echo` are pages too: there the headers decide.
pub(super) fn door(site: &Site, request: &Request<Incoming>) -> Option<Door> {
    let asks = || handshake::wants_websocket(lines(request.headers()));
    match request.uri().path() {
        "/ws" => Some(Door::Session),
        "/echo/raw" if site.config().echo => Some(Door::Echo { raw: true }),
        "/" | "/echo" if site.config().echo && asks() => Some(Door::Echo { raw: false }),
        _ => None,
    }
}

/// Whether a WebSocket is wanted where there is none. A client of Socket.IO begins without one.
pub(super) fn is_misplaced(request: &Request<Incoming>) -> bool {
    request.headers().contains_key(header::SEC_WEBSOCKET_KEY)
        || request.uri().path().starts_with("/socket.io/")
}

/// The answer to that. A browser shows nothing of it to anybody, so the log has it too.
pub(super) fn misplaced(site: &Site, request: &Request<Incoming>) -> Response<Body> {
    let at = addresses(site, request.headers());
    let echo = if site.config().echo { at.echo.as_str() } else { "off" };
    if let Some(left_out) = site.may_tell(Reason::Path) {
        let path: String = request.uri().path().chars().take(SHOWN).collect();
        tracing::warn!(
            path,
            everwire = at.ws,
            echo,
            left_out,
            "a WebSocket was asked for where there is none"
        );
    }
    let words = format!("there is no WebSocket at this address; Everwire is at {}", at.ws);
    super::last(api::refuse(StatusCode::NOT_FOUND, &words))
}

fn addresses(site: &Site, headers: &HeaderMap) -> Addresses {
    let host = headers.get(header::HOST).and_then(|h| h.to_str().ok()).unwrap_or_default();
    Addresses::asked_at(site.config().place(), host, site.port)
}

fn lines(headers: &HeaderMap) -> impl Iterator<Item = (&str, &[u8])> {
    headers.iter().map(|(name, value)| (name.as_str(), value.as_bytes()))
}

/// A refusal: status and words for whoever debugs it.
type Refusal = (StatusCode, String);

/// Answers the opening handshake, and sends the socket on its way when the answer is out.
pub(super) fn answer(
    site: &Arc<Site>,
    door: Door,
    (caller, from): (&Caller, Option<IpAddr>),
    request: &mut Request<Incoming>,
) -> Response<Body> {
    if site.is_draining() {
        return super::last(api::refuse_with(leaving()));
    }
    // Whom the address or the request itself refuses takes nothing of what the server has for all.
    let place = match caller.approach(site, from) {
        Ok(place) => place,
        Err(deny) => return turned_away(site, deny),
    };
    let (upgrade, protocol, mut purpose) = match accept(site, door, request) {
        Ok(accepted) => accepted,
        Err(refusal) => return refused(&refusal),
    };
    if let Err(deny) = caller.enter(site) {
        return turned_away(site, deny);
    }
    let place = place.or_else(|| caller.take_place());
    if let Purpose::Session(peer) = &mut purpose {
        peer.address = place.as_ref().map(|place| place.commands().clone());
        // Last: it is good once.
        match ticket(site, request, Tickets::take) {
            Ok(token) => peer.token = token.or(peer.token.take()),
            Err(refusal) => return refused(&refusal),
        }
    }
    send_on(site.clone(), request, upgrade.deflate, (purpose, place));
    accepted(&upgrade, protocol)
}

/// The gate is shut: nothing else of the request is looked at.
fn turned_away(site: &Site, deny: Deny) -> Response<Body> {
    caller::tell(site, &deny.message);
    super::last(api::refuse_with(deny))
}

/// Said while the node is left: behind one address there may be others.
fn leaving() -> Deny {
    let words = "this server is being stopped; another one, or its successor, takes you";
    Deny { retry_after_ms: Some(ELSEWHERE_MS), ..Deny::new(ErrorCode::Overloaded, words) }
}

fn accept(
    site: &Site,
    door: Door,
    request: &Request<Incoming>,
) -> Result<(Upgrade, Option<&'static str>, Purpose), Refusal> {
    let (method, headers) = (request.method().as_str(), request.headers());
    let checked = handshake::check(method, request.version() == Version::HTTP_11, lines(headers));
    let mut upgrade = checked.map_err(|refused| {
        let status = StatusCode::from_u16(refused.status).unwrap_or(StatusCode::BAD_REQUEST);
        (status, refused.reason.to_owned())
    })?;
    match door {
        Door::Echo { raw } => {
            refuse_the_protocol(site, request, &upgrade.protocols)?;
            Ok((upgrade, None, Purpose::Echo { raw }))
        }
        Door::Session => {
            origins::check(site, headers).map_err(|words| (StatusCode::FORBIDDEN, words))?;
            refuse_token_in_url(request)?;
            let (protocol, format) = choose(&upgrade.protocols, upgrade.bearer.is_some())?;
            upgrade.deflate = upgrade.deflate.filter(|_| site.config().compression);
            let deflated = upgrade.deflate.is_some_and(Agreed::may_compress);
            let token = upgrade.bearer.clone().or_else(|| bearer(headers));
            let token = token.map(|token| Secret(token.into_boxed_str()));
            ticket(site, request, Tickets::look_at)?;
            let peer = Peer { form: Form::new(format, deflated), token, address: None };
            Ok((upgrade, protocol, Purpose::Session(peer)))
        }
    }
}

/// Whoever offers the protocol to an echo has left out a path, and would wait for ever for `connected`.
fn refuse_the_protocol(site: &Site, request: &Request<Incoming>, offered: &[String]) -> Result<(), Refusal> {
    let Some(ours) = offered.iter().find(|name| name.starts_with(OURS)) else { return Ok(()) };
    let (path, at) = (request.uri().path(), addresses(site, request.headers()).ws);
    if let Some(left_out) = site.may_tell(Reason::EchoOffered) {
        tracing::warn!(path, everwire = at, left_out, "a client of the protocol came to the echo");
    }
    let words = format!("this is the echo, which does not speak {ours}; Everwire is at {at}");
    Err((StatusCode::BAD_REQUEST, words))
}

/// A URL is logged by every proxy on the way, so a token in it is no secret.
fn refuse_token_in_url(request: &Request<Incoming>) -> Result<(), Refusal> {
    let names = request.uri().query().unwrap_or_default().split('&').map(|p| p.split('=').next());
    let mut tokens = names.flatten().filter(|n| matches!(*n, "token" | "access_token" | "jwt"));
    match tokens.next() {
        None => Ok(()),
        Some(name) => Err((
            StatusCode::BAD_REQUEST,
            format!(
                "`{name}` in the URL would end up in logs: send the token in `connect`, in Authorization, or as the subprotocol bearer.<base64url>"
            ),
        )),
    }
}

/// What a ticket in the URL gives.
fn ticket<T>(
    site: &Site,
    request: &Request<Incoming>,
    look: impl FnOnce(&Tickets, &str, Now) -> Option<T>,
) -> Result<Option<T>, Refusal> {
    let mut pairs = request.uri().query().unwrap_or_default().split('&');
    let Some(ticket) = pairs.find_map(|pair| pair.strip_prefix("ticket=")) else { return Ok(None) };
    let refused = || {
        site.node.counters.refuse(ErrorCode::TokenInvalid);
        let words = "the ticket was used, or has ended, or never was one; fetch a new one by POST /ticket";
        (StatusCode::UNAUTHORIZED, words.to_owned())
    };
    look(&site.tickets, ticket, site.clock.now()).map(Some).ok_or_else(refused)
}

/// The subprotocol to answer with. A token is none, and a browser ends a connection that answers with none of those it
/// offered.
fn choose(offered: &[String], token: bool) -> Result<(Option<&'static str>, Format), Refusal> {
    if offered.is_empty() && token {
        let words = format!("a `bearer.` subprotocol is a token and no protocol: offer {JSON} beside it");
        return Err((StatusCode::BAD_REQUEST, words));
    }
    if offered.is_empty() {
        return Ok((None, Format::Json));
    }
    for name in offered {
        match name.as_str() {
            JSON => return Ok((Some(JSON), Format::Json)),
            MSGPACK => return Ok((Some(MSGPACK), Format::MsgPack)),
            _ => {}
        }
    }
    let words = format!(
        "none of the offered subprotocols ({}) is known; offer {JSON} or {MSGPACK}, or none",
        offered.join(", ")
    );
    Err((StatusCode::BAD_REQUEST, words))
}

fn bearer(headers: &HeaderMap) -> Option<String> {
    let value = headers.get(header::AUTHORIZATION)?.to_str().ok()?;
    let (scheme, token) = value.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then(|| token.trim().to_owned())
}

fn accepted(upgrade: &Upgrade, protocol: Option<&'static str>) -> Response<Body> {
    let mut response = Response::new(Body::empty());
    *response.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
    let headers = response.headers_mut();
    let mut set = |name: HeaderName, value: &str| {
        if let Ok(value) = HeaderValue::from_str(value) {
            headers.insert(name, value);
        }
    };
    set(header::UPGRADE, "websocket");
    set(header::CONNECTION, "Upgrade");
    set(header::SEC_WEBSOCKET_ACCEPT, &upgrade.accept);
    if let Some(protocol) = protocol {
        set(header::SEC_WEBSOCKET_PROTOCOL, protocol);
    }
    if let Some(agreed) = upgrade.deflate {
        set(header::SEC_WEBSOCKET_EXTENSIONS, &agreed.answer());
    }
    response
}

fn refused((status, words): &Refusal) -> Response<Body> {
    let mut response = super::last(api::refuse(*status, words));
    let headers = response.headers_mut();
    if *status == StatusCode::UPGRADE_REQUIRED {
        headers.insert(header::SEC_WEBSOCKET_VERSION, HeaderValue::from_static("13"));
        headers.insert(header::UPGRADE, HeaderValue::from_static("websocket"));
        headers.insert(header::CONNECTION, HeaderValue::from_static("Upgrade, close"));
    }
    if *status == StatusCode::METHOD_NOT_ALLOWED {
        headers.insert(header::ALLOW, HeaderValue::from_static("GET"));
    }
    response
}

/// Waits until the HTTP library has sent the answer and lets go of the socket, then hands it to a shard.
fn send_on(
    site: Arc<Site>,
    request: &mut Request<Incoming>,
    deflate: Option<Agreed>,
    (purpose, place): (Purpose, Option<Place>),
) {
    let upgrade = hyper::upgrade::on(request);
    tokio::spawn(async move {
        let handshake = Duration::from_millis(site.config().handshake_ms);
        let Ok(Ok(upgraded)) = tokio::time::timeout(handshake, upgrade).await else {
            return;
        };
        let Ok(parts) = upgraded.downcast::<TokioIo<Stream>>() else {
            tracing::error!("the HTTP library gave back another stream than it was given");
            return;
        };
        match parts.io.into_inner().into_parts() {
            Ok((stream, tls, opened)) => {
                let leftover = match opened.is_empty() {
                    true => parts.read_buf,
                    false => [&parts.read_buf[..], &opened].concat().into(),
                };
                site.hand_over(Arrival { stream, tls, leftover, deflate, purpose, place });
            }
            Err(error) => tracing::warn!(%error, "an upgraded connection was lost"),
        }
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_known_subprotocol_is_chosen() {
        let offer = |names: &[&str]| {
            choose(&names.iter().map(|n| (*n).to_owned()).collect::<Vec<_>>(), false)
                .map(|(p, f)| (p.unwrap_or(""), f))
        };
        assert_eq!(offer(&[]).unwrap(), ("", Format::Json));
        assert_eq!(offer(&["mqtt", MSGPACK, JSON]).unwrap(), (MSGPACK, Format::MsgPack));
        assert_eq!(offer(&[JSON]).unwrap(), (JSON, Format::Json));
        assert_eq!(offer(&["mqtt"]).unwrap_err().0, StatusCode::BAD_REQUEST);
        assert_eq!(choose(&[], true).unwrap_err().0, StatusCode::BAD_REQUEST, "a token is no protocol");
        assert_eq!(choose(&[JSON.to_owned()], true).unwrap().0, Some(JSON));
    }
}
