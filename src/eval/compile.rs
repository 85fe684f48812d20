//! Compiles flags and segments from their definitions.
//!
//! Must not fail: whatever a definition holds, it becomes something that can be evaluated. What only shows when it is
//! compiled, a pattern or a number that cannot be used, is reported as a finding; what shows in the definition
//! itself was found by the dataset's own check. The path of a finding is relative to the flag or segment, and its
//! text never quotes a value, since values can be users' data.

use std::borrow::Cow;
use std::collections::HashMap;
use std::ops::Range;
use std::sync::Arc;

use memchr::memmem::Finder;

use super::condition::{Attribute, Condition, Order, Test};
use super::flag::Flag;
use super::keys::KeySet;
use super::number;
use super::pattern::{Pattern, RegexLimits};
use super::segment::{Segment, SegmentSlots};
use super::text::TextBuilder;
use crate::model::dataset::Finding;
use crate::model::flag::FlagDef;
use crate::model::segment::{Condition as ConditionDef, SegmentDef};

/// The properties that make a condition ask for segments. FeatBit decides by the property; `op` is not looked at.
const IN_SEGMENT: &str = "User is in segment";
const NOT_IN_SEGMENT: &str = "User is not in segment";

/// Below this many patterns the cache is not searched for unused ones.
const PURGE_MIN: usize = 1024;

/// What compiling needs beside the definitions, kept from one compilation to the next.
#[derive(Debug)]
pub struct Compiler {
    /// The slots of segments, shared by all environments.
    pub slots: SegmentSlots,
    limits: RegexLimits,
    /// Each pattern is compiled once, however many flags use it.
    patterns: HashMap<Box<str>, Result<Arc<Pattern>, &'static str>>,
    purge_at: usize,
}

impl Default for Compiler {
    fn default() -> Self {
        Self::new(RegexLimits::default())
    }
}

impl Compiler {
    /// A compiler that has seen nothing yet.
    pub fn new(limits: RegexLimits) -> Self {
        Self { slots: SegmentSlots::new(), limits, patterns: HashMap::new(), purge_at: PURGE_MIN }
    }

    /// Compiles a flag; segments that it refers to get slots.
    pub fn flag(&mut self, def: &FlagDef<'_>, findings: &mut Vec<Finding>) -> Flag {
        Flag::compile(self, def, findings)
    }

    /// Compiles a segment. Does not give it a slot: only references and `slots.slot` do.
    pub fn segment(&mut self, def: &SegmentDef<'_>, findings: &mut Vec<Finding>) -> Segment {
        let mut texts = TextBuilder::default();
        let mut conditions = Vec::new();
        let mut rules = Vec::with_capacity(def.rules.len());
        for (number, rule) in def.rules.iter().enumerate() {
            let mut place = Place { rule: number, condition: 0, findings };
            rules.push(self.conditions(&rule.conditions, &mut texts, &mut conditions, None, &mut place));
        }
        Segment {
            arena: texts.finish(),
            included: KeySet::new(def.included.iter().copied()),
            excluded: KeySet::new(def.excluded.iter().copied()),
            conditions: conditions.into_boxed_slice(),
            rules: rules.into_boxed_slice(),
        }
    }

