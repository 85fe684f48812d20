//! Compiles flags and segments from their definitions.
//!
//! Must not fail: every definition becomes something that can be evaluated. Errors that only compiling finds, such as a
//! pattern or a number that cannot be used, are reported as findings; all others were found when the dataset was parsed. The
//! path of a finding is relative to the flag or segment. Findings never quote values, because values can be user data.

use std::borrow::Cow;
use std::collections::HashMap;
use std::ops::Range;
use std::sync::{Arc, Weak};

use memchr::memmem::Finder;

use super::condition::{Attribute, Condition, Order, Test};
use super::keys::KeySet;
use super::number;
use super::pattern::{Pattern, PatternUsage, RegexLimits, TOO_LARGE};
use super::segment::{Segment, SegmentSlots};
use super::text::TextBuilder;
use crate::model::dataset::Finding;
use crate::model::segment::{Condition as ConditionDef, SegmentDef};

/// The properties that make a condition refer to segments. FeatBit looks only at the property, not at `op`.
const IN_SEGMENT: &str = "User is in segment";
const NOT_IN_SEGMENT: &str = "User is not in segment";

/// With fewer patterns the cache is not searched for unused ones.
const PURGE_MIN: usize = 1024;

/// Compiles definitions, and keeps what compilations share.
#[derive(Debug)]
pub struct Compiler {
    /// The slots of segments, shared by all environments.
    pub slots: SegmentSlots,
    limits: RegexLimits,
    /// Each pattern is compiled once, however many flags use it, and freed with the last of them.
    patterns: HashMap<Box<str>, Result<Weak<Pattern>, &'static str>>,
    purge_at: usize,
    usage: Arc<PatternUsage>,
    /// Bytes of the patterns compiled for the present change.
    fresh_bytes: usize,
}

/// The error of a pattern that does not fit into the memory for all patterns.
const TOO_MANY: &str = "all of them together are too large, see Limits__RegexTotalBytes";

impl Default for Compiler {
    fn default() -> Self {
        Self::new(RegexLimits::default())
    }
}

impl Compiler {
    /// A new compiler.
    pub fn new(limits: RegexLimits) -> Self {
        Self {
            slots: SegmentSlots::new(),
            limits,
            patterns: HashMap::new(),
            purge_at: PURGE_MIN,
            usage: Arc::default(),
            fresh_bytes: 0,
        }
    }

    /// The memory of compiled patterns.
    pub fn pattern_usage(&self) -> &Arc<PatternUsage> {
        &self.usage
    }

    /// Begins a change: its patterns may take the whole of [`RegexLimits::total_bytes`], because those that it replaces will
    /// be freed.
    pub fn begin_change(&mut self) {
        self.fresh_bytes = 0;
    }

    /// Compiles a segment. This does not assign it a slot: references and `slots.slot` do.
    pub fn segment(&mut self, def: &SegmentDef<'_>, findings: &mut Vec<Finding>) -> Segment {
        let mut texts = TextBuilder::default();
        let mut conditions = Vec::new();
        let mut rules = Vec::with_capacity(def.rules.len());
        for (number, rule) in def.rules.iter().enumerate() {
            let mut found = ConditionFindings { rule: number, condition: 0, findings };
            rules.push(self.conditions(&rule.conditions, &mut texts, &mut conditions, None, &mut found));
        }
        Segment {
            arena: texts.finish(),
            included: KeySet::new(def.included.iter().copied()),
            excluded: KeySet::new(def.excluded.iter().copied()),
            conditions: conditions.into_boxed_slice(),
            rules: rules.into_boxed_slice(),
        }
    }

