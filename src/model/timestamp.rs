//! ISO 8601 timestamps of flags and segments, as Unix milliseconds.
//!
//! Must not look at any clock or time zone: a text without an offset is UTC. [`parse_iso8601_ms`] accepts what
//! .NET's System.Text.Json accepts where FeatBit reads `updatedAt` (`JsonElement.GetDateTimeOffset`: the
//! extended profile of ISO 8601-1:2019), so that the agent and FeatBit agree on the version of every item.

/// 0001-01-01T00:00:00Z, the first moment that .NET can represent.
const MIN_MS: i64 = -62_135_596_800_000;
/// 9999-12-31T23:59:59.999Z, the last one.
const MAX_MS: i64 = 253_402_300_799_999;

/// 2262-04-10T23:59:59.999Z, the last moment that an item may have. The Go SDK counts nanoseconds in 64 bits, which end a day
/// later; the rest is needed for the higher versions of later changes.
pub const LAST_MS: i64 = 9_223_286_399_999;

/// 1970-01-01T00:00:00Z, before which versions are negative.
pub const FIRST_MS: i64 = 0;

const DAY_MS: i64 = 86_400_000;

/// Unix milliseconds of `text`, truncated towards the past as .NET's `ToUnixTimeMilliseconds` does.
///
/// Accepts `YYYY-MM-DD`, and `YYYY-MM-DDThh:mm` with optional `:ss`, then an optional fraction of 1 to 16
/// digits, then `Z`, `±hh:mm`, `±hh` (offsets up to 14 hours) or nothing, which means UTC. `None` for
/// everything else: white space, lower case `t` and `z`, leap seconds, `24:00`, years before 0001, moments that
/// are outside the years 0001 to 9999 in UTC.
pub fn parse_iso8601_ms(text: &str) -> Option<i64> {
    let (date, rest) = text.as_bytes().split_first_chunk::<10>()?;
    let day_ms = parse_date(date)? * DAY_MS;
    if rest.is_empty() {
        return Some(day_ms);
    }
    let (minutes, rest) = rest.split_first_chunk::<6>()?;
    if minutes[0] != b'T' || minutes[3] != b':' {
        return None;
    }
    let hour = two_digits(minutes[1], minutes[2])?;
    let minute = two_digits(minutes[4], minutes[5])?;
    let (second, millis, offset) = parse_seconds(rest)?;
    if hour > 23 || minute > 59 || second > 59 {
        return None;
    }
    let ms = day_ms + ((hour * 60 + minute) * 60 + second) * 1000 + millis - parse_offset_ms(offset)?;
    (MIN_MS..=MAX_MS).contains(&ms).then_some(ms)
}

/// Whether every SDK reads `text` as the moment that [`parse_iso8601_ms`] takes it for: date and time with seconds, a
/// fraction of at most 9 digits, and `Z` or an offset `±hh:mm`.
///
/// A text without offset or seconds, with an offset of hours only, or with a date only stops the Go and Java SDKs for good,
/// and makes the Rust SDK discard the whole message. The Java SDK does not accept `-00:00`. Such an item is served with its
/// time written again ([`format_iso8601`]).
pub fn is_safe_for_all_sdks(text: &str) -> bool {
    let Some((_, [b':', _, _, rest @ ..])) = text.as_bytes().split_at_checked("2025-01-01T00:00".len())
    else {
        return false;
    };
    let (digits, offset) = match rest {
        [b'.', rest @ ..] => {
            let digits = rest.iter().take_while(|byte| byte.is_ascii_digit()).count();
            (digits, rest.get(digits..).unwrap_or_default())
        }
        _ => (0, rest),
    };
    let offset_is_safe = match offset {
        b"Z" => true,
        b"-00:00" => false,
        [b'+' | b'-', _, _, b':', _, _] => true,
        _ => false,
    };
    digits <= 9 && offset_is_safe && parse_iso8601_ms(text).is_some()
}

/// `ms` since the Unix epoch as `2025-01-01T00:00:00.123Z`, the form in which FeatBit's SDKs all read it.
///
/// Years beyond 9999 or before 0001 are written with as many digits as they need; such a text cannot be parsed.
pub fn format_iso8601(ms: i64) -> String {
    let (year, month, day) = civil_from_days(ms.div_euclid(DAY_MS));
    let time = ms.rem_euclid(DAY_MS);
    let (hour, minute) = (time / 3_600_000, time / 60_000 % 60);
    let (second, millis) = (time / 1000 % 60, time % 1000);
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{millis:03}Z")
}

fn two_digits(tens: u8, ones: u8) -> Option<i64> {
    let (tens, ones) = (tens.wrapping_sub(b'0'), ones.wrapping_sub(b'0'));
    (tens <= 9 && ones <= 9).then(|| i64::from(tens) * 10 + i64::from(ones))
}