    /// Compiles the conditions of one rule and returns where they stand in `into`. `used` collects the slots of
    /// segments referred to; without it, segments are no subject of conditions.
    pub(super) fn conditions(
        &mut self,
        defs: &[ConditionDef<'_>],
        texts: &mut TextBuilder,
        into: &mut Vec<Condition>,
        mut used: Option<&mut Vec<u32>>,
        place: &mut Place<'_>,
    ) -> Range<u32> {
        let start = into.len() as u32;
        for (number, def) in defs.iter().enumerate() {
            place.condition = number;
            into.push(match (used.as_deref_mut(), def.property) {
                (Some(used), IN_SEGMENT) => self.segments(def, true, used),
                (Some(used), NOT_IN_SEGMENT) => self.segments(def, false, used),
                _ => {
                    let test = self.test(def, texts, place);
                    Condition { attribute: Attribute::new(def.property, texts), test }
                }
            });
        }
        start..into.len() as u32
    }

    fn segments(&mut self, def: &ConditionDef<'_>, positive: bool, used: &mut Vec<u32>) -> Condition {
        // No value at all reads as no segment.
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

    fn test(&mut self, def: &ConditionDef<'_>, texts: &mut TextBuilder, place: &mut Place<'_>) -> Test {
        let Some(value) = def.value else { return Test::Never };
        match def.op {
            "LessThan" => compare(Order::Less, value, place),
            "LessEqualThan" => compare(Order::LessOrEqual, value, place),
            "BiggerThan" => compare(Order::Bigger, value, place),
            "BiggerEqualThan" => compare(Order::BiggerOrEqual, value, place),
            "Equal" => Test::Equal { text: texts.push(value), positive: true },
            "NotEqual" => Test::Equal { text: texts.push(value), positive: false },
            "Contains" => contains(value, true),
            "NotContain" => contains(value, false),
            "StartsWith" => Test::StartsWith(texts.push(value)),
            "EndsWith" => Test::EndsWith(texts.push(value)),
            "MatchRegex" => self.matches(value, true, place),
            "NotMatchRegex" => self.matches(value, false, place),
            "IsOneOf" => one_of(value, true),
            "NotOneOf" => one_of(value, false),
            "IsTrue" => Test::Word("true"),
            "IsFalse" => Test::Word("false"),
            _ => Test::Never,
        }
    }

    fn matches(&mut self, pattern: &str, positive: bool, place: &mut Place<'_>) -> Test {
        match self.pattern(pattern) {
            Ok(pattern) => Test::Matches { pattern, positive },
            Err(fault) => {
                place.report(
                    "value",
                    &format!("not a usable regular expression ({fault}); the condition is never true"),
                );
                Test::Never
            }
        }
    }

    fn pattern(&mut self, pattern: &str) -> Result<Arc<Pattern>, &'static str> {
        if let Some(known) = self.patterns.get(pattern) {
            return known.clone();
        }
        if self.patterns.len() >= self.purge_at {
            self.patterns
                .retain(|_, known| known.as_ref().is_ok_and(|pattern| Arc::strong_count(pattern) > 1));
            self.purge_at = PURGE_MIN.max(self.patterns.len() * 2);
        }
        let compiled = Pattern::new(pattern, &self.limits).map(Arc::new);
        self.patterns.insert(pattern.into(), compiled.clone());
        compiled
    }
}

fn compare(order: Order, value: &str, place: &mut Place<'_>) -> Test {
    match number::parse(value) {
        Some(than) if !than.is_nan() => Test::Number { order, than },
        _ => {
            place.report("value", "not a number; the condition is never true");
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

/// The strings of a JSON array. Null, for the array or an element, is tolerated as FeatBit does; anything else that
/// is no string is not.
fn string_list(json: &str) -> Option<Vec<Cow<'_, str>>> {
    /// Borrows where nothing is escaped.
    #[derive(serde::Deserialize)]
    struct Element<'a>(#[serde(borrow)] Cow<'a, str>);

    let list: Option<Vec<Option<Element<'_>>>> = serde_json::from_str(json).ok()?;
    Some(list.unwrap_or_default().into_iter().flatten().map(|element| element.0).collect())
}

/// Which condition is being compiled, and where findings go.
pub(super) struct Place<'f> {
    pub(super) rule: usize,
    pub(super) condition: usize,
    pub(super) findings: &'f mut Vec<Finding>,
}

impl Place<'_> {
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
        let mut place = Place { rule: 3, condition: 0, findings: &mut findings };
        compiler.conditions(&[def], &mut texts, &mut conditions, Some(&mut Vec::new()), &mut place);
        let user = User::new("key", None, &[("p", Some(text)), ("p", Some("second")), ("q", None)]).unwrap();
        (conditions[0].holds(&user, &texts.finish(), segments), findings)
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
        for number in 0..3 * PURGE_MIN {
            compiler.pattern(&format!("unused {number}")).unwrap();
            assert!(compiler.patterns.len() <= PURGE_MIN);
        }
        assert!(Arc::ptr_eq(&kept, &compiler.pattern("^kept$").unwrap()));
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