    /// Compiles the conditions of one rule and returns their range in `into`. `used` collects the slots of the segments that
    /// they refer to; without it, conditions cannot refer to segments.
    pub(super) fn conditions(
        &mut self,
        defs: &[ConditionDef<'_>],
        texts: &mut TextBuilder,
        into: &mut Vec<Condition>,
        mut used: Option<&mut Vec<u32>>,
        found: &mut ConditionFindings<'_>,
    ) -> Range<u32> {
        let start = into.len() as u32;
        for (number, def) in defs.iter().enumerate() {
            found.condition = number;
            into.push(match (used.as_deref_mut(), def.property) {
                (Some(used), IN_SEGMENT) => self.segments(def, true, used),
                (Some(used), NOT_IN_SEGMENT) => self.segments(def, false, used),
                _ => {
                    let test = self.test(def, texts, found);
                    Condition { attribute: Attribute::new(def.property, texts), test }
                }
            });
        }
        start..into.len() as u32
    }

    fn segments(&mut self, def: &ConditionDef<'_>, positive: bool, used: &mut Vec<u32>) -> Condition {
        // A missing value means no segments.
        let test = match string_list(def.value.unwrap_or("null")) {
            Some(ids) => {
                let slots: Box<[u32]> = ids.iter().map(|id| self.slots.slot(id)).collect();
                used.extend_from_slice(&slots);
                Test::InSegments { slots, positive }
            }
            None => Test::Never,
        };
        Condition { attribute: Attribute::Blank, test }
    }

    fn test(
        &mut self,
        def: &ConditionDef<'_>,
        texts: &mut TextBuilder,
        found: &mut ConditionFindings<'_>,
    ) -> Test {
        let Some(value) = def.value else { return Test::Never };
        match def.op {
            "LessThan" => compare(Order::Less, value, found),
            "LessEqualThan" => compare(Order::LessOrEqual, value, found),
            "BiggerThan" => compare(Order::Bigger, value, found),
            "BiggerEqualThan" => compare(Order::BiggerOrEqual, value, found),
            "Equal" => Test::Equal { text: texts.push(value), positive: true },
            "NotEqual" => Test::Equal { text: texts.push(value), positive: false },
            "Contains" => contains(value, true),
            "NotContain" => contains(value, false),
            "StartsWith" => Test::StartsWith(texts.push(value)),
            "EndsWith" => Test::EndsWith(texts.push(value)),
            "MatchRegex" => self.matches(value, true, found),
            "NotMatchRegex" => self.matches(value, false, found),
            "IsOneOf" => one_of(value, true),
            "NotOneOf" => one_of(value, false),
            "IsTrue" => Test::Word("true"),
            "IsFalse" => Test::Word("false"),
            _ => Test::Never,
        }
    }

    fn matches(&mut self, pattern: &str, positive: bool, found: &mut ConditionFindings<'_>) -> Test {
        match self.pattern(pattern) {
            Ok(pattern) => Test::Matches { pattern, positive },
            Err(error) => {
                found.report(
                    "value",
                    &format!("not a usable regular expression ({error}); the condition is never true"),
                );
                Test::Never
            }
        }
    }

    fn pattern(&mut self, pattern: &str) -> Result<Arc<Pattern>, &'static str> {
        match self.patterns.get(pattern) {
            Some(Ok(known)) => {
                if let Some(known) = known.upgrade() {
                    return Ok(known);
                }
            }
            Some(Err(error)) => return Err(error),
            None => {}
        }
        if self.patterns.len() >= self.purge_at {
            self.patterns
                .retain(|_, known| known.as_ref().is_ok_and(|pattern| Weak::strong_count(pattern) > 0));
            self.purge_at = PURGE_MIN.max(self.patterns.len() * 2);
        }
        let compiled = self.compile(pattern);
        // There may be enough memory later, so this error is not cached.
        if compiled.as_ref().err() != Some(&TOO_MANY) {
            self.patterns
                .insert(pattern.into(), compiled.as_ref().map(Arc::downgrade).map_err(|error| *error));
        }
        compiled
    }

