//! Chance from a seed: the same seed gives the same throws, on every machine.

/// SplitMix64.
pub(crate) struct Dice(u64);

impl Dice {
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ 0x5851_f42d_4c95_7f2d)
    }

    pub(crate) fn bits(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// 0 to `end`, without it.
    pub(crate) fn below(&mut self, end: usize) -> usize {
        (self.bits() % end.max(1) as u64) as usize
    }

    /// True `part` times in a hundred.
    pub(crate) fn percent(&mut self, part: usize) -> bool {
        self.below(100) < part
    }

    pub(crate) fn pick<T: Copy>(&mut self, from: &[T]) -> T {
        from[self.below(from.len())]
    }

    pub(crate) fn byte(&mut self) -> u8 {
        self.bits().to_le_bytes()[0]
    }

    pub(crate) fn bytes(&mut self, len: usize) -> Vec<u8> {
        let mut bytes: Vec<u8> = (0..len.min(CHOSEN)).map(|_| self.byte()).collect();
        while bytes.len() < len {
            bytes.extend_from_within(..CHOSEN.min(len - bytes.len()));
        }
        bytes
    }

    pub(crate) fn mask(&mut self) -> [u8; 4] {
        std::array::from_fn(|_| self.byte())
    }

    /// Text of `len` bytes, or up to three more: its characters have one to four.
    pub(crate) fn text(&mut self, len: usize) -> Vec<u8> {
        let mut text = String::new();
        while text.len() < len.min(CHOSEN) {
            text.push(self.pick(&['a', 'Z', ' ', '"', 'é', 'ж', '€', '字', '\u{ffff}', '🦀', '\u{10ffff}']));
        }
        if text.len() < len {
            text = text.repeat(len / text.len() + 1);
            text.truncate((len..).find(|end| text.is_char_boundary(*end)).unwrap_or(len));
        }
        text.into_bytes()
    }
}

/// So many bytes are thrown for; what is longer repeats them, or a large message would take most of the time.
const CHOSEN: usize = 301;
