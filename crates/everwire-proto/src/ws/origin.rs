//! Which pages may open a connection: protocol section 1, "Origin".

/// Where a request came from, and to.
#[derive(Clone, Copy, Debug)]
pub struct Site<'a> {
    /// The `Host` header.
    pub host: &'a str,
    /// Whether the request came over TLS.
    pub tls: bool,
}

#[derive(Debug, PartialEq, Eq)]
struct Parsed {
    tls: bool,
    host: String,
    port: u16,
}

fn parse(origin: &str) -> Option<Parsed> {
    let (tls, rest) = if let Some(rest) = strip_prefix(origin, "http://") {
        (false, rest)
    } else {
        (true, strip_prefix(origin, "https://")?)
    };
    authority(rest, tls)
}

fn strip_prefix<'a>(text: &'a str, prefix: &str) -> Option<&'a str> {
    let head = text.get(..prefix.len())?;
    head.eq_ignore_ascii_case(prefix).then(|| &text[prefix.len()..])
}

/// `host[:port]` and nothing more: no user, path, query or fragment.
fn authority(text: &str, tls: bool) -> Option<Parsed> {
    let port_at = match text.rfind(':') {
        Some(at) if !text[at..].contains(']') => Some(at),
        _ => None,
    };
    let (host, port) = match port_at {
        None => (text, if tls { 443 } else { 80 }),
        Some(at) => {
            let digits = &text[at + 1..];
            let plain = !digits.is_empty() && digits.bytes().all(|b| b.is_ascii_digit());
            (&text[..at], digits.parse().ok().filter(|_| plain)?)
        }
    };
    let bracketed = host.strip_prefix('[').and_then(|h| h.strip_suffix(']'));
    let good = match bracketed {
        Some(v6) => v6.parse::<std::net::Ipv6Addr>().is_ok(),
        None => {
            !host.is_empty()
                && host.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'-' | b'_'))
        }
    };
    good.then(|| Parsed { tls, host: host.to_ascii_lowercase(), port })
}

/// `localhost` and what stands under it, which no DNS may point elsewhere (RFC 6761 section 6.3), and the loopbacks
/// themselves.
fn is_loopback(host: &str) -> bool {
    matches!(host, "localhost" | "127.0.0.1" | "[::1]") || host.ends_with(".localhost")
}

/// Whether a host was found without asking DNS: loopback, or an address itself.
fn needs_no_dns(host: &str) -> bool {
    is_loopback(host) || host.starts_with('[') || host.parse::<std::net::Ipv4Addr>().is_ok()
}

/// Whether a `Host` can only mean the machine that it was sent to: `localhost`, a name under it, or an address. Any other
/// name means what its owner lets it point to, and that may change while a page is open (DNS rebinding).
pub fn is_beyond_dns(host: &str) -> bool {
    authority(host, false).is_some_and(|ours| needs_no_dns(&ours.host))
}

/// What stands behind `*.` in a pattern: the name under which every name is meant.
fn pattern(text: &str) -> Option<Parsed> {
    let (scheme, rest) = text.split_once("://*.")?;
    // One label alone would be every site of a country or a trade.
    let parsed = parse(&format!("{scheme}://{rest}")).filter(|under| under.host.contains('.'))?;
    let labels = parsed.host.split('.').all(|label| !label.is_empty());
    (labels && !needs_no_dns(&parsed.host)).then_some(parsed)
}

/// Whether this line of a list means that origin: `scheme://host[:port]`, or `scheme://*.host[:port]` for every name
/// below that host, however deep, and not for the host itself.
fn means(line: &str, theirs: &Parsed) -> bool {
    if line == ANY {
        return true;
    }
    if let Some(one) = parse(line) {
        return one == *theirs;
    }
    let Some(under) = pattern(line) else { return false };
    let name = theirs.host.strip_suffix(&*under.host).and_then(|name| name.strip_suffix('.'));
    name.is_some_and(|name| !name.is_empty()) && (theirs.tls, theirs.port) == (under.tls, under.port)
}

/// Whether an `Origin` may open a connection here: none at all (no browser), this very site, or one of `allowed`
/// (each `scheme://host[:port]`, or `scheme://*.host[:port]`, or `*` for all that can be read). `null` is foreign. With `dev` only a `Host` that [`is_beyond_dns`] is this very site,
/// and a server that was reached by a loopback name takes every page of this machine, whatever its port: a front end has
/// a development server of its own.
pub fn is_allowed(origin: Option<&str>, site: Site<'_>, allowed: &[String], dev: bool) -> bool {
    let Some(origin) = origin else { return true };
    let Some(theirs) = parse(origin) else { return false };
    if allowed.iter().any(|line| means(line, &theirs)) {
        return true;
    }
    let Some(ours) = authority(site.host, site.tls) else { return false };
    if dev {
        let both_here = is_loopback(&theirs.host) && is_loopback(&ours.host);
        return both_here || (theirs == ours && needs_no_dns(&ours.host));
    }
    theirs == ours
}

/// The line of the list that means every origin.
pub const ANY: &str = "*";

/// Whether a line of the list can be read as a pattern: `scheme://*.host[:port]`.
pub fn is_pattern(line: &str) -> bool {
    pattern(line).is_some()
}

