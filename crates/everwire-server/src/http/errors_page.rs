//! `/docs/errors`, generated from the one table of codes.

use std::fmt::Write as _;

use everwire_proto::codes::{CloseCode, ErrorCode};

/// The head and the navigation of every page, taken from one of them.
const LIKE: &str = include_str!("../../../../web/demos/echo.html");

/// The page.
pub(super) fn page() -> String {
    let mut page = frame();
    page.push_str(
        "<main class=\"page\" id=\"main\">\n<div class=\"opening\"><h1>Errors</h1>\
         <p class=\"lead\">Every code that the server can answer or close with, what it means and what to do.</p></div>\n\
         <section class=\"part\"><h2>Error codes</h2><div>\n",
    );
    for code in ErrorCode::ALL {
        let again =
            if code.retryable() { ("yes", "worth trying again") } else { ("no", "the same every time") };
        let status = format!("HTTP {}", code.http_status());
        entry(&mut page, code.as_str(), code.as_str(), code.doc(), (&status, again));
    }
    page.push_str("</div></section>\n<section class=\"part\"><h2>Close codes</h2><div>\n");
    for close in CloseCode::ALL {
        let code = close.code().to_string();
        let again = if close.reconnect() { ("yes", "reconnect") } else { ("no", "stay closed") };
        entry(&mut page, &format!("close-{code}"), &code, close.doc(), ("WebSocket close", again));
    }
    page.push_str("</div></section>\n</main>\n</body>\n</html>\n");
    page
}

/// Everything before the content, with this page's title and its own link marked.
fn frame() -> String {
    let head = LIKE.split("<main").next().unwrap_or_default();
    let mut frame = String::new();
    for line in head.lines() {
        if line.starts_with("<title>") {
            frame.push_str("<title>Errors - Everwire</title>");
        } else if line.starts_with("<meta name=\"description\"") {
            frame.push_str("<meta name=\"description\" content=\"Every error and close code of Everwire.\">");
        } else if !line.contains("<script") {
            let unmarked = line.replace(" aria-current=\"page\"", "");
            frame.push_str(&unmarked.replace("\"/docs/errors\"", "\"/docs/errors\" aria-current=\"page\""));
        }
        frame.push('\n');
    }
    frame
}

fn entry(page: &mut String, id: &str, title: &str, doc: &str, tags: (&str, (&str, &str))) {
    let (kind, (class, again)) = tags;
    let _ = writeln!(
        page,
        "<article class=\"entry\" id=\"{id}\"><h3>{title}</h3>\n<p>{}</p>\n\
         <p class=\"tags\"><span>{kind}</span><span class=\"{class}\">{again}</span></p></article>",
        with_code(doc)
    );
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
    fn every_code_has_its_entry() {
        let page = page();
        for code in ErrorCode::ALL {
            assert!(page.contains(&format!("id=\"{}\"", code.as_str())), "{code:?}");
        }
        for close in CloseCode::ALL {
            assert!(page.contains(&format!("id=\"close-{}\"", close.code())), "{close:?}");
        }
        assert!(page.contains("<title>Errors - Everwire</title>") && page.contains("/assets/everwire.css"));
        assert_eq!(page.matches("aria-current").count(), 1);
        assert!(!page.contains("<script"));
        assert_eq!(with_code("a `b<c` d"), "a <code>b&lt;c</code> d");
    }
}
