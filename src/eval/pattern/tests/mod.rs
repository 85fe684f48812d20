//! What patterns mean, which are refused, and that none runs away.

mod quick;
mod twin;

use super::*;
use proptest::prelude::*;

fn compile(pattern: &str) -> Result<Pattern, PatternError> {
    Pattern::new(pattern, &RegexLimits::default(), &Arc::default())
}

fn matches(pattern: &str, text: &str) -> bool {
    compile(pattern).unwrap_or_else(|fault| panic!("{pattern:?}: {fault}")).is_match(text).unwrap()
}

#[test]
fn patterns_mean_what_they_mean_to_dotnet() {
    for (pattern, yes, no) in [
        // Ends of the text.
        ("a$", &["a", "a\n"][..], &["a\n\n", "a\r\n", "ab"][..]),
        ("a\\Z", &["a", "a\n"], &["a\nb"]),
        ("a\\z", &["a"], &["a\n"]),
        ("^(a$|b$)", &["a\n", "b"], &["ab", "a\nb"]),
        ("a$\n", &["a\n"], &["a", "a\n\n"]),
        ("(?m)^b$", &["a\nb\nc", "b\n"], &["ab", "b\r\n"]),
        ("(?:a$)+", &["a\n"], &["a\n\n"]),
        ("$^", &["", "\n"], &["a"]),
        ("\\Ga", &["ab"], &["ba"]),
        // Classes.
        ("^\\w$", &["a", "é", "٣", "_", "\u{301}"], &["\u{903}", "\u{2160}", "-", "\u{200d}"]),
        ("^\\d$", &["1", "٣"], &["²", "a"]),
        ("^\\s$", &[" ", "\u{b}", "\u{85}", "\u{a0}", "\u{3000}"], &["\u{200b}", "\u{180e}"]),
        ("^[\\W_]$", &["-", "_"], &["a"]),
        ("^\\p{IsGreek}$", &["Ω"], &["a"]),
        ("^\\P{IsGreek}$", &["a"], &["Ω"]),
        ("^[\\P{Lu}A]$", &["a", "A"], &["B"]),
        ("^(?i)\\p{Lu}$", &["a", "A", "ǅ"], &["1", "ª\u{301}"]),
        ("^.$", &["a", "\r", "\u{2028}", "😀"], &["\n", "ab"]),
        ("(?s)^.$", &["\n"], &[""]),
        // Sets.
        ("^[a-z-[aeiou]]$", &["b"], &["a", "-", "["]),
        ("^[^a-c-[x]]$", &["d"], &["a", "x"]),
        ("^[a-e-[b-d-[c]]]$", &["a", "c"], &["b", "d"]),
        ("^[a-[b]]$", &["a"], &["b", "-"]),
        ("^[]a]$", &["]", "a"], &["b"]),
        ("^[^]a]$", &["b"], &["]"]),
        ("^[a&&b]$", &["a", "&", "b"], &["c"]),
        ("^[a~~b-]$", &["~", "-"], &["c"]),
        ("^[!--&&b]$", &["!", "-", "&", "b"], &["c"]),
        ("^[[a]$", &["[", "a"], &["b"]),
        ("^[\\w-]$", &["-", "a"], &["+"]),
        ("^[a\\-z]$", &["-", "z"], &["b"]),
        ("^[\\b\\0\\x41\\101\\cA]$", &["\u{8}", "\0", "A", "\u{1}"], &["b"]),
        ("^[\\u0000-\\uFFFF]$", &["a", "\u{ffff}", "😀"], &["ab"]),
        // Escapes.
        ("^\\u0041\\x42\\103\\e\\a\\cZ\\/\\-$", &["ABC\u{1b}\u{7}\u{1a}/-"], &["abc"]),
        ("^\\uD83D\\uDE00$", &["😀"], &["\u{fffd}"]),
        ("^[\\uD83D\\uDE00x]$", &["😀", "x"], &["y"]),
        ("^(a)(b)(c)(d)(e)(f)(g)(h)(i)(j)\\10$", &["abcdefghijj"], &["abcdefghij\u{8}"]),
        ("^(a)\\12$", &["a\n"], &["aa2"]),
        ("^\\10(?#no group)$", &["\u{8}"], &["a"]),
        // Quantifiers and what only looks like one.
        ("^a{,2}$", &["a{,2}"], &["aa"]),
        ("^x{$", &["x{"], &["x"]),
        ("^{}$", &["{}"], &[""]),
        ("^a{2}?b$", &["aab"], &["ab"]),
        ("^(?:^|a)+b", &["b", "ab"], &["cb"]),
        ("^(?=a)*b", &["b"], &["a"]),
        ("^(?=a)+b?a", &["a"], &["b"]),
        // Groups, options, comments.
        ("^(?<n>a)\\k<n>(?'m'b)\\k'm'\\1$", &["aabba"], &["aabbb"]),
        ("^(?<n>a)(b)\\1\\2$", &["abba"], &["abab"]),
        ("^(?<7>a)\\7$", &["aa"], &["a"]),
        ("^a(?i)b|C$", &["aB", "xc"], &["Ab"]),
        ("^(?i:a)b$", &["Ab"], &["AB"]),
        ("^(?i)a(?-i)b$", &["Ab"], &["AB"]),
        ("^(?n)(a)(?<x>b)\\1$", &["abb"], &["aba"]),
        ("^(?x) a b [ ] # comment\n c (?-x) d$", &["ab c d"], &["abcd"]),
        ("^(?x)a + b$", &["aab"], &["a+b"]),
        ("^a(?#one)(?#two)+$", &["aa"], &["a("]),
        ("(?<=a|bc)d", &["ad", "bcd"], &["cd"]),
        ("(?<=a+)d", &["aad"], &["d"]),
        ("(?<!a)d", &["d", "bd"], &["ad"]),
        ("^(?>a+)b", &["aab"], &["b"]),
        ("^(?>a+)ab", &[], &["aaab"]),
        ("^(a)?(?(1)b|c)$", &["ab", "c"], &["b", "ac"]),
        // Another branch, in which the group captures nothing, lets the rest match.
        (r"(?:(\S)|_)(?:(?(1)-)|-)", &["_", "a-"], &["a", ""]),
        ("(?:(a)|a)(?(1)-|b)", &["ab", "a-"], &["a", "b"]),
        (r"^(?:(\S)|_)(?!\1)", &["__", "ab"], &["aa"]),
        ("^(?<n>a)?(?(n)b|c)$", &["ab", "c"], &["ac"]),
        ("^(?(a)ab|c)$", &["ab", "c"], &["a", "b"]),
        ("^(?(?!a)c)$", &["c"], &["b"]),
        ("^(a\\1|b)*$", &["", "b"], &["a", "aa"]),
        // Boundaries, in texts of ASCII and others.
        ("\\bfoo\\b", &["a foo.", "é foo"], &["foobar", "éfoo", "foo\u{200d}", "foo\u{301}"]),
        ("o\\B", &["foo", "oé"], &["o", "é o"]),
        ("^\u{939}\\b", &["\u{939}\u{93f}"], &["\u{939}\u{902}"]),
    ] {
        yes.iter().for_each(|text| assert!(matches(pattern, text), "{pattern:?} must match {text:?}"));
        no.iter().for_each(|text| assert!(!matches(pattern, text), "{pattern:?} must not match {text:?}"));
    }
}

