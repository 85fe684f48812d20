//! Conditions on one attribute of a user, compiled.
//!
//! Must not parse anything during evaluation except the user's own value, and cannot fail: where the original server throws
//! (an invalid pattern or list), the condition never holds, negated or not.

use std::sync::Arc;

use memchr::memmem::Finder;

use super::keys::KeySet;
use super::number;
use super::pattern::Pattern;
use super::text::{Text, TextBuilder};
use crate::model::user::User;

/// The attribute of a user that a condition tests.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Attribute {
    /// A blank name: always the empty text.
    Blank,
    KeyId,
    Name,
    /// The first custom property of exactly this name.
    Custom(Text),
}

impl Attribute {
    /// The attribute called `name`; names are case-sensitive.
    pub(super) fn new(name: &str, texts: &mut TextBuilder) -> Self {
        match name {
            "keyId" => Attribute::KeyId,
            "name" => Attribute::Name,
            name if is_blank(name) => Attribute::Blank,
            name => Attribute::Custom(texts.push(name)),
        }
    }

    /// The user's value. `None` only for the name of a user without a name; a missing property is the empty text.
    #[inline]
    pub(super) fn of<'u>(self, user: &'u User, arena: &str) -> Option<&'u str> {
        match self {
            Attribute::Blank => Some(""),
            Attribute::KeyId => Some(user.key_id()),
            Attribute::Name => user.name(),
            Attribute::Custom(name) => Some(user.property(name.bytes_of(arena)).unwrap_or("")),
        }
    }
}

/// .NET's `IsNullOrWhiteSpace`.
pub(super) fn is_blank(text: &str) -> bool {
    text.chars().all(char::is_whitespace)
}

/// A condition of a targeting rule or of a segment's rule.
#[derive(Debug)]
pub(super) struct Condition {
    pub(super) attribute: Attribute,
    pub(super) test: Test,
}

/// The test of a value. `positive` is false for the negated operators.
#[derive(Debug)]
pub(super) enum Test {
    /// Never holds: unknown operator, no value, or a value that cannot be used.
    Never,
    Number {
        order: Order,
        than: f64,
    },
    Equal {
        text: Text,
        positive: bool,
    },
    Contains {
        finder: Box<Finder<'static>>,
        positive: bool,
    },
    StartsWith(Text),
    EndsWith(Text),
    Matches {
        pattern: Arc<Pattern>,
        positive: bool,
    },
    OneOf {
        keys: Box<KeySet>,
        positive: bool,
    },
    /// `IsTrue` and `IsFalse`, ignoring case.
    Word(&'static str),
    /// Tests the user's segments, not an attribute.
    InSegments {
        slots: Box<[u32]>,
        positive: bool,
    },
}

/// How a number must compare.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Order {
    Less,
    LessOrEqual,
    Bigger,
    BiggerOrEqual,
}

impl Condition {
    /// Whether the condition holds for `user`. `arena` is the one it was compiled into; `in_segment` says whether the
    /// user is in the segment of a slot.
    pub(super) fn holds(&self, user: &User, arena: &str, in_segment: impl Fn(u32) -> bool) -> bool {
        if let Test::InSegments { slots, positive } = &self.test {
            return slots.iter().any(|slot| in_segment(*slot)) == *positive;
        }
        self.attribute.of(user, arena).is_some_and(|value| self.test.holds(value, arena))
    }

    /// Memory in addition to the struct itself, in bytes. Patterns are shared and not counted.
    pub(super) fn memory_bytes(&self) -> usize {
        match &self.test {
            Test::Contains { finder, .. } => size_of_val(&**finder) + finder.needle().len(),
            Test::OneOf { keys, .. } => size_of_val(&**keys) + keys.memory_bytes(),
            Test::InSegments { slots, .. } => size_of_val(&**slots),
            _ => 0,
        }
    }
}

impl Test {
    #[inline]
    fn holds(&self, value: &str, arena: &str) -> bool {
        match self {
            Test::Never | Test::InSegments { .. } => false,
            Test::Number { order, than } => number::parse(value).is_some_and(|number| match order {
                Order::Less => number < *than,
                Order::LessOrEqual => number <= *than,
                Order::Bigger => number > *than,
                Order::BiggerOrEqual => number >= *than,
            }),
            Test::Equal { text, positive } => (value.as_bytes() == text.bytes_of(arena)) == *positive,
            Test::Contains { finder, positive } => finder.find(value.as_bytes()).is_some() == *positive,
            Test::StartsWith(text) => value.as_bytes().starts_with(text.bytes_of(arena)),
            Test::EndsWith(text) => value.as_bytes().ends_with(text.bytes_of(arena)),
            Test::Matches { pattern, positive } => pattern.is_match(value) == Some(*positive),
            Test::OneOf { keys, positive } => keys.contains(value) == *positive,
            Test::Word(word) => value.eq_ignore_ascii_case(word),
        }
    }
}
