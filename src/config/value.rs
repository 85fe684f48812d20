//! Parses values: durations, sizes, numbers, flags.
//!
//! Must not know any setting. An error says what is wrong and what to write instead. It does not quote the text, because
//! only the caller knows whether it may be shown.

use std::time::Duration;

use super::definition::Unit;

/// Why a text is not a valid value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InvalidValue {
    /// What is wrong, such as "is not a duration".
    pub problem: String,
    /// What to do.
    pub remedy: String,
}

pub(super) fn invalid(problem: impl Into<String>, remedy: impl Into<String>) -> InvalidValue {
    InvalidValue { problem: problem.into(), remedy: remedy.into() }
}

/// The longest duration: a hundred years, so that sums with clock times cannot overflow.
const LONGEST_MS: u128 = 100 * 365 * 24 * 3600 * 1000;

/// Parses a mode: `true` means offline mode.
pub(super) fn mode(text: &str) -> Result<bool, InvalidValue> {
    match text.to_ascii_lowercase().as_str() {
        "manual" | "offline" => Ok(true),
        "auto" | "agent" => Ok(false),
        _ => Err(invalid("is not a mode", "Write auto (or agent), or manual (or offline)")),
    }
}

/// `true` or `false` in upper or lower case, as .NET reads them.
pub fn flag(text: &str) -> Result<bool, InvalidValue> {
    if text.eq_ignore_ascii_case("true") {
        Ok(true)
    } else if text.eq_ignore_ascii_case("false") {
        Ok(false)
    } else {
        Err(invalid("is neither true nor false", "Write true or false"))
    }
}

/// A whole number within bounds.
pub fn count(text: &str, min: u64, max: u64) -> Result<u64, InvalidValue> {
    let number = text
        .parse::<u64>()
        .map_err(|_| invalid("is not a whole number", format!("Write a number from {min} to {max}")))?;
    if number < min || number > max {
        return Err(invalid("is out of range", format!("Write a number from {min} to {max}")));
    }
    Ok(number)
}

/// A number of bytes: `65536`, `64KB`, `64KiB`, `512MB`, `1.5GB`. KB, MB and GB count by 1024.
pub fn bytes(text: &str, min: u64, max: u64) -> Result<u64, InvalidValue> {
    let remedy =
        || format!("Write bytes, or a number with KB, MB or GB (by 1024), from {min} to {max} bytes");
    let (number, unit) = split_unit(text);
    let factor: u64 = match unit.to_ascii_lowercase().as_str() {
        "" | "b" => 1,
        "k" | "kb" | "kib" => 1 << 10,
        "m" | "mb" | "mib" => 1 << 20,
        "g" | "gb" | "gib" => 1 << 30,
        _ if number.is_empty() => return Err(invalid("is not a size", remedy())),
        _ => return Err(invalid(format!("has the unit {unit:?}, which is not a unit of size"), remedy())),
    };
    let bytes = scaled(number, u128::from(factor))
        .and_then(|bytes| u64::try_from(bytes).ok())
        .ok_or_else(|| invalid("is not a size", remedy()))?;
    if bytes < min || bytes > max {
        return Err(invalid("is out of range", remedy()));
    }
    Ok(bytes)
}

/// A number of bytes in the largest unit that needs no fraction, in the form that [`bytes`] parses.
pub(super) fn written_bytes(bytes: u64) -> String {
    let units = [(1_u64 << 30, "GB"), (1 << 20, "MB"), (1 << 10, "KB")];
    match units.into_iter().find(|(unit, _)| bytes != 0 && bytes.is_multiple_of(*unit)) {
        Some((unit, name)) => format!("{} {name}", bytes / unit),
        None => format!("{bytes} B"),
    }
}

