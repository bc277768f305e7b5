//! Where we refuse a stream and tungstenite does not, or not yet. Each is meant, each must be seen often, and no other
//! may be.

/// What tungstenite makes of a stream that we refuse.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) enum Theirs {
    /// It refuses too, but only when the frame is whole.
    Later,
    /// It never refuses.
    Never,
}

/// One deliberate difference.
#[derive(Debug)]
pub(crate) struct Difference {
    /// How our reason begins.
    pub(crate) reason: &'static str,
    pub(crate) theirs: Theirs,
    /// What we go by.
    pub(crate) rfc: &'static str,
}

const fn later(reason: &'static str, rfc: &'static str) -> Difference {
    Difference { reason, theirs: Theirs::Later, rfc }
}

const fn never(reason: &'static str, rfc: &'static str) -> Difference {
    Difference { reason, theirs: Theirs::Never, rfc }
}

/// The list. A fault that a header shows, or a byte of text, fails the connection when that byte is here: a frame need
/// not be waited for, nor room be made for it, once it can only fail.
pub(crate) const DIFFERENCES: [Difference; 11] = [
    never("the length is not written in the shortest form", "RFC 6455 5.2"),
    // Fragments are not limited there; without it a message of nothing costs time without end.
    never("the message has too many fragments", "RFC 6455 10.4"),
    later("text is not UTF-8", "RFC 6455 8.1"),
    later("reserved opcode", "RFC 6455 5.2"),
    later("a reserved bit is set that was not negotiated", "RFC 6455 5.2"),
    later("a client's frames are masked, a server's are not", "RFC 6455 5.1"),
    later("a control frame is fragmented", "RFC 6455 5.5"),
    later("a control frame has at most 125 bytes", "RFC 6455 5.5"),
    later("a new message begins inside a fragmented one", "RFC 6455 5.4"),
    later("nothing is there to be continued", "RFC 6455 5.4"),
    later("the message is over the limit", "RFC 6455 10.4"),
];

/// The one valid thing that tungstenite refuses: 1014 (bad gateway) came into the registry of close codes (RFC 6455
/// section 11.7) after it was written.
pub(crate) const CODE_FOR_US_ALONE: u16 = 1014;
