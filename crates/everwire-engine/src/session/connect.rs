//! `connect`: who is there.

use std::borrow::Cow;

use everwire_proto::codes::ErrorCode;
use everwire_proto::command::{Connect, Since};
use everwire_proto::ids::SessionKey;
use everwire_proto::position::Position;

use super::{Deny, Phase, Session, position};
use crate::ports::{Authority, Identity};
use crate::time::Now;

/// A connect that may go through.
#[derive(Clone, Debug)]
pub struct ConnectAsk {
    /// Who it is.
    pub identity: Identity,
    /// The session to go on with; `Some(None)`: asked for, but unreadable.
    pub resume: Option<Option<SessionKey>>,
    /// Wants visible pings.
    pub heartbeat: bool,
    /// Where it was in channels that the server subscribes it to.
    pub since: Vec<(Box<str>, Position)>,
}

impl Session {
    /// Checks a `connect`; with `connect` absent, an implicit one. A token in the command wins over one that came
    /// with the upgrade.
    pub fn ask_connect(
        &self,
        connect: Option<&Connect<'_>>,
        authority: &dyn Authority,
        required: bool,
        now: Now,
    ) -> Result<ConnectAsk, Deny> {
        if self.phase != Phase::Fresh {
            let text = "this connection is connected already; open another one to connect anew";
            return Err(Deny::new(ErrorCode::BadRequest, text));
        }
        let sent = connect.and_then(|c| c.token.as_ref()).map(|token| &***token);
        let token = sent.or(self.token.as_ref().map(|token| &***token));
        let identity = match token {
            Some(token) => authority.check(token, now).map_err(|(code, text)| Deny::new(code, text))?,
            None if required => {
                let text = match connect {
                    Some(_) => "this server wants a token in `connect`",
                    None => "this server wants `connect` with a token before any other command",
                };
                return Err(Deny::new(ErrorCode::Unauthorized, text));
            }
            None => Identity::default(),
        };
        Ok(ConnectAsk {
            identity,
            resume: connect.and_then(|c| c.resume.as_ref()).map(|key| SessionKey::parse(key)),
            heartbeat: connect.is_some_and(|c| c.heartbeat),
            since: connect.map_or(Ok(Vec::new()), positions)?,
        })
    }
}

/// Positions by channel.
fn positions(connect: &Connect<'_>) -> Result<Vec<(Box<str>, Position)>, Deny> {
    let of = |(channel, since): &(Cow<'_, str>, Since<'_>)| Ok((Box::from(&**channel), position(since)?));
    connect.since.iter().map(of).collect()
}