/// A duration: `10` (in `unit`), `10s`, `500ms`, `2m`, `1.5h`, `1d`, or .NET's `[d.]hh:mm:ss[.fffffff]`.
pub fn duration(text: &str, unit: Unit, min_ms: u64, zero: bool) -> Result<Duration, InvalidValue> {
    let remedy = || {
        let least = if min_ms > 1 { format!(", at least {}", unit.written(min_ms)) } else { String::new() };
        let none = if zero && min_ms > 0 { ", or 0" } else { "" };
        format!("Write {}, or a number with ms, s, m, h or d, or hh:mm:ss{least}{none}", unit.as_str())
    };
    let duration_ms = if text.contains(':') { time_span_ms(text) } else { with_unit_ms(text, unit)? };
    let Some(duration_ms) = duration_ms else {
        return Err(invalid("is not a duration", remedy()));
    };
    if duration_ms > LONGEST_MS {
        return Err(invalid("is longer than a hundred years", remedy()));
    }
    let duration_ms = u64::try_from(duration_ms).unwrap_or(u64::MAX);
    if duration_ms < min_ms && !(zero && duration_ms == 0) {
        return Err(invalid("is too short", remedy()));
    }
    Ok(Duration::from_millis(duration_ms))
}

fn with_unit_ms(text: &str, bare: Unit) -> Result<Option<u128>, InvalidValue> {
    let (number, unit) = split_unit(text);
    let factor_ms = match (unit.to_ascii_lowercase().as_str(), bare) {
        ("", Unit::Seconds) | ("s" | "sec" | "second" | "seconds", _) => 1000,
        ("", Unit::Milliseconds) | ("ms" | "millisecond" | "milliseconds", _) => 1,
        ("m" | "min" | "minute" | "minutes", _) => 60_000,
        ("h" | "hour" | "hours", _) => 3_600_000,
        ("d" | "day" | "days", _) => 86_400_000,
        _ if number.is_empty() => return Ok(None),
        _ => {
            return Err(invalid(
                format!("has the unit {unit:?}, which is not a unit of time"),
                "Write ms, s, m, h or d after the number",
            ));
        }
    };
    Ok(scaled(number, factor_ms))
}

/// Splits `10 ms` into `10` and `ms`.
fn split_unit(text: &str) -> (&str, &str) {
    let end = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
    (text[..end].trim(), text[end..].trim())
}

/// A decimal number times `factor`, without rounding errors; `None` if it is not a number.
fn scaled(number: &str, factor: u128) -> Option<u128> {
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    if whole.is_empty() || whole.len() > 20 || fraction.len() > 9 {
        return None;
    }
    if number.contains('.') && fraction.is_empty() || !fraction.bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    let whole = whole.parse::<u128>().ok()?.checked_mul(factor)?;
    let scale = 10u128.pow(fraction.len() as u32);
    let fraction = if fraction.is_empty() { 0 } else { fraction.parse::<u128>().ok()? };
    whole.checked_add(fraction * factor / scale)
}

