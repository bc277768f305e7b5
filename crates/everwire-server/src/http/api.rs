//! `POST /api/<verb>`: the backend's way in. Protocol section 8. Which verbs there are, what they take and what they may
//! be refused with is the table of [`everwire_proto::api`]; here is what they do.

pub(super) mod access;
mod channels;
mod listing;
mod connections;
mod explain;
mod info;
mod publish;
mod tokens;

use std::future::poll_fn;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::http::header::{ALLOW, AUTHORIZATION, CONTENT_LENGTH, CONTENT_TYPE, RETRY_AFTER, WWW_AUTHENTICATE};
use axum::http::{HeaderMap, HeaderValue, Request, Response, StatusCode};
use everwire_engine::session::Deny;
use everwire_proto::api::{self as words, Call, Verb};
use everwire_proto::codes::ErrorCode;
use everwire_proto::json;
use everwire_proto::reply::Outgoing;
use hyper::body::Body as _;
use serde::Serialize;

use self::access::Caller;
use crate::config::Config;
use crate::origins;
use crate::site::Site;

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
    let caller = access::caller(site, peer, headers).map_err(of)?;
    let Some(verb) = Verb::parse(verb) else {
        let verbs: Vec<_> = Verb::ALL.iter().map(|verb| verb.spec().name).collect();
        return Err(deny(
            ErrorCode::UnknownType,
            format!("the API has no verb {verb:?}; its verbs are {}", verbs.join(", ")),
        ));
    };
    caller.must_be_granted(verb.spec().grant).map_err(of)?;
    let patience = Duration::from_millis(site.config().body_ms);
    let bytes = match tokio::time::timeout(patience, whole(body, most_bytes(&site.config(), verb))).await {
        Ok(whole) => whole?,
        Err(_) => {
            let words = format!("the body was not whole after {} ms", patience.as_millis());
            return Err((StatusCode::REQUEST_TIMEOUT, Deny::new(ErrorCode::BadRequest, words)));
        }
    };
    let deepest = site.config().limits.json_depth;
    let call =
        words::decode_within(verb, &bytes, deepest).map_err(|refusal| deny(refusal.code, refusal.message))?;
    perform(site, &caller, &call).await.map_err(of)
}

/// Bytes of a body.
fn most_bytes(config: &Config, verb: Verb) -> usize {
    let one = config.limits.message_bytes as usize + ENVELOPE_BYTES;
    let many = config.api_limits.body_bytes as usize;
    if matches!(verb, Verb::Batch | Verb::Broadcast) { many.max(one) } else { one }
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

/// The one channel that a call is about, if it is about one.
fn channel_of<'c>(call: &'c Call<'_>) -> Option<&'c str> {
    match call {
        Call::Publish(ask) => Some(&ask.channel),
        Call::History(ask) => Some(&ask.channel),
        Call::Explain(ask) => Some(&ask.channel),
        Call::Connections { which, .. } => which.channel.as_deref(),
        Call::HistoryClear { channel }
        | Call::Presence { channel, .. }
        | Call::PresenceStats { channel }
        | Call::Subscribe { channel, .. }
        | Call::Unsubscribe { channel, .. } => Some(channel),
        Call::Broadcast(_)
        | Call::Batch(_)
        | Call::Channels { .. }
        | Call::Disconnect { .. }
        | Call::Revoke(_)
        | Call::Refresh { .. }
        | Call::Info => None,
    }
}

async fn perform(site: &Site, caller: &Caller, call: &Call<'_>) -> Result<Vec<u8>, Deny> {
    if let Some(channel) = channel_of(call) {
        caller.must_be_for(channel)?;
    }
    match call {
        Call::Publish(ask) => publish::one(site, ask).await,
        Call::Broadcast(ask) => publish::broadcast(site, caller, ask).await,
        Call::Batch(asks) => publish::batch(site, caller, asks).await,
        Call::History(ask) => channels::history(site, ask).await,
        Call::HistoryClear { channel } => channels::history_clear(site, channel).await,
        Call::Presence { channel, limit, after } => {
            channels::presence(site, channel, *limit, after.as_deref())
        }
        Call::PresenceStats { channel } => channels::presence_stats(site, channel),
        Call::Channels { prefix, page } => listing::list(site, caller, prefix, page),
        Call::Connections { which, page } => connections::list(site, caller, which, page).await,
        Call::Subscribe { whom, channel, since, rewind } => {
            connections::subscribe(site, whom, channel, since.as_ref(), *rewind).await
        }
        Call::Unsubscribe { whom, channel } => connections::unsubscribe(site, whom, channel).await,
        Call::Disconnect { whom, code, reason } => {
            connections::disconnect(site, whom, *code, reason.as_deref())
        }
        Call::Refresh { whom, expires_at } => connections::refresh(site, whom, *expires_at).await,
        Call::Revoke(which) => tokens::revoke(site, which),
        Call::Info => Ok(info::info(site)),
        Call::Explain(ask) => Ok(explain::explain(site, ask)),
    }
}

/// An answer in JSON.
fn written(answer: &impl Serialize) -> Vec<u8> {
    serde_json::to_vec(answer).expect("an answer has text for keys, and no number that JSON lacks")
}

/// What stands behind `Bearer` in `Authorization`.
pub(super) fn bearer(headers: &HeaderMap) -> Option<&[u8]> {
    let (scheme, key) = headers.get(AUTHORIZATION)?.as_bytes().split_at_checked(7)?;
    scheme.eq_ignore_ascii_case(b"bearer ").then(|| key.trim_ascii())
}

fn error_of<'a>(deny: &'a Deny, base_path: &'a str) -> Outgoing<'a> {
    Outgoing::Error {
        code: deny.code,
        message: &deny.message,
        retry_after_ms: deny.retry_after_ms,
        position: deny.position.as_ref(),
        base_path,
    }
}

/// What a refusal says, kept with its response.
#[derive(Clone)]
struct Refused(Arc<Deny>);

/// The same response where all paths stand below one: its error says so too.
pub(crate) fn below(base_path: &str, mut response: Response<Body>) -> Response<Body> {
    let Some(Refused(deny)) = response.extensions_mut().remove() else { return response };
    if !base_path.is_empty() {
        *response.body_mut() = error_line(&deny, base_path).into();
        response.headers_mut().remove(CONTENT_LENGTH);
    }
    response
}

pub(crate) fn error_line(deny: &Deny, base_path: &str) -> Vec<u8> {
    let mut out = Vec::new();
    json::encode(None, &error_of(deny, base_path), &mut out);
    out.push(b'\n');
    out
}

pub(super) fn refusal(status: StatusCode, deny: &Deny) -> Response<Body> {
    let mut response = json_line(status, error_line(deny, ""));
    response.extensions_mut().insert(Refused(Arc::new(deny.clone())));
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
    json_line(status, bytes)
}

fn json_line(status: StatusCode, bytes: Vec<u8>) -> Response<Body> {
    let mut response = Response::new(Body::from(bytes));
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response
}
