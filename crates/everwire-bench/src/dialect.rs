//! What is said to a server, and how its answers are known: templates, so that any WebSocket server can be measured.

use everwire_proto::ws::{Opcode, write_masked_frame};
use memchr::memmem;

/// The words of one protocol. `{channel}` and `{data}` are filled in; all messages are text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Dialect {
    /// Subprotocol to offer.
    pub subprotocol: Option<String>,
    /// What a connection says first.
    pub first: Vec<String>,
    /// What stands in the answer to that; empty: none is waited for.
    pub greeted: String,
    /// Nothing more is said until that answer is there.
    pub waits_for_greeting: bool,
    /// What subscribes to a channel; nothing: whoever connects is subscribed.
    pub subscribe: Option<String>,
    /// What stands in the answer to it.
    pub subscribed: String,
    /// What publishes.
    pub publish: String,
    /// What stands in a message that is delivered.
    pub delivered: String,
    /// What stands in a refusal; empty: refusals are not known.
    pub refused: String,
    /// Messages that must be answered, each with its answer: pings of servers that don't use WebSocket's own.
    pub answers: Vec<(String, String)>,
}

impl Dialect {
    /// Everwire's JSON.
    pub fn everwire() -> Self {
        Self {
            subprotocol: Some("everwire.v1".to_owned()),
            first: vec![r#"{"type":"connect"}"#.to_owned()],
            greeted: r#""type":"connected""#.to_owned(),
            waits_for_greeting: false,
            subscribe: Some(r#"{"type":"subscribe","id":1,"channel":"{channel}"}"#.to_owned()),
            subscribed: r#""type":"subscribed""#.to_owned(),
            publish: r#"{"type":"publish","channel":"{channel}","data":"{data}"}"#.to_owned(),
            delivered: r#""type":"message""#.to_owned(),
            refused: r#""type":"error""#.to_owned(),
            answers: Vec::new(),
        }
    }

    /// A bare echo: what is sent comes back.
    pub fn raw() -> Self {
        Self {
            subprotocol: None,
            first: Vec::new(),
            greeted: String::new(),
            waits_for_greeting: false,
            subscribe: None,
            subscribed: String::new(),
            publish: "{data}".to_owned(),
            delivered: String::new(),
            refused: String::new(),
            answers: Vec::new(),
        }
    }

    /// The frames that a connection sends right after it is open.
    pub fn greeting(&self, out: &mut Vec<u8>) {
        self.first.iter().for_each(|text| frame(out, text));
    }

    /// The frame that subscribes, if one is needed.
    pub fn subscription(&self, channel: &str, out: &mut Vec<u8>) {
        if let Some(template) = &self.subscribe {
            frame(out, &template.replace("{channel}", channel));
        }
    }

    /// The frame that publishes.
    pub fn publication(&self, channel: &str, data: &str, out: &mut Vec<u8>) {
        frame(out, &self.publish.replace("{channel}", channel).replace("{data}", data));
    }

    /// Whether this answers what was said first.
    pub fn is_greeted(&self, payload: &[u8]) -> bool {
        has(payload, &self.greeted)
    }

    /// The frames that answer what must be answered of this, and whether that was all of it. Some servers put several
    /// messages into one frame, a line each.
    pub fn answer(&self, payload: &[u8], out: &mut Vec<u8>) -> bool {
        if self.answers.is_empty() {
            return false;
        }
        let mut all = true;
        for line in payload.split(|byte| *byte == b'\n') {
            let known = self.answers.iter().find(|(said, _)| said.as_bytes() == line);
            known.inspect(|(_, text)| frame(out, text));
            all &= known.is_some();
        }
        all
    }

    /// Whether this refuses something.
    pub fn is_refused(&self, payload: &[u8]) -> bool {
        !self.refused.is_empty() && has(payload, &self.refused)
    }

    /// Whether this answers a subscription.
    pub fn is_subscribed(&self, payload: &[u8]) -> bool {
        has(payload, &self.subscribed)
    }

    /// Whether this is a message that was published.
    pub fn is_delivered(&self, payload: &[u8]) -> bool {
        has(payload, &self.delivered)
    }
}

fn has(payload: &[u8], words: &str) -> bool {
    words.is_empty() || memmem::find(payload, words.as_bytes()).is_some()
}

/// A masked text frame. The mask is fixed: it hides nothing here, but unmasking costs the server what it always costs.
pub fn frame(out: &mut Vec<u8>, text: &str) {
    write_masked_frame(out, Opcode::Text, [0x37, 0xfa, 0x21, 0x3d], text.as_bytes());
}

#[cfg(test)]
mod tests {
    use super::*;
    use everwire_proto::command::Command;
    use everwire_proto::json;

    #[test]
    fn our_own_words_are_commands() {
        let ours = Dialect::everwire();
        let subscribe = ours.subscribe.as_ref().unwrap().replace("{channel}", "demo:a");
        let publish = ours.publish.replace("{channel}", "demo:a").replace("{data}", "ew~0");
        for text in ours.first.iter().chain([&subscribe, &publish]) {
            let request = json::decode(text.as_bytes()).unwrap();
            assert!(matches!(
                request.command,
                Command::Connect(_) | Command::Subscribe(_) | Command::Publish(_)
            ));
        }
        assert!(ours.is_subscribed(br#"{"type":"subscribed","id":1}"#));
        assert!(!ours.is_delivered(br#"{"type":"subscribed","id":1}"#));
        assert!(ours.is_refused(br#"{"type":"error","code":"rate_limited"}"#));
        let pings = Dialect { answers: vec![("2".to_owned(), "3".to_owned())], ..Dialect::raw() };
        let (mut out, mut three) = (Vec::new(), Vec::new());
        frame(&mut three, "3");
        assert!(!pings.answer(b"22", &mut out) && pings.answer(b"2", &mut out));
        assert_eq!(out, three);
        assert!(!pings.answer(b"2\nmore", &mut out));
        assert_eq!(out, three.repeat(2), "a ping among others is answered, and the others are heard");
        assert!(Dialect::raw().is_delivered(b"anything") && !Dialect::raw().is_refused(b"anything"));
    }
}
