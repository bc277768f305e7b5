//! What a browser is served, embedded as it stands in the repository.

use axum::body::Body;
use axum::http::header::{CACHE_CONTROL, CONTENT_TYPE, ETAG, IF_NONE_MATCH};
use axum::http::{HeaderMap, HeaderValue, Response, StatusCode};
use include_dir::{Dir, include_dir};

static ASSETS: Dir<'_> = include_dir!("$CARGO_MANIFEST_DIR/../../web/assets");
static DEMOS: Dir<'_> = include_dir!("$CARGO_MANIFEST_DIR/../../web/demos");
static SDK: Dir<'_> = include_dir!("$CARGO_MANIFEST_DIR/../../sdk/js/src");
const HOME: &str = include_str!("../../../../web/index.html");

/// The file behind a path, and its type.
fn find(path: &str) -> Option<(&'static [u8], &'static str)> {
    let file = |dir: &'static Dir<'static>, name: &str| dir.get_file(name).map(include_dir::File::contents);
    if path == "/" {
        return Some((HOME.as_bytes(), "text/html; charset=utf-8"));
    }
    let found = if let Some(name) = path.strip_prefix("/assets/") {
        file(&ASSETS, name)
    } else if let Some(name) = path.strip_prefix("/sdk/") {
        file(&SDK, name)
    } else {
        let name = path.strip_prefix("/demos/")?;
        return file(&DEMOS, &format!("{name}.html")).map(|bytes| (bytes, "text/html; charset=utf-8"));
    };
    found.map(|bytes| (bytes, type_of(path)))
}

fn type_of(path: &str) -> &'static str {
    match path.rsplit_once('.').map_or("", |(_, ending)| ending) {
        "js" | "mjs" => "text/javascript; charset=utf-8",
        "css" => "text/css; charset=utf-8",
        "svg" => "image/svg+xml",
        "html" => "text/html; charset=utf-8",
        "json" => "application/json",
        "png" => "image/png",
        "woff2" => "font/woff2",
        _ => "application/octet-stream",
    }
}

/// The answer for a path that is a page or a part of one.
pub(super) fn serve(path: &str, headers: &HeaderMap) -> Option<Response<Body>> {
    let (bytes, kind) = find(path)?;
    Some(respond(bytes.into(), kind, headers))
}

/// An answer with an `ETag`; 304 where the browser has these bytes already.
pub(super) fn respond(bytes: Vec<u8>, kind: &'static str, headers: &HeaderMap) -> Response<Body> {
    let tag = format!("\"{:016x}\"", fnv(&bytes));
    let known = headers.get_all(IF_NONE_MATCH).iter().filter_map(|v| v.to_str().ok());
    let fresh = known.flat_map(|v| v.split(',')).any(|t| t.trim().trim_start_matches("W/") == tag);
    let mut response = Response::new(if fresh { Body::empty() } else { Body::from(bytes) });
    if fresh {
        *response.status_mut() = StatusCode::NOT_MODIFIED;
    }
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(kind));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-cache"));
    if let Ok(tag) = HeaderValue::from_str(&tag) {
        headers.insert(ETAG, tag);
    }
    response
}

/// FNV-1a, 64 bits: the same for the same bytes in every build; nobody is to be kept out by it.
fn fnv(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01b3)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_part_of_a_page_is_there() {
        for (path, kind) in [
            ("/", "text/html; charset=utf-8"),
            ("/demos/echo", "text/html; charset=utf-8"),
            ("/demos/chat", "text/html; charset=utf-8"),
            ("/assets/everwire.css", "text/css; charset=utf-8"),
            ("/assets/chat/chat.js", "text/javascript; charset=utf-8"),
            ("/sdk/everwire.js", "text/javascript; charset=utf-8"),
        ] {
            assert_eq!(find(path).map(|f| f.1), Some(kind), "{path}");
        }
        for path in ["/demos/", "/assets/../Cargo.toml", "/sdk/", "/assets", "/tests/world.mjs"] {
            assert!(find(path).is_none(), "{path}");
        }
    }

    #[test]
    fn a_known_tag_brings_no_body() {
        let first = serve("/", &HeaderMap::new()).unwrap();
        let mut headers = HeaderMap::new();
        headers.insert(IF_NONE_MATCH, first.headers()[ETAG].clone());
        assert_eq!(serve("/", &headers).unwrap().status(), StatusCode::NOT_MODIFIED);
        assert_eq!(first.status(), StatusCode::OK);
    }
}