/// .NET's TimeSpan: `[d.]hh:mm[:ss[.fffffff]]`.
fn time_span_ms(text: &str) -> Option<u128> {
    let digits = |text: &str, longest: usize| {
        let fits = !text.is_empty() && text.len() <= longest && text.bytes().all(|b| b.is_ascii_digit());
        if fits { text.parse::<u128>().ok() } else { None }
    };
    let mut parts = text.split(':');
    let (first, minutes, seconds) = (parts.next()?, parts.next()?, parts.next().unwrap_or("0"));
    if parts.next().is_some() {
        return None;
    }
    let (days, hours) = match first.split_once('.') {
        Some((days, hours)) => (digits(days, 8)?, digits(hours, 2)?),
        None => (0, digits(first, 2)?),
    };
    let (seconds, fraction_ms) = match seconds.split_once('.') {
        Some((seconds, fraction)) => {
            let places = fraction.len() as u32;
            (digits(seconds, 2)?, digits(fraction, 7)? * 1000 / 10u128.pow(places))
        }
        None => (digits(seconds, 2)?, 0),
    };
    let minutes = digits(minutes, 2)?;
    if hours > 23 || minutes > 59 || seconds > 59 {
        return None;
    }
    Some((((days * 24 + hours) * 60 + minutes) * 60 + seconds) * 1000 + fraction_ms)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn ms(text: &str, unit: Unit) -> Option<u128> {
        duration(text, unit, 0, true).ok().map(|d| d.as_millis())
    }

    #[test]
    fn durations_take_bare_numbers_units_and_time_spans() {
        for (text, expected) in [
            ("10", 10_000),
            ("10s", 10_000),
            ("10 s", 10_000),
            ("500ms", 500),
            ("1.5s", 1_500),
            ("0.001", 1),
            ("2m", 120_000),
            ("2min", 120_000),
            ("1h", 3_600_000),
            ("1d", 86_400_000),
            ("00:00:10", 10_000),
            ("00:01:30.5", 90_500),
            ("1.02:03:04", 93_784_000),
            ("01:30", 5_400_000),
            ("0", 0),
        ] {
            assert_eq!(ms(text, Unit::Seconds), Some(expected), "{text}");
        }
        assert_eq!(ms("500", Unit::Milliseconds), Some(500));
        assert_eq!(ms("2s", Unit::Milliseconds), Some(2_000));
    }

    #[test]
    fn what_is_no_duration_is_refused() {
        for text in [
            "",
            "-1",
            "ten",
            "10 bananas",
            "10MB",
            "1e3",
            ".5",
            "5.",
            "1.2.3",
            "::",
            "00:60:00",
            "24:00:00",
            "00:00:10:00",
            "1.:00:00",
            "99999999999999999999999",
            "40000d",
            "００:00:10",
            "10s5",
        ] {
            assert_eq!(ms(text, Unit::Seconds), None, "{text}");
        }
        let error = duration("10 bananas", Unit::Seconds, 0, true).unwrap_err();
        assert!(error.problem.contains("bananas"), "{error:?}");
        let error = duration("36", Unit::Seconds, 36_001, true).unwrap_err();
        assert_eq!(error.problem, "is too short");
        assert!(error.remedy.contains("at least 36.001, or 0"), "{error:?}");
        assert_eq!(duration("0", Unit::Seconds, 36_001, true), Ok(Duration::ZERO));
        assert!(duration("0", Unit::Seconds, 10, false).is_err());
    }

    #[test]
    fn sizes_take_bytes_and_units() {
        for (text, expected) in [
            ("0", 0),
            ("536870912", 536_870_912),
            ("512MB", 536_870_912),
            ("512 MiB", 536_870_912),
            ("64k", 65_536),
            ("1.5gb", 1_610_612_736),
            ("7b", 7),
        ] {
            assert_eq!(bytes(text, 0, u64::MAX), Ok(expected), "{text}");
        }
        for text in ["", "MB", "-1", "12 parsecs", "10s", "1,000", "99999999999999999999999GB"] {
            assert!(bytes(text, 0, u64::MAX).is_err(), "{text}");
        }
        assert_eq!(bytes("1", 2, 3).unwrap_err().problem, "is out of range");
    }

    #[test]
    fn flags_and_counts_take_only_what_they_are() {
        assert_eq!(flag("TRUE"), Ok(true));
        assert_eq!(flag("False"), Ok(false));
        for text in ["", "1", "yes", "truee"] {
            assert!(flag(text).is_err(), "{text}");
        }
        assert_eq!(count("5", 1, 5), Ok(5));
        for text in ["", "6", "0", "-1", "1.0", "5s"] {
            assert!(count(text, 1, 5).is_err(), "{text}");
        }
    }

    proptest! {
        #[test]
        fn no_text_makes_a_parser_panic(text in "\\PC{0,24}") {
            let _ = duration(&text, Unit::Seconds, 0, true);
            let _ = bytes(&text, 0, u64::MAX);
            let _ = count(&text, 0, u64::MAX);
            let _ = flag(&text);
        }

        #[test]
        fn milliseconds_survive_every_spelling(value_ms in 0u64..360_000_000) {
            let expected = Duration::from_millis(value_ms);
            let seconds = format!("{}.{:03}", value_ms / 1000, value_ms % 1000);
            let (s, rest) = (value_ms / 1000, value_ms % 1000);
            let span = format!("{}.{:02}:{:02}:{:02}.{rest:03}", s / 86_400, s / 3600 % 24, s / 60 % 60, s % 60);
            for text in [format!("{value_ms}ms"), seconds, span] {
                prop_assert_eq!(duration(&text, Unit::Seconds, 0, true), Ok(expected), "{}", text);
            }
        }
    }
}
