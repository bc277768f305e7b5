//! `/docs/errors`, generated from the one table of codes; and the page for an address where there is nothing.

use std::fmt::Write as _;

use everwire_proto::codes::{CloseCode, ErrorCode};

use super::frame::Frame;

/// One code, as the page shows it.
struct Entry {
    id: String,
    title: String,
    doc: &'static str,
    kind: String,
    /// What repeating it brings: the class and the words.
    again: (&'static str, &'static str),
}

/// The page of codes.
pub(super) fn page(pages: bool) -> String {
    let mut main = String::from(
        "<div class=\"opening\">\n<h1>Errors</h1>\n<p class=\"lead\">Every code that the server answers or \
         closes with: what it means and what to do.</p>\n</div>\n",
    );
    let errors = ErrorCode::ALL.iter().map(|code| Entry {
        id: code.as_str().to_owned(),
        title: code.as_str().to_owned(),
        doc: code.doc(),
        kind: match code {
            // The one code whose status hangs on what is unknown.
            ErrorCode::UnknownType => format!("HTTP {}, 404 for an address", code.http_status()),
            _ => format!("HTTP {}", code.http_status()),
        },
        again: if code.retryable() { ("yes", "worth repeating") } else { ("no", "not worth repeating") },
    });
    part(&mut main, "Error codes", &errors.collect::<Vec<_>>());
    let closes = CloseCode::ALL.iter().map(|close| Entry {
        id: format!("close-{}", close.code()),
        title: close.code().to_string(),
        doc: close.doc(),
        kind: "WebSocket close".to_owned(),
        again: if close.reconnect() { ("yes", "reconnect") } else { ("no", "stay closed") },
    });
    part(&mut main, "Close codes", &closes.collect::<Vec<_>>());
    let frame = Frame {
        title: "Errors",
        description: "Every error and close code of Everwire.",
        path: "/docs/errors",
        pages,
    };
    frame.around(&main)
}

/// The page for an address where there is nothing. It does not repeat the address: a visitor has it in view. `ours`: there
/// would be a page of ours, had the config switched the pages on.
pub(super) fn not_found(pages: bool, ours: bool) -> String {
    let words = if ours && !pages {
        "This server runs. Home and demos are off; <code>pages = true</code> in the config turns them on."
    } else {
        "This server runs, and has no page at this address. It may be misspelt, or belong to another version."
    };
    let mut main = format!(
        "<div class=\"opening\">\n<h1>There is nothing here.</h1>\n<p class=\"lead\">{words}</p>\n</div>\n\
         <section class=\"part\">\n<h2>What there is</h2>\n<ul class=\"places\">\n",
    );
    let all = [
        ("/", "Home", "what runs here, live"),
        ("/demos/chat", "Chat", "rooms in which nothing is lost"),
        ("/demos/echo", "Echo", "the smallest use of a WebSocket"),
        ("/docs/errors", "Errors", "every code and what to do about it"),
    ];
    for (path, name, words) in all.iter().filter(|(path, ..)| pages || *path == "/docs/errors") {
        let _ = writeln!(main, "<li><a href=\"{path}\">{name}</a> <span class=\"soft\">{words}</span></li>");
    }
    main.push_str("</ul>\n</section>\n");
    let frame =
        Frame { title: "Nothing here", description: "There is no page at this address.", path: "", pages };
    frame.around(&main)
}

/// A list of codes with an index beside it.
fn part(main: &mut String, title: &str, entries: &[Entry]) {
    let id = title.to_ascii_lowercase().replace(' ', "-");
    let _ = writeln!(
        main,
        "<section class=\"part\" aria-labelledby=\"{id}\">\n<div class=\"margin\">\n<h2 id=\"{id}\">{title}</h2>\n\
         <nav class=\"index\" aria-labelledby=\"{id}\">"
    );
    for entry in entries {
        let _ = writeln!(main, "<a href=\"#{}\">{}</a>", entry.id, entry.title);
    }
    main.push_str("</nav>\n</div>\n<div class=\"entries\">\n");
    for Entry { id, title, doc, kind, again: (class, again) } in entries {
        let doc = with_code(doc);
        let _ = writeln!(
            main,
            "<article class=\"entry\" id=\"{id}\">\n<h3>{title}</h3>\n<p>{doc}</p>\n\
             <p class=\"tags\"><span>{kind}</span> <span class=\"{class}\">{again}</span></p>\n</article>"
        );
    }
    main.push_str("</div>\n</section>\n");
}

/// Escapes a text and sets what stands between backticks as code.
fn with_code(text: &str) -> String {
    let escaped = text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;");
    let mut html = String::new();
    for (i, part) in escaped.split('`').enumerate() {
        if i % 2 == 1 {
            let _ = write!(html, "<code>{part}</code>");
        } else {
            html.push_str(part);
        }
    }
    html
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_code_has_its_entry_and_its_line_in_the_index() {
        let page = page(true);
        let ids = ErrorCode::ALL.iter().map(|code| code.as_str().to_owned());
        for id in ids.chain(CloseCode::ALL.iter().map(|close| format!("close-{}", close.code()))) {
            assert!(page.contains(&format!("<article class=\"entry\" id=\"{id}\">")), "{id}");
            assert!(page.contains(&format!("<a href=\"#{id}\">")), "{id}");
        }
        assert!(page.contains("<title>Errors - Everwire</title>"));
        assert!(page.contains("<span>HTTP 400, 404 for an address</span>"));
        assert_eq!(page.matches("aria-current").count(), 1);
        assert_eq!(with_code("a `b<c` d"), "a <code>b&lt;c</code> d");
    }

    #[test]
    fn a_page_for_nothing_names_what_there_is() {
        assert!(not_found(true, true).contains("<a href=\"/demos/chat\">Chat</a>"));
        let bare = not_found(false, false);
        assert!(bare.contains("<a href=\"/docs/errors\">Errors</a>") && !bare.contains("/demos/"), "{bare}");
        let off = "<code>pages = true</code> in the config turns them on";
        assert!(not_found(false, true).contains(off) && !bare.contains(off));
        assert!(!not_found(true, true).contains(off));
    }
}
