//! Plain HTTP: pages, numbers, and the API.

pub(crate) mod api;
mod pages;
mod frame;
mod errors_page;
mod stats;
mod cors;
mod openapi;
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
use everwire_proto::api::Grant;

use crate::metrics;
use crate::site::Site;

/// No inline script, no inline style, no address of anybody else: what a page shows of others can't run.
const POLICY: &str = "default-src 'self'; connect-src 'self' ws: wss:; object-src 'none'; base-uri 'none'; \
                      form-action 'self'; frame-ancestors 'none'";

/// All routes; those of the API only where it is to be served.
pub(crate) fn router(site: Arc<Site>, with_api: bool) -> Router {
    let mut router = watch::routes()
        .route("/stats", get(stats))
        .route("/ticket", any(ticket))
        .route("/docs/errors", get(errors));
    if with_api {
        let document = Arc::new(openapi::document(&site.config()));
        router = router.route("/api/{verb}", any(api)).route("/api/log_level", any(log_level)).route(
            "/api/openapi.json",
            any(async move |request: Request<Body>| openapi(&document, &request)),
        );
    }
    if site.config().metrics_listen.is_empty() {
        router = router.route("/metrics", get(metrics));
    }
    if site.config().echo {
        let page = format!("{}/demos/echo", site.config().base_path);
        router = router.route("/echo", get(async move || see_other(&page)));
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

fn see_other(to: &str) -> Response<Body> {
    let mut response = Response::new(Body::empty());
    *response.status_mut() = StatusCode::SEE_OTHER;
    if let Ok(to) = HeaderValue::from_str(to) {
        response.headers_mut().insert(LOCATION, to);
    }
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
    let granted = || api::access::caller(&site, peer, &headers)?.must_be_granted(Grant::Metrics);
    if !site.config().metrics_open
        && let Err(deny) = granted()
    {
        return api::refuse_with(deny);
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
    let page = pages::below(&site.config().base_path, errors_page::page(site.config().pages).into_bytes());
    pages::respond(page, "text/html; charset=utf-8", &headers)
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

async fn ticket(
    State(site): State<Arc<Site>>,
    ConnectInfo(peer): ConnectInfo<SocketAddr>,
    request: Request<Body>,
) -> Response<Body> {
    if let Some(preflight) = cors::preflight(&site, &request, "POST") {
        return preflight;
    }
    if request.method() != Method::POST {
        return cors::open(&site, request.headers(), api::refuse_method("POST"));
    }
    cors::open(&site, request.headers(), ticket::serve(&site, peer, request.headers()))
}

/// No secret, so it needs no key.
fn openapi(document: &Arc<Vec<u8>>, request: &Request<Body>) -> Response<Body> {
    if !matches!(*request.method(), Method::GET | Method::HEAD) {
        return api::refuse_method("GET, HEAD");
    }
    api::json_answer(StatusCode::OK, document.to_vec())
}

async fn page(State(site): State<Arc<Site>>, uri: Uri, request: Request<Body>) -> Response<Body> {
    let readable = matches!(*request.method(), Method::GET | Method::HEAD);
    let config = site.config();
    let (pages, base) = (config.pages, config.base_path.as_str());
    if let Some(found) = pages::serve(uri.path(), pages, base, request.headers()) {
        return if readable { found } else { api::refuse_method("GET, HEAD") };
    }
    let mut nothing = if readable && pages::is_for_reading(request.headers()) {
        let page = pages::below(base, errors_page::not_found(pages, pages::is_ours(uri.path())).into_bytes());
        // No request headers: a 404 has no older version that a browser could have.
        let mut response = pages::respond(page, "text/html; charset=utf-8", &HeaderMap::new());
        *response.status_mut() = StatusCode::NOT_FOUND;
        response
    } else {
        let off = !pages && pages::is_ours(uri.path());
        let words = if off {
            "home and demos are off; pages = true in the config turns them on"
        } else {
            "there is nothing at this address"
        };
        api::refuse(StatusCode::NOT_FOUND, words)
    };
    nothing.headers_mut().insert(VARY, HeaderValue::from_static("accept"));
    nothing
}
