//! What a report must not show: a page with plots is made to be handed on.

/// What stands for a secret.
const MASK: &str = "***";
/// Options whose whole value is one.
const SECRET_OPTIONS: [&str; 1] = ["--metrics-key"];
/// What secrets in the query of a URL, or in a JSON message, are called.
const NAMES: [&str; 7] = ["token", "access_token", "ticket", "key", "api_key", "secret", "password"];

/// A command line without the values of headers, keys and tokens.
pub fn command(words: &[String]) -> Vec<String> {
    let mut before = "";
    let mut shown = Vec::new();
    for word in words {
        let (option, value) = match word.split_once('=').filter(|_| word.starts_with("--")) {
            Some((option, value)) => (option, Some(value)),
            None => (before, None),
        };
        let masked = masked_value(option, value.unwrap_or(word));
        shown.push(match value {
            Some(_) => format!("{option}={masked}"),
            None => masked,
        });
        before = word;
    }
    shown
}

/// The value of an option as it may be shown.
fn masked_value(option: &str, value: &str) -> String {
    match option {
        "--header" => match value.split_once(':') {
            Some((name, _)) => format!("{name}: {MASK}"),
            None => MASK.to_owned(),
        },
        _ if SECRET_OPTIONS.contains(&option) => MASK.to_owned(),
        _ => text(value),
    }
}

/// A text without the tokens in it: in the query of a URL, in a JSON message, or a JSON Web Token wherever it stands.
pub fn text(text: &str) -> String {
    let mut shown = text.to_owned();
    for name in NAMES {
        for before in [format!("?{name}="), format!("&{name}="), format!(";{name}=")] {
            shown = without(&shown, &before, |c| c == '&' || c == '#' || c.is_whitespace());
        }
        shown = without_in_json(&shown, name);
    }
    shown = without(&shown, "bearer.", |c| !is_of_a_token(c));
    let mut whole = String::new();
    let mut rest = shown.as_str();
    // So begins what begins with `{"`, in base64url.
    while let Some((before, token)) = rest.split_once("eyJ") {
        whole.push_str(before);
        whole.push_str(MASK);
        rest = token.trim_start_matches(is_of_a_token);
    }
    whole + rest
}

fn is_of_a_token(c: char) -> bool {
    c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-')
}

/// The text with what stands behind each `before`, up to an end, masked.
fn without(text: &str, before: &str, is_end: impl Fn(char) -> bool) -> String {
    let mut parts = text.split(before);
    let mut shown = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        let end = part.find(&is_end).unwrap_or(part.len());
        shown.push_str(before);
        shown.push_str(MASK);
        shown.push_str(&part[end..]);
    }
    shown
}

/// The text with the strings of this name masked, `"token": "…"`.
fn without_in_json(text: &str, name: &str) -> String {
    let quoted = format!("\"{name}\"");
    let mut parts = text.split(quoted.as_str());
    let mut shown = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        shown.push_str(&quoted);
        let value = part.trim_start().strip_prefix(':').and_then(|rest| rest.trim_start().strip_prefix('"'));
        match value {
            Some(value) => {
                // A token has no quote in it.
                let end = value.find('"').unwrap_or(value.len());
                shown.push_str(&format!(":\"{MASK}{}", &value[end..]));
            }
            None => shown.push_str(part),
        }
    }
    shown
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_command_line_shows_no_secret() {
        let words = [
            "everwire",
            "bench",
            "fanout",
            "--header",
            "Authorization: Bearer S3CRET",
            "--header=Cookie: sid=S3CRET",
            "--metrics-key",
            "S3CRET",
            "--metrics-key=S3CRET",
            "--url",
            "wss://h/ws?a=1&token=S3CRET&b=2",
            "--url=wss://h/ws?ticket=S3CRET",
            "--first",
            r#"{"type":"connect","token": "S3CRET","id":1}"#,
            "--first",
            "CONNECT eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiJhIn0.S3CRET done",
            "--subprotocol",
            "bearer.S3CRET",
            "--conns",
            "5",
        ];
        let shown = command(&words.map(str::to_owned)).join(" ");
        assert!(!shown.contains("S3CRET") && !shown.contains("eyJ"), "{shown}");
        assert_eq!(
            shown,
            "everwire bench fanout --header Authorization: *** --header=Cookie: *** --metrics-key *** --metrics-key=*** \
             --url wss://h/ws?a=1&token=***&b=2 --url=wss://h/ws?ticket=*** --first \
             {\"type\":\"connect\",\"token\":\"***\",\"id\":1} --first CONNECT *** done --subprotocol bearer.*** --conns 5"
        );
    }

    #[test]
    fn what_is_no_secret_stays() {
        for plain in
            ["ws://localhost:8765/ws?EIO=4&transport=websocket", r#"{"tokens":["a"],"key":7}"#, "é=ü"]
        {
            assert_eq!(text(plain), plain);
        }
    }
}
