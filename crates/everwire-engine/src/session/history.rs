//! `history`: a page of a channel's past.

use std::sync::Arc;

use everwire_proto::codes::ErrorCode;
use everwire_proto::command::History;

use super::{Deny, Session, position};
use crate::channel::{HistoryQuery, Namespaces, Options};
use crate::permit::Right;

/// A page holds at most so many bytes.
pub const HISTORY_BYTES: usize = 256 * 1024;

/// A history read that may go through.
#[derive(Clone, Debug)]
pub struct HistoryAsk {
    /// The channel's settings.
    pub options: Arc<Options>,
    /// What to read.
    pub query: HistoryQuery,
}

impl Session {
    /// Checks a `history`.
    pub fn ask_history(&self, ask: &History<'_>, namespaces: &Namespaces) -> Result<HistoryAsk, Deny> {
        let options = self.channel(&ask.channel, namespaces, Right::History)?;
        checked_query(ask, options)
    }
}

/// The limits that hold for everybody, the backend included.
pub fn checked_query(ask: &History<'_>, options: &Arc<Options>) -> Result<HistoryAsk, Deny> {
    if options.history.is_none() {
        let text = format!("{} keeps no history", ask.channel);
        return Err(Deny::new(ErrorCode::NotAvailable, text));
    }
    let limit = ask.limit.unwrap_or(100);
    if !(1..=1_000).contains(&limit) {
        let text = format!("`limit` is {limit}; it must be 1 to 1000");
        return Err(Deny::new(ErrorCode::BadRequest, text));
    }
    if ask.since.is_some() && ask.before.is_some() {
        return Err(Deny::new(
            ErrorCode::BadRequest,
            "`since` and `before` exclude each other; give one of them",
        ));
    }
    let since = ask.since.as_ref().map(position).transpose()?;
    let before = ask.before.as_ref().map(position).transpose()?;
    let epoch = since.as_ref().or(before.as_ref()).map(|p| p.epoch.clone());
    let query = HistoryQuery {
        epoch,
        after: since.as_ref().map(|p| p.offset),
        before: before.as_ref().map(|p| p.offset),
        reverse: ask.reverse,
        limit: usize::try_from(limit).unwrap_or(1_000),
        max_bytes: HISTORY_BYTES,
    };
    Ok(HistoryAsk { options: options.clone(), query })
}
