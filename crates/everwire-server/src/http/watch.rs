//! A listener of its own for those who watch: `/metrics`, `/health` and `/ready`, apart from where clients come in, and
//! there until the end of the process.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::{ConnectInfo, State};
use axum::http::Request;
use axum::middleware::map_response;
use axum::routing::get;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tower::ServiceExt as _;

use super::{harden, health, metrics};
use crate::site::Site;

/// Connections at once; who comes then waits in the system's queue.
const PLACES: usize = 64;
/// Bytes of a head, and its lines.
const HEAD_BYTES: usize = 16 * 1024;
const HEADERS: usize = 64;
/// After a failure to accept.
const PAUSE: Duration = Duration::from_millis(100);

/// What a watcher may ask; a part of the other listeners' routes.
pub(super) fn routes() -> Router<Arc<Site>> {
    Router::new()
        .route("/health", get(async |State(site): State<Arc<Site>>| health::health(&site)))
        .route("/ready", get(async |State(site): State<Arc<Site>>| health::ready(&site).await))
}

/// Accepts for as long as the process runs.
pub(crate) async fn accept(listener: TcpListener, site: Arc<Site>) {
    let handshake = Duration::from_millis(site.config().handshake_ms);
    let router = routes().route("/metrics", get(metrics)).layer(map_response(harden)).with_state(site);
    let places = Arc::new(Semaphore::new(PLACES));
    while let Ok(place) = places.clone().acquire_owned().await {
        match listener.accept().await {
            Ok((stream, peer)) => {
                tokio::spawn(serve(stream, peer, router.clone(), handshake, place));
            }
            Err(error) => {
                tracing::debug!(%error, "a watcher could not be taken");
                tokio::time::sleep(PAUSE).await;
            }
        }
    }
}

async fn serve(
    stream: TcpStream,
    peer: SocketAddr,
    router: Router,
    handshake: Duration,
    _place: OwnedSemaphorePermit,
) {
    let answer = service_fn(move |mut request: Request<Incoming>| {
        request.extensions_mut().insert(ConnectInfo(peer));
        let answer = router.clone().oneshot(request.map(Body::new));
        async move { Ok::<_, Infallible>(answer.await.unwrap_or_else(|never| match never {})) }
    });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(handshake)
        .max_buf_size(HEAD_BYTES)
        .max_headers(HEADERS)
        .serve_connection(TokioIo::new(stream), answer);
    if let Err(error) = connection.await {
        tracing::debug!(%error, %peer, "a watcher's connection ended before its time");
    }
}
