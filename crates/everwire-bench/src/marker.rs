//! What stands in every published payload: which channel, which number, when it was meant to be sent. Loss, duplicates
//! and latency are read from it at the other end, whatever server is in between.

use memchr::memmem;

/// The mark begins with this.
const SIGN: &[u8] = b"ew~";
/// The whole mark, bytes; no payload is shorter.
pub const MARK_BYTES: usize = 3 + 8 + 12 + 16;

/// The mark of one message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Mark {
    /// The channel's number.
    pub channel: u32,
    /// Its place among the channel's messages, from 0. At most 48 bits.
    pub number: u64,
    /// When the schedule wanted it sent, ns of [`crate::clock`].
    pub due_ns: u64,
}

impl Mark {
    /// Appends the mark, and filling up to `size` bytes. All of it is ASCII without quotes or escapes.
    pub fn write(&self, size: usize, out: &mut String) {
        use std::fmt::Write as _;
        let start = out.len();
        // Writing to a string can't fail.
        let _ = write!(out, "ew~{:08x}{:012x}{:016x}", self.channel, self.number, self.due_ns);
        out.extend(std::iter::repeat_n('.', size.saturating_sub(out.len() - start)));
    }

    /// The first mark in these bytes.
    pub fn find(bytes: &[u8]) -> Option<Self> {
        Self::each(bytes).next()
    }

    /// All marks in these bytes: some servers put several messages into one frame.
    pub fn each(bytes: &[u8]) -> impl Iterator<Item = Self> {
        let mut rest = bytes;
        std::iter::from_fn(move || {
            rest = &rest[memmem::find(rest, SIGN)? + SIGN.len()..];
            Self::read(rest)
        })
    }

    fn read(rest: &[u8]) -> Option<Self> {
        let (channel, rest) = hex(rest, 8)?;
        let (number, rest) = hex(rest, 12)?;
        let (due_ns, _) = hex(rest, 16)?;
        Some(Self { channel: u32::try_from(channel).ok()?, number, due_ns })
    }
}

fn hex(bytes: &[u8], digits: usize) -> Option<(u64, &[u8])> {
    let (head, rest) = bytes.split_at_checked(digits)?;
    let mut value = 0;
    for byte in head {
        value = value << 4 | u64::from(char::from(*byte).to_digit(16)?);
    }
    Some((value, rest))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mark_comes_back_from_any_envelope() {
        let mark = Mark { channel: 77, number: 1 << 40, due_ns: u64::MAX };
        for size in [0, MARK_BYTES, 128] {
            let mut text = "{\"data\":\"".to_owned();
            mark.write(size, &mut text);
            assert_eq!(text.len() - 9, size.max(MARK_BYTES));
            text.push_str("\"}");
            assert_eq!(Mark::find(text.as_bytes()), Some(mark));
            assert_eq!(Mark::each(text.repeat(3).as_bytes()).collect::<Vec<_>>(), [mark; 3]);
        }
        for none in ["", "ew~", "ew~0000000", "no mark", "ew~zzzzzzzz0000000000000000000000000000"] {
            assert_eq!(Mark::find(none.as_bytes()), None, "{none}");
        }
    }
}
