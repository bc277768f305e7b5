//! Plain HTTP: pages, numbers, and the API.

pub(crate) mod api;
mod pages;
mod frame;
mod errors_page;
mod stats;
mod ticket;
mod health;
mod log_level;
pub(crate) mod watch;

use std::net::SocketAddr;
use std::sync::Arc;

use axum::Router;
use axum::body::Body;
use axum::extract::{ConnectInfo, Path, State};
use axum::http::header::{
    CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE, LOCATION, REFERRER_POLICY, VARY,
    X_CONTENT_TYPE_OPTIONS, X_FRAME_OPTIONS,
};
use axum::http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode, Uri};
use axum::middleware::map_response;
use axum::routing::{any, get};

use crate::metrics;
use crate::site::Site;

/// No inline script, no inline style, no address of anybody else: what a page shows of others can't run.
const POLICY: &str = "default-src 'self'; connect-src 'self' ws: wss:; object-src 'none'; base-uri 'none'; \
                      form-action 'self'; frame-ancestors 'none'";

/// All routes.
pub(crate) fn router(site: Arc<Site>) -> Router {
    let mut router = watch::routes()
        .route("/stats", get(stats))
        .route("/api/log_level", any(log_level))
        .route("/api/{verb}", any(api))
        .route("/ticket", any(ticket))
        .route("/docs/errors", get(errors));
    if site.config.metrics_listen.is_empty() {
        router = router.route("/metrics", get(metrics));
    }
    if site.config.echo {
        router = router.route("/echo", get(async || see_other("/demos/echo")));
    }
    router.fallback(page).layer(map_response(harden)).with_state(site)
}

async fn harden(mut response: Response<Body>) -> Response<Body> {
    let headers = response.headers_mut();
    for (name, value) in [
        (CONTENT_SECURITY_POLICY, POLICY),
        (X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (X_FRAME_OPTIONS, "DENY"),
        (REFERRER_POLICY, "no-referrer"),
    ] {
        headers.insert(name, HeaderValue::from_static(value));
    }
    response
}

fn see_other(to: &'static str) -> Response<Body> {
    let mut response = Response::new(Body::empty());
    *response.status_mut() = StatusCode::SEE_OTHER;
    response.headers_mut().insert(LOCATION, HeaderValue::from_static(to));
    response
}

async fn stats(
    State(site): State<Arc<Site>>,
    ConnectInfo(peer): ConnectInfo<SocketAddr>,
    headers: HeaderMap,
) -> Response<Body> {
    let mut response = api::json_answer(StatusCode::OK, stats::stats(&site, peer, &headers));
    response.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

/// For whoever has an API key, unless the config opens it; in dev mode from this machine without one.
async fn metrics(
    State(site): State<Arc<Site>>,
    ConnectInfo(peer): ConnectInfo<SocketAddr>,
    headers: HeaderMap,
) -> Response<Body> {
    if !site.config.metrics_open
        && let Err((status, deny)) = api::check_key(&site, peer, &headers)
    {
        return api::refusal(status, &deny);
    }
    let Ok(text) = metrics::render(&site) else {
        return api::refuse(StatusCode::INTERNAL_SERVER_ERROR, "the metrics could not be written");
    };
    let mut response = Response::new(Body::from(text));
    for (name, value) in [(CONTENT_TYPE, metrics::CONTENT_TYPE), (CACHE_CONTROL, "no-store")] {
        response.headers_mut().insert(name, HeaderValue::from_static(value));
    }
    response
}

async fn errors(State(site): State<Arc<Site>>, headers: HeaderMap) -> Response<Body> {
    pages::respond(errors_page::page(site.config.pages).into_bytes(), "text/html; charset=utf-8", &headers)
}

async fn api(
    State(site): State<Arc<Site>>,
    ConnectInfo(peer): ConnectInfo<SocketAddr>,
    Path(verb): Path<String>,
    request: Request<Body>,
) -> Response<Body> {
    if request.method() != Method::POST {
        return api::refuse_method("POST");
    }
    api::serve(site, peer, &verb, request).await
}

async fn log_level(
    State(site): State<Arc<Site>>,
    ConnectInfo(peer): ConnectInfo<SocketAddr>,
    request: Request<Body>,
) -> Response<Body> {
    if request.method() != Method::POST {
        return api::refuse_method("POST");
    }
    log_level::serve(&site, peer, request).await
}

async fn ticket(State(site): State<Arc<Site>>, request: Request<Body>) -> Response<Body> {
    if request.method() != Method::POST {
        return api::refuse_method("POST");
    }
    ticket::serve(&site, request.headers())
}

async fn page(State(site): State<Arc<Site>>, uri: Uri, request: Request<Body>) -> Response<Body> {
    let readable = matches!(*request.method(), Method::GET | Method::HEAD);
    let pages = site.config.pages;
    if let Some(found) = pages::serve(uri.path(), pages, request.headers()) {
        return if readable { found } else { api::refuse_method("GET, HEAD") };
    }
    let mut nothing = if readable && pages::is_for_reading(request.headers()) {
        let page = errors_page::not_found(pages).into_bytes();
        // No request headers: a 404 has no older version that a browser could have.
        let mut response = pages::respond(page, "text/html; charset=utf-8", &HeaderMap::new());
        *response.status_mut() = StatusCode::NOT_FOUND;
        response
    } else {
        api::refuse(StatusCode::NOT_FOUND, "there is nothing at this address")
    };
    nothing.headers_mut().insert(VARY, HeaderValue::from_static("accept"));
    nothing
}