    fn compile(&mut self, pattern: &str) -> Result<Arc<Pattern>, &'static str> {
        let RegexLimits { total_bytes, program_bytes, .. } = self.limits;
        let fresh_room = total_bytes.saturating_sub(self.fresh_bytes);
        let room = fresh_room.min((2 * total_bytes).saturating_sub(self.usage.bytes()));
        // Compiling stops as soon as the pattern does not fit.
        let limits = RegexLimits { program_bytes: program_bytes.min(room), ..self.limits };
        let compiled = Pattern::new(pattern, &limits, &self.usage).map_err(|error| match error {
            TOO_LARGE if limits.program_bytes < program_bytes => TOO_MANY,
            error => error,
        });
        let compiled = compiled.and_then(|compiled| match compiled.bytes() <= room {
            true => Ok(Arc::new(compiled)),
            false => Err(TOO_MANY),
        });
        match &compiled {
            Ok(compiled) => self.fresh_bytes += compiled.bytes(),
            Err(TOO_LARGE) => self.usage.count_too_large(),
            Err(TOO_MANY) => self.usage.count_too_many(),
            Err(_) => {}
        }
        compiled
    }
}

fn compare(order: Order, value: &str, found: &mut ConditionFindings<'_>) -> Test {
    match number::parse(value) {
        Some(than) if !than.is_nan() => Test::Number { order, than },
        _ => {
            found.report("value", "not a number; the condition is never true");
            Test::Never
        }
    }
}

fn contains(value: &str, positive: bool) -> Test {
    Test::Contains { finder: Box::new(Finder::new(value.as_bytes()).into_owned()), positive }
}

fn one_of(value: &str, positive: bool) -> Test {
    match string_list(value) {
        Some(list) => {
            let keys = Box::new(KeySet::new(list.iter().map(|key| &**key)));
            Test::OneOf { keys, positive }
        }
        None => Test::Never,
    }
}

/// The strings of a JSON array. As in FeatBit, null is accepted for the array and for elements, but nothing else that is not
/// a string.
fn string_list(json: &str) -> Option<Vec<Cow<'_, str>>> {
    /// Borrowed if nothing is escaped.
    #[derive(serde::Deserialize)]
    struct Element<'a>(#[serde(borrow)] Cow<'a, str>);

    let list: Option<Vec<Option<Element<'_>>>> = serde_json::from_str(json).ok()?;
    Some(list.unwrap_or_default().into_iter().flatten().map(|element| element.0).collect())
}

/// Collects findings about the condition that is being compiled.
pub(super) struct ConditionFindings<'f> {
    pub(super) rule: usize,
    pub(super) condition: usize,
    pub(super) findings: &'f mut Vec<Finding>,
}