/// Days since the epoch of `YYYY-MM-DD`.
fn parse_date(date: &[u8; 10]) -> Option<i64> {
    if date[4] != b'-' || date[7] != b'-' {
        return None;
    }
    let year = two_digits(date[0], date[1])? * 100 + two_digits(date[2], date[3])?;
    let month = two_digits(date[5], date[6])?;
    let day = two_digits(date[8], date[9])?;
    let leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
    let days = match month {
        1 | 3 | 5 | 7 | 8 | 10 | 12 => 31,
        4 | 6 | 9 | 11 => 30,
        2 => 28 + i64::from(leap),
        _ => return None,
    };
    (year >= 1 && (1..=days).contains(&day)).then(|| days_from_civil(year, month, day))
}

/// The seconds and milliseconds after `hh:mm`, and the offset after them.
fn parse_seconds(rest: &[u8]) -> Option<(i64, i64, &[u8])> {
    let [b':', tens, ones, rest @ ..] = rest else {
        return Some((0, 0, rest));
    };
    let second = two_digits(*tens, *ones)?;
    let [b'.', rest @ ..] = rest else {
        return Some((second, 0, rest));
    };
    let digits = rest.iter().take(17).take_while(|byte| byte.is_ascii_digit()).count();
    if digits == 0 || digits > 16 {
        return None;
    }
    let (fraction, offset) = rest.split_at(digits);
    let digit = |at: usize| fraction.get(at).map_or(0, |digit| i64::from(digit - b'0'));
    Some((second, digit(0) * 100 + digit(1) * 10 + digit(2), offset))
}

/// Milliseconds that a local time with `offset` is ahead of UTC.
fn parse_offset_ms(offset: &[u8]) -> Option<i64> {
    let (sign, hours, minutes) = match offset {
        [] | [b'Z'] => return Some(0),
        [sign, tens, ones] => (sign, two_digits(*tens, *ones)?, 0),
        [sign, tens, ones, b':', minute_tens, minute_ones] => {
            (sign, two_digits(*tens, *ones)?, two_digits(*minute_tens, *minute_ones)?)
        }
        _ => return None,
    };
    let ahead_ms = (hours * 60 + minutes) * 60_000;
    if minutes > 59 || hours * 60 + minutes > 14 * 60 {
        return None;
    }
    match sign {
        b'+' => Some(ahead_ms),
        b'-' => Some(-ahead_ms),
        _ => None,
    }
}

/// Days since the epoch of a day of the proleptic Gregorian calendar. Years are counted from March, so that
/// the leap day is the last of its year; 400 years are 146,097 days.
fn days_from_civil(year: i64, month: i64, day: i64) -> i64 {
    let year = if month <= 2 { year - 1 } else { year };
    let era = year.div_euclid(400);
    let year_of_era = year.rem_euclid(400);
    let day_of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    let day_of_era = year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year;
    era * 146_097 + day_of_era - 719_468
}

