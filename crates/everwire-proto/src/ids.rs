//! Names of connections and of streams, as they stand on the wire.

use std::fmt;
use std::sync::Arc;

const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";

/// Writes `bytes` (a multiple of 3, or any length without padding) as base64url, RFC 4648 section 5.
fn base64url<const N: usize, const M: usize>(bytes: &[u8; N]) -> [u8; M] {
    let mut out = [b'A'; M];
    for (three, four) in bytes.chunks(3).zip(out.chunks_mut(4)) {
        let [a, b, c] = [0, 1, 2].map(|at| three.get(at).copied().map_or(0, u32::from));
        let word = a << 16 | b << 8 | c;
        for (slot, shift) in four.iter_mut().zip([18, 12, 6, 0]) {
            *slot = ALPHABET[(word >> shift) as usize & 0x3f];
        }
    }
    out
}

fn from_base64url<const N: usize>(text: &str) -> Option<[u8; N]> {
    if text.len() != (N * 8).div_ceil(6) {
        return None;
    }
    let mut out = [0u8; N];
    let (mut acc, mut bits, mut at) = (0u32, 0u32, 0usize);
    for c in text.bytes() {
        let six = ALPHABET.iter().position(|a| *a == c)?;
        acc = (acc << 6) | u32::try_from(six).ok()?;
        bits += 6;
        if bits >= 8 {
            bits -= 8;
            if at < N {
                out[at] = u8::try_from((acc >> bits) & 0xff).ok()?;
                at += 1;
            }
        }
    }
    // Left-over bits must be zero, so that an id has exactly one spelling.
    (acc & ((1 << bits) - 1) == 0).then_some(out)
}

/// The public id of a connection: 96 random bits, 16 characters of base64url on the wire.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ClientId(pub [u8; 12]);

/// The secret of a session: 128 random bits, 22 characters of base64url. Told to its owner alone, never logged:
/// its `Debug` prints `***`.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SessionKey(pub [u8; 16]);

impl ClientId {
    /// The 16 characters of the wire.
    pub fn text(&self) -> [u8; 16] {
        base64url(&self.0)
    }
    /// Reads what [`ClientId::text`] wrote; `None` for anything else.
    pub fn parse(text: &str) -> Option<Self> {
        from_base64url(text).map(Self)
    }
}

impl SessionKey {
    /// The 22 characters of the wire.
    pub fn text(&self) -> [u8; 22] {
        base64url(&self.0)
    }
    /// Reads what [`SessionKey::text`] wrote; `None` for anything else.
    pub fn parse(text: &str) -> Option<Self> {
        from_base64url(text).map(Self)
    }
}

impl fmt::Display for ClientId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(std::str::from_utf8(&self.text()).expect("base64url is ASCII"))
    }
}

impl fmt::Debug for ClientId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ClientId({self})")
    }
}

impl fmt::Debug for SessionKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SessionKey(***)")
    }
}

/// The name of one life of a stream: 1..64 characters of `[A-Za-z0-9_-]`, new whenever the stream's past is lost.
///
/// Every message carries one and every position is cloned on its way, so a short one, such as all of ours, is copied
/// and not counted.
#[derive(Clone, PartialEq, Eq)]
pub struct Epoch(Name);

#[derive(Clone, PartialEq, Eq)]
enum Name {
    Short { len: u8, text: [u8; SHORT] },
    Long(Arc<Box<str>>),
}

/// What fits beside the length without making a position larger, bytes.
const SHORT: usize = 14;

impl Epoch {
    /// Our own epochs: 48 random bits, 8 characters.
    pub fn from_random(bits: u64) -> Self {
        let [a, b, c, d, e, f, ..] = bits.to_le_bytes();
        let text: [u8; 8] = base64url(&[a, b, c, d, e, f]);
        Self::of(&text)
    }
    fn of(text: &[u8]) -> Self {
        let mut short = [0; SHORT];
        match (u8::try_from(text.len()), short.get_mut(..text.len())) {
            (Ok(len), Some(room)) => {
                room.copy_from_slice(text);
                Self(Name::Short { len, text: short })
            }
            _ => Self(Name::Long(Arc::new(String::from_utf8_lossy(text).into()))),
        }
    }
    /// Takes an epoch from the wire or a broker; `None` unless it is 1..64 characters of `[A-Za-z0-9_-]`.
    pub fn parse(text: &str) -> Option<Self> {
        is_wire_id(text).then(|| Self::of(text.as_bytes()))
    }
    /// The epoch as it stands on the wire.
    pub fn as_str(&self) -> &str {
        std::str::from_utf8(self.as_bytes()).expect("an epoch is ASCII")
    }
    /// The same as bytes, all of them ASCII.
    pub fn as_bytes(&self) -> &[u8] {
        match &self.0 {
            Name::Short { len, text } => &text[..usize::from(*len)],
            Name::Long(text) => text.as_bytes(),
        }
    }
}

impl Ord for Epoch {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        self.as_str().cmp(other.as_str())
    }
}

impl PartialOrd for Epoch {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl fmt::Debug for Epoch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Epoch({})", self.as_str())
    }
}

/// Whether `text` is 1..64 characters of `[A-Za-z0-9_-]`, the form of every id of the protocol.
pub fn is_wire_id(text: &str) -> bool {
    (1..=64).contains(&text.len())
        && text.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_have_one_spelling() {
        let id = ClientId([0, 1, 2, 3, 4, 5, 250, 251, 252, 253, 254, 255]);
        assert_eq!(id.to_string(), "AAECAwQF-vv8_f7_");
        assert_eq!(ClientId::parse(&id.to_string()), Some(id));
        let key = SessionKey([0xff; 16]);
        let text = String::from_utf8(key.text().to_vec()).unwrap();
        assert_eq!(text, "_____________________w");
        assert_eq!(SessionKey::parse(&text), Some(key));
        // The last character carries 4 spare bits; a second spelling of the same key is refused.
        assert_eq!(SessionKey::parse("_____________________x"), None);
        assert_eq!(SessionKey::parse("short"), None);
        assert_eq!(ClientId::parse("AAECAwQF+vv8/f7/"), None);
        assert_eq!(format!("{key:?}"), "SessionKey(***)");
    }

    #[test]
    fn epochs_are_wire_ids() {
        assert_eq!(Epoch::from_random(u64::MAX).as_str(), "________");
        for good in ["a", &"b".repeat(SHORT), &"c".repeat(SHORT + 1), &"d".repeat(64)] {
            let epoch = Epoch::parse(good).unwrap();
            assert_eq!((epoch.as_str(), epoch.clone()), (good, epoch.clone()));
        }
        assert_eq!(size_of::<Epoch>(), 16);
        for bad in ["", "ä", "a b", "a.b", &"x".repeat(65)] {
            assert_eq!(Epoch::parse(bad), None, "{bad}");
        }
    }
}
