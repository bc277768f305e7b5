//! Everything of ours below one path (`base_path`), where a proxy gives us a part of a site. A proxy may take that part off
//! or leave it: both are answered.

use std::mem;

use hyper::Uri;
use hyper::http::uri::PathAndQuery;

/// Takes `base` (as `/realtime`; empty: nothing) off the path of a request.
pub(super) fn take_off(base: &str, uri: &mut Uri) {
    let Some(rest) = uri.path_and_query().and_then(|whole| whole.as_str().strip_prefix(base)) else { return };
    let rest = match rest.as_bytes().first() {
        Some(b'/') => rest.to_owned(),
        None | Some(b'?') => format!("/{rest}"),
        // Another path that only begins alike.
        Some(_) => return,
    };
    let Ok(rest) = PathAndQuery::try_from(rest) else { return };
    let mut parts = mem::take(uri).into_parts();
    parts.path_and_query = Some(rest);
    // What had an authority or not before has it or not now.
    *uri = Uri::from_parts(parts).unwrap_or_default();
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths() {
        for (base, asked, left) in [
            ("/realtime", "/realtime", "/"),
            ("/realtime", "/realtime/", "/"),
            ("/realtime", "/realtime?x=1", "/?x=1"),
            ("/realtime", "/realtime/ws?ticket=a/b", "/ws?ticket=a/b"),
            ("/realtime", "/realtimes/ws", "/realtimes/ws"),
            ("/realtime", "/ws", "/ws"),
            ("/realtime", "/x/realtime/ws", "/x/realtime/ws"),
            ("/a/b", "/a/b/c", "/c"),
            ("/realtime", "/realtime/realtime/ws", "/realtime/ws"),
            ("", "/ws?x", "/ws?x"),
            ("/realtime", "http://x:1/realtime/ws", "http://x:1/ws"),
            ("/realtime", "*", "*"),
        ] {
            let mut uri: Uri = asked.parse().unwrap();
            take_off(base, &mut uri);
            assert_eq!(uri.to_string(), left, "{base} {asked}");
        }
    }
}
