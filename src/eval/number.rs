//! Numbers as .NET's `double.TryParse` reads them with the invariant culture and the styles `Float |
//! AllowThousands`, which is how FeatBit's evaluation server compares numbers.
//!
//! Must refuse what .NET refuses. Only the value is computed by Rust's parser, which rounds correctly.

/// Parses a number; NaN and infinities included.
pub(super) fn parse(text: &str) -> Option<f64> {
    if let Some(number) = small_integer(text.as_bytes()) {
        return Some(number);
    }
    match scan(text.as_bytes()) {
        Some(Literal { plain, commas: false }) => to_f64(plain),
        Some(Literal { plain, commas: true }) => without_commas(plain),
        None => named(text),
    }
}

/// The common case: a few digits, which a double represents exactly.
fn small_integer(text: &[u8]) -> Option<f64> {
    if text.is_empty() || text.len() > 9 {
        return None;
    }
    let mut number = 0u32;
    for byte in text {
        let digit = byte.wrapping_sub(b'0');
        if digit > 9 {
            return None;
        }
        number = number * 10 + u32::from(digit);
    }
    Some(f64::from(number))
}

/// The part of a text that is the number.
struct Literal<'a> {
    plain: &'a [u8],
    commas: bool,
}

fn scan(text: &[u8]) -> Option<Literal<'_>> {
    let blank = |byte: &u8| matches!(byte, 0x09..=0x0d | b' ');
    let digits = |from: &[u8]| from.iter().take_while(|byte| byte.is_ascii_digit()).count();

    let start = text.iter().take_while(|byte| blank(byte)).count();
    let number = &text[start..];
    let mut at = usize::from(matches!(number.first(), Some(b'+' | b'-')));

    let whole = digits(&number[at..]);
    at += whole;
    let mut commas = false;
    if whole > 0 {
        // Any number of group separators may be anywhere between the first digit and the point.
        while let Some(b',' | b'0'..=b'9') = number.get(at) {
            commas |= number[at] == b',';
            at += 1;
        }
    }
    let mut fraction = 0;
    if number.get(at) == Some(&b'.') {
        fraction = digits(&number[at + 1..]);
        at += 1 + fraction;
    }
    if whole + fraction == 0 {
        return None;
    }
    if let Some(b'e' | b'E') = number.get(at) {
        let sign = usize::from(matches!(number.get(at + 1), Some(b'+' | b'-')));
        let exponent = digits(&number[at + 1 + sign..]);
        if exponent > 0 {
            at += 1 + sign + exponent;
        }
    }
    // Blanks may follow, and after them NUL characters, which .NET ignores at the end.
    let rest = &number[at..];
    let rest = &rest[rest.iter().take_while(|byte| blank(byte)).count()..];
    if rest.iter().any(|&byte| byte != 0) {
        return None;
    }
    Some(Literal { plain: &number[..at], commas })
}

fn to_f64(literal: &[u8]) -> Option<f64> {
    std::str::from_utf8(literal).ok()?.parse().ok()
}

fn without_commas(literal: &[u8]) -> Option<f64> {
    let mut short = [0u8; 64];
    let kept = literal.iter().copied().filter(|&byte| byte != b',');
    if literal.len() > short.len() {
        return to_f64(&kept.collect::<Vec<u8>>());
    }
    let mut len = 0;
    for byte in kept {
        short[len] = byte;
        len += 1;
    }
    to_f64(&short[..len])
}

/// `Infinity` and `NaN` in any case, between blanks of any script (unlike those of a number).
fn named(text: &str) -> Option<f64> {
    let text = text.trim();
    let (negative, name) = match text.as_bytes().first() {
        Some(b'-') => (true, &text[1..]),
        Some(b'+') => (false, &text[1..]),
        _ => (false, text),
    };
    if name.eq_ignore_ascii_case("infinity") {
        return Some(if negative { f64::NEG_INFINITY } else { f64::INFINITY });
    }
    name.eq_ignore_ascii_case("nan").then_some(f64::NAN)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// The same by a regular expression and Rust's own parser.
    fn twin(text: &str) -> Option<f64> {
        let shape = regex::Regex::new(
            r"(?x) \A [\x09-\x0d\x20]* ( [+-]? (?: [0-9][0-9,]*\.?[0-9]* | \.[0-9]+ ) (?:[eE][+-]?[0-9]+)? ) [\x09-\x0d\x20]* \x00* \z",
        );
        if let Some(found) = shape.unwrap().captures(text) {
            return found[1].replace(',', "").parse().ok();
        }
        let special = regex::Regex::new(r"(?i)\A\s*([+-]?)(infinity|nan)\s*\z").unwrap();
        let found = special.captures(text)?;
        let value = if found[2].len() == 3 { f64::NAN } else { f64::INFINITY };
        Some(if &found[1] == "-" { -value } else { value })
    }

    fn same(left: Option<f64>, right: Option<f64>) -> bool {
        match (left, right) {
            (Some(left), Some(right)) => left == right || left.is_nan() && right.is_nan(),
            (left, right) => left.is_none() && right.is_none(),
        }
    }

    #[test]
    fn reads_what_dotnet_reads() {
        for (text, value) in [
            ("1,2,", 12.0),
            ("1,,2.50", 12.5),
            ("-.5", -0.5),
            ("+5.", 5.0),
            (" \t12\r\n", 12.0),
            ("12 \0\0", 12.0),
            ("1e400", f64::INFINITY),
            ("-1E+400", f64::NEG_INFINITY),
            ("1e-400", 0.0),
            ("\u{a0}-infinity\u{3000}", f64::NEG_INFINITY),
            ("9007199254740993", 9007199254740992.0),
            ("1e99999999999999999999", f64::INFINITY),
        ] {
            assert_eq!(parse(text), Some(value), "{text:?}");
        }
        assert!(parse("-nan").unwrap().is_nan());
    }

    #[test]
    fn refuses_what_dotnet_refuses() {
        for text in [
            "",
            " ",
            ",1",
            ".",
            "+.",
            "- 1",
            "1-",
            "(5)",
            "$5",
            "5%",
            "0x10",
            "1_000",
            "１２",
            "inf",
            "1d",
            "1.2,3",
            "1e",
            "1e5.5",
            "1 2",
            "\0",
            "\u{a0}1",
            "1\0 ",
            "+-1",
            "--infinity",
            "infinityx",
        ] {
            assert_eq!(parse(text), None, "{text:?}");
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(2000))]
        #[test]
        fn agrees_with_a_regular_expression(
            text in "[ \t\u{b}\0]{0,2}[+-]{0,2}[0-9,]{0,6}[.]?[0-9,]{0,3}([eE][+-]?[0-9]{0,3})?[ \0x\u{a0}]{0,2}"
        ) {
            prop_assert!(same(parse(&text), twin(&text)), "{:?}: {:?}, {:?}", text, parse(&text), twin(&text));
        }

        #[test]
        fn agrees_on_any_text(text in "[ +\\-]{0,2}(infinity|NaN|InF|\\PC{0,5})[ \u{a0}\0]{0,2}") {
            prop_assert!(same(parse(&text), twin(&text)), "{:?}: {:?}, {:?}", text, parse(&text), twin(&text));
        }

        #[test]
        fn long_texts_with_commas_lose_nothing(digits in prop::collection::vec(0u8..10, 60..90)) {
            let plain: String = digits.iter().map(|digit| (b'0' + digit) as char).collect();
            let commas = plain.replace('5', "5,");
            prop_assert_eq!(parse(&commas), parse(&plain));
        }
    }
}
