//! Masking, RFC 6455 section 5.3, in wide words: the inner loop is over arrays so that it becomes vector code.

const LANE: usize = 32;

/// Masks or unmasks `bytes`, which begin where `mask` begins.
pub fn unmask(bytes: &mut [u8], mask: [u8; 4]) {
    let wide: [u8; LANE] = std::array::from_fn(|i| mask[i % 4]);
    let (lanes, rest) = bytes.as_chunks_mut::<LANE>();
    for lane in lanes {
        for (byte, key) in lane.iter_mut().zip(wide) {
            *byte ^= key;
        }
    }
    let (words, rest) = rest.as_chunks_mut::<8>();
    for word in words {
        for (byte, key) in word.iter_mut().zip(wide) {
            *byte ^= key;
        }
    }
    for (byte, key) in rest.iter_mut().zip(wide) {
        *byte ^= key;
    }
}

/// The mask as it stands `done` bytes into the payload.
pub(super) fn rotated(mask: [u8; 4], done: u64) -> [u8; 4] {
    std::array::from_fn(|i| mask[(i + (done % 4) as usize) % 4])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn any_cut_gives_the_same() {
        let mask = [1, 2, 3, 250];
        let plain: Vec<u8> = (0..=255).collect();
        let naive: Vec<u8> = plain.iter().enumerate().map(|(i, b)| b ^ mask[i % 4]).collect();
        for cut in 0..plain.len() {
            let mut bytes = plain.clone();
            let (head, tail) = bytes.split_at_mut(cut);
            unmask(head, mask);
            unmask(tail, rotated(mask, cut as u64));
            assert_eq!(bytes, naive, "cut at {cut}");
        }
    }
}
