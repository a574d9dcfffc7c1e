//! Reads the two facts of an X.509 certificate that the agent decides on: its validity and its Ed25519 key.
//! Never checks a signature or a name: that is the verifier's, in the module above.

/// What the agent reads of a certificate.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Facts {
    /// First second of its validity, since 1970; what lies before 1970 counts as 0.
    pub not_before_unix_s: u64,
    /// Last second of its validity, since 1970.
    pub not_after_unix_s: u64,
    /// The subject's key, when it is an Ed25519 key (RFC 8410).
    pub ed25519_key: Option<[u8; 32]>,
}

/// Bytes are not an X.509 certificate as far as this module reads it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not an X.509 certificate: its {part} cannot be read")]
pub struct Malformed {
    /// The part at which reading ended.
    pub part: &'static str,
}

const SEQUENCE: u8 = 0x30;
const INTEGER: u8 = 0x02;
const BIT_STRING: u8 = 0x03;
const UTC_TIME: u8 = 0x17;
const GENERALIZED_TIME: u8 = 0x18;
const VERSION: u8 = 0xa0;
/// `AlgorithmIdentifier` of Ed25519, without parameters (RFC 8410, section 3).
const ED25519: &[u8] = &[0x06, 0x03, 0x2b, 0x65, 0x70];

/// Reads validity and key of a DER certificate (RFC 5280, section 4.1).
///
/// # Errors
/// [`Malformed`]; bytes of any kind and length end here, none panics.
pub fn read(der: &[u8]) -> Result<Facts, Malformed> {
    let (certificate, _) = expect(der, SEQUENCE, "outer sequence")?;
    let (tbs, _) = expect(certificate, SEQUENCE, "signed part")?;
    let rest = match tlv(tbs) {
        Some((VERSION, _, rest)) => rest,
        Some(_) | None => tbs,
    };
    let (_, rest) = expect(rest, INTEGER, "serial number")?;
    let (_, rest) = expect(rest, SEQUENCE, "signature algorithm")?;
    let (_, rest) = expect(rest, SEQUENCE, "issuer")?;
    let (validity, rest) = expect(rest, SEQUENCE, "validity")?;
    let (_, rest) = expect(rest, SEQUENCE, "subject")?;
    let (key, _) = expect(rest, SEQUENCE, "public key")?;
    let (not_before_unix_s, validity) = time(validity, "notBefore")?;
    let (not_after_unix_s, _) = time(validity, "notAfter")?;
    Ok(Facts {
        not_before_unix_s,
        not_after_unix_s,
        ed25519_key: ed25519_key(key),
    })
}

fn ed25519_key(key: &[u8]) -> Option<[u8; 32]> {
    let (SEQUENCE, ED25519, rest) = tlv(key)? else {
        return None;
    };
    match tlv(rest)? {
        (BIT_STRING, [0, key @ ..], _) => key.try_into().ok(),
        _ => None,
    }
}

fn expect<'a>(
    bytes: &'a [u8],
    tag: u8,
    part: &'static str,
) -> Result<(&'a [u8], &'a [u8]), Malformed> {
    match tlv(bytes) {
        Some((found, content, rest)) if found == tag => Ok((content, rest)),
        Some(_) | None => Err(Malformed { part }),
    }
}

/// Tag, content and what follows; lengths of up to three bytes, as nothing here is longer.
fn tlv(bytes: &[u8]) -> Option<(u8, &[u8], &[u8])> {
    let (&tag, rest) = bytes.split_first()?;
    let (&first, rest) = rest.split_first()?;
    let (length, rest) = match first {
        0..=0x7f => (usize::from(first), rest),
        0x81..=0x83 => {
            let (length, rest) = rest.split_at_checked(usize::from(first & 0x0f))?;
            let length = length
                .iter()
                .fold(0, |length, byte| length << 8 | usize::from(*byte));
            (length, rest)
        }
        _ => return None,
    };
    let (content, rest) = rest.split_at_checked(length)?;
    Some((tag, content, rest))
}

