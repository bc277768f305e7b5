//! The one table of error codes, and the close codes. `/docs/errors` is generated from it.

macro_rules! error_codes {
    ($($name:ident $text:literal $status:literal $retryable:literal $doc:literal;)*) => {
        /// What went wrong, as the client reads it in `code`. The table is the single source: names, HTTP status,
        /// whether to retry, and the documentation.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum ErrorCode { $(#[doc = $doc] $name,)* }

        impl ErrorCode {
            /// Every code, in the order of the documentation.
            pub const ALL: &'static [Self] = &[$(Self::$name,)*];

            /// The code as it stands on the wire.
            pub fn as_str(self) -> &'static str {
                match self { $(Self::$name => $text,)* }
            }
            /// The status of an HTTP answer that carries this code.
            pub fn http_status(self) -> u16 {
                match self { $(Self::$name => $status,)* }
            }
            /// Whether the same command may succeed later without a change.
            pub fn retryable(self) -> bool {
                match self { $(Self::$name => $retryable,)* }
            }
            /// What it means and what to do about it, in plain words.
            pub fn doc(self) -> &'static str {
                match self { $(Self::$name => $doc,)* }
            }
        }
    };
}

error_codes! {
    BadRequest "bad_request" 400 false "The command can't be read: it is no JSON object, a field is missing, has the wrong type, or stands twice. The message names the field.";
    UnknownType "unknown_type" 400 false "The command's `type`, or the address of an HTTP request, is none that this server knows. Check its spelling against the tables of the protocol.";
    TooLarge "too_large" 413 false "The message is larger than this namespace, or this HTTP endpoint, takes. Send less, or ask the operator to raise the limit.";
    Unauthorized "unauthorized" 401 false "The server does not know who you are, and wants to: connect with a token, or call the API with a key.";
    TokenExpired "token_expired" 401 false "The token was valid once. Fetch a new one from your backend and connect or refresh with it.";
    TokenInvalid "token_invalid" 401 false "The token can't be accepted: wrong signature, wrong audience, or no token at all. Fetch a new one from your backend.";
    PermissionDenied "permission_denied" 403 false "You are known, and this is not allowed to you. The operator's namespace settings or your token decide.";
    UnknownChannel "unknown_channel" 404 false "The channel's namespace (what stands before the first `:`) is not configured on this server.";
    BadChannelName "bad_channel_name" 400 false "A channel name is 1..255 bytes of UTF-8 without control characters or white space.";
    AlreadySubscribed "already_subscribed" 409 false "This connection is subscribed to the channel already. The subscription stays as it was.";
    NotSubscribed "not_subscribed" 409 false "The command needs a subscription to this channel, and this connection has none.";
    LimitExceeded "limit_exceeded" 409 false "A limit of this connection or channel is reached; `limits` in `connected` names those a client meets.";
    RateLimited "rate_limited" 429 true "Too many commands, or messages to one channel, in too short a time; or too many connections of one user or from one address. Try again after `retry_after_ms`.";
    UnrecoverablePosition "unrecoverable_position" 409 false "The position belongs to a stream that is gone: its epoch is not the channel's. Start again from the position in the error, or without one.";
    NotAvailable "not_available" 409 false "The channel's namespace does not have this (history or presence is off), or this server does not offer it.";
    Timeout "timeout" 504 true "The broker behind the server did not answer in time. Whether a publish was stored is not known: repeat it with the same `message_id`.";
    Overloaded "overloaded" 503 true "The server has more to do than it can. Send it again after `retry_after_ms`.";
    Internal "internal" 500 true "A fault of the server. Nothing that you sent is to blame; the log of the server says more.";
}

macro_rules! close_codes {
    ($($name:ident $code:literal $doc:literal;)*) => {
        /// Why the server ends a connection: WebSocket close codes, RFC 6455 section 7.4 and our own range.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum CloseCode { $(#[doc = $doc] $name,)* }

        impl CloseCode {
            /// Every code, ascending.
            pub const ALL: &'static [Self] = &[$(Self::$name,)*];
            /// The number on the wire.
            pub fn code(self) -> u16 {
                match self { $(Self::$name => $code,)* }
            }
            /// What it means and what a client does, in plain words.
            pub fn doc(self) -> &'static str {
                match self { $(Self::$name => $doc,)* }
            }
        }
    };
}

close_codes! {
    Done 1000 "Done: both sides wanted it.";
    GoingAway 1001 "The server stops. Reconnect with back-off.";
    ProtocolError 1002 "The client broke the WebSocket protocol. Reconnecting without a change brings the same end.";
    WrongKind 1003 "Text on a MessagePack connection or binary on a JSON one.";
    BadPayload 1007 "A text message is not UTF-8, or compressed data can't be inflated.";
    Policy 1008 "Too many commands that can't be read: more than 20 in 10 s.";
    TooBig 1009 "A message over `limits.message_bytes`.";
    ServerFault 1011 "A fault of the server. Reconnect with back-off.";
    Draining 1012 "This node is being restarted. Reconnect at the time that `bye` gave.";
    Overloaded 1013 "The server is full, or this user has too many connections. Reconnect at the time that `bye` gave.";
    Unauthorized 4001 "No accepted `connect` in time. Get a token, then connect again.";
    Forbidden 4003 "This user may not connect.";
    Kicked 4009 "The application's backend ended this connection.";
    SlowConsumer 4100 "The connection did not read what it was sent. Reconnect with back-off and recover.";
    HeartbeatMissed 4101 "Nothing was heard from the client for too long. Reconnect with back-off.";
    TokenExpired 4102 "The token ran out and was not refreshed. Reconnect with a fresh one.";
    Resumed 4200 "The session goes on in another connection.";
}

impl CloseCode {
    /// Whether the client is expected back without a change on its side: the ranges of the protocol's section 2.
    pub fn reconnect(self) -> bool {
        !matches!(self.code(), 1000 | 1002 | 1003 | 1007 | 1008 | 1009 | 4000..=4099)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tables_are_well_formed() {
        for (i, code) in ErrorCode::ALL.iter().enumerate() {
            assert!(code.as_str().bytes().all(|b| b.is_ascii_lowercase() || b == b'_'));
            assert!((400..600).contains(&code.http_status()));
            assert!(code.doc().ends_with('.'));
            assert!(ErrorCode::ALL[..i].iter().all(|c| c.as_str() != code.as_str()), "{code:?} stands twice");
        }
        assert!(CloseCode::ALL.windows(2).all(|w| w[0].code() < w[1].code()));
        assert!(CloseCode::SlowConsumer.reconnect() && !CloseCode::Kicked.reconnect());
        assert!(!CloseCode::TooBig.reconnect() && CloseCode::Draining.reconnect());
    }
}