/// Year, month and day of a count of days since the epoch.
fn civil_from_days(days: i64) -> (i64, i64, i64) {
    let days = days + 719_468;
    let era = days.div_euclid(146_097);
    let day_of_era = days.rem_euclid(146_097);
    let year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_from_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month_from_march + 2) / 5 + 1;
    let month = (month_from_march + 2) % 12 + 1;
    (era * 400 + year_of_era + i64::from(month <= 2), month, day)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use time::format_description::well_known::Rfc3339;
    use time::{Date, Month, OffsetDateTime, Time, UtcOffset};

    use super::{LAST_MS, MAX_MS, MIN_MS, format_iso8601, is_safe_for_all_sdks, parse_iso8601_ms};

    #[test]
    fn accepts_every_form_that_dotnet_accepts() {
        for (text, ms) in [
            ("1970-01-01", 0),
            ("1970-01-02T00:00", 86_400_000),
            ("1970-01-01T00:00Z", 0),
            ("1970-01-01T01:30+01:30", 0),
            ("1970-01-01T00:00:01", 1000),
            ("1970-01-01T00:00:01-01", 3_601_000),
            ("1970-01-01T00:00:01.5", 1500),
            ("1970-01-01T00:00:01.05Z", 1050),
            ("2025-03-01T00:00:04.0782311Z", 1_740_787_204_078),
            ("2025-03-01T00:00:04.9999999999999999Z", 1_740_787_204_999),
            ("2024-02-29T23:59:59.999+14:00", 1_709_200_799_999),
            ("1969-12-31T23:59:59.9999Z", -1),
            ("0001-01-01", MIN_MS),
            ("9999-12-31T23:59:59.9999999Z", MAX_MS),
        ] {
            assert_eq!(parse_iso8601_ms(text), Some(ms), "{text}");
        }
    }

    #[test]
    fn refuses_every_other_form() {
        for text in [
            "",
            "2025",
            "2025-01",
            "2025-1-1",
            "0000-01-01",
            "2025-00-01",
            "2025-13-01",
            "2025-01-00",
            "2025-02-29",
            "2025-04-31",
            "2025/01/01",
            "20250101",
            " 2025-01-01",
            "2025-01-01 ",
            "2025-01-01T",
            "2025-01-01Z",
            "2025-01-01T10",
            "2025-01-01 10:00",
            "2025-01-01t10:00",
            "2025-01-01T1000",
            "2025-01-01T24:00",
            "2025-01-01T10:60",
            "2025-01-01T10:00:60Z",
            "2025-01-01T10:00:",
            "2025-01-01T10:00:0",
            "2025-01-01T10:00z",
            "2025-01-01T10:00.5Z",
            "2025-01-01T10:00:00.",
            "2025-01-01T10:00:00.Z",
            "2025-01-01T10:00:00,5Z",
            "2025-01-01T10:00:00.12345678901234567Z",
            "2025-01-01T10:00:00Z ",
            "2025-01-01T10:00:00ZZ",
            "2025-01-01T10:00:00+1",
            "2025-01-01T10:00:00+0100",
            "2025-01-01T10:00:00+01:",
            "2025-01-01T10:00:00+01:60",
            "2025-01-01T10:00:00+14:01",
            "2025-01-01T10:00:00+15:00",
            "0001-01-01T00:00:00+00:01",
            "9999-12-31T23:59:59-00:01",
            "２025-01-01",
            "2025-01-01T10:00:00é",
        ] {
            assert_eq!(parse_iso8601_ms(text), None, "{text}");
        }
    }

    #[test]
    fn a_form_that_stops_an_sdk_is_not_safe() {
        for (text, safe) in [
            ("2026-01-01T00:00:00Z", true),
            ("2026-01-01T00:00:00.1Z", true),
            ("2026-01-01T00:00:00.123Z", true),
            ("2026-01-01T00:00:00.123456Z", true),
            ("2026-01-01T00:00:00.1234567Z", true),
            ("2026-01-01T00:00:00.123456789Z", true),
            ("2026-01-01T00:00:00+02:00", true),
            ("2026-01-01T00:00:00.123-08:30", true),
            ("2026-01-01T00:00:00+00:00", true),
            // Go and Java stop for good, Rust loses the message.
            ("2026-01-01", false),
            ("2026-01-01T00:00", false),
            ("2026-01-01T00:00Z", false),
            ("2026-01-01T00:00+02:00", false),
            ("2026-01-01T00:00:00", false),
            ("2026-01-01T00:00:00.123", false),
            ("2026-01-01T00:00:00+02", false),
            ("2026-01-01T00:00:00-00:00", false),
            ("2026-01-01T00:00:00.1234567891Z", false),
            // Not dates.
            ("", false),
            ("2026-02-30T00:00:00Z", false),
            ("2026-01-01T00:00:00+15:00", false),
            ("2026-01-01T00:00:0éZ", false),
            ("2026-01-01T00:00é00Z", false),
        ] {
            assert_eq!(is_safe_for_all_sdks(text), safe, "{text}");
        }
    }

    #[test]
    fn formats_the_ends_of_the_range_without_panic() {
        assert_eq!(format_iso8601(1_735_689_600_123), "2025-01-01T00:00:00.123Z");
        assert_eq!(format_iso8601(-1), "1969-12-31T23:59:59.999Z");
        assert_eq!(format_iso8601(LAST_MS), "2262-04-10T23:59:59.999Z");
        const { assert!(i64::MAX / 1_000_000 - LAST_MS > 23 * 3600 * 1000) };
        assert_eq!(format_iso8601(MIN_MS), "0001-01-01T00:00:00.000Z");
        assert_eq!(format_iso8601(MAX_MS), "9999-12-31T23:59:59.999Z");
        assert!(format_iso8601(i64::MAX).starts_with("292278994-08-17T"));
        assert!(format_iso8601(i64::MIN).starts_with("-292275055-05-16T"));
    }

    /// A plain twin: splits the text, and leaves calendar and arithmetic to the `time` crate.
    fn twin(text: &str) -> Option<i64> {
        let number = |text: &str, digits: std::ops::RangeInclusive<usize>| {
            let good = digits.contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_digit());
            good.then(|| text.parse::<u64>().unwrap())
        };
        let (date, clock) = match text.split_once('T') {
            Some((date, clock)) => (date, Some(clock)),
            None => (text, None),
        };
        let [year, month, day] = date.split('-').collect::<Vec<_>>().try_into().ok()?;
        let month = Month::try_from(number(month, 2..=2)? as u8).ok()?;
        let year = number(year, 4..=4)? as i32;
        let date = Date::from_calendar_date(year, month, number(day, 2..=2)? as u8).ok()?;
        let mut nanos = 0;
        let mut offset = UtcOffset::UTC;
        let mut time = Time::MIDNIGHT;
        if let Some(clock) = clock {
            let split = clock.find(['Z', '+', '-']).unwrap_or(clock.len());
            let (clock, zone) = clock.split_at(split);
            let parts = clock.split(':').collect::<Vec<_>>();
            let (second, fraction) = match *parts.get(2).unwrap_or(&"00") {
                second if second.contains('.') => second.split_once('.').unwrap(),
                second => (second, "0"),
            };
            if !(2..=3).contains(&parts.len()) {
                return None;
            }
            number(fraction, 1..=16)?;
            nanos = i128::from(number(&format!("{fraction:0<9}")[..9], 9..=9)?);
            let [hour, minute, second] = [parts[0], parts[1], second].map(|part| number(part, 2..=2));
            time = Time::from_hms(hour? as u8, minute? as u8, second? as u8).ok()?;
            if let Some(ahead) = zone.strip_prefix(['+', '-']) {
                let (hours, minutes) = ahead.split_once(':').unwrap_or((ahead, "00"));
                let (hours, minutes) = (number(hours, 2..=2)? as i8, number(minutes, 2..=2)? as i8);
                if minutes > 59 || i32::from(hours) * 60 + i32::from(minutes) > 840 {
                    return None;
                }
                let sign = if zone.starts_with('-') { -1 } else { 1 };
                offset = UtcOffset::from_hms(hours * sign, minutes * sign, 0).ok()?;
            } else if !matches!(zone, "" | "Z") {
                return None;
            }
        }
        let local = i128::from(date.with_time(time).assume_utc().unix_timestamp()) * 1_000_000_000 + nanos;
        let utc = local - i128::from(offset.whole_seconds()) * 1_000_000_000;
        let ms = i64::try_from(utc.div_euclid(1_000_000)).ok()?;
        (year >= 1 && (MIN_MS..=MAX_MS).contains(&ms)).then_some(ms)
    }

    fn near_timestamps() -> impl Strategy<Value = String> {
        (
            "[0-9]{4}-[01][0-9]-[0-3][0-9]",
            "(T[0-2][0-9]:[0-6][0-9](:[0-6][0-9](\\.[0-9]{0,18})?)?)?",
            "(Z|[+-][01][0-9]:[0-6][0-9]|[+-][01][0-9])?",
        )
            .prop_map(|(date, time, offset)| date + &time + &offset)
    }

    proptest! {
        #[test]
        fn agrees_with_the_time_crate_near_the_grammar(text in near_timestamps()) {
            prop_assert_eq!(parse_iso8601_ms(&text), twin(&text), "{}", text);
            // A safe text is valid RFC 3339, with the same moment.
            if is_safe_for_all_sdks(&text) {
                let moment = OffsetDateTime::parse(&text, &Rfc3339).unwrap().unix_timestamp_nanos();
                prop_assert_eq!(parse_iso8601_ms(&text).map(i128::from), Some(moment.div_euclid(1_000_000)));
            }
        }

        #[test]
        fn agrees_with_the_time_crate_on_damaged_texts(
            text in near_timestamps(), at in 0usize..30, with in "[ T:.Z+0-9-]|é",
        ) {
            let mut text = text;
            let at = at.min(text.len());
            let end = text.len().min(at + 1);
            text.replace_range(at..end, &with);
            prop_assert_eq!(parse_iso8601_ms(&text), twin(&text), "{}", text);
        }

        #[test]
        fn agrees_with_the_time_crates_own_parser(ms in MIN_MS..=MAX_MS, nanos in 0i128..1_000_000) {
            let moment = i128::from(ms) * 1_000_000 + nanos;
            let moment = OffsetDateTime::from_unix_timestamp_nanos(moment).unwrap();
            let text = moment.format(&Rfc3339).unwrap();
            prop_assert_eq!(parse_iso8601_ms(&text), Some(ms), "{}", text);
        }

        #[test]
        fn parses_what_it_formats(ms in MIN_MS..=MAX_MS) {
            let text = format_iso8601(ms);
            prop_assert!(is_safe_for_all_sdks(&text));
            prop_assert_eq!(parse_iso8601_ms(&text), Some(ms));
            let parsed = OffsetDateTime::parse(&text, &Rfc3339).unwrap();
            prop_assert_eq!(parsed.unix_timestamp_nanos(), i128::from(ms) * 1_000_000);
        }
    }
}
