//! What a browser is served, embedded as it stands in the repository.

use axum::body::Body;
use axum::http::header::{
    ACCEPT, ACCESS_CONTROL_ALLOW_ORIGIN, CACHE_CONTROL, CONTENT_TYPE, ETAG, IF_NONE_MATCH,
};
use axum::http::{HeaderMap, HeaderValue, Response, StatusCode};
use include_dir::{Dir, include_dir};

static ASSETS: Dir<'_> = include_dir!("$CARGO_MANIFEST_DIR/../../web/assets");
static DEMOS: Dir<'_> = include_dir!("$CARGO_MANIFEST_DIR/../../web/demos");
static SDK: Dir<'_> = include_dir!("$CARGO_MANIFEST_DIR/../../sdk/js/src");
/// What the paths begin with that our pages name.
const OURS: [&str; 8] = ["/assets/", "/sdk/", "/demos/", "/docs/", "/api/", "/stats", "/echo", "/ws"];
const HOME: &str = include_str!("../../../../web/index.html");

/// The file behind a path, and its type. The client and what generated pages need are always there; home and the
/// demos only where `pages` says so.
fn find(path: &str, pages: bool) -> Option<(&'static [u8], &'static str)> {
    let file = |dir: &'static Dir<'static>, name: &str| dir.get_file(name).map(include_dir::File::contents);
    if path == "/" && pages {
        return Some((HOME.as_bytes(), "text/html; charset=utf-8"));
    }
    let found = if let Some(name) = path.strip_prefix("/assets/") {
        file(&ASSETS, name)
    } else if let Some(name) = path.strip_prefix("/sdk/") {
        file(&SDK, name)
    } else {
        let name = path.strip_prefix("/demos/").filter(|_| pages)?;
        return file(&DEMOS, &format!("{name}.html")).map(|bytes| (bytes, "text/html; charset=utf-8"));
    };
    found.map(|bytes| (bytes, type_of(path)))
}

/// Whether there is a page of ours at this path, as soon as `pages` is on.
pub(super) fn is_ours(path: &str) -> bool {
    find(path, true).is_some()
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
pub(super) fn serve(path: &str, pages: bool, base: &str, headers: &HeaderMap) -> Option<Response<Body>> {
    let (bytes, kind) = find(path, pages)?;
    // The client names no path of its own.
    let names_paths = kind.starts_with("text/") && !path.starts_with("/sdk/");
    let bytes = if names_paths { below(base, bytes.into()) } else { bytes.into() };
    let mut response = respond(bytes, kind, headers);
    if path.starts_with("/sdk/") {
        // A module is fetched with CORS, and the client is for pages of other origins too. Whether they may connect
        // is decided where they connect.
        response.headers_mut().insert(ACCESS_CONTROL_ALLOW_ORIGIN, HeaderValue::from_static("*"));
    }
    Some(response)
}

/// The same text, with `base` before each path of ours that stands in it between quotes.
pub(super) fn below(base: &str, text: Vec<u8>) -> Vec<u8> {
    let Some(all) = std::str::from_utf8(&text).ok().filter(|_| !base.is_empty()) else { return text };
    let (mut out, mut rest) = (String::with_capacity(all.len() + 1024), all);
    while let Some(quote) = rest.find(['"', '\'']) {
        let (before, from) = rest.split_at(quote + 1);
        out.push_str(before);
        let home = before.ends_with("href=\"") && from.starts_with("/\"");
        if home || OURS.iter().any(|path| from.starts_with(path)) {
            out.push_str(base);
        }
        rest = from;
    }
    out.push_str(rest);
    out.into_bytes()
}

/// Whether a person is to read the answer: a browser that opens an address says so.
pub(super) fn is_for_reading(headers: &HeaderMap) -> bool {
    let kinds = headers.get_all(ACCEPT).iter().filter_map(|v| v.to_str().ok());
    kinds
        .flat_map(|v| v.split(','))
        .any(|kind| kind.split(';').next().is_some_and(|name| name.trim().eq_ignore_ascii_case("text/html")))
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
            assert_eq!(find(path, true).map(|f| f.1), Some(kind), "{path}");
            let always = path.starts_with("/sdk/") || path.starts_with("/assets/");
            assert_eq!(find(path, false).is_some(), always, "{path}");
        }
        for path in ["/demos/", "/assets/../Cargo.toml", "/sdk/", "/assets", "/tests/world.mjs"] {
            assert!(find(path, true).is_none(), "{path}");
        }
    }

    #[test]
    fn the_client_is_for_pages_of_every_origin_and_nothing_else_is() {
        for (path, open) in [("/sdk/everwire.js", true), ("/", false), ("/assets/everwire.css", false)] {
            let response = serve(path, true, "", &HeaderMap::new()).unwrap();
            assert_eq!(response.headers().contains_key(ACCESS_CONTROL_ALLOW_ORIGIN), open, "{path}");
        }
    }

    #[test]
    fn below_a_path_every_link_leads_below_it() {
        let text = "<a href=\"/\">x</a> src=\"/assets/a.js\" fetch('/stats') \"/else\" '/ws' + \"x\" \"/\"";
        let moved =
            "<a href=\"/r/\">x</a> src=\"/r/assets/a.js\" fetch('/r/stats') \"/else\" '/r/ws' + \"x\" \"/\"";
        assert_eq!(below("/r", text.into()), moved.as_bytes());
        assert_eq!(below("/ws", "'/ws'".into()), b"'/ws/ws'");
        assert_eq!(below("", text.into()), text.as_bytes());
        for path in ["/", "/demos/echo", "/demos/chat"] {
            let page = String::from_utf8(below("/r", find(path, true).unwrap().0.into())).unwrap();
            let led = page.matches("href=\"/").count() + page.matches("src=\"/").count();
            assert!(led > 5 && led == page.matches("=\"/r/").count(), "{path}: {page}");
        }
    }

    #[test]
    fn browsers_are_told_from_programs() {
        for (accept, reads) in [
            ("text/html,application/xhtml+xml,*/*;q=0.8", true),
            ("application/json, Text/HTML ;q=0.5", true),
            ("*/*", false),
            ("application/json", false),
            ("text/htmlish", false),
        ] {
            let mut headers = HeaderMap::new();
            headers.insert(ACCEPT, HeaderValue::from_static(accept));
            assert_eq!(is_for_reading(&headers), reads, "{accept}");
        }
        assert!(!is_for_reading(&HeaderMap::new()));
    }

    #[test]
    fn a_known_tag_brings_no_body() {
        let first = serve("/", true, "", &HeaderMap::new()).unwrap();
        let mut headers = HeaderMap::new();
        headers.insert(IF_NONE_MATCH, first.headers()[ETAG].clone());
        assert_eq!(serve("/", true, "", &headers).unwrap().status(), StatusCode::NOT_MODIFIED);
        assert_eq!(first.status(), StatusCode::OK);
    }
}
