//! Batches: what is written with one call and is whole, or was never acknowledged.
//!
//! A batch is `magic u32, length u32, checksum u32, durable u64, records`. `durable` says how far the log was on the
//! medium when the batch was made, as segment and byte: a broken batch below such a mark is damage, because what stood
//! there was whole once; one that no mark covers is the torn tail of a write that nobody was told of.
//!
//! The checksum begins with the segment's salt, which no client knows: no payload can look like a batch.

use crc32fast::Hasher;

/// `EWB1`.
const MAGIC: [u8; 4] = *b"EWB1";
/// Bytes before the records.
pub(super) const HEAD_BYTES: usize = 20;

/// A place in the log; places rise.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Place {
    /// The segment.
    pub(super) segment: u32,
    /// The byte in it.
    pub(super) at: u32,
}

/// Makes room for the head of a batch whose records follow.
pub(super) fn begin(out: &mut Vec<u8>) {
    out.clear();
    out.resize(HEAD_BYTES, 0);
}

/// Writes the head of a batch that begins at the front of `out`.
pub(super) fn seal(out: &mut [u8], salt: u64, durable: Place) {
    let len = u32::try_from(out.len() - HEAD_BYTES).expect("a batch is far below 4 GiB");
    out[..4].copy_from_slice(&MAGIC);
    out[4..8].copy_from_slice(&len.to_le_bytes());
    out[12..16].copy_from_slice(&durable.segment.to_le_bytes());
    out[16..20].copy_from_slice(&durable.at.to_le_bytes());
    let sum = checksum(salt, out);
    out[8..12].copy_from_slice(&sum.to_le_bytes());
}

fn checksum(salt: u64, batch: &[u8]) -> u32 {
    let mut hasher = Hasher::new();
    hasher.update(&salt.to_le_bytes());
    hasher.update(&batch[..8]);
    hasher.update(&batch[12..]);
    hasher.finalize()
}

/// A batch that was read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Batch<'a> {
    /// All of its bytes.
    pub(super) len: usize,
    /// How far the log was on the medium.
    pub(super) durable: Place,
    /// Its records, one behind the other.
    pub(super) records: &'a [u8],
}

/// The batch at the front of `bytes`; `None`: there is no whole one.
pub(super) fn read(bytes: &[u8], salt: u64) -> Option<Batch<'_>> {
    let number = |at: usize| bytes.get(at..at + 4)?.try_into().ok().map(u32::from_le_bytes);
    if bytes.get(..4)? != MAGIC {
        return None;
    }
    let len = usize::try_from(number(4)?).ok()?.checked_add(HEAD_BYTES)?;
    let batch = bytes.get(..len)?;
    if number(8)? != checksum(salt, batch) {
        return None;
    }
    let durable = Place { segment: number(12)?, at: number(16)? };
    Some(Batch { len, durable, records: &batch[HEAD_BYTES..] })
}

/// What stands behind the last whole batch of a segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Tail {
    /// Nothing.
    Clean,
    /// A write that was never finished; nobody was told of it.
    Torn,
    /// Bytes that were whole once: a later batch says so.
    Damaged,
}

/// Judges what stands at `end` in the newest segment, where no whole batch begins.
pub(super) fn judge(bytes: &[u8], end: usize, segment: u32, salt: u64) -> Tail {
    if end == bytes.len() {
        return Tail::Clean;
    }
    let broken = Place { segment, at: u32::try_from(end).unwrap_or(u32::MAX) };
    match next_whole(bytes, end + 1, salt, |batch| batch.durable > broken) {
        Some(_) => Tail::Damaged,
        None => Tail::Torn,
    }
}

/// Where the next whole batch of this sort begins, at `from` or behind it.
pub(super) fn next_whole(
    bytes: &[u8],
    from: usize,
    salt: u64,
    sort: impl Fn(&Batch<'_>) -> bool,
) -> Option<usize> {
    let mut at = from;
    loop {
        at += bytes.get(at..)?.windows(MAGIC.len()).position(|four| four == MAGIC)?;
        if read(&bytes[at..], salt).is_some_and(|batch| sort(&batch)) {
            return Some(at);
        }
        at += 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SALT: u64 = 77;

    fn batch(records: &[u8], durable: u32) -> Vec<u8> {
        let mut out = Vec::new();
        begin(&mut out);
        out.extend_from_slice(records);
        seal(&mut out, SALT, Place { segment: 3, at: durable });
        out
    }

    #[test]
    fn every_byte_of_a_batch_counts() {
        let whole = batch(b"records", 5);
        let read_back = read(&whole, SALT).unwrap();
        assert_eq!((read_back.len, read_back.records), (whole.len(), &b"records"[..]));
        assert_eq!(read_back.durable, Place { segment: 3, at: 5 });
        assert_eq!(read(&whole, SALT + 1), None, "of another segment");
        for at in 0..whole.len() {
            assert_eq!(read(&whole[..at], SALT), None, "cut at {at}");
            let mut flipped = whole.clone();
            flipped[at] ^= 4;
            assert_eq!(read(&flipped, SALT), None, "flipped at {at}");
        }
    }

    /// Three batches, of which the marks cover the first two: wherever the last one is cut or flipped it is a torn tail,
    /// wherever the others are it is damage.
    #[test]
    fn a_tail_is_torn_only_where_no_mark_covers_it() {
        let (one, two) = (batch(b"one", 0), batch(b"two!", 23));
        let marked = u32::try_from(one.len() + two.len()).unwrap();
        let three = batch(b"three", marked);
        let whole = [one, two, three].concat();
        let end_of = |bytes: &[u8]| {
            let mut end = 0;
            while let Some(batch) = read(&bytes[end..], SALT) {
                end += batch.len;
            }
            end
        };
        let last = usize::try_from(marked).unwrap();
        for at in 0..whole.len() {
            let mut flipped = whole.clone();
            flipped[at] ^= 1;
            let wanted = if at < last { Tail::Damaged } else { Tail::Torn };
            assert_eq!(judge(&flipped, end_of(&flipped), 3, SALT), wanted, "flipped at {at}");
        }
        for cut in last..=whole.len() {
            let wanted = if cut == last || cut == whole.len() { Tail::Clean } else { Tail::Torn };
            assert_eq!(judge(&whole[..cut], end_of(&whole[..cut]), 3, SALT), wanted, "cut at {cut}");
        }
    }

    #[test]
    fn a_payload_that_looks_like_a_batch_is_none() {
        let mut forged = batch(b"inner", u32::MAX);
        seal(&mut forged, SALT + 1, Place { segment: u32::MAX, at: u32::MAX });
        let mut torn = batch(&forged, 0);
        torn.pop();
        assert_eq!(judge(&torn, 0, 3, SALT), Tail::Torn);
    }
}
