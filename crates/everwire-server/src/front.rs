//! The front: accept, HTTP, upgrade. All that queues lives here, on tokio; what races goes to the shards.

mod below;
mod caller;
mod forwarded;
mod head;
mod sealed;
mod stream;
mod listener;
mod proxied;
mod opening;
mod reserve;
mod upgrade;

use std::convert::Infallible;
use std::io;
use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4};
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::ConnectInfo;
use hyper::body::Incoming;
use hyper::header::{CONNECTION, HOST, HeaderValue};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::sync::watch;
use tower::ServiceExt as _;

use self::caller::{Caller, Shut};
use self::opening::Opened;
use self::reserve::Reserve;
use self::stream::Stream;
use crate::http::api;
use crate::site::Site;
use crate::told::Reason;

pub(crate) use self::listener::{Inherited, Listener, inherited};

/// The address of whoever has none: it came by a Unix socket, and no proxy that we trust says more. It is no loopback.
const NOWHERE: SocketAddr = SocketAddr::V4(SocketAddrV4::new(Ipv4Addr::UNSPECIFIED, 0));

/// What is under way when a connection is asked to end may take so long, seconds.
const LAST: u64 = 5;
/// Bytes of a head.
const HEAD_BYTES: usize = 16 * 1024;
/// Header lines of a head.
const HEADERS: usize = 64;
/// Whoever is one more than its address may have says within this what it wants, or is closed.
const CROWDED: Duration = Duration::from_secs(1);
/// A plain HTTP connection is asked to end after this, and cut a little later, seconds.
const LIFE: u64 = 120;

/// Where nothing but time gives a descriptor back, it is asked for one this often.
const PAUSE: Duration = Duration::from_millis(50);

/// Accepts on one listener until `stop` says so.
pub(crate) async fn accept(
    listener: Listener,
    site: Arc<Site>,
    router: Router,
    mut stop: watch::Receiver<bool>,
) {
    let mut reserve = Reserve::new(&site.config().base_path);
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            _ = stop.changed() => return,
        };
        match accepted {
            Ok((stream, peer)) => match Caller::let_in(&site, peer) {
                Ok(caller) => {
                    tokio::spawn(serve(stream, caller, site.clone(), router.clone(), stop.clone()));
                }
                Err(Shut::Full) => _ = reserve.refuse(stream),
                Err(Shut::Crowded) => drop(stream),
            },
            Err(error) if is_the_peers(&error) => tracing::debug!(%error, "a connection ended in the queue"),
            Err(error) => {
                if !reserve.turn_away(&listener, &error).await {
                    tokio::time::sleep(PAUSE).await;
                }
            }
        }
    }
}

/// Whether accepting failed because of that one connection: the next one may be taken at once.
fn is_the_peers(error: &io::Error) -> bool {
    use io::ErrorKind::{ConnectionAborted, ConnectionReset, Interrupted, TimedOut};
    matches!(error.kind(), ConnectionAborted | ConnectionReset | Interrupted | TimedOut)
}

