//! The origin rule of the protocol, section 1, for everything but the echoes.

use everwire_proto::ws::origin;
use hyper::header::{self, HeaderMap};

use crate::config::Mode;
use crate::site::Site;

/// Whether the page that sent a request may talk to us; the log shows the config line that would admit a foreign one.
///
/// # Errors
/// Words for whoever debugs the page.
pub(crate) fn check(site: &Site, headers: &HeaderMap) -> Result<(), String> {
    let mut origins = headers.get_all(header::ORIGIN).iter();
    let Some(first) = origins.next() else { return Ok(()) };
    let host = headers.get(header::HOST).and_then(|h| h.to_str().ok()).unwrap_or_default();
    let here = origin::Site { host, tls: false };
    let dev = site.config.mode == Mode::Dev;
    let text = first.to_str().unwrap_or("(no text)");
    if origins.next().is_none() && origin::is_allowed(Some(text), here, &site.config.origins, dev) {
        return Ok(());
    }
    let admit =
        if origin::is_well_formed(text) { format!("origins = [\"{text}\"]") } else { "none".to_owned() };
    tracing::warn!(origin = text, admitted_by = admit, "a page of a foreign origin was refused");
    Err(format!(
        "pages of origin {text:?} may not connect to {host}; the operator can admit them with `origins` in the config"
    ))
}
