//! Moments as an operator writes them: a date, a date with a time, or how long ago.
//!
//! Must not read a clock: now is an argument. Pure.

use crate::model::timestamp::parse_iso8601_ms;

const DAY_MS: i64 = 86_400_000;

/// What the two options accept.
pub(super) const FORMS: &str =
    "a date as 2026-11-30, a time as 2026-11-30T12:00Z (UTC), or how long ago as 7d, 24h or 30m";

/// When something begins, in Unix milliseconds: a date is the beginning of its day.
pub(super) fn since(text: &str, now_ms: i64) -> Option<i64> {
    moment(text, now_ms).map(|(ms, _)| ms)
}

/// Before when something ends: a date includes its day.
pub(super) fn until(text: &str, now_ms: i64) -> Option<i64> {
    moment(text, now_ms).map(|(ms, is_day)| if is_day { ms + DAY_MS } else { ms })
}

/// A moment, and whether it stands for a whole day.
fn moment(text: &str, now_ms: i64) -> Option<(i64, bool)> {
    let text = text.trim();
    if let Some(ms) = parse_iso8601_ms(text) {
        return Some((ms, text.len() == "2026-11-30".len()));
    }
    let (number, unit) = text.split_at_checked(text.len().checked_sub(1)?)?;
    let unit_ms = match unit {
        "d" => DAY_MS,
        "h" => 3_600_000,
        "m" => 60_000,
        _ => return None,
    };
    let number: u32 = number.parse().ok().filter(|_| number.bytes().all(|byte| byte.is_ascii_digit()))?;
    Some((now_ms - i64::from(number) * unit_ms, false))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// 2026-11-30T12:00:00Z
    const NOW_MS: i64 = 1_796_040_000_000;

    #[test]
    fn dates_include_their_day_and_spans_count_back() {
        let day = NOW_MS - DAY_MS / 2;
        assert_eq!(since("2026-11-30", NOW_MS), Some(day));
        assert_eq!(until("2026-11-30", NOW_MS), Some(day + DAY_MS));
        for parse in [since, until] {
            assert_eq!(parse("2026-11-30T12:00Z", 0), Some(NOW_MS));
            assert_eq!(parse("2026-11-30T13:00:00+01:00", 0), Some(NOW_MS));
            assert_eq!(parse("7d", NOW_MS), Some(NOW_MS - 7 * DAY_MS));
            assert_eq!(parse("24h", NOW_MS), Some(NOW_MS - DAY_MS));
            assert_eq!(parse("30m", NOW_MS), Some(NOW_MS - 1_800_000));
            for wrong in
                ["", "d", "7", "7w", "-1d", "+1d", "1.5h", "yesterday", "2026-11-31", "ä", "99999999999d"]
            {
                assert_eq!(parse(wrong, NOW_MS), None, "{wrong}");
            }
        }
    }
}