#[test]
fn what_dotnet_refuses_or_no_engine_expresses_is_refused() {
    for pattern in [
        "(",
        ")",
        "[",
        "[]",
        "[^]",
        "*",
        "a**",
        "a++",
        "a{2}{3}",
        "a{2}+",
        "\\",
        "[a\\",
        "(?",
        "(?)",
        "(?<",
        "(?<a",
        "(?<>a)",
        "(?<0>a)",
        "(?P<n>a)",
        "(?z)",
        "(?i",
        "(?#",
        "a|*",
        "(*a)",
        "(?i)*",
        "\\_",
        "\\y",
        "\\é",
        "\\8",
        "\\1",
        "\\k<n>",
        "\\k",
        "\\xg1",
        "\\u12",
        "\\c1",
        "\\pL",
        "\\p{Foo}",
        "\\p{Greek}",
        "[b-a]",
        "[a-\\d]",
        "[a-[b]c]",
        "a{2,1}",
        "a{99999999999}",
        "(?(1)a|b)",
        "(?(a)b|c|d)",
        "(?<a-b>x)",
        "(?<n>a)(?<n>b)\\k<n>",
        "\\k<0>",
        "\\uD83D",
        "[\\uD800-\\uDBFF]",
        "\\p{Cs}",
        "(?((a))b|c)\\1",
        "a(?# )b)",
    ] {
        assert!(compile(pattern).is_err(), "{pattern:?} must be refused");
    }
}