fn time<'a>(bytes: &'a [u8], part: &'static str) -> Result<(u64, &'a [u8]), Malformed> {
    let malformed = Malformed { part };
    let (tag, text, rest) = tlv(bytes).ok_or(malformed)?;
    let seconds = match tag {
        UTC_TIME => text.split_at_checked(2).and_then(|(year, text)| {
            let year = number(year)?;
            // RFC 5280, section 4.1.2.5.1.
            unix_seconds(if year < 50 { 2000 + year } else { 1900 + year }, text)
        }),
        GENERALIZED_TIME => text
            .split_at_checked(4)
            .and_then(|(year, text)| unix_seconds(number(year)?, text)),
        _ => None,
    };
    Ok((seconds.ok_or(malformed)?, rest))
}

fn number(digits: &[u8]) -> Option<u64> {
    digits.iter().try_fold(0, |number, digit| {
        digit
            .is_ascii_digit()
            .then(|| number * 10 + u64::from(digit - b'0'))
    })
}

/// Seconds since 1970 of a year and `MMDDHHMMSSZ`.
fn unix_seconds(year: u64, text: &[u8]) -> Option<u64> {
    let &[m1, m2, d1, d2, h1, h2, i1, i2, s1, s2, b'Z'] = text else {
        return None;
    };
    let [month, day, hour, minute, second] =
        [[m1, m2], [d1, d2], [h1, h2], [i1, i2], [s1, s2]].map(|two| number(&two));
    let (month, day) = (month?, day?);
    if !(1..=12).contains(&month) || !(1..=31).contains(&day) {
        return None;
    }
    // Days since the first of March of year 0: leap days then stand at the end of a year.
    let (year, month) = if month > 2 {
        (year, month - 3)
    } else {
        (year.checked_sub(1)?, month + 9)
    };
    let days = 365 * year + year / 4 - year / 100 + year / 400 + (153 * month + 2) / 5 + day - 1;
    let seconds = hour? * 3600 + minute? * 60 + second?;
    /// Days from the first of March of year 0 to 1970.
    const EPOCH_DAYS: u64 = 719_468;
    Some(
        days.checked_sub(EPOCH_DAYS)
            .map_or(0, |days| days * 86_400 + seconds),
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn dates_become_seconds_in_both_notations() {
        let seconds = |tag: u8, text: &str| {
            let mut bytes = vec![tag, u8::try_from(text.len()).unwrap()];
            bytes.extend_from_slice(text.as_bytes());
            time(&bytes, "time").map(|(seconds, _)| seconds)
        };
        assert_eq!(seconds(UTC_TIME, "700101000000Z"), Ok(0));
        assert_eq!(seconds(UTC_TIME, "240229120000Z"), Ok(1_709_208_000));
        assert_eq!(seconds(UTC_TIME, "491231235959Z"), Ok(2_524_607_999));
        assert_eq!(
            seconds(GENERALIZED_TIME, "20380119031407Z"),
            Ok(0x7fff_ffff)
        );
        assert_eq!(seconds(GENERALIZED_TIME, "19000101000000Z"), Ok(0));
        assert!(seconds(UTC_TIME, "701301000000Z").is_err());
        assert!(seconds(UTC_TIME, "7001010000Z").is_err());
    }

    #[test]
    fn facts_of_a_certificate_are_those_it_was_made_with() {
        let key = rcgen::KeyPair::generate_for(&rcgen::PKCS_ED25519).unwrap();
        let mut params = rcgen::CertificateParams::new(["holdfast-bridge".to_owned()]).unwrap();
        params.not_before = rcgen::date_time_ymd(1980, 3, 1);
        params.not_after = rcgen::date_time_ymd(2055, 12, 31);
        let certificate = params.self_signed(&key).unwrap();
        let facts = read(certificate.der()).unwrap();
        assert_eq!(facts.not_before_unix_s, 320_716_800);
        assert_eq!(facts.not_after_unix_s, 2_713_824_000);
        assert_eq!(facts.ed25519_key.unwrap(), key.public_key_raw());
    }

    proptest! {
        #[test]
        fn no_bytes_panic(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
            let _ = read(&bytes);
        }

        #[test]
        fn a_damaged_certificate_does_not_panic(at in 0_usize..400, byte: u8) {
            let key = rcgen::KeyPair::generate_for(&rcgen::PKCS_ED25519).unwrap();
            let certificate = rcgen::CertificateParams::new(vec![]).unwrap().self_signed(&key).unwrap();
            let mut der = certificate.der().to_vec();
            if let Some(place) = der.get_mut(at) {
                *place = byte;
            }
            let _ = read(&der);
            let _ = read(&der[..at.min(der.len())]);
        }
    }
}
