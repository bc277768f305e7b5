//! UTF-8 that arrives in pieces: a byte that can't become valid fails at once (RFC 6455 section 8.1, strictly).

/// What a piece left over: the beginning of a character, at most three bytes.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Utf8 {
    begun: [u8; 4],
    len: u8,
}

impl Utf8 {
    /// Checks the next piece. `Err`: the text is not UTF-8, whatever follows.
    pub(super) fn push(&mut self, mut piece: &[u8]) -> Result<(), ()> {
        while self.len > 0 {
            let Some((first, rest)) = piece.split_first() else { return Ok(()) };
            self.begun[usize::from(self.len)] = *first;
            self.len += 1;
            piece = rest;
            match std::str::from_utf8(&self.begun[..usize::from(self.len)]) {
                Ok(_) => self.len = 0,
                Err(e) if e.error_len().is_some() => return Err(()),
                Err(_) => {}
            }
        }
        let Err(e) = std::str::from_utf8(piece) else { return Ok(()) };
        if e.error_len().is_some() {
            return Err(());
        }
        let begun = &piece[e.valid_up_to()..];
        self.begun[..begun.len()].copy_from_slice(begun);
        self.len = u8::try_from(begun.len()).expect("at most three bytes begin a character");
        Ok(())
    }

    /// Whether the text may end here.
    pub(super) fn is_whole(&self) -> bool {
        self.len == 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn agrees_with_std_at_every_cut() {
        let texts: [&[u8]; 9] = [
            "κόσμε 🦀 é".as_bytes(),
            b"\xf4\x8f\xbf\xbf",
            b"\xf4\x90\x80\x80",
            b"\xed\xa0\x80",
            b"\xc0\xaf",
            b"a\xffb",
            b"\xe2\x82",
            b"\xf0\x9f\xa6",
            b"\xe0\x80\x80",
        ];
        for text in texts {
            for cut in 0..=text.len() {
                let mut utf8 = Utf8::default();
                let ok =
                    utf8.push(&text[..cut]).is_ok() && utf8.push(&text[cut..]).is_ok() && utf8.is_whole();
                assert_eq!(ok, std::str::from_utf8(text).is_ok(), "{text:?} cut at {cut}");
            }
        }
    }

    #[test]
    fn fails_at_the_first_hopeless_byte() {
        let mut utf8 = Utf8::default();
        assert!(utf8.push(b"\xf4").is_ok());
        assert!(utf8.push(b"\x90").is_err());
    }
}
