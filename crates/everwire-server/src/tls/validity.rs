//! From when until when a certificate is good: the one thing that rustls keeps to itself about its own side. RFC 5280
//! section 4.1.

use spki::der::asn1::{GeneralizedTime, UtcTime};
use spki::der::{self, Reader, SliceReader, Tag};

/// The first and the last moment at which a certificate (DER) is good, ms since 1970.
pub(super) fn validity(certificate: &[u8]) -> der::Result<(u64, u64)> {
    SliceReader::new(certificate)?.sequence(|certificate| {
        let times = certificate.sequence(|signed| {
            // The version stands only where it is not the first; then come serial number, algorithm, issuer.
            let version = signed.peek_byte() == Some(0xa0);
            for _ in 0..if version { 4 } else { 3 } {
                signed.tlv_bytes()?;
            }
            let times = signed.sequence(|times| Ok::<_, der::Error>((time(times)?, time(times)?)))?;
            rest(signed)?;
            Ok::<_, der::Error>(times)
        })?;
        rest(certificate)?;
        Ok::<_, der::Error>(times)
    })
}

fn rest<'a>(reader: &mut impl Reader<'a>) -> der::Result<()> {
    while !reader.is_finished() {
        reader.tlv_bytes()?;
    }
    Ok(())
}

fn time<'a>(reader: &mut impl Reader<'a>) -> der::Result<u64> {
    let since = match Tag::peek(reader)? {
        Tag::UtcTime => reader.decode::<UtcTime>()?.to_unix_duration(),
        _ => reader.decode::<GeneralizedTime>()?.to_unix_duration(),
    };
    Ok(u64::try_from(since.as_millis()).unwrap_or(u64::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_certificate_is_an_error() {
        for bytes in
            [&b""[..], b"\x30", b"\x30\x00", b"\x30\x02\x30\x00", b"\x30\x80", &[0x30; 300], &[0xff; 64]]
        {
            assert!(validity(bytes).is_err(), "{bytes:?}");
        }
    }
}
