//! Numbers, editions and announcements as text in Redis. The order of the texts' bytes is the order of what they mean.
//!
//! Must not trust what it parses: Redis holds what anybody wrote.

use serde::Deserialize;

use crate::model::stamp::Edition;

/// 16 hex digits.
pub(super) fn hex64(number: u64) -> String {
    format!("{number:016x}")
}

/// 16 hex digits whose order is that of the numbers, negative ones before the others.
pub(super) fn hex64_signed(number: i64) -> String {
    hex64(number.cast_unsigned() ^ (1 << 63))
}

/// The number that these lower-case hex digits are; at most 16 of them.
pub(super) fn parse_hex64(digits: &[u8]) -> Option<u64> {
    if digits.is_empty() || digits.len() > 16 {
        return None;
    }
    digits.iter().try_fold(0, |number: u64, &digit| {
        let value = match digit {
            b'0'..=b'9' => digit - b'0',
            b'a'..=b'f' => digit - b'a' + 10,
            _ => return None,
        };
        Some(number << 4 | u64::from(value))
    })
}

/// As [`parse_hex64`], for what [`hex64_signed`] wrote.
pub(super) fn parse_hex64_signed(digits: &[u8]) -> Option<i64> {
    Some((parse_hex64(digits)? ^ (1 << 63)).cast_signed())
}

/// A time and who set it: 16 hex digits, a colon, the instance.
pub(super) fn stamp(ms: i64, instance: &str) -> String {
    format!("{}:{instance}", hex64_signed(ms))
}

/// What [`stamp`] wrote.
pub(super) fn parse_stamp(text: &[u8]) -> Option<(i64, String)> {
    let (ms, rest) = text.split_at_checked(16)?;
    let instance = std::str::from_utf8(rest.strip_prefix(b":")?).ok()?;
    Some((parse_hex64_signed(ms)?, instance.to_owned()))
}

/// An edition.
pub(super) fn edition(edition: &Edition) -> String {
    stamp(edition.opened_at_ms, &edition.instance)
}

/// What [`edition`] wrote. The scripts know the same ones: the names of instances are ASCII.
pub(super) fn parse_edition(text: &[u8]) -> Option<Edition> {
    let is_name = |byte: &u8| byte.is_ascii_graphic() || *byte == b' ';
    if !text.get(17..).is_some_and(|instance| instance.iter().all(is_name)) {
        return None;
    }
    parse_stamp(text).map(|(opened_at_ms, instance)| Edition { opened_at_ms, instance })
}

/// What an agent tells the others after it has written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Announcement {
    /// The epoch of the data.
    pub epoch: String,
    /// The edition of the data.
    pub edition: Edition,
    /// The last sequence that was written.
    pub last: u64,
    /// Who wrote.
    pub instance: String,
}

impl Announcement {
    /// The announcement in a message; `None` if it is in another format.
    pub fn parse(message: &[u8]) -> Option<Self> {
        #[derive(Deserialize)]
        struct Message<'a> {
            format: &'a str,
            epoch: String,
            edition: String,
            last: String,
            instance: String,
        }
        let message: Message = serde_json::from_str(std::str::from_utf8(message).ok()?).ok()?;
        (message.format == "1").then_some(())?;
        Some(Self {
            epoch: message.epoch,
            edition: parse_edition(message.edition.as_bytes())?,
            last: message.last.parse().ok()?,
            instance: message.instance,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn the_order_of_texts_is_that_of_the_numbers(one in any::<i64>(), other in any::<i64>()) {
            let (a, b) = (hex64_signed(one), hex64_signed(other));
            prop_assert_eq!(a.as_bytes().cmp(b.as_bytes()), one.cmp(&other));
            prop_assert_eq!(parse_hex64_signed(a.as_bytes()), Some(one));
        }

        #[test]
        fn the_order_of_editions_is_kept(one in (any::<i64>(), "[ -~]{0,3}"), other in (any::<i64>(), "[ -~]{0,3}"), same in any::<bool>()) {
            let one = Edition { opened_at_ms: one.0, instance: one.1 };
            let opened_at_ms = if same { one.opened_at_ms } else { other.0 };
            let other = Edition { opened_at_ms, instance: other.1 };
            prop_assert_eq!(edition(&one).as_bytes().cmp(edition(&other).as_bytes()), one.cmp(&other));
            prop_assert_eq!(parse_edition(edition(&one).as_bytes()), Some(one));
        }

        #[test]
        fn no_bytes_make_an_announcement_panic(bytes in proptest::collection::vec(any::<u8>(), 0..80)) {
            prop_assert_eq!(Announcement::parse(&bytes), None);
        }
    }

    #[test]
    fn only_lower_case_digits_are_numbers() {
        for wrong in ["", "00000000000000000", "000000000000000G", "00000000000000AB", "-1", "+1", " 1"] {
            assert_eq!(parse_hex64(wrong.as_bytes()), None, "{wrong:?}");
        }
        assert_eq!(parse_stamp(b"8000000000000000"), None);
        assert_eq!(parse_stamp(b"8000000000000000:"), Some((0, String::new())));
    }

    #[test]
    fn an_announcement_of_another_format_is_unknown() {
        let message = |format: &str| {
            format!(
                r#"{{"format":"{format}","epoch":"e","edition":"8000000000000007:a","first":"1","last":"12","instance":"b"}}"#
            )
        };
        let announcement = Announcement::parse(message("1").as_bytes()).unwrap();
        assert_eq!(announcement.edition, Edition { opened_at_ms: 7, instance: "a".to_owned() });
        assert_eq!((announcement.last, announcement.instance.as_str()), (12, "b"));
        assert_eq!(Announcement::parse(message("2").as_bytes()), None);
    }
}
