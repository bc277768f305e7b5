//! Channels of two, in an order in which none comes soon again: the least that many small channels can cost.

use std::io::{self, Read as _, Write as _};

/// Each message begins, behind the head of its frame, with the number of its channel in so many digits.
pub(crate) const DIGITS: std::ops::Range<usize> = 4..12;

pub(super) fn run(conns: usize, frame: usize, burst: usize) -> io::Result<()> {
    let (mut first, sockets) = super::crowd(conns)?;
    let mut messages = vec![0; frame * burst];
    while first.read_exact(&mut messages).is_ok() {
        for message in messages.chunks_exact(frame) {
            let digits = &message[DIGITS];
            let channel = digits.iter().fold(0, |number, digit| number * 10 + usize::from(digit - b'0'));
            for place in [channel, (channel + 1) % conns] {
                if (&sockets[place]).write(message)? < frame {
                    return Err(io::Error::other("a socket was full: the next message came too early"));
                }
            }
        }
    }
    Ok(())
}