/// Whether an origin can be read at all: `scheme://host[:port]`.
pub fn is_well_formed(origin: &str) -> bool {
    parse(origin).is_some()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(origin: &str, host: &str, dev: bool) -> bool {
        let allowed = vec!["https://app.example.com".to_owned()];
        is_allowed(Some(origin), Site { host, tls: false }, &allowed, dev)
    }

    #[test]
    fn same_site_or_listed() {
        assert!(is_allowed(None, Site { host: "x", tls: false }, &[], false));
        for (origin, host) in [
            ("http://chat.example.com", "chat.example.com"),
            ("http://chat.example.com:80", "chat.example.com"),
            ("HTTP://Chat.Example.com", "chat.example.com:80"),
            ("http://[::1]:8765", "[::1]:8765"),
            ("https://app.example.com", "elsewhere:1"),
            ("https://app.example.com:443", "elsewhere:1"),
        ] {
            assert!(check(origin, host, false), "{origin}");
        }
    }

    #[test]
    fn a_pattern_means_every_name_below() {
        let allowed = vec!["https://*.example.com".to_owned(), "http://*.shop.test:8080".to_owned()];
        let site = Site { host: "elsewhere", tls: false };
        for (origin, meant) in [
            ("https://app.example.com", true),
            ("https://a.b.example.com:443", true),
            ("HTTPS://App.Example.COM", true),
            ("http://a.shop.test:8080", true),
            ("https://example.com", false),
            ("https://.example.com", false),
            ("https://badexample.com", false),
            ("https://app.example.com.evil.test", false),
            ("http://app.example.com", false),
            ("https://app.example.com:8443", false),
            ("https://*.example.com", false),
            ("https://evil.test/.example.com", false),
            ("https://evil.test#.example.com", false),
            ("https://evil.test@app.example.com", false),
            ("http://a.shop.test", false),
            ("null", false),
        ] {
            assert_eq!(is_allowed(Some(origin), site, &allowed, false), meant, "{origin}");
        }
        for line in ["https://*.example.com", "http://*.a.b.c:1"] {
            assert!(is_pattern(line) && !is_well_formed(line), "{line}");
        }
        for line in [
            "https://*",
            "https://*.com",
            "https://*example.com",
            "https://a.*.com",
            "*.example.com",
            "https://*.*.example.com",
            "https://*.127.0.0.1",
            "https://*.[::1]",
            "https://*.example.com/",
            "https://*..com",
            "https://*.example.",
            "ws://*.example.com",
            "https://*.localhost",
            "https://example.com",
        ] {
            assert!(!is_pattern(line), "{line}");
        }
    }

    #[test]
    fn everything_else_is_foreign() {
        for origin in [
            "null",
            "",
            "file://",
            "http://evil.example",
            "https://chat.example.com",
            "http://chat.example.com:8080",
            "http://chat.example.com.evil.example",
            "http://evilchat.example.com",
            "http://chat.example.com@evil.example",
            "http://evil.example/chat.example.com",
            "http://chat.example.com/",
            "http://chat.example.com?x",
            "http://chat.example.com#x",
            "http://chat.example.com:80:80",
            "http://chat.example.com:",
            "https://sub.app.example.com",
            "http://app.example.com",
            "//chat.example.com",
            "chat.example.com",
        ] {
            assert!(!check(origin, "chat.example.com", true), "{origin}");
        }
    }

    #[test]
    fn dev_mode_takes_every_page_of_this_machine() {
        for origin in [
            "http://localhost:8765",
            "http://[::1]:8765",
            "http://localhost:5173",
            "https://127.0.0.1",
            "http://shop.localhost:3000",
        ] {
            for host in ["127.0.0.1:8765", "api.localhost:8765"] {
                assert!(check(origin, host, true), "{origin} {host}");
                assert!(!check(origin, host, false), "{origin} {host}");
            }
            // Reached under another name, by a name that points here or from outside: not this machine's business.
            for host in ["everwire.example:8765", "192.168.1.7:8765"] {
                assert!(!check(origin, host, true), "{origin} {host}");
            }
        }
        for evil in ["http://localhost.evil.example:8765", "http://evillocalhost:8765"] {
            assert!(!check(evil, "localhost:8765", true), "{evil}");
        }
    }

    #[test]
    fn dev_mode_takes_its_own_pages_by_address_and_not_by_name() {
        for (host, known) in [
            ("localhost:8765", true),
            ("a.b.LocalHost:8765", true),
            ("192.168.1.7:8765", true),
            ("[fe80::1]:8765", true),
            ("mybox.local:8765", false),
            ("mybox:8765", false),
            ("evil.example", false),
            ("1.2.3.4.evil.example:8765", false),
            ("1.2.3:8765", false),
            ("localhost.:8765", false),
            ("", false),
        ] {
            let own = format!("http://{host}");
            assert_eq!((check(&own, host, true), is_beyond_dns(host)), (known, known), "{host}");
            assert_eq!(check(&own, host, false), !host.is_empty(), "only dev mode asks for more: {host}");
        }
        // Named, it may come.
        let named = vec!["http://mybox.local:8765".to_owned()];
        let site = Site { host: "mybox.local:8765", tls: false };
        assert!(is_allowed(Some("http://mybox.local:8765"), site, &named, true));
    }
}
