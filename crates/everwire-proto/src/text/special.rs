//! Where in a string the next byte is that needs a look.

/// Bytes that need a look inside a string: the quote, the backslash, control characters.
const SPECIAL: [bool; 256] = {
    let mut table = [false; 256];
    let mut i = 0;
    while i < 0x20 {
        table[i] = true;
        i += 1;
    }
    table[b'"' as usize] = true;
    table[b'\\' as usize] = true;
    table
};

/// Bytes that the processor looks at together in a long string.
const TOGETHER: usize = 32;

/// How many bytes come before the first special one. Most strings of a command, and all of its keys, end within a word.
#[inline(always)]
pub(super) fn plain_len(bytes: &[u8]) -> usize {
    match bytes.first_chunk::<8>().map(|word| special_in(*word)) {
        Some(special) if special != 0 => special.trailing_zeros() as usize / 8,
        _ => long_plain_len(bytes),
    }
}

/// The same for any string: of a long one, stretches without a special byte are skipped many bytes at a time, in a form that
/// compilers make vectors of.
#[inline(never)]
fn long_plain_len(bytes: &[u8]) -> usize {
    let mut at = 0;
    if bytes.len() >= 2 * TOGETHER {
        at = plain_words(&bytes[..16]);
        if at < 16 {
            return at;
        }
        while let Some(stretch) = bytes[at..].first_chunk::<TOGETHER>()
            && !stretch.iter().fold(false, |any, b| any | (*b < 0x20) | (*b == b'"') | (*b == b'\\'))
        {
            at += TOGETHER;
        }
    }
    at + plain_words(&bytes[at..])
}

/// Flags in a word of eight bytes, each set off against one value: the lowest flag is exact, as a borrow only runs upward. 0:
/// none of them is special.
#[inline]
fn special_in(word: [u8; 8]) -> u64 {
    const ONES: u64 = u64::from_ne_bytes([1; 8]);
    let zero = |word: u64| word.wrapping_sub(ONES) & !word;
    let word = u64::from_le_bytes(word);
    let quote = zero(word ^ (ONES * u64::from(b'"')));
    let backslash = zero(word ^ (ONES * u64::from(b'\\')));
    let control = word.wrapping_sub(ONES * 0x20) & !word;
    (quote | backslash | control) & (ONES << 7)
}

/// The same, eight at a time.
fn plain_words(bytes: &[u8]) -> usize {
    let (words, rest) = bytes.as_chunks::<8>();
    for (at, word) in words.iter().enumerate() {
        let special = special_in(*word);
        if special != 0 {
            return at * 8 + special.trailing_zeros() as usize / 8;
        }
    }
    words.len() * 8 + rest.iter().position(|b| SPECIAL[usize::from(*b)]).unwrap_or(rest.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_special_byte_is_found_at_every_place() {
        for len in 0..40 {
            for at in 0..len {
                for byte in 0..=255u8 {
                    // The neighbours are those that a borrow could mislead.
                    for filler in [b' ', b'!', b'#', b'[', b']', 0x7f, 0x80, 0xff] {
                        let mut bytes = vec![filler; len];
                        bytes[at] = byte;
                        let naive = bytes.iter().position(|b| SPECIAL[usize::from(*b)]).unwrap_or(len);
                        assert_eq!(plain_len(&bytes), naive, "{bytes:?}");
                    }
                }
            }
        }
    }
}
