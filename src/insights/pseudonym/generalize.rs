//! Coarser forms of a user's properties: a range of numbers, a domain, a network, a country.
//!
//! Must not return anything of a value that does not have the expected form.

use std::net::IpAddr;

/// The range of width `step`, a multiple of it, that a decimal number is in: `20-29` for 27 and 29.5 with a step of 10. Whole
/// numbers from the first to the last, and what lies between the last and the next range.
pub fn range(value: &str, step: u64) -> Option<String> {
    let number = value.trim();
    let (is_negative, digits) = match number.strip_prefix('-') {
        Some(digits) => (true, digits),
        None => (false, number.strip_prefix('+').unwrap_or(number)),
    };
    let (whole, fraction) = digits.split_once('.').unwrap_or((digits, "0"));
    let is_number = |digits: &str| !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit());
    if !is_number(whole) || !is_number(fraction) || whole.len() > 18 {
        return None;
    }
    let has_fraction = fraction.bytes().any(|byte| byte != b'0');
    let whole: i128 = whole.parse().ok()?;
    // The greatest whole number that is not above it.
    let floor = if is_negative { -whole - i128::from(has_fraction) } else { whole };
    let step = i128::from(step.max(1));
    let first = floor.div_euclid(step) * step;
    Some(format!("{first}-{}", first + step - 1))
}

/// The domain of an e-mail address, in lower case.
pub fn domain(value: &str) -> Option<String> {
    let (local, domain) = value.trim().split_once('@')?;
    let is_label = |label: &str| {
        !label.is_empty() && label.chars().all(|letter| letter.is_alphanumeric() || letter == '-')
    };
    let labels = domain.split('.').count();
    let is_domain = labels >= 2 && domain.len() <= 253 && domain.split('.').all(is_label);
    // `4.3.2.1` is an address.
    let is_named = domain.chars().any(char::is_alphabetic);
    let is_local = !local.trim().is_empty();
    (is_local && is_domain && is_named).then(|| domain.to_lowercase())
}

/// The network of an IP address: `203.0.113.0/24`, `2001:db8:1::/48`. An IPv4 address within IPv6 counts as IPv4.
pub fn network(value: &str) -> Option<String> {
    let network = match value.trim().parse::<IpAddr>().ok()?.to_canonical() {
        IpAddr::V4(address) => {
            let bits = u32::from(address) & !0xff;
            format!("{}/24", std::net::Ipv4Addr::from(bits))
        }
        IpAddr::V6(address) => {
            let bits = u128::from(address) >> 80 << 80;
            format!("{}/48", std::net::Ipv6Addr::from(bits))
        }
    };
    Some(network)
}

