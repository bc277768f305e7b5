//! `POST /api/<verb>`: the backend's way in. Protocol section 8.

use std::future::poll_fn;
use std::net::{IpAddr, SocketAddr};
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::http::header::{ALLOW, AUTHORIZATION, CONTENT_TYPE, HOST, RETRY_AFTER, WWW_AUTHENTICATE};
use axum::http::{HeaderMap, HeaderValue, Request, Response, StatusCode};
use everwire_engine::inbox::{Expelled, Expulsion};
use everwire_engine::session::{Deny, checked_page, member_token};
use everwire_engine::verbs;
use everwire_proto::api::{self as words, ApiVerb, Revoke, Whom};
use everwire_proto::codes::{CloseCode, ErrorCode};
use everwire_proto::command::Command;
use everwire_proto::ids::ClientId;
use everwire_proto::json;
use everwire_proto::reply::Outgoing;
use hyper::body::Body as _;

use crate::config::Mode;
use crate::origins;
use crate::site::Site;

/// The commands that a backend may send. The other verbs are [`ApiVerb`].
const COMMANDS: [&str; 3] = ["publish", "history", "presence"];
/// What a body may have besides a message of full size: channel, key, tags.
const ENVELOPE_BYTES: usize = 8 * 1024;

/// Runs one verb. Every refusal is the error object of the protocol, with the status of its code.
pub(super) async fn serve(
    site: Arc<Site>,
    peer: SocketAddr,
    verb: &str,
    request: Request<Body>,
) -> Response<Body> {
    let (head, body) = request.into_parts();
    match run(&site, peer, verb, &head.headers, body).await {
        Ok(answer) => json_answer(StatusCode::OK, answer),
        Err((status, deny)) => {
            site.node.counters.refuse(deny.code);
            refusal(status, &deny)
        }
    }
}

type Refusal = (StatusCode, Deny);

fn deny(code: ErrorCode, words: impl Into<String>) -> Refusal {
    of(Deny::new(code, words))
}

fn of(deny: Deny) -> Refusal {
    (StatusCode::from_u16(deny.code.http_status()).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR), deny)
}

async fn run(
    site: &Site,
    peer: SocketAddr,
    verb: &str,
    headers: &HeaderMap,
    body: Body,
) -> Result<Vec<u8>, Refusal> {
    origins::check(site, headers).map_err(|words| deny(ErrorCode::PermissionDenied, words))?;
    let kind = headers.get(CONTENT_TYPE).and_then(|v| v.to_str().ok()).unwrap_or_default();
    if !kind.split(';').next().unwrap_or_default().trim().eq_ignore_ascii_case("application/json") {
        let words = "Content-Type must be application/json";
        return Err((StatusCode::UNSUPPORTED_MEDIA_TYPE, Deny::new(ErrorCode::BadRequest, words)));
    }
    check_key(site, peer, headers)?;
    let is_command = COMMANDS.contains(&verb);
    if !is_command && !ApiVerb::NAMES.contains(&verb) {
        let verbs = [&COMMANDS[..], &ApiVerb::NAMES].concat().join(", ");
        return Err(deny(
            ErrorCode::UnknownType,
            format!("the API has no verb {verb:?}; its verbs are {verbs}"),
        ));
    }
    let limit = site.config.limits.message_bytes as usize + ENVELOPE_BYTES;
    let patience = Duration::from_millis(site.config.body_ms);
    let bytes = match tokio::time::timeout(patience, whole(body, limit)).await {
        Ok(whole) => whole?,
        Err(_) => {
            let words = format!("the body was not whole after {} ms", patience.as_millis());
            return Err((StatusCode::REQUEST_TIMEOUT, Deny::new(ErrorCode::BadRequest, words)));
        }
    };
    if is_command {
        let command = json::decode_verb(verb, &bytes).map_err(|r| deny(r.code, r.message))?;
        return act(site, command).await.map_err(of);
    }
    match words::decode(verb, &bytes).map_err(|r| deny(r.code, r.message))? {
        ApiVerb::Disconnect { whom, code, reason } => disconnect(site, &whom, code, reason.as_deref()),
        ApiVerb::Revoke(which) => revoke(site, &which),
    }
    .map_err(of)
}

