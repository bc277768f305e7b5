//! The frame that publishes, made once for each channel: only the digits of its mark change.

use memchr::memmem;

use crate::dialect::Dialect;
use crate::marker::{DIGITS, Mark, SIGN};

/// Frames for more channels than this are made anew each time.
const KEPT: usize = 100_000;

/// The frames of all channels so far.
#[derive(Debug, Default)]
pub struct Publications {
    kept: Vec<Option<Prepared>>,
    /// The one that is not kept.
    other: Option<Prepared>,
}

/// A masked frame.
#[derive(Clone, Debug)]
struct Prepared {
    frame: Vec<u8>,
    mask: [u8; 4],
    payload_at: usize,
    /// Where in the payload digits stand: once, unless a template has the payload twice.
    digits_at: Vec<usize>,
}

impl Publications {
    /// The frame that publishes this mark to the n-th of the channels whose names begin with `names`.
    pub fn frame(
        &mut self,
        dialect: &Dialect,
        channel: usize,
        names: &str,
        size: usize,
        mark: Mark,
    ) -> &[u8] {
        let slot = if channel < KEPT {
            if self.kept.len() <= channel {
                self.kept.resize(channel + 1, None);
            }
            &mut self.kept[channel]
        } else {
            self.other = None;
            &mut self.other
        };
        let prepared =
            slot.get_or_insert_with(|| Prepared::new(dialect, &format!("{names}-{channel}"), size, mark));
        prepared.set(&mark.digits());
        &prepared.frame
    }
}

impl Prepared {
    fn new(dialect: &Dialect, channel: &str, size: usize, mark: Mark) -> Self {
        let mut data = String::new();
        mark.write(size, &mut data);
        let mut frame = Vec::new();
        dialect.publication(channel, &data, &mut frame);
        let extended = match frame[1] & 0x7f {
            126 => 2,
            127 => 8,
            _ => 0,
        };
        let payload_at = 2 + extended + 4;
        let mask = [0, 1, 2, 3].map(|n| frame[2 + extended + n]);
        let plain: Vec<_> =
            frame[payload_at..].iter().zip(mask.iter().cycle()).map(|(byte, mask)| byte ^ mask).collect();
        let digits_at = memmem::find_iter(&plain, SIGN)
            .map(|at| at + SIGN.len())
            .filter(|at| plain[*at..].starts_with(&mark.digits()));
        Self { digits_at: digits_at.collect(), frame, mask, payload_at }
    }

    fn set(&mut self, digits: &[u8; DIGITS]) {
        for at in &self.digits_at {
            let place = &mut self.frame[self.payload_at + at..][..DIGITS];
            for (n, (byte, digit)) in place.iter_mut().zip(digits).enumerate() {
                *byte = digit ^ self.mask[(at + n) & 3];
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_frame_is_what_the_dialect_would_have_made() {
        let mut twice = Dialect::raw();
        twice.publish = "ew~x {channel} {data} and {data}".to_owned();
        for dialect in [Dialect::everwire(), Dialect::raw(), twice] {
            for (size, channel) in [(39, 0), (128, 7), (1_000, 7), (70_000, 3), (128, KEPT + 5)] {
                let mut publications = Publications::default();
                for number in [0, 1, 0xffff_ffff] {
                    let mark = Mark { channel: 9, number, due_ns: 1 << (number & 0x3f) };
                    let (mut data, mut want) = (String::new(), Vec::new());
                    mark.write(size, &mut data);
                    dialect.publication(&format!("a-{channel}"), &data, &mut want);
                    assert!(
                        publications.frame(&dialect, channel, "a", size, mark) == want,
                        "{size} {channel} {number}"
                    );
                }
            }
        }
    }
}
