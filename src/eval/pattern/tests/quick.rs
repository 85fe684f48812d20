//! The fast ways compared with the engines that they replace.

use super::super::*;
use proptest::prelude::*;

/// What a pattern was made into, for texts of ASCII.
fn way(pattern: &str) -> &'static str {
    fn of(engine: &Engine) -> &'static str {
        match engine {
            Engine::Automaton(automaton) | Engine::Boundaries { ascii: automaton, .. } => {
                match (&automaton.shapes, &automaton.table) {
                    (Some(_), _) => "shape",
                    (None, Some(_)) => "table",
                    (None, None) => "regex",
                }
            }
            Engine::Backtracking(_) => "backtracking",
            Engine::All(parts) => {
                let ways: Vec<_> = parts.iter().map(|(engine, _)| of(engine)).collect();
                if ways.iter().all(|way| *way == "shape") { "shapes" } else { "parts" }
            }
        }
    }
    of(&Pattern::new(pattern, &RegexLimits::default(), &Arc::default()).unwrap().engine)
}

#[test]
fn common_patterns_go_the_quick_ways() {
    for (pattern, expected) in [
        ("@example\\.(com|org)$", "shape"),
        ("^.*@example\\.com$", "shape"),
        (".*@example\\.com", "shape"),
        ("^[a-z.]+@example\\.(com|org)$", "shape"),
        ("^(alpha|beta|gamma)$", "shape"),
        ("^(user|admin)-\\d+$", "shape"),
        ("^v[12]\\.", "shape"),
        ("^foo$|^bar|baz", "shape"),
        ("^https?://", "shape"),
        ("^.*beta", "shape"),
        ("^[A-Z]{2}\\d{4}$", "table"),
        ("(?i)@EXAMPLE\\.com$", "table"),
        ("\\bbeta\\b", "table"),
        ("^\\w+@\\w+\\.\\w+$", "table"),
        ("^(?!admin).*@example\\.com$", "shapes"),
        ("^(?=.*\\d)(?=.*[a-z]).{8,}$", "parts"),
        ("^(?=.*(.)\\1)a", "backtracking"),
        ("(?<!a)b", "backtracking"),
        ("[ab]*a[ab]{300}", "regex"),
    ] {
        assert_eq!(way(pattern), expected, "{pattern}");
    }
}

/// Parts of patterns that are little more than texts, and some that are not.
fn part() -> impl Strategy<Value = String> {
    prop_oneof![
        4 => "[ab1]{1,2}",
        1 => Just("é".to_owned()),
        1 => Just("\\n".to_owned()),
        4 => (
            prop::sample::select(vec![".", "[ab]", "[^a]", "[^aé]", "[a-zé]", "\\d", "\\w", "[ -~]", "(?s:.)", "a"]),
            prop::sample::select(vec!["", "*", "+", "?", "{2}", "{1,2}", "{0,3}", "{2,}", "*?"]),
        ).prop_map(|(class, times)| format!("{class}{times}")),
        2 => "\\((a|b|1|ab|)\\|(a|é|b1|)\\)[?]?",
        1 => "\\((a|b)\\|\\^a\\|b\\$\\)",
    ]
}

fn branch() -> impl Strategy<Value = String> {
    let anchored = (
        prop::sample::select(vec!["", "^", "^", "\\A"]),
        prop::collection::vec(part(), 0..4),
        prop::sample::select(vec!["", "$", "$", "\\z"]),
    );
    anchored.prop_map(|(start, parts, end)| format!("{start}{}{end}", parts.concat()))
}

fn pattern() -> impl Strategy<Value = String> {
    prop_oneof![
        3 => branch(),
        1 => prop::collection::vec(branch(), 2..4).prop_map(|branches| branches.join("|")),
    ]
}

fn text() -> impl Strategy<Value = String> {
    prop_oneof![3 => "[ab1 ]{0,6}\n?", 2 => "[ab1é\n]{0,6}"]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1000))]

    #[test]
    fn each_quick_way_answers_as_the_automaton(
        pattern in pattern(),
        texts in prop::collection::vec(text(), 1..8),
    ) {
        let limits = RegexLimits::default();
        let Ok(tree) = parse::parse(&pattern) else { return Ok(()) };
        if emit::needs(&tree.node, true) != Needs::default() {
            return Ok(());
        }
        let written = emit::emit(&tree, Dialect::Automaton).unwrap();
        let twin = automaton(&written, &limits).unwrap();
        let quick = Automaton::new(&written, &limits, false).unwrap();
        let parsed = regex_syntax::parse(&written).unwrap();
        let table = Table::of(&parsed, 1 << 20).unwrap();
        let shapes = Shapes::of(&parsed);
        for text in texts {
            let expected = twin.is_match(&text);
            prop_assert_eq!(quick.is_match(&text), expected, "{:?} in {:?}", pattern, text);
            if text.is_ascii() {
                prop_assert_eq!(table.is_match(&text), expected, "{:?} in {:?}", pattern, text);
            }
            if let Some(shapes) = &shapes {
                let found = shapes.is_match(&text);
                prop_assert!(found == Some(expected) || found.is_none(), "{:?} in {:?}", pattern, text);
                prop_assert!(found.is_some() || !shapes.is_certain(), "{:?} in {:?}", pattern, text);
            }
        }
    }
}

proptest! {
    // Compiling for the backtracking engine takes its time.
    #![proptest_config(ProptestConfig::with_cases(150))]

    #[test]
    fn look_aheads_taken_apart_answer_as_backtracking_does(
        looks in prop::collection::vec((any::<bool>(), pattern()), 1..4),
        rest in pattern(),
        texts in prop::collection::vec(text(), 1..8),
    ) {
        let looks: String = looks
            .iter()
            .map(|(negative, pattern)| format!("(?{}{pattern})", if *negative { '!' } else { '=' }))
            .collect();
        let pattern = format!("^{looks}(?:{rest})");
        let limits = RegexLimits::default();
        let tree = parse::parse(&pattern).unwrap();
        let twin = backtracking(&emit::emit(&tree, Dialect::Backtracking).unwrap(), &limits).unwrap();
        let parts = Engine::all(&tree, &limits).unwrap();
        for text in texts {
            let found = parts.is_match(&text, limits.backtracking_text_bytes);
            prop_assert_eq!(found, twin.is_match(&text).ok(), "{:?} in {:?}", pattern, text);
        }
    }
}
