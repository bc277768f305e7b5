//! What a person sees at the start: addresses to click, warnings last.

use std::fmt::Write as _;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, UdpSocket};

use crate::config::{Config, Mode, Place};
use crate::listen::Listen;

/// Addresses of a running server, as people and pages use them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Addresses {
    /// `http://host:port/`, or `https` with TLS, and so on.
    pub home: String,
    /// `ws://host:port/ws`.
    pub ws: String,
    /// `ws://host:port/echo`.
    pub echo: String,
    /// `http://host:port/api`.
    pub api: String,
}

impl Addresses {
    /// The addresses under `host:port`.
    pub fn at(place: Place<'_>, authority: &str) -> Self {
        let Place { tls, base_path } = place;
        let s = if tls { "s" } else { "" };
        Self {
            home: format!("http{s}://{authority}{base_path}/"),
            ws: format!("ws{s}://{authority}{base_path}/ws"),
            echo: format!("ws{s}://{authority}{base_path}/echo"),
            api: format!("http{s}://{authority}{base_path}/api"),
        }
    }

    /// The addresses under the `Host` of a request; without one, those on this machine.
    pub fn asked_at(place: Place<'_>, host: &str, port: u16) -> Self {
        if host.is_empty() { Self::at(place, &format!("localhost:{port}")) } else { Self::at(place, host) }
    }

    /// The addresses of a listener; what this machine alone can reach, or all of it, is `localhost`.
    pub fn of(place: Place<'_>, addr: SocketAddr) -> Self {
        let own = addr.ip().is_loopback() || addr.ip().is_unspecified();
        let authority = if own { format!("localhost:{}", addr.port()) } else { addr.to_string() };
        Self::at(place, &authority)
    }
}

/// The address by which this machine would reach others, and mostly they it; `None`: there is no network.
pub fn own_address() -> Option<IpAddr> {
    let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0)).ok()?;
    // It sends nothing: the system only chooses the way. The address is one of those for documents (RFC 5737).
    socket.connect((Ipv4Addr::new(192, 0, 2, 1), 9)).ok()?;
    let own = socket.local_addr().ok()?.ip();
    (!own.is_loopback() && !own.is_unspecified()).then_some(own)
}

/// Where others reach listeners that take every network of this machine, whose address is `own`.
fn reached_at(place: Place<'_>, addrs: &[SocketAddr], own: Option<IpAddr>) -> Vec<String> {
    let open = addrs.iter().filter(|addr| addr.ip().is_unspecified());
    open.filter_map(|addr| Some(Addresses::of(place, SocketAddr::new(own?, addr.port())).home)).collect()
}

/// The text of the banner; `own` is this machine's address, if it has one.
pub fn banner(
    config: &Config,
    (addrs, own): (&[SocketAddr], Option<IpAddr>),
    warnings: &[String],
    ready_ms: u128,
) -> String {
    let mut text = format!("\n  Everwire {} ({})\n\n", env!("CARGO_PKG_VERSION"), config.mode.as_str());
    let mut line = |name: &str, value: &str| {
        let _ = writeln!(text, "  {name:<6} {value}");
    };
    if let Some(first) = addrs.first() {
        let at = Addresses::of(config.place(), *first);
        if config.pages {
            line("home", &at.home);
            line("chat", &format!("{}demos/chat", at.home));
        }
        line("socket", &at.ws);
        if config.echo {
            line("echo", &at.echo);
        }
        match config.api_listen.first() {
            None => line("API", &format!("{}/publish", at.api)),
            Some(listener) => line("API", &api_at(config.place(), listener)),
        }
        if config.mode == Mode::Dev
            && let Some(key) = config.api_keys.first()
        {
            line("key", &format!("{} (from this machine none is needed)", key.reveal()));
        }
    }
    // Both loopbacks are one address to people.
    let mut shown: Vec<String> = addrs.iter().map(|addr| Addresses::of(config.place(), *addr).home).collect();
    shown.dedup();
    for also in shown.iter().skip(1).chain(&reached_at(config.place(), addrs, own)) {
        line("also", also);
    }
    for path in config.listen.iter().filter(|place| matches!(place, Listen::Unix(_))) {
        line("also", &path.to_string());
    }
    if config.mode == Mode::Dev
        && let Some(files) = &config.tls
    {
        let cert = files.cert.display();
        line("cert", &format!("{cert}, made on this machine: a browser asks once whether to trust it;"));
        line("", &format!("others are told by curl --cacert {cert}, or NODE_EXTRA_CA_CERTS={cert}"));
    }
    text.push('\n');
    for warning in warnings {
        let _ = writeln!(text, "  warning: {warning}");
    }
    let _ = writeln!(text, "  ready in {ready_ms} ms; Ctrl-C stops it");
    text
}

/// Where a backend publishes, if the API has a listener of its own. A Unix socket never speaks TLS, and has no address.
fn api_at(place: Place<'_>, listener: &Listen) -> String {
    match listener {
        Listen::Unix(_) | Listen::Inherited(_) => format!("{}/api/publish at {listener}", place.base_path),
        Listen::At(_) | Listen::BothLoopbacks(_) => {
            format!("{}/publish", Addresses::at(place, &listener.to_string()).api)
        }
    }
}

