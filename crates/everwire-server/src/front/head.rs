//! What a request must be before anybody looks at what it wants: RFC 9112 without its leniencies. What two programs may
//! read in two ways is how one's answer is smuggled to another.

use hyper::header::{HOST, HeaderValue, TRANSFER_ENCODING};
use hyper::http::uri::Authority;
use hyper::{Request, Version};

/// Checks a head that the HTTP library has let through.
///
/// # Errors
/// What is wrong, for whoever wrote the request. The connection ends with the answer: where its body ends is in doubt.
pub(super) fn check<B>(request: &Request<B>) -> Result<(), &'static str> {
    let host = host(request)?;
    if let Some(asked) = request.uri().authority()
        && !host.is_some_and(|host| host.as_str().eq_ignore_ascii_case(asked.as_str()))
    {
        return Err("the request line names another host than the Host header (RFC 9112 3.2.2)");
    }
    // A Content-Length beside it the library has taken away, and will end the connection; several that differ it has
    // refused.
    let mut codings = request.headers().get_all(TRANSFER_ENCODING).iter();
    if let Some(first) = codings.next() {
        let plain = first.as_bytes().trim_ascii().eq_ignore_ascii_case(b"chunked");
        if !plain || codings.next().is_some() {
            return Err("the only Transfer-Encoding taken is one `chunked` (RFC 9112 6.1)");
        }
    }
    Ok(())
}

/// The host that the client wants to speak to; HTTP/1.0 may leave it out.
fn host<B>(request: &Request<B>) -> Result<Option<Authority>, &'static str> {
    let mut hosts = request.headers().get_all(HOST).iter();
    let Some(first) = hosts.next() else {
        let may_miss = request.version() < Version::HTTP_11;
        return if may_miss { Ok(None) } else { Err("the Host header is missing (RFC 9112 3.2)") };
    };
    if hosts.next().is_some() {
        return Err("the Host header stands more than once (RFC 9112 3.2)");
    }
    let read = |value: &HeaderValue| Authority::try_from(value.as_bytes()).ok();
    let host = read(first).filter(|host| !host.host().is_empty() && !host.as_str().contains('@'));
    host.map(Some).ok_or("the Host header is no host (RFC 9110 7.2)")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(target: &str, version: Version, headers: &[(&str, &str)]) -> &'static str {
        let mut request = Request::builder().uri(target).version(version);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        check(&request.body(()).unwrap()).err().unwrap_or("")
    }

    #[test]
    fn sound_heads() {
        for host in ["x", "localhost:8765", "[::1]:1", "a.example."] {
            assert_eq!(told("/", Version::HTTP_11, &[("host", host)]), "", "{host}");
        }
        assert_eq!(told("/", Version::HTTP_10, &[]), "");
        assert_eq!(told("http://X:1/ws", Version::HTTP_11, &[("host", "x:1")]), "");
        assert_eq!(told("/", Version::HTTP_11, &[("host", "x"), ("transfer-encoding", "Chunked")]), "");
        assert_eq!(told("/", Version::HTTP_11, &[("host", "x"), ("content-length", "3")]), "");
    }

    #[test]
    fn heads_that_can_be_read_in_two_ways() {
        for (target, headers, words) in [
            ("/", &[][..], "missing"),
            ("/", &[("host", "a"), ("host", "a")], "more than once"),
            ("/", &[("host", "")], "no host"),
            ("/", &[("host", "ann@x")], "no host"),
            ("/", &[("host", "a b")], "no host"),
            ("/", &[("host", "a/b")], "no host"),
            ("http://evil/", &[("host", "x")], "another host"),
            ("http://x:80/", &[("host", "x")], "another host"),
            ("/", &[("host", "x"), ("transfer-encoding", "gzip, chunked")], "one `chunked`"),
            (
                "/",
                &[("host", "x"), ("transfer-encoding", "chunked"), ("transfer-encoding", "chunked")],
                "one",
            ),
        ] {
            let got = told(target, Version::HTTP_11, headers);
            assert!(got.contains(words), "{target} {headers:?}: {got:?}");
        }
    }
}
