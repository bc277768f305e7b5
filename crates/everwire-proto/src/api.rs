//! Verbs that the HTTP API has and connections have not.

use std::borrow::Cow;

use crate::codes::ErrorCode;
use crate::command::Refusal;
use crate::fields::Fields;
use crate::payload::Format;

/// What only the application's backend may ask.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ApiVerb<'a> {
    /// Ends connections.
    Disconnect {
        /// Whose.
        whom: Whom<'a>,
        /// The close code, 4000..4299.
        code: Option<u16>,
        /// A sentence for people, at most 120 bytes.
        reason: Option<Cow<'a, str>>,
    },
    /// Lets tokens be accepted no more, and ends the connections that have them.
    Revoke(Revoke<'a>),
}

/// Whose connections.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Whom<'a> {
    /// All of a user.
    User(Cow<'a, str>),
    /// The one of a client.
    Client(Cow<'a, str>),
}

/// Which tokens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Revoke<'a> {
    /// All that a user was given up to now.
    User(Cow<'a, str>),
    /// The one with this id (`jti`).
    Token {
        /// The id.
        id: Cow<'a, str>,
        /// When the token ends anyway, ms since 1970 UTC: until then it must be remembered.
        expires_at: Option<u64>,
    },
}

impl ApiVerb<'_> {
    /// Their names in the address.
    pub const NAMES: [&'static str; 2] = ["disconnect", "revoke"];
}

/// A close frame's reason, bytes; RFC 6455 section 5.5 leaves 123.
const REASON_BYTES: usize = 120;

/// The verb `verb`, one of [`ApiVerb::NAMES`], in these fields.
pub(crate) fn api_verb<'a>(verb: &str, mut f: Fields<'a>) -> Result<ApiVerb<'a>, String> {
    if let Some(twice) = f.doubled() {
        return Err(format!("the key {twice:?} stands twice"));
    }
    let user = f.text("user")?;
    if verb == "revoke" {
        return match (user, f.text("token_id")?) {
            (Some(user), None) => Ok(ApiVerb::Revoke(Revoke::User(user))),
            (None, Some(id)) => {
                Ok(ApiVerb::Revoke(Revoke::Token { id, expires_at: f.integer("expires_at")? }))
            }
            _ => Err("`user` or `token_id` must say which tokens; one of them".to_owned()),
        };
    }
    let whom = match (user, f.text("client")?) {
        (Some(user), None) => Whom::User(user),
        (None, Some(client)) => Whom::Client(client),
        _ => return Err("`user` or `client` must say whose connections; one of them".to_owned()),
    };
    let code = match f.integer("code")?.map(u16::try_from) {
        None => None,
        Some(Ok(code @ 4_000..=4_299)) => Some(code),
        Some(_) => {
            return Err("`code` must be from 4000 to 4299, whose ranges tell clients what to do".to_owned());
        }
    };
    Ok(ApiVerb::Disconnect { whom, code, reason: f.short_text("reason", REASON_BYTES)? })
}

/// Reads the fields of an API verb from a JSON body.
///
/// # Errors
/// A [`Refusal`] without an id.
pub fn decode<'a>(verb: &str, body: &'a [u8]) -> Result<ApiVerb<'a>, Refusal> {
    let bad = |message| Refusal { id: None, code: ErrorCode::BadRequest, message };
    let list = crate::json::read_body(body).map_err(bad)?;
    api_verb(verb, Fields::new(list, Format::Json, crate::json::read)).map_err(bad)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn verbs_are_read() {
        let user = Whom::User("ann".into());
        for (verb, body, read) in [
            (
                "disconnect",
                r#"{"user":"ann"}"#,
                ApiVerb::Disconnect { whom: user.clone(), code: None, reason: None },
            ),
            (
                "disconnect",
                r#"{"user":"ann","code":4200,"reason":"moved"}"#,
                ApiVerb::Disconnect { whom: user, code: Some(4200), reason: Some("moved".into()) },
            ),
            ("revoke", r#"{"user":"ann"}"#, ApiVerb::Revoke(Revoke::User("ann".into()))),
            (
                "revoke",
                r#"{"token_id":"t1","expires_at":5}"#,
                ApiVerb::Revoke(Revoke::Token { id: "t1".into(), expires_at: Some(5) }),
            ),
        ] {
            assert_eq!(decode(verb, body.as_bytes()), Ok(read), "{body}");
        }
        for (verb, body) in [
            ("disconnect", "{}"),
            ("disconnect", r#"{"user":"ann","client":"x"}"#),
            ("disconnect", r#"{"user":"ann","code":1000}"#),
            ("disconnect", r#"{"user":"ann","code":4300}"#),
            ("disconnect", r#"{"user":"ann","user":"bob"}"#),
            ("disconnect", r#"{"user":7}"#),
            ("revoke", "{}"),
            ("revoke", r#"{"user":"ann","token_id":"x"}"#),
            ("revoke", r#"{"token_id":"x","expires_at":-1}"#),
            ("revoke", "[]"),
        ] {
            assert_eq!(decode(verb, body.as_bytes()).unwrap_err().code, ErrorCode::BadRequest, "{body}");
        }
        let long = format!(r#"{{"user":"ann","reason":"{}"}}"#, "x".repeat(121));
        assert!(decode("disconnect", long.as_bytes()).is_err());
        assert!(decode("revoke", b"{\"user\":\"\xff\"}").is_err());
    }
}