/// The region of a locale, in upper case: `CH` of `de-CH`, `zh_Hans_CN` and `de_CH.UTF-8`; also `419` of `es-419`.
pub fn country(value: &str) -> Option<String> {
    let tag = value.trim().split(['.', '@']).next()?;
    let mut parts = tag.split(['-', '_']);
    let is_letters = |part: &str, len: std::ops::RangeInclusive<usize>| {
        len.contains(&part.len()) && part.bytes().all(|byte| byte.is_ascii_alphabetic())
    };
    parts.next().filter(|language| is_letters(language, 2..=3))?;
    // Behind the language come up to three extensions of three letters, and a script of four.
    let mut rest = parts.skip_while(|part| is_letters(part, 3..=3)).peekable();
    rest.next_if(|part| is_letters(part, 4..=4));
    let region = rest.next()?;
    let is_number = region.len() == 3 && region.bytes().all(|byte| byte.is_ascii_digit());
    (is_letters(region, 2..=2) || is_number).then(|| region.to_ascii_uppercase())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn numbers_become_ranges() {
        for (value, step, expected) in [
            ("27", 10, Some("20-29")),
            ("29.999", 10, Some("20-29")),
            ("30", 10, Some("30-39")),
            ("30.000", 10, Some("30-39")),
            ("0", 10, Some("0-9")),
            ("-0", 10, Some("0-9")),
            ("-1", 10, Some("-10--1")),
            ("-0.5", 10, Some("-10--1")),
            ("-10", 10, Some("-10--1")),
            ("-10.1", 10, Some("-20--11")),
            (" +7 ", 5, Some("5-9")),
            ("999999999999999999", 10, Some("999999999999999990-999999999999999999")),
            ("1e3", 10, None),
            ("1000000000000000000", 10, None),
            ("ten", 10, None),
            ("", 10, None),
            ("-", 10, None),
            ("1.", 10, None),
            (".5", 10, None),
            ("1,000", 10, None),
            ("0x10", 10, None),
            ("NaN", 10, None),
            ("٣", 10, None),
        ] {
            assert_eq!(range(value, step).as_deref(), expected, "{value}");
        }
    }

    #[test]
    fn addresses_lose_what_is_before_the_at_sign() {
        for (value, expected) in [
            ("Ann.Smith@Example.COM", Some("example.com")),
            (" ann@mail.example.com ", Some("mail.example.com")),
            ("ann@bücher.example", Some("bücher.example")),
            ("example.com", None),
            ("@example.com", None),
            ("ann@", None),
            ("ann@localhost", None),
            ("ann@b@example.com", None),
            ("\"ann@home\"@example.com", None),
            ("ann@example.com, bob@example.com", None),
            ("ann@example..com", None),
            ("ann@10.1.2.3", None),
            ("Ann <ann@example.com>", None),
        ] {
            assert_eq!(domain(value).as_deref(), expected, "{value}");
        }
    }

    #[test]
    fn addresses_of_hosts_become_networks() {
        for (value, expected) in [
            ("203.0.113.77", Some("203.0.113.0/24")),
            ("::ffff:203.0.113.77", Some("203.0.113.0/24")),
            ("2001:db8:1:2:3:4:5:6", Some("2001:db8:1::/48")),
            ("::1", Some("::/48")),
            ("203.0.113.77:80", None),
            ("203.0.113", None),
            ("203.0.113.077", None),
            ("fe80::1%eth0", None),
            ("host", None),
        ] {
            assert_eq!(network(value).as_deref(), expected, "{value}");
        }
    }

    #[test]
    fn locales_become_countries() {
        for (value, expected) in [
            ("de-CH", Some("CH")),
            ("zh_Hans_CN", Some("CN")),
            ("zh-yue-Hant-hk", Some("HK")),
            ("es-419", Some("419")),
            ("de_AT.UTF-8", Some("AT")),
            ("sr_RS@latin", Some("RS")),
            ("de-CH-1996", Some("CH")),
            ("de", None),
            ("DE", None),
            ("en-x-ann", None),
            ("Ann Smith", None),
            ("ann-smith", None),
            ("", None),
            ("C", None),
        ] {
            assert_eq!(country(value).as_deref(), expected, "{value}");
        }
    }

    proptest! {
        #[test]
        fn a_number_is_in_its_range(hundredths in -1_000_000i64..1_000_000, step in 2u64..5000) {
            let sign = if hundredths < 0 { "-" } else { "" };
            let value = format!("{sign}{}.{:02}", hundredths.abs() / 100, hundredths.abs() % 100);
            let text = range(&value, step).unwrap();
            // The first `-` behind the first digit separates the two.
            let (first, last) = text.split_at(text[1..].find('-').unwrap() + 1);
            let (first, last): (i64, i64) = (first.parse().unwrap(), last[1..].parse().unwrap());
            prop_assert!(first * 100 <= hundredths && hundredths < (last + 1) * 100, "{} {}", value, text);
            prop_assert_eq!(last - first + 1, step as i64);
            prop_assert_eq!(first.rem_euclid(step as i64), 0);
        }

        #[test]
        fn no_text_makes_them_panic(value in "\\PC{0,20}") {
            let _ = (range(&value, 10), domain(&value), network(&value), country(&value));
        }
    }
}