/// What the operator should know of the way it runs.
pub fn warnings(config: &Config, addrs: &[SocketAddr], descriptors: Option<u64>) -> Vec<String> {
    let mut all = Vec::new();
    if config.mode == Mode::Dev
        && let Some(open) = addrs.iter().find(|addr| !addr.ip().is_loopback())
    {
        all.push(format!(
            "{open} can be reached from other machines, and dev mode allows everything to everybody"
        ));
    }
    if config.mode == Mode::Serve && config.api_keys.is_empty() {
        all.push("no api_keys in the config: the HTTP API refuses every request".into());
    }
    if config.connect_required && config.tokens.is_none() {
        all.push("connect_required = true, and no [tokens]: nobody can connect".into());
    }
    if config.mode == Mode::Serve && config.namespaces.named.is_empty() && config.namespaces.default.is_none()
    {
        all.push("no namespaces in the config: every channel is unknown_channel".into());
    }
    if config.mode == Mode::Serve && config.pages {
        all.extend(lacking(config));
    }
    if let Some(few) = descriptors.filter(|n| *n < crate::descriptors::FEW) {
        all.push(format!(
            "at most {few} descriptors, so about that many connections; raise it with ulimit -n 65536"
        ));
    }
    all
}

/// What the pages need and the config does not give them.
fn lacking(config: &Config) -> Vec<String> {
    let mut all = Vec::new();
    if !config.echo {
        all.push("pages = true, and echo = false: the echo page has nothing to talk to".into());
    }
    for (namespace, page) in [("demo", "home"), ("chat", "the chat")] {
        if !config.is_open_to_pages(&format!("{namespace}:x")) {
            all.push(format!(
                "pages = true, and not everybody may subscribe, publish and see who is there in the namespace \
                 {namespace}, with presence on: {page} can't do its work"
            ));
        }
    }
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_can_be_clicked() {
        let plain = Place { tls: false, base_path: "" };
        let of = |text: &str| Addresses::of(plain, text.parse().unwrap()).home;
        assert_eq!(of("127.0.0.1:8765"), "http://localhost:8765/");
        assert_eq!(of("[::1]:1"), "http://localhost:1/");
        assert_eq!(of("0.0.0.0:80"), "http://localhost:80/");
        assert_eq!(of("192.0.2.7:80"), "http://192.0.2.7:80/");
        assert_eq!(of("[2001:db8::1]:80"), "http://[2001:db8::1]:80/");
        let below = Addresses::at(Place { tls: true, base_path: "/realtime" }, "x.example");
        assert_eq!(
            (below.home.as_str(), below.ws.as_str()),
            ("https://x.example/realtime/", "wss://x.example/realtime/ws")
        );
    }

    #[test]
    fn the_listener_of_the_api_has_an_address_too() {
        for (tls, listen, told) in [
            (false, "127.0.0.1:1", "http://127.0.0.1:1/r/api/publish"),
            (true, "localhost:1", "https://localhost:1/r/api/publish"),
            (true, "unix:/run/x.sock", "/r/api/publish at unix:/run/x.sock"),
        ] {
            assert_eq!(api_at(Place { tls, base_path: "/r" }, &listen.parse().unwrap()), told);
        }
    }

    #[test]
    fn each_address_is_shown_once() {
        let addrs = ["127.0.0.1:1", "[::1]:1", "127.0.0.1:2", "192.0.2.7:1"].map(|a| a.parse().unwrap());
        let text = banner(&Config::dev(), (&addrs, None), &[], 7);
        let also: Vec<_> = text.lines().filter_map(|l| l.trim().strip_prefix("also   ")).collect();
        assert_eq!(also, ["http://localhost:2/", "http://192.0.2.7:1/"]);
    }

    #[test]
    fn pages_that_lack_something_are_told() {
        let told = |text: &str| {
            let config = Config::read("f", &format!("api_keys = [\"0123456789abcdef\"]\n{text}")).unwrap();
            warnings(&config, &[], None).join("\n")
        };
        let open = "presence = true\naccess = { subscribe = \"anyone\", publish = \"anyone\", presence = \"anyone\" }\n";
        let both = format!("[namespaces.demo]\n{open}[namespaces.chat]\n{open}");
        assert_eq!(told(&format!("pages = true\necho = true\n{both}")), "");
        assert_eq!(told(&both), "", "no pages, no needs");
        assert!(told(&format!("pages = true\n{both}")).contains("echo = false"));
        let chat = told(&format!("pages = true\necho = true\n[namespaces.chat]\n{open}"));
        assert!(chat.contains("namespace demo") && !chat.contains("namespace chat"), "{chat}");
    }

    #[test]
    fn warnings_come_last_but_for_ready() {
        let config = Config::dev();
        let addrs = ["0.0.0.0:8765".parse().unwrap()];
        let warnings = warnings(&config, &addrs, Some(1024));
        assert_eq!(warnings.len(), 2);
        assert!(warnings[0].starts_with("0.0.0.0:8765 can be reached"), "{warnings:?}");
        let text = banner(&config, (&addrs, "192.0.2.7".parse().ok()), &warnings, 7);
        let lines: Vec<_> = text.lines().collect();
        assert!(lines.iter().any(|l| l.ends_with("ws://localhost:8765/ws")));
        assert!(lines.contains(&"  also   http://192.0.2.7:8765/"), "others reach it there: {text}");
        assert!(lines[lines.len() - 2].contains("ulimit -n"), "{text}");
        assert!(lines[lines.len() - 1].contains("ready in 7 ms"));
    }
}
