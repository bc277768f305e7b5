//! Which pages of other origins may read what they ask for: those of the same list that may open a WebSocket. Never the
//! API, which is the backend's alone, and never with credentials: what a page sends stands in a header that it sets.

use axum::body::Body;
use axum::http::header::{
    ACCESS_CONTROL_ALLOW_HEADERS, ACCESS_CONTROL_ALLOW_METHODS, ACCESS_CONTROL_ALLOW_ORIGIN,
    ACCESS_CONTROL_MAX_AGE, ACCESS_CONTROL_REQUEST_METHOD, ORIGIN, VARY,
};
use axum::http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode};

use super::api;
use crate::origins;
use crate::site::Site;

/// What a page may set besides what every page may.
const HEADERS: &str = "authorization, content-type";
/// A browser need not ask again for so long, seconds.
const REMEMBERED: &str = "600";

/// The answer to a browser that asks before it lets a page of another origin send something. `None`: it is no such
/// question.
pub(super) fn preflight(
    site: &Site,
    request: &Request<Body>,
    methods: &'static str,
) -> Option<Response<Body>> {
    let headers = request.headers();
    let asks = headers.contains_key(ORIGIN) && headers.contains_key(ACCESS_CONTROL_REQUEST_METHOD);
    if request.method() != Method::OPTIONS || !asks {
        return None;
    }
    if let Err(words) = origins::check(site, headers) {
        return Some(open(site, headers, api::refuse(StatusCode::FORBIDDEN, &words)));
    }
    let mut response = Response::new(Body::empty());
    *response.status_mut() = StatusCode::NO_CONTENT;
    for (name, value) in [
        (ACCESS_CONTROL_ALLOW_METHODS, methods),
        (ACCESS_CONTROL_ALLOW_HEADERS, HEADERS),
        (ACCESS_CONTROL_MAX_AGE, REMEMBERED),
    ] {
        response.headers_mut().insert(name, HeaderValue::from_static(value));
    }
    Some(open(site, headers, response))
}

/// Lets the page that asked read the answer, if its origin is admitted.
pub(super) fn open(site: &Site, headers: &HeaderMap, mut response: Response<Body>) -> Response<Body> {
    // Also where there is none: a cache must not give one origin's answer to another.
    response.headers_mut().append(VARY, HeaderValue::from_static("origin"));
    if let Some(origin) = headers.get(ORIGIN).filter(|_| origins::are_admitted(site, headers)) {
        response.headers_mut().insert(ACCESS_CONTROL_ALLOW_ORIGIN, origin.clone());
    }
    response
}
