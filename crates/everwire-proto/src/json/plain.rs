//! The commonest command at its plainest, in one pass and without a table of its fields: `publish` with `id`, `channel`,
//! `data` and nothing else, each once, as it should be, and without an escape in a name. Of all else it says nothing: the
//! way for any command knows what it is, or what is wrong with it. That the text is UTF-8 is known already.

use std::borrow::Cow;

use crate::command::{Command, Publish, Request};
use crate::payload::Data;
use crate::text::Scanner;

pub(super) fn publish(frame: &[u8], deepest: usize) -> Option<Request<'_>> {
    let mut scanner = Scanner::new(frame).within(deepest);
    let (mut verb, mut id, mut channel, mut data) = (false, None, None, None);
    if !scanner.passes(b'{') {
        return None;
    }
    loop {
        let key = scanner.plain_string()?;
        if !scanner.passes(b':') {
            return None;
        }
        match key {
            // Of another command the first field tells, as a rule.
            b"type" if !verb && scanner.plain_string()? == b"publish" => verb = true,
            b"id" if id.is_none() => id = Some(scanner.id()?),
            b"channel" if channel.is_none() => {
                channel = Some(std::str::from_utf8(scanner.plain_string()?).ok()?);
            }
            b"data" if data.is_none() => data = Some(scanner.one_line()?),
            _ => return None,
        }
        if !scanner.passes(b',') {
            break;
        }
    }
    if !(verb && scanner.passes(b'}') && scanner.is_at_end()) {
        return None;
    }
    let (channel, data) = (Cow::Borrowed(channel?), Data::Json(Cow::Borrowed(data?)));
    let publish = Publish { channel, data, message_id: None, tags: Vec::new(), volatile: false };
    Some(Request { id, command: Command::Publish(publish) })
}
