//! What stands in every published payload: which channel, which number, when it was meant to be sent. Loss, duplicates
//! and latency are read from it at the other end, whatever server is in between.

use memchr::memmem;

/// The mark begins with this.
pub const SIGN: &[u8] = b"ew~";
/// So many digits follow it.
pub const DIGITS: usize = 8 + 12 + 16;
/// The whole mark, bytes; no payload is shorter.
pub const MARK_BYTES: usize = SIGN.len() + DIGITS;

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
        let start = out.len();
        out.extend(SIGN.iter().chain(&self.digits()).map(|byte| char::from(*byte)));
        out.extend(std::iter::repeat_n('.', size.saturating_sub(out.len() - start)));
    }

    /// What stands behind the sign.
    pub fn digits(&self) -> [u8; DIGITS] {
        let mut digits = [0; DIGITS];
        let mut put = |from: usize, to: usize, mut value: u64| {
            for digit in digits[from..to].iter_mut().rev() {
                *digit = b"0123456789abcdef"[(value & 0xf) as usize];
                value >>= 4;
            }
        };
        put(0, 8, u64::from(self.channel));
        put(8, 20, self.number);
        put(20, 36, self.due_ns);
        digits
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
    let mut all = 0;
    for byte in head {
        let digit = DIGIT[usize::from(*byte)];
        all |= digit;
        value = value << 4 | u64::from(digit & 0xf);
    }
    (all < NONE).then_some((value, rest))
}

/// What is no digit.
const NONE: u8 = 0x80;

/// The value of each byte as a hexadecimal digit. A load tool reads a million marks a second.
const DIGIT: [u8; 256] = {
    let mut table = [NONE; 256];
    let mut n = 0;
    while n < 16 {
        table[b"0123456789abcdef"[n] as usize] = n as u8;
        n += 1;
    }
    table
};

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
