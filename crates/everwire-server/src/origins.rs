//! The origin rule of the protocol, section 1, for everything but the echoes.

use everwire_proto::ws::origin;
use hyper::header::{self, HeaderMap};

use crate::config::Mode;
use crate::site::Site;
use crate::told::Reason;

/// What helps a page that has no origin.
const SERVE_IT: &str = "serve the page over http instead of opening the file (such as `python3 -m http.server`), or try the echo, which takes every page";

/// A page that may not talk to us.
#[derive(Debug)]
struct Foreign<'h> {
    origin: &'h str,
    host: &'h str,
}

fn judge<'h>(site: &Site, headers: &'h HeaderMap) -> Result<(), Foreign<'h>> {
    let mut origins = headers.get_all(header::ORIGIN).iter();
    let Some(first) = origins.next() else { return Ok(()) };
    let host = headers.get(header::HOST).and_then(|h| h.to_str().ok()).unwrap_or_default();
    let here = origin::Site { host, tls: site.config().tls.is_some() };
    let dev = site.config().mode == Mode::Dev;
    let text = first.to_str().unwrap_or("(no text)");
    let one = origins.next().is_none();
    let admitted = one && origin::is_allowed(Some(text), here, &site.config().origins, dev);
    if admitted { Ok(()) } else { Err(Foreign { origin: if one { text } else { "(several)" }, host }) }
}

/// Whether the page that sent a request may talk to us, if it was a page.
pub(crate) fn are_admitted(site: &Site, headers: &HeaderMap) -> bool {
    judge(site, headers).is_ok()
}

/// The same, and the log says what would admit a page that may not.
///
/// # Errors
/// Words for whoever debugs the page.
pub(crate) fn check(site: &Site, headers: &HeaderMap) -> Result<(), String> {
    judge(site, headers).map_err(|foreign| foreign.told(site))
}

impl Foreign<'_> {
    fn told(&self, site: &Site) -> String {
        let Self { origin, host } = *self;
        if origin == "null" || origin.starts_with("file:") {
            if let Some(left_out) = site.may_tell(Reason::NoOrigin) {
                tracing::warn!(origin, left_out, help = SERVE_IT, "a page without an origin was refused");
            }
            return format!("a page opened from a file, or sandboxed, may not connect to {host}: {SERVE_IT}");
        }
        let dev = site.config().mode == Mode::Dev;
        let admit = match (origin::is_well_formed(origin), dev) {
            (false, _) => "nothing: this is no origin".to_owned(),
            (true, true) => format!("everwire dev --origin {origin}"),
            (true, false) => format!("origins = [\"{origin}\"]"),
        };
        // Otherwise `http://mybox.local` at the host `mybox.local` would look like a mistake of ours.
        let by_name = dev && !origin::is_beyond_dns(host);
        if let Some(left_out) = site.may_tell(Reason::Origin) {
            if by_name {
                tracing::warn!(
                    origin,
                    host,
                    left_out,
                    admitted_by = admit,
                    "a page was refused: dev mode was reached by a name that may belong to anybody"
                );
            } else {
                tracing::warn!(
                    origin,
                    host,
                    left_out,
                    admitted_by = admit,
                    "a page of a foreign origin was refused"
                );
            }
        }
        let admit = if dev { "with `everwire dev --origin ORIGIN`" } else { "with `origins` in the config" };
        format!("pages of origin {origin:?} may not connect to {host}; the operator can admit them {admit}")
    }
}