/// All of a body. One that is announced as too large is not asked for.
async fn whole(mut body: Body, limit: usize) -> Result<Vec<u8>, Refusal> {
    let too_large = || deny(ErrorCode::TooLarge, format!("the body is over {limit} bytes"));
    let mut bytes = Vec::new();
    let mut coming = body.size_hint().lower();
    loop {
        if coming > limit as u64 {
            return Err(too_large());
        }
        let Some(frame) = poll_fn(|cx| Pin::new(&mut body).poll_frame(cx)).await else { return Ok(bytes) };
        let Ok(frame) = frame else {
            return Err(deny(ErrorCode::BadRequest, "the body was cut off, or its chunks can't be read"));
        };
        // Trailers say nothing to us.
        bytes.extend_from_slice(&frame.into_data().unwrap_or_default());
        coming = bytes.len() as u64;
    }
}

async fn act(site: &Site, command: Command<'_>) -> Result<Vec<u8>, Deny> {
    let (node, now) = (&site.node, site.clock.now());
    let patience = Duration::from_millis(node.settings.times.ask_ms);
    let mut out = Vec::new();
    match command {
        Command::Publish(ask) => {
            let waiter = site.desk.wait();
            let answer = match verbs::ask_publish(node, &ask, waiter.ticket, now)? {
                Some(answer) => answer,
                None => waiter.answer(patience).await,
            };
            let (position, duplicate) = verbs::published(answer)?;
            json::encode(None, &Outgoing::Published { position: position.as_ref(), duplicate }, &mut out);
        }
        Command::History(ask) => {
            let waiter = site.desk.wait();
            let mut asked = verbs::ask_history(node, &ask, waiter.ticket, now)?;
            let answer = match asked.answer.take() {
                Some(answer) => answer,
                None => waiter.answer(patience).await,
            };
            let page = asked.page(answer)?;
            json::encode(None, &Outgoing::History(verbs::history_page(&asked.cell.name, &page)), &mut out);
        }
        Command::Presence { channel, limit, after } => {
            let (limit, after) = checked_page(limit, after.as_deref())?;
            let view = verbs::presence(node, &channel, limit, after.map(|(client, _)| client), now)?;
            let first = after.map_or(view.summary.version, |(_, version)| version);
            let next = view.next.map(|client| member_token(client, first));
            let page = verbs::presence_page(&channel, &view, next.as_deref(), first);
            json::encode(None, &Outgoing::Presence(page), &mut out);
        }
        other => unreachable!("no verb of the API reads as {other:?}"),
    }
    Ok(out)
}