async fn serve(
    stream: Stream,
    caller: Caller,
    site: Arc<Site>,
    router: Router,
    mut stop: watch::Receiver<bool>,
) {
    let peer = caller.peer;
    if stream.set_nodelay().is_err() {
        return;
    }
    let handshake = Duration::from_millis(site.config().handshake_ms);
    let opened = tokio::select! {
        opened = tokio::time::timeout(handshake, opening::open(&site, stream, caller)) => opened,
        _ = stop.changed() => return,
    };
    let Opened { stream, caller } = match opened {
        Ok(Ok(opened)) => opened,
        Ok(Err(error)) => return tracing::debug!(%error, ?peer, "a connection did not open"),
        Err(_) => return tracing::debug!(?peer, "a connection did not open in time"),
    };
    let hold = stream.hold();
    let (is_crowded, speaks_tls) = (caller.is_crowded(), caller.sealed || caller.misdialled);
    let caller = Arc::new(caller);
    let told_by = site.clone();
    let service = service_fn(move |request| {
        let base_path = site.config().base_path.clone();
        let (answer, hold) = (answer(site.clone(), router.clone(), caller.clone(), request), hold.clone());
        async move {
            let answer = answer.await?;
            if answer.status() == StatusCode::SWITCHING_PROTOCOLS
                && let Some(hold) = hold
            {
                hold.raise();
            }
            Ok::<_, Infallible>(api::below(&base_path, answer))
        }
    });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .keep_alive(!is_crowded)
        .header_read_timeout(if is_crowded { handshake.min(CROWDED) } else { handshake })
        .max_buf_size(HEAD_BYTES)
        .max_headers(HEADERS)
        .serve_connection(TokioIo::new(stream), service)
        .with_upgrades();
    tokio::pin!(connection);
    let ended = tokio::select! {
        ended = connection.as_mut() => Some(ended),
        () = tokio::time::sleep(Duration::from_secs(LIFE)) => None,
        _ = stop.changed() => None,
    };
    let ended = match ended {
        Some(ended) => ended,
        None => {
            connection.as_mut().graceful_shutdown();
            let rest = tokio::time::timeout(Duration::from_secs(LAST), connection).await;
            rest.unwrap_or(Ok(()))
        }
    };
    let Err(error) = ended else { return };
    if error.is_parse() && !error.is_parse_too_large() {
        tell_no_http(&told_by, peer, speaks_tls, &error);
    } else {
        tracing::debug!(%error, ?peer, "a connection ended before its time");
    }
}

/// Who speaks TLS to a port that speaks plainly is told nothing that a browser shows.
fn tell_no_http(site: &Site, peer: Option<SocketAddr>, speaks_tls: bool, error: &hyper::Error) {
    if let Some(left_out) = site.may_tell(Reason::NoHttp) {
        let hint = if speaks_tls {
            "this listener speaks HTTP/1.1 over TLS"
        } else {
            "if it speaks TLS (wss://, https://): this listener does not; write ws:// or http://, or set [tls]"
        };
        tracing::warn!(%error, ?peer, left_out, hint, "what a client said is no HTTP");
    }
}

async fn answer(
    site: Arc<Site>,
    router: Router,
    caller: Arc<Caller>,
    mut request: Request<Incoming>,
) -> Result<Response<Body>, Infallible> {
    if let Err(words) = head::check(&request) {
        return Ok(last(api::refuse(StatusCode::BAD_REQUEST, words)));
    }
    if caller.misdialled {
        return Ok(misdialled(&request));
    }
    if request.method() == Method::CONNECT {
        return Ok(last(api::refuse_method("GET, HEAD, POST")));
    }
    below::take_off(&site.config().base_path, request.uri_mut());
    let client = forwarded::client(&site.config().proxies, caller.peer, request.headers());
    if let Some(door) = upgrade::door(&site, &request) {
        let from = client.map(|client| client.ip());
        return Ok(upgrade::answer(&site, door, (&caller, from), &mut request));
    }
    if upgrade::is_misplaced(&request) {
        return Ok(upgrade::misplaced(&site, &request));
    }
    request.extensions_mut().insert(ConnectInfo(client.unwrap_or(NOWHERE)));
    router.oneshot(request.map(Body::new)).await
}

/// The answer to a plain request where TLS is spoken.
fn misdialled(request: &Request<Incoming>) -> Response<Body> {
    let host = request.headers().get(HOST).and_then(|host| host.to_str().ok()).unwrap_or_default();
    let words = format!(
        "TLS is spoken at this port: use https://{host}{}, or wss:// for a WebSocket",
        request.uri().path()
    );
    last(api::refuse(StatusCode::BAD_REQUEST, &words))
}

/// The same answer, and the end of its connection.
fn last(mut response: Response<Body>) -> Response<Body> {
    response.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
    response
}
