//! What a server sends, cut into frames without a copy. The load tool trusts its server further than a browser would:
//! it counts, it does not validate.

/// One frame of a server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Frame<'a> {
    /// RFC 6455 section 5.2: 0 continuation, 1 text, 2 binary, 8 close, 9 ping, 10 pong.
    pub opcode: u8,
    /// It is the last of its message.
    pub fin: bool,
    /// Its message is compressed (RFC 7692).
    pub deflated: bool,
    /// Its payload.
    pub payload: &'a [u8],
}

/// The first frame, and how many bytes it takes; `None`: there is more to come.
pub fn split(bytes: &[u8]) -> Option<(Frame<'_>, usize)> {
    let [first, second] = *bytes.first_chunk()?;
    let (header, len): (usize, usize) = match second & 0x7f {
        126 => (4, usize::from(u16::from_be_bytes(*bytes.get(2..)?.first_chunk()?))),
        127 => (10, usize::try_from(u64::from_be_bytes(*bytes.get(2..)?.first_chunk()?)).ok()?),
        short => (2, usize::from(short)),
    };
    let end = header.checked_add(len)?;
    let payload = bytes.get(header..end)?;
    let frame = Frame { opcode: first & 0x0f, fin: first & 0x80 != 0, deflated: first & 0x40 != 0, payload };
    Some((frame, end))
}

#[cfg(test)]
mod tests {
    use super::*;
    use everwire_proto::ws::{Opcode, write_frame};

    #[test]
    fn frames_of_every_length_are_cut_where_they_end() {
        for len in [0, 1, 125, 126, 127, 65_535, 65_536] {
            let mut bytes = Vec::new();
            write_frame(&mut bytes, Opcode::Text, &vec![b'a'; len]);
            let whole = bytes.len();
            bytes.push(7);
            let (frame, end) = split(&bytes).unwrap();
            assert_eq!((frame.opcode, frame.fin, frame.payload.len(), end), (1, true, len, whole));
            for cut in [0, 1, whole - 1] {
                assert_eq!(split(&bytes[..cut]), None, "{len} cut at {cut}");
            }
        }
    }
}
