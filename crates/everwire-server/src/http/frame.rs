//! What stands around the content of a generated page: head and foot of the pages that are files.

/// Head, navigation and foot of every page, taken from one of them.
const LIKE: &str = include_str!("../../../../web/demos/echo.html");

/// A page that is made here.
pub(super) struct Frame<'a> {
    /// Its name, without ours.
    pub(super) title: &'a str,
    /// One sentence for search engines and previews.
    pub(super) description: &'a str,
    /// Its path, if the navigation has it.
    pub(super) path: &'a str,
    /// Whether home and the demos are served, and may be linked to.
    pub(super) pages: bool,
}

impl Frame<'_> {
    /// The whole page around this content, which is HTML.
    pub(super) fn around(&self, main: &str) -> String {
        let (head, rest) = LIKE.split_once("<main").unwrap_or_default();
        let (_, foot) = rest.split_once("</main>\n").unwrap_or_default();
        let mut page = String::new();
        for line in head.lines() {
            self.head_line(line, &mut page);
        }
        page.push_str("<main class=\"page\" id=\"main\">\n");
        page.push_str(main);
        page.push_str("</main>\n");
        for line in foot.lines().filter(|line| self.pages || !leads_to_pages(line)) {
            page.push_str(line);
            page.push('\n');
        }
        page
    }

    fn head_line(&self, line: &str, page: &mut String) {
        if line.starts_with("<title>") {
            page.push_str(&format!("<title>{} - Everwire</title>", self.title));
        } else if line.starts_with("<meta name=\"description\"") {
            page.push_str(&format!("<meta name=\"description\" content=\"{}\">", self.description));
        } else if line.contains("<script") || (!self.pages && leads_to_pages(line) && !line.contains("<svg"))
        {
            return;
        } else {
            let own = format!("href=\"{}\"", self.path);
            let marked = format!("{own} aria-current=\"page\"");
            let line = line.replace(" aria-current=\"page\"", "").replace(&own, &marked);
            // The name stands on every page; where there is no home it leads to what there is.
            let home = if self.pages { "href=\"/\"" } else { "href=\"/docs/errors\"" };
            page.push_str(&line.replace("href=\"/\"", home));
        }
        page.push('\n');
    }
}

fn leads_to_pages(line: &str) -> bool {
    line.contains("href=\"/\"") || line.contains("href=\"/demos/")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(path: &'static str, pages: bool) -> String {
        let frame = Frame { title: "Title", description: "A sentence.", path, pages };
        frame.around("<h1>content</h1>\n")
    }

    #[test]
    fn it_is_like_every_page() {
        let page = frame("/docs/errors", true);
        for part in [
            "<!doctype html>",
            "<title>Title - Everwire</title>",
            "content=\"A sentence.\"",
            "/assets/everwire.css",
            "href=\"/demos/chat\"",
            "<a href=\"/docs/errors\" aria-current=\"page\">",
            "id=\"main\">\n<h1>content</h1>\n</main>\n<footer",
            "</html>\n",
        ] {
            assert!(page.contains(part), "{part} in {page}");
        }
        assert!(!page.contains("<script"));
        assert_eq!(frame("/nowhere", true).matches("aria-current").count(), 0);
    }

    #[test]
    fn without_pages_it_links_to_none() {
        let page = frame("/docs/errors", false);
        assert!(!leads_to_pages(&page), "{page}");
        assert!(page.contains("class=\"name\" href=\"/docs/errors\"") && page.contains("<footer"));
    }
}
