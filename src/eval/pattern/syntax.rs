//! The tree of a .NET regular expression.

use std::collections::BTreeMap;

/// One construct of a pattern. Options are resolved: each node has those that apply to it.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Node {
    /// Matches the empty text.
    Empty,
    /// One character; `fold` ignores its case.
    Literal { char: char, fold: bool },
    /// One character out of a set; `fold` ignores case.
    Set { set: Set, fold: bool },
    /// A position in the text.
    Anchor(Anchor),
    /// A group that captures into a slot.
    Capture { slot: u32, node: Box<Node> },
    /// `(?=…)` and its three relatives.
    Look { behind: bool, negative: bool, node: Box<Node> },
    /// `(?>…)`.
    Atomic(Box<Node>),
    /// `\1`, `\k<name>`.
    BackReference { slot: u32, fold: bool },
    /// `(?(1)yes|no)`.
    IfCaptured { slot: u32, yes: Box<Node>, no: Box<Node> },
    /// `(?(condition)yes|no)`.
    IfMatches { condition: Box<Node>, yes: Box<Node>, no: Box<Node> },
    /// One after the other.
    Concat(Vec<Node>),
    /// The first that leads to a match.
    Alternation(Vec<Node>),
    /// Repetition; without `max`, any number of times.
    Repeat { node: Box<Node>, min: u32, max: Option<u32>, lazy: bool },
}

/// A position in the text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Anchor {
    /// `^`, `\A`, and `\G`, since every search begins at the start.
    Start,
    /// `^` in multi-line mode.
    LineStart,
    /// `$` in multi-line mode.
    LineEnd,
    /// `$` and `\Z`: the end, or before a newline that ends the text.
    EndOrLastNewline,
    /// `\z`.
    End,
    /// `\b`.
    Boundary,
    /// `\B`.
    NotBoundary,
}

/// A set of characters.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Set {
    pub(super) negated: bool,
    pub(super) items: Vec<Item>,
    /// `[a-z-[aeiou]]`: the characters that are subtracted, after the negation.
    pub(super) without: Option<Box<Set>>,
}

/// What a set holds.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Item {
    /// All characters from the first to the second.
    Range(char, char),
    /// A Unicode category or one of the shorthands, in the syntax of the `regex` crate.
    Class { class: &'static str, negated: bool },
}

/// Decimal digits, as .NET's `\d`.
pub(super) const DIGIT: &str = r"\p{Nd}";
/// White space, as .NET's `\s`: the Unicode property, which `regex` has under the same name.
pub(super) const SPACE: &str = r"\s";
/// Word characters, as .NET's `\w`, which lacks some marks and numbers that `regex` counts among them.
pub(super) const WORD: &str = r"\p{L}\p{Mn}\p{Nd}\p{Pc}";

/// A parsed pattern.
#[derive(Debug)]
pub(super) struct Tree {
    pub(super) node: Node,
    /// How many groups capture into each slot.
    pub(super) slots: BTreeMap<u32, usize>,
}