#[test]
fn every_category_and_block_compiles() {
    for name in
        ["L", "Lu", "Mn", "Nd", "Pc", "Cn", "C", "Z", "Sm", "IsThai", "IsSpecials", "IsLatin-1Supplement"]
    {
        for pattern in [format!("\\p{{{name}}}"), format!("[^\\P{{{name}}}]"), format!("(?=\\P{{{name}}})")] {
            assert!(compile(&pattern).is_ok(), "{pattern}");
        }
    }
}

#[test]
fn a_thousand_unicode_digits_are_within_the_limits_but_a_million_are_not() {
    assert!(matches("\\d{1000}", &"1".repeat(1000)));
    assert_eq!(compile("(?:\\d{1000}){1000}").err(), Some(TOO_LARGE));
    assert!(compile(&"(?:a{100}){100}".repeat(100)).is_err());
}

#[test]
fn deep_patterns_are_refused_rather_than_overflowing_the_stack() {
    for (open, close) in
        [("(", ")"), ("(?:", ")"), ("(?=", ")"), ("(?(a)", ")"), ("[a-", "]"), ("(?>(a)?", ")*")]
    {
        let depth = 4_000;
        let pattern = format!("{}x{}", open.repeat(depth), close.repeat(depth));
        assert!(
            Pattern::new(
                &pattern,
                &RegexLimits { pattern_bytes: usize::MAX, ..Default::default() },
                &Arc::default()
            )
            .is_err()
        );
    }
    for (open, close) in [("(", ")"), ("(a|", ")+"), ("(?:(?i)", "b)?"), ("(?=", ")"), ("(?>", ")*")] {
        let pattern = format!("{}x{}", open.repeat(30), close.repeat(30));
        assert!(compile(&pattern).is_ok(), "{pattern}");
    }
    assert!(compile(&"a".repeat(20_000)).is_err());
    assert!(compile(&"(a)".repeat(3_000)).is_ok());
}

#[test]
fn a_search_that_backtracks_without_end_is_given_up() {
    let evil = compile("^(?:(?=a)a+)+$").unwrap();
    assert_eq!(evil.is_match(&format!("{}b", "a".repeat(40))), None);
    assert_eq!(evil.is_match("aaa"), Some(true));
    let long = compile("(?<=a)b").unwrap();
    assert_eq!(long.is_match(&"ab".repeat(8_000)), None);
    assert_eq!((evil.usage.given_up(), long.usage.given_up()), (1, 1));
}

/// What went wrong: the size of each part that is delegated to an automaton was limited, but not the number of parts.
#[test]
fn what_a_pattern_hands_on_to_automata_is_bounded_together() {
    let looks = |count: usize| -> String {
        (0..count).map(|number| format!("(?=.*\\d{{{}}})", 20 + number)).collect()
    };
    assert!(compile(&looks(5)).is_ok());
    assert_eq!(compile(&looks(100)).err(), Some(TOO_LARGE));
    assert_eq!(compile(&looks(100).replace("?=", "?>")).err(), Some(TOO_LARGE));
    assert_eq!(compile(&"(?(a+)b|c)".repeat(600)).err(), Some(TOO_LARGE));
    assert!(compile(r"(?(a+)b|c)(?<n>x)?(?(n)y|z)\1{2}(?>\w+)").is_ok());
    assert!(compile(&format!(r"\b(?:{})\b", vec!["word"; 1000].join("|"))).is_ok());
}

#[test]
fn memory_is_counted_while_a_pattern_lives() {
    for (pattern, least) in
        [("a", PATTERN_BYTES), (r"^\d{100}$", 500_000), (r"(?=\w+)b", 30_000), (r"\bé", 40_000)]
    {
        let usage = Arc::default();
        let compiled = Pattern::new(pattern, &RegexLimits::default(), &usage).unwrap();
        assert_eq!(usage.bytes(), compiled.bytes(), "{pattern}");
        assert!(usage.bytes() >= least, "{pattern}: {}", usage.bytes());
        drop(compiled);
        assert_eq!(usage.bytes(), 0, "{pattern}");
    }
}

proptest! {
    #[test]
    fn nothing_panics(pattern in "\\PC{0,12}|[\\[\\]()\\\\^$.|?*+{}<>=!:#,&~a-c0-9 \u{d7ff}\u{e000}-]{0,16}", text in "\\PC{0,8}") {
        if let Ok(compiled) = compile(&pattern) {
            let _ = compiled.is_match(&text);
        }
    }
}