fn disconnect(
    site: &Site,
    whom: &Whom<'_>,
    code: Option<u16>,
    reason: Option<&str>,
) -> Result<Vec<u8>, Deny> {
    let whom = match whom {
        Whom::User(user) => Expelled::User(Box::from(&**user)),
        Whom::Client(id) => Expelled::Client(ClientId::parse(id).ok_or_else(|| {
            let words = "`client` must be the `client` of a `connected`: 16 characters of [A-Za-z0-9_-]";
            Deny::new(ErrorCode::BadRequest, words)
        })?),
    };
    let reason = reason.unwrap_or("the application ended this connection").into();
    site.node.expel(Expulsion { whom, code: code.unwrap_or(CloseCode::Kicked.code()), reason });
    Ok(br#"{"type":"disconnected"}"#.to_vec())
}

fn revoke(site: &Site, which: &Revoke<'_>) -> Result<Vec<u8>, Deny> {
    let Some(tokens) = &site.config.tokens else {
        return Err(Deny::new(
            ErrorCode::NotAvailable,
            "this server has no keys for tokens, so there is none to revoke",
        ));
    };
    let now = site.clock.now();
    // First for those who come, then for those who are here: nobody slips in between.
    let (entered, whom) = match which {
        Revoke::User(user) => (tokens.revoked.user(user, now), Expelled::User(Box::from(&**user))),
        Revoke::Token { id, expires_at } => {
            (tokens.revoked.token(id, *expires_at, now), Expelled::Token(Box::from(&**id)))
        }
    };
    entered.map_err(|full| Deny::new(ErrorCode::LimitExceeded, full.to_string()))?;
    let (code, reason) = (CloseCode::Unauthorized.code(), "the token was revoked".into());
    site.node.expel(Expulsion { whom, code, reason });
    Ok(br#"{"type":"revoked"}"#.to_vec())
}

/// Whether a request needs no key: dev mode, from this machine, to a name of this machine. A foreign name that
/// points here (DNS rebinding) is not ours.
pub(super) fn is_local(site: &Site, peer: IpAddr, headers: &HeaderMap) -> bool {
    let host = headers.get(HOST).and_then(|h| h.to_str().ok()).unwrap_or_default();
    let name =
        host.rsplit_once(':').filter(|(_, p)| p.bytes().all(|b| b.is_ascii_digit())).map_or(host, |(n, _)| n);
    let ours = name.eq_ignore_ascii_case("localhost") || matches!(name, "127.0.0.1" | "[::1]");
    site.config.mode == Mode::Dev && peer.to_canonical().is_loopback() && ours
}

/// What stands behind `Bearer` in `Authorization`.
pub(super) fn bearer(headers: &HeaderMap) -> Option<&[u8]> {
    let (scheme, key) = headers.get(AUTHORIZATION)?.as_bytes().split_at_checked(7)?;
    scheme.eq_ignore_ascii_case(b"bearer ").then(|| key.trim_ascii())
}

pub(super) fn check_key(site: &Site, peer: SocketAddr, headers: &HeaderMap) -> Result<(), Refusal> {
    match bearer(headers).or_else(|| headers.get("x-api-key").map(HeaderValue::as_bytes)) {
        // All keys are compared, so that the time does not tell which one it was.
        Some(key) if site.config.api_keys.iter().fold(false, |yes, k| yes | k.matches(key)) => Ok(()),
        Some(_) => Err(deny(ErrorCode::Unauthorized, "this API key is not known here")),
        None if is_local(site, peer.ip(), headers) => Ok(()),
        None => {
            let words = "an API key is needed: send `Authorization: Bearer <key>` or `X-API-Key: <key>`";
            Err(deny(ErrorCode::Unauthorized, words))
        }
    }
}

pub(super) fn refusal(status: StatusCode, deny: &Deny) -> Response<Body> {
    let mut out = Vec::new();
    let error = Outgoing::Error {
        code: deny.code,
        message: &deny.message,
        retry_after_ms: deny.retry_after_ms,
        position: deny.position.as_ref(),
    };
    json::encode(None, &error, &mut out);
    let mut response = json_answer(status, out);
    if status == StatusCode::UNAUTHORIZED {
        response.headers_mut().insert(WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
    }
    if let Some(ms) = deny.retry_after_ms {
        response.headers_mut().insert(RETRY_AFTER, ms.div_ceil(1_000).into());
    }
    response
}

/// A refusal with the status of its code.
pub(crate) fn refuse_with(deny: Deny) -> Response<Body> {
    let (status, deny) = of(deny);
    refusal(status, &deny)
}

/// A refusal that is no command's: an unknown path, a broken head.
pub(crate) fn refuse(status: StatusCode, words: &str) -> Response<Body> {
    let code = match status {
        StatusCode::FORBIDDEN => ErrorCode::PermissionDenied,
        StatusCode::NOT_FOUND => ErrorCode::UnknownType,
        StatusCode::UNAUTHORIZED => ErrorCode::TokenInvalid,
        _ => ErrorCode::BadRequest,
    };
    refusal(status, &Deny::new(code, words))
}

/// A method that the address does not have.
pub(crate) fn refuse_method(allowed: &'static str) -> Response<Body> {
    let mut response = refuse(StatusCode::METHOD_NOT_ALLOWED, &format!("this address takes {allowed}"));
    response.headers_mut().insert(ALLOW, HeaderValue::from_static(allowed));
    response
}

pub(super) fn json_answer(status: StatusCode, mut bytes: Vec<u8>) -> Response<Body> {
    bytes.push(b'\n');
    let mut response = Response::new(Body::from(bytes));
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response
}
