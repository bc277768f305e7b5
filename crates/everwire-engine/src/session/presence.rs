//! `presence` and `presence_update`: who is there, and what one says of oneself.

use std::sync::Arc;

use everwire_proto::codes::ErrorCode;
use everwire_proto::ids::ClientId;
use everwire_proto::payload::{Data, Payload};

use super::{Deny, Session, kept};
use crate::channel::{Namespaces, Options};
use crate::permit::Right;

/// A presence read that may go through.
#[derive(Clone, Debug)]
pub struct PresenceAsk {
    /// The channel's settings.
    pub options: Arc<Options>,
    /// Members per page.
    pub limit: usize,
    /// Where the page begins, and the version of the first one.
    pub after: Option<(ClientId, u64)>,
}

/// A state that may be set.
#[derive(Clone, Debug)]
pub struct StateAsk {
    /// The new state.
    pub state: Option<Arc<Payload>>,
}

/// The `next` of a page: the last member of it and the version of the first page.
pub fn member_token(last: ClientId, version: u64) -> String {
    format!("{last}-{version}")
}

/// Reads what [`member_token`] wrote.
fn parse_member_token(text: &str) -> Option<(ClientId, u64)> {
    let (client, version) = text.split_at_checked(16)?;
    Some((ClientId::parse(client)?, version.strip_prefix('-')?.parse().ok()?))
}

/// The limits of a page of members, which hold for everybody, the backend included.
pub fn checked_page(
    limit: Option<u64>,
    after: Option<&str>,
) -> Result<(usize, Option<(ClientId, u64)>), Deny> {
    let bad = |text: String| Deny::new(ErrorCode::BadRequest, text);
    let limit = limit.unwrap_or(100);
    if !(1..=1_000).contains(&limit) {
        return Err(bad(format!("`limit` is {limit}; it must be 1 to 1000")));
    }
    let unread = || bad("`after` must be the `next` of the page before, as it was".to_owned());
    let after = after.map(|text| parse_member_token(text).ok_or_else(unread)).transpose()?;
    Ok((usize::try_from(limit).unwrap_or(1_000), after))
}

impl Session {
    /// Checks a `presence`.
    pub fn ask_presence(
        &self,
        channel: &str,
        limit: Option<u64>,
        after: Option<&str>,
        namespaces: &Namespaces,
    ) -> Result<PresenceAsk, Deny> {
        let options = self.channel(channel, namespaces, Right::Presence)?;
        if !options.presence {
            return Err(Deny::new(ErrorCode::NotAvailable, format!("presence is off for {channel}")));
        }
        let (limit, after) = checked_page(limit, after)?;
        Ok(PresenceAsk { options: options.clone(), limit, after })
    }

    /// Checks a `presence_update`; that it is a member is the cell's to know.
    pub fn ask_state(
        &self,
        channel: &str,
        state: Option<&Data<'_>>,
        namespaces: &Namespaces,
    ) -> Result<StateAsk, Deny> {
        let options = super::known_channel(channel, namespaces)?;
        if !options.presence {
            return Err(Deny::new(ErrorCode::NotAvailable, format!("presence is off for {channel}")));
        }
        Ok(StateAsk { state: kept(state) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn member_tokens_round_trip() {
        let client = ClientId([9; 12]);
        assert_eq!(parse_member_token(&member_token(client, 12)), Some((client, 12)));
        for bad in ["", "x", "AAAAAAAAAAAAAAAA", "AAAAAAAAAAAAAAAA-", "AAAAAAAAAAAAAAAA-x", "äääääääää-1"]
        {
            assert_eq!(parse_member_token(bad), None, "{bad}");
        }
    }
}
