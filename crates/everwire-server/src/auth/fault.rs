//! Why a token is not accepted.

/// Why, for the operator. The words are constant: nothing of the token is in them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Fault {
    /// Over [`super::TOKEN_BYTES`].
    #[error("it is longer than 8 KiB")]
    TooLong,
    /// Not three parts.
    #[error("it is not three parts of base64url, without padding, between two dots")]
    Shape,
    /// The first part.
    #[error("its header is no JSON object with `alg`, or has a field of the wrong type, or one twice")]
    Header,
    /// RFC 7515 section 4.1.11: what is critical and not understood must be refused.
    #[error("its header has `crit`, and no extension is understood here")]
    Critical,
    /// Something else than a token.
    #[error("its header's `typ` is not \"JWT\"")]
    Typ,
    /// No key could have signed it.
    #[error("no key of this server has its `alg` and its `kid`")]
    NoKey,
    /// The keys that could have signed it did not.
    #[error("no key of this server signed it")]
    Signature,
    /// The second part.
    #[error(
        "its payload is no JSON object, or a claim has the wrong type, is out of its limits, or stands twice"
    )]
    Claims,
    /// What `allow` and `limits` may hold.
    #[error(
        "`allow` must be {{\"<channel or prefix*>\": [\"subscribe\", \"publish\", \"presence\", \"history\"]}} with at most 64 lines"
    )]
    Allow,
    /// `channels`.
    #[error("`channels` must be a list of at most 64 names of channels")]
    Channels,
    /// `info`.
    #[error("`info` is over 1 KiB")]
    Info,
    /// `exp` is missing.
    #[error("it has no `exp`, and this server wants one")]
    NoEnd,
    /// `exp` is past.
    #[error("its `exp` is past")]
    Expired,
    /// `nbf` or `iat` is to come.
    #[error("its `nbf` or `iat` is still to come: are the clocks right?")]
    TooEarly,
    /// `aud`.
    #[error("its `aud` names none of this server's audience")]
    Audience,
    /// `iss`.
    #[error("its `iss` is not this server's issuer")]
    Issuer,
    /// A token for one channel where one for a connection is wanted.
    #[error("it has `channel`: it is for `subscribe`, not for `connect`")]
    ForChannel,
    /// The other way round.
    #[error("it has no `channel`: it is for `connect`, not for `subscribe`")]
    ForConnect,
    /// By id or by user.
    #[error("it was revoked")]
    Revoked,
}

impl Fault {
    /// One word for logs and metrics.
    pub fn word(self) -> &'static str {
        match self {
            Self::TooLong | Self::Shape => "shape",
            Self::Header | Self::Critical | Self::Typ => "header",
            Self::NoKey => "no_key",
            Self::Signature => "signature",
            Self::Claims | Self::Allow | Self::Channels | Self::Info => "claims",
            Self::NoEnd => "no_end",
            Self::Expired => "expired",
            Self::TooEarly => "too_early",
            Self::Audience => "audience",
            Self::Issuer => "issuer",
            Self::ForChannel | Self::ForConnect => "purpose",
            Self::Revoked => "revoked",
        }
    }
}
