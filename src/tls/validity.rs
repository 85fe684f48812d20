//! Reads the validity of a certificate, which rustls does not expose.
//!
//! Written by hand, since it takes four fields: the X.509 parsers that there are bring a dozen crates and more.

use time::{Date, Month, PrimitiveDateTime, Time};

/// When a certificate is valid, in Unix seconds; both ends are included.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Validity {
    /// The first second.
    pub not_before_s: i64,
    /// The last second.
    pub not_after_s: i64,
}

pub(super) const SEQUENCE: u8 = 0x30;
const INTEGER: u8 = 0x02;
const VERSION: u8 = 0xA0;
const UTC_TIME: u8 = 0x17;
const GENERALIZED_TIME: u8 = 0x18;

impl Validity {
    /// What is wrong at a time in Unix seconds, as the rest of a sentence about the certificate: "has expired at …".
    pub fn error(&self, now_s: i64) -> Option<String> {
        if self.not_after_s < now_s {
            Some(format!("has expired at {}", super::explain::written_s(self.not_after_s)))
        } else if self.not_before_s > now_s {
            Some(format!("is not valid before {}", super::explain::written_s(self.not_before_s)))
        } else {
            None
        }
    }

    /// Reads it from a certificate in DER; `None` if that is not a certificate.
    pub fn of(certificate: &[u8]) -> Option<Self> {
        let (_issuer, rest) = element(fields(certificate)?, SEQUENCE)?;
        let (validity, _) = element(rest, SEQUENCE)?;
        let (not_before_s, rest) = time(validity)?;
        let (not_after_s, _) = time(rest)?;
        Some(Self { not_before_s, not_after_s })
    }
}

/// The fields of a certificate from the issuer on.
pub(super) fn fields(certificate: &[u8]) -> Option<&[u8]> {
    // RFC 5280, 4.1: version, serial number and signature algorithm come first.
    let (content, _) = element(certificate, SEQUENCE)?;
    let (mut rest, _) = element(content, SEQUENCE)?;
    if rest.first() == Some(&VERSION) {
        rest = element(rest, VERSION)?.1;
    }
    for tag in [INTEGER, SEQUENCE] {
        rest = element(rest, tag)?.1;
    }
    Some(rest)
}

/// The content of the element at the start of `bytes`, and the bytes after it.
pub(super) fn element(bytes: &[u8], tag: u8) -> Option<(&[u8], &[u8])> {
    let (&[own_tag, first], rest) = bytes.split_first_chunk::<2>()?;
    if own_tag != tag {
        return None;
    }
    let (length, rest) = match first {
        0..=0x7F => (usize::from(first), rest),
        0x81..=0x84 => {
            let (digits, rest) = rest.split_at_checked(usize::from(first - 0x80))?;
            (digits.iter().fold(0, |length, digit| length << 8 | usize::from(*digit)), rest)
        }
        _ => return None,
    };
    rest.split_at_checked(length)
}

/// The time at the start of `bytes` in Unix seconds, and the bytes after it.
fn time(bytes: &[u8]) -> Option<(i64, &[u8])> {
    let (century, text, rest) = match bytes.first()? {
        &UTC_TIME => {
            let (text, rest) = element(bytes, UTC_TIME)?;
            // RFC 5280: years from 50 on belong to the 20th century.
            (if text.first()? >= &b'5' { 19 } else { 20 }, text, rest)
        }
        _ => {
            let (text, rest) = element(bytes, GENERALIZED_TIME)?;
            let (century, text) = text.split_at_checked(2)?;
            (number(century)?, text, rest)
        }
    };
    let (digits, zone) = text.split_at_checked(12)?;
    if zone != b"Z" {
        return None;
    }
    let mut pairs = digits.chunks(2).map(number);
    let mut next = || pairs.next().flatten();
    let (year, month, day) = (next()?, next()?, next()?);
    let month = Month::try_from(month).ok()?;
    let date = Date::from_calendar_date(i32::from(century) * 100 + i32::from(year), month, day).ok()?;
    let time = Time::from_hms(next()?, next()?, next()?).ok()?;
    Some((PrimitiveDateTime::new(date, time).assume_utc().unix_timestamp(), rest))
}

fn number(digits: &[u8]) -> Option<u8> {
    std::str::from_utf8(digits).ok()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use rcgen::{CertificateParams, KeyPair};
    use time::OffsetDateTime;

    fn certificate(not_before_s: i64, not_after_s: i64) -> Vec<u8> {
        let mut parameters = CertificateParams::new(vec!["agent.test".into()]).unwrap();
        parameters.not_before = OffsetDateTime::from_unix_timestamp(not_before_s).unwrap();
        parameters.not_after = OffsetDateTime::from_unix_timestamp(not_after_s).unwrap();
        parameters.self_signed(&KeyPair::generate().unwrap()).unwrap().der().to_vec()
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        #[test]
        fn it_is_read_from_certificates(
            // From 1950 (two digits of the year) to 2200 (four from 2050 on).
            not_before_s in -631_152_000_i64..7_258_118_400,
            not_after_s in -631_152_000_i64..7_258_118_400,
        ) {
            let der = certificate(not_before_s, not_after_s);
            prop_assert_eq!(Validity::of(&der), Some(Validity { not_before_s, not_after_s }));
        }

        #[test]
        fn no_bytes_make_it_panic(
            bytes in prop::collection::vec(any::<u8>(), 0..64),
            cut in 0usize..400,
            place in 0usize..200,
            value: u8,
        ) {
            let _ = Validity::of(&bytes);
            let mut der = certificate(0, 2_000_000_000);
            der.truncate(cut);
            let _ = Validity::of(&der);
            if let Some(byte) = der.get_mut(place) {
                *byte = value;
            }
            let _ = Validity::of(&der);
        }
    }
}
