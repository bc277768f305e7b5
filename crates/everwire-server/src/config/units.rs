//! Times and sizes as people write them: `10s`, `64KiB`.

/// Units of time, ms, the smallest first.
const TIMES: [(&str, u64); 5] = [("ms", 1), ("s", 1_000), ("m", 60_000), ("h", 3_600_000), ("d", 86_400_000)];
/// Units of size, bytes, the smallest first.
const SIZES: [(&str, u64); 5] =
    [("B", 1), ("KiB", 1 << 10), ("MiB", 1 << 20), ("GiB", 1 << 30), ("TiB", 1 << 40)];

/// A time in ms.
///
/// # Errors
/// What to write instead.
pub(crate) fn read_time(text: &str) -> Result<u64, String> {
    read(text, &TIMES)
        .ok_or_else(|| format!("{text:?} is no time; write a number and ms, s, m, h or d, such as \"10s\""))
}

/// A size in bytes.
///
/// # Errors
/// What to write instead.
pub(crate) fn read_size(text: &str) -> Result<u64, String> {
    if text.bytes().all(|byte| byte.is_ascii_digit() || byte == b'_') {
        return read(&format!("{text}B"), &SIZES).ok_or_else(|| format!("{text:?} is no size"));
    }
    read(text, &SIZES).ok_or_else(|| {
        format!("{text:?} is no size; write bytes, or a number and KiB, MiB, GiB or TiB, such as \"64KiB\"")
    })
}

fn read(text: &str, units: &[(&str, u64)]) -> Option<u64> {
    let digits = text.bytes().take_while(|byte| byte.is_ascii_digit() || *byte == b'_').count();
    let (number, unit) = text.split_at(digits);
    let number: u64 = number.replace('_', "").parse().ok()?;
    let (_, factor) = units.iter().find(|(name, _)| *name == unit.trim_start())?;
    number.checked_mul(*factor)
}

/// A time as [`read_time`] reads it, in the largest unit that keeps it whole.
pub(crate) fn write_time(ms: u64) -> String {
    write(ms, &TIMES, "s")
}

/// A size as [`read_size`] reads it, in the largest unit that keeps it whole.
pub(crate) fn write_size(bytes: u64) -> String {
    write(bytes, &SIZES, "B")
}

fn write(amount: u64, units: &[(&str, u64)], of_nothing: &str) -> String {
    if amount == 0 {
        return format!("0{of_nothing}");
    }
    let whole = units.iter().rev().find(|(_, factor)| amount.is_multiple_of(*factor));
    let (unit, factor) = whole.expect("one is a unit");
    format!("{}{unit}", amount / factor)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_and_sizes() {
        for (text, ms) in [
            ("10s", 10_000),
            ("250ms", 250),
            ("5m", 300_000),
            ("2 h", 7_200_000),
            ("1d", 86_400_000),
            ("0s", 0),
            ("1_000ms", 1_000),
        ] {
            assert_eq!(read_time(text), Ok(ms), "{text}");
            assert_eq!(read_time(&write_time(ms)), Ok(ms), "{text}");
        }
        for (text, bytes) in [
            ("64KiB", 65_536),
            ("64", 64),
            ("1_024", 1_024),
            ("1 MiB", 1 << 20),
            ("2TiB", 2 << 40),
            ("0B", 0),
        ] {
            assert_eq!(read_size(text), Ok(bytes), "{text}");
            assert_eq!(read_size(&write_size(bytes)), Ok(bytes), "{text}");
        }
        for text in
            ["", "s", "10", "10 seconds", "-1s", "1.5h", "99999999999999999999s", "9999999999999999d", "10S"]
        {
            assert!(read_time(text).unwrap_err().contains("such as \"10s\""), "{text}");
        }
        for text in ["", "KiB", "64KB", "64kib", "-1", "99999999999999999999", "99999999999TiB"] {
            assert!(read_size(text).unwrap_err().contains("is no size"), "{text}");
        }
        assert_eq!((write_time(90_000), write_size(1_500)), ("90s".to_owned(), "1500B".to_owned()));
    }
}