impl ConditionFindings<'_> {
    fn report(&mut self, field: &str, message: &str) {
        let path = format!("rules[{}].conditions[{}].{field}", self.rule, self.condition);
        self.findings.push(Finding { path, message: message.to_owned() });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::eval::segment::Segments;
    use crate::model::environment_id::EnvironmentId;
    use crate::model::segment::SegmentRule;
    use crate::model::user::User;

    fn segment(conditions: Vec<ConditionDef<'_>>) -> SegmentDef<'_> {
        SegmentDef {
            raw: "",
            id: "s",
            env_id: EnvironmentId::from_bytes([0; 16]),
            updated_at_ms: 0,
            suits_all_sdks: true,
            has_microseconds: false,
            sent_ms: i64::MIN,
            is_archived: false,
            included: Vec::new(),
            excluded: Vec::new(),
            rules: vec![SegmentRule { conditions }],
        }
    }

    fn condition<'a>(property: &'a str, op: &'a str, value: Option<&'a str>) -> ConditionDef<'a> {
        ConditionDef { property, op, value }
    }

    /// Compiles one condition of a flag's rule and says whether it holds for a user whose `p` is `text`.
    fn holds(def: ConditionDef<'_>, text: &str, segments: &Segments) -> (bool, Vec<Finding>) {
        let mut compiler = Compiler::default();
        let (mut texts, mut conditions, mut findings) = (TextBuilder::default(), Vec::new(), Vec::new());
        let mut found = ConditionFindings { rule: 3, condition: 0, findings: &mut findings };
        compiler.conditions(&[def], &mut texts, &mut conditions, Some(&mut Vec::new()), &mut found);
        let user = User::new("key", None, &[("p", Some(text)), ("p", Some("second")), ("q", None)]).unwrap();
        (conditions[0].holds(&user, &texts.finish(), |slot| segments.contain(slot, &user)), findings)
    }

    #[test]
    fn what_cannot_be_used_is_reported_once_and_never_holds() {
        for (op, value) in [
            ("MatchRegex", "("),
            ("NotMatchRegex", "[secret"),
            ("LessThan", "secret"),
            ("BiggerEqualThan", "NaN"),
        ] {
            let (held, findings) = holds(condition("p", op, Some(value)), "text", &Segments::default());
            assert!(!held, "{op} {value}");
            assert_eq!(findings.len(), 1, "{op} {value}");
            assert_eq!(findings[0].path, "rules[3].conditions[0].value");
            assert!(!findings[0].message.contains("secret"));
        }
    }

    #[test]
    fn what_is_no_list_holds_in_neither_polarity() {
        for (property, op) in [("p", "IsOneOf"), ("p", "NotOneOf"), (IN_SEGMENT, ""), (NOT_IN_SEGMENT, "")] {
            for value in ["", "text", "[1]", "{}", "\"text\"", "[\"text\""] {
                let found = holds(condition(property, op, Some(value)), "text", &Segments::default());
                assert_eq!(found, (false, Vec::new()), "{property} {op} {value}");
            }
        }
    }

    #[test]
    fn unknown_operators_and_missing_values_never_hold() {
        for (op, value) in
            [("NotEqual", None), ("NotOneOf", None), ("equal", Some("text")), ("", Some("text"))]
        {
            assert!(!holds(condition("p", op, value), "text", &Segments::default()).0, "{op}");
        }
        // Without a name, neither an operator on it nor its negation holds.
        for op in ["Equal", "NotEqual", "NotContain", "IsFalse"] {
            assert!(!holds(condition("name", op, Some("false")), "text", &Segments::default()).0, "{op}");
        }
    }

    #[test]
    fn attributes_are_found_by_exact_name_and_the_first_one_counts() {
        for (property, value, held) in [
            ("p", "text", true),
            ("p", "second", false),
            ("P", "", true),
            ("q", "", true),
            ("keyId", "key", true),
            ("keyid", "key", false),
            (" \u{3000}", "", true),
        ] {
            let found = holds(condition(property, "Equal", Some(value)), "text", &Segments::default()).0;
            assert_eq!(found, held, "{property:?}");
        }
    }

    #[test]
    fn nobody_is_in_an_unknown_segment_nor_in_none() {
        for list in [None, Some("null"), Some("[]"), Some(r#"["gone", null]"#)] {
            assert!(!holds(condition(IN_SEGMENT, "", list), "", &Segments::default()).0, "{list:?}");
            assert!(holds(condition(NOT_IN_SEGMENT, "", list), "", &Segments::default()).0, "{list:?}");
        }
    }

    #[test]
    fn segments_do_not_nest_and_give_no_slots() {
        let mut compiler = Compiler::default();
        let mut findings = Vec::new();
        let def = segment(vec![condition(IN_SEGMENT, "IsOneOf", Some(r#"["other"]"#))]);
        let compiled = compiler.segment(&def, &mut findings);
        assert!(compiler.slots.is_empty() && findings.is_empty());
        assert!(!compiled.contains(&User::new("key", None, &[]).unwrap()));
        // To a segment, the property is an attribute like any other.
        assert!(compiled.contains(&User::new("key", None, &[(IN_SEGMENT, Some("other"))]).unwrap()));
    }

    #[test]
    fn excluded_comes_before_included_before_rules() {
        let def = SegmentDef { included: vec!["a", "b"], excluded: vec!["b", "c"], ..segment(Vec::new()) };
        let mut compiler = Compiler::default();
        let compiled = compiler.segment(&def, &mut Vec::new());
        let contains = |segment: &Segment, key| segment.contains(&User::new(key, None, &[]).unwrap());
        let found = ["a", "b", "c", "d"].map(|key| contains(&compiled, key));
        assert_eq!(found, [true, false, false, true], "a rule without conditions holds for everybody");
        let lists_only = compiler.segment(&SegmentDef { rules: Vec::new(), ..def }, &mut Vec::new());
        assert_eq!(["a", "b", "c", "d"].map(|key| contains(&lists_only, key)), [true, false, false, false]);
    }

    #[test]
    fn a_pattern_is_compiled_once_and_forgotten_when_nothing_uses_it() {
        let mut compiler = Compiler::default();
        let kept = compiler.pattern("^kept$").unwrap();
        assert!(Arc::ptr_eq(&kept, &compiler.pattern("^kept$").unwrap()));
        assert_eq!(compiler.pattern("(").err(), compiler.pattern("(").err());
        let bytes = compiler.usage.bytes();
        for number in 0..3 * PURGE_MIN {
            compiler.pattern(&format!("unused {number}")).unwrap();
            assert!(compiler.patterns.len() <= PURGE_MIN);
        }
        assert!(Arc::ptr_eq(&kept, &compiler.pattern("^kept$").unwrap()));
        assert_eq!(compiler.usage.bytes(), bytes);
        drop(kept);
        assert_eq!(compiler.usage.bytes(), 0);
        // Known by name only, and so compiled again.
        compiler.pattern("^kept$").unwrap();
    }

    /// What went wrong: patterns were bounded one by one, so that many of them could take any amount of memory.
    #[test]
    fn all_patterns_together_take_no_more_than_allowed() {
        let one = Pattern::new("^user-0000$", &RegexLimits::default(), &Arc::default()).unwrap().bytes();
        let mut compiler = Compiler::new(RegexLimits { total_bytes: 10 * one, ..RegexLimits::default() });
        let pattern = |number: usize| format!("^user-{number:04}$");
        let old: Vec<_> = (0..20).map_while(|number| compiler.pattern(&pattern(number)).ok()).collect();
        // Memory during compilation counts too.
        assert!((6..=10).contains(&old.len()), "{}", old.len());
        let usage = compiler.usage.clone();
        let sum = |patterns: &[Arc<Pattern>]| patterns.iter().map(|pattern| pattern.bytes()).sum::<usize>();
        assert_eq!((usage.bytes(), usage.too_many(), usage.too_large()), (sum(&old), 1, 0));
        assert!(usage.bytes() <= 10 * one);
        assert!(compiler.pattern("\\d{500}").is_err_and(|error| error == TOO_MANY));
        // Another change replaces them: both are there until the old data is gone.
        compiler.begin_change();
        let new: Vec<_> = (20..40).map_while(|number| compiler.pattern(&pattern(number)).ok()).collect();
        assert_eq!(usage.bytes(), sum(&old) + sum(&new));
        assert!(new.len() + 1 >= old.len());
        compiler.begin_change();
        let more: Vec<_> = (40..80).map_while(|number| compiler.pattern(&pattern(number)).ok()).collect();
        assert!(more.len() < old.len() && usage.bytes() <= 20 * one, "the old data is still there");
        drop((old, more));
        compiler.begin_change();
        assert!(compiler.pattern(&pattern(40)).is_ok());
        assert!(compiler.pattern("(?:\\d{1000}){1000}").is_err_and(|error| error == TOO_MANY));
        let mut compiler = Compiler::default();
        assert!(compiler.pattern("(?:\\d{1000}){1000}").is_err_and(|error| error == TOO_LARGE));
        assert_eq!(compiler.usage.too_large(), 1);
    }

    #[test]
    fn lists_of_strings_tolerate_null_and_nothing_else() {
        let list =
            |json| string_list(json).map(|list| list.into_iter().map(Cow::into_owned).collect::<Vec<_>>());
        assert_eq!(list(r#" ["a", null, "caf\u00e9"] "#), Some(vec!["a".to_owned(), "café".to_owned()]));
        assert_eq!(list("null"), Some(Vec::new()));
        for json in ["", "a", "{}", "\"a\"", "[1]", "[\"a\",]", "[[\"a\"]]", "[\"a\"] x", "[\"\\ud800\"]"] {
            assert_eq!(list(json), None, "{json}");
        }
        assert!(matches!(string_list(r#"["plain"]"#).unwrap()[0], Cow::Borrowed("plain")));
    }
}
