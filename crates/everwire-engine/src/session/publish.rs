//! `publish`: what, and under which id.

use std::sync::Arc;

use everwire_proto::codes::ErrorCode;
use everwire_proto::command::Publish;

use super::{Deny, Session, known_channel};
use crate::channel::{Cell, Draft, Namespaces, Options, Publisher, Schema};
use crate::permit::Right;
use crate::time::Now;

/// A publish that may go through.
#[derive(Clone, Debug)]
pub struct PublishAsk {
    /// The channel's settings.
    pub options: Arc<Options>,
    /// The publication.
    pub draft: Draft,
}

impl Session {
    /// Checks a `publish`.
    pub fn ask_publish(&mut self, ask: &Publish<'_>, namespaces: &Namespaces) -> Result<PublishAsk, Deny> {
        // life 3/9: permission and limits, then the ask.
        let options = self.channel(&ask.channel, namespaces, Right::Publish)?;
        let publisher = match &self.identity.user {
            Some(user) => Publisher::User(user.clone()),
            None => Publisher::Client(self.client),
        };
        let mut draft = checked_draft(ask, options, publisher)?;
        draft.from = Some(self.sender());
        Ok(PublishAsk { options: options.clone(), draft })
    }
}

/// A publish by the application's backend: no permission to check, the same limits.
pub fn draft_for_backend(ask: &Publish<'_>, namespaces: &Namespaces) -> Result<PublishAsk, Deny> {
    let options = known_channel(&ask.channel, namespaces)?;
    let draft = checked_draft(ask, options, Publisher::Backend)?;
    Ok(PublishAsk { options: options.clone(), draft })
}

/// Whether a channel takes one more publish this second, whoever sends it.
pub fn check_rate(cell: &Cell, now: Now) -> Result<(), Deny> {
    cell.admit(now).map_err(|wait_ms| {
        let (channel, most) = (cell.name.as_str(), cell.options().messages_per_second.unwrap_or(0));
        let text = format!(
            "more than {most} messages a second to {channel}; the next one is welcome in {wait_ms} ms"
        );
        Deny { retry_after_ms: Some(wait_ms), ..Deny::new(ErrorCode::RateLimited, text) }
    })
}

fn checked_draft(ask: &Publish<'_>, options: &Options, publisher: Publisher) -> Result<Draft, Deny> {
    let (bytes, limit) = (ask.data.len(), options.message_bytes);
    if bytes > limit as usize {
        let text = format!("the payload has {bytes} bytes, and {} takes at most {limit}", ask.channel);
        return Err(Deny::new(ErrorCode::TooLarge, text));
    }
    if ask.volatile && ask.message_id.is_some() {
        let text =
            "`message_id` and `volatile` exclude each other: what is not stored can't be recognised again";
        return Err(Deny::new(ErrorCode::BadRequest, text));
    }
    if let Some(Schema(schema)) = &options.schema {
        schema.check(&ask.data).map_err(|fault| {
            let text = format!("the payload is not what {} takes: {fault}", ask.channel);
            Deny::new(ErrorCode::BadRequest, text)
        })?;
    }
    Ok(Draft {
        payload: ask.data.to_payload(),
        message_id: ask.message_id.as_deref().map(Into::into),
        publisher,
        from: None,
        tags: if ask.tags.is_empty() {
            Box::default()
        } else {
            ask.tags.iter().map(|(k, v)| (Box::from(&**k), Box::from(&**v))).collect()
        },
        volatile: ask.volatile,
    })
}
