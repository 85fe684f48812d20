//! Parses the regular expressions of .NET.
//!
//! Must not be more lenient than .NET, whose `RegexParser` it follows: a pattern that throws there is an error here. What is
//! valid there but cannot be expressed here is an error too. Recursion is bounded by [`DEPTH_MAX`].
//!
//! A pattern is parsed twice: whether `\10` is a back-reference or a character code depends on groups that may come
//! after it, so the first pass only counts groups.

use std::collections::BTreeMap;

use super::slots::{Group, Slots};
use super::syntax::{Anchor, Item, Node, Set, Tree};

/// How deep groups and set subtractions may nest. The engines have limits of their own above this one.
pub(super) const DEPTH_MAX: usize = 40;

/// The largest `{n}`; the engines would refuse more anyway.
const REPEAT_MAX: u32 = 100_000;

/// Why a pattern was refused. It never quotes the pattern.
pub(super) type PatternError = &'static str;

pub(super) type Parsed<T> = Result<T, PatternError>;

/// Parses `pattern`.
pub(super) fn parse(pattern: &str) -> Parsed<Tree> {
    let chars: Vec<char> = pattern.chars().collect();
    let mut first = Parser::new(&chars, None);
    first.whole()?;
    let slots = Slots::assign(&first.groups);
    let mut second = Parser::new(&chars, Some(&slots));
    let node = second.whole()?;
    let mut captures = BTreeMap::new();
    for group in &second.groups {
        *captures.entry(slots.of(group)).or_default() += 1;
    }
    Ok(Tree { node, slots: captures })
}

/// The options that can be switched inside a pattern.
#[derive(Clone, Copy, Default)]
pub(super) struct Options {
    pub(super) ignore_case: bool,
    pub(super) multiline: bool,
    pub(super) explicit_capture: bool,
    pub(super) single_line: bool,
    pub(super) ignore_whitespace: bool,
}

/// The state of the parser.
pub(super) struct Parser<'p> {
    pub(super) chars: &'p [char],
    pub(super) at: usize,
    pub(super) options: Options,
    depth: usize,
    pub(super) unnamed: u32,
    pub(super) groups: Vec<Group>,
    /// Known in the second pass only.
    pub(super) slots: Option<&'p Slots>,
}

impl<'p> Parser<'p> {
    fn new(chars: &'p [char], slots: Option<&'p Slots>) -> Self {
        Self { chars, at: 0, options: Options::default(), depth: 0, unnamed: 0, groups: Vec::new(), slots }
    }

    fn whole(&mut self) -> Parsed<Node> {
        let node = self.alternation()?;
        if self.at < self.chars.len() {
            return Err("there are too many closing parentheses");
        }
        Ok(node)
    }

    pub(super) fn peek(&self) -> Option<char> {
        self.chars.get(self.at).copied()
    }

    pub(super) fn peek_at(&self, ahead: usize) -> Option<char> {
        self.chars.get(self.at + ahead).copied()
    }

    pub(super) fn next(&mut self) -> Option<char> {
        let char = self.peek()?;
        self.at += 1;
        Some(char)
    }

    pub(super) fn eat(&mut self, char: char) -> bool {
        let found = self.peek() == Some(char);
        self.at += usize::from(found);
        found
    }

    /// Runs `parse` one level deeper.
    pub(super) fn nested<T>(&mut self, parse: impl FnOnce(&mut Self) -> Parsed<T>) -> Parsed<T> {
        if self.depth == DEPTH_MAX {
            return Err("it nests too deep");
        }
        self.depth += 1;
        let parsed = parse(self);
        self.depth -= 1;
        parsed
    }

    /// Everything up to a closing parenthesis or the end.
    pub(super) fn alternation(&mut self) -> Parsed<Node> {
        let mut branches = self.branches()?;
        Ok(match branches.len() {
            1 => branches.remove(0),
            _ => Node::Alternation(branches),
        })
    }

    pub(super) fn branches(&mut self) -> Parsed<Vec<Node>> {
        let mut branches = vec![self.concatenation()?];
        while self.eat('|') {
            branches.push(self.concatenation()?);
        }
        Ok(branches)
    }

    fn concatenation(&mut self) -> Parsed<Node> {
        let mut nodes = Vec::new();
        loop {
            self.skip_blank()?;
            let Some(char) = self.peek() else { break };
            if matches!(char, '|' | ')') {
                break;
            }
            if self.at_quantifier() {
                return Err("a quantifier follows nothing that it could repeat");
            }
            self.at += 1;
            if let Some(node) = self.atom(char)? {
                nodes.push(self.quantified(node)?);
            }
        }
        Ok(match nodes.len() {
            0 => Node::Empty,
            1 => nodes.remove(0),
            _ => Node::Concat(nodes),
        })
    }

    /// The construct that begins with `char`, which is already consumed. `None` if it only switched options.
    fn atom(&mut self, char: char) -> Parsed<Option<Node>> {
        Ok(Some(match char {
            '(' => return self.group(),
            '[' => {
                let set = self.set()?;
                Node::Set { set, fold: self.options.ignore_case }
            }
            '\\' => self.escape()?,
            '.' if self.options.single_line => set_of(Item::Range('\0', char::MAX), false),
            '.' => set_of(Item::Range('\n', '\n'), true),
            '^' if self.options.multiline => Node::Anchor(Anchor::LineStart),
            '^' => Node::Anchor(Anchor::Start),
            '$' if self.options.multiline => Node::Anchor(Anchor::LineEnd),
            '$' => Node::Anchor(Anchor::EndOrLastNewline),
            char => self.literal(char),
        }))
    }

    pub(super) fn literal(&self, char: char) -> Node {
        Node::Literal { char, fold: self.options.ignore_case }
    }

    /// White space and `#` comments under `x`, and `(?#…)` at any time.
    fn skip_blank(&mut self) -> Parsed<()> {
        loop {
            if self.options.ignore_whitespace {
                while let Some('\t' | '\n' | '\u{c}' | '\r' | ' ') = self.peek() {
                    self.at += 1;
                }
            }
            if self.options.ignore_whitespace && self.peek() == Some('#') {
                while self.peek().is_some_and(|char| char != '\n') {
                    self.at += 1;
                }
            } else if self.chars[self.at..].starts_with(&['(', '?', '#']) {
                while self.next().ok_or("a comment is not closed")? != ')' {}
            } else {
                return Ok(());
            }
        }
    }

    /// Whether a quantifier is next: `{` is one only in the forms `{n}`, `{n,}` and `{n,m}`.
    fn at_quantifier(&self) -> bool {
        match self.peek() {
            Some('*' | '+' | '?') => true,
            Some('{') => {
                let digits =
                    |at: usize| self.chars[at..].iter().take_while(|char| char.is_ascii_digit()).count();
                let low = digits(self.at + 1);
                let mut at = self.at + 1 + low;
                if low > 0 && self.chars.get(at) == Some(&',') {
                    at += 1 + digits(at + 1);
                }
                low > 0 && self.chars.get(at) == Some(&'}')
            }
            _ => false,
        }
    }

    fn quantified(&mut self, node: Node) -> Parsed<Node> {
        self.skip_blank()?;
        if !self.at_quantifier() {
            return Ok(node);
        }
        let (min, max) = match self.next() {
            Some('*') => (0, None),
            Some('+') => (1, None),
            Some('?') => (0, Some(1)),
            _ => {
                let min = self.decimal()?;
                let max = if !self.eat(',') {
                    Some(min)
                } else if self.peek() == Some('}') {
                    None
                } else {
                    Some(self.decimal()?)
                };
                self.at += 1;
                (min, max)
            }
        };
        self.skip_blank()?;
        let lazy = self.eat('?');
        if max.is_some_and(|max| min > max) {
            return Err("a quantifier has its limits in the wrong order");
        }
        if min > REPEAT_MAX || max.is_some_and(|max| max > REPEAT_MAX) {
            return Err("a quantifier repeats too often");
        }
        Ok(Node::Repeat { node: Box::new(node), min, max, lazy })
    }

    /// A decimal number as in .NET: up to 2³¹ - 1.
    pub(super) fn decimal(&mut self) -> Parsed<u32> {
        let mut number = 0u32;
        while let Some(digit) = self.peek().and_then(|char| char.to_digit(10)) {
            self.at += 1;
            number = number
                .checked_mul(10)
                .and_then(|number| number.checked_add(digit))
                .filter(|number| *number <= i32::MAX as u32)
                .ok_or("a number is too large")?;
        }
        Ok(number)
    }
}

pub(super) fn set_of(item: Item, negated: bool) -> Node {
    Node::Set { set: Set { negated, items: vec![item], without: None }, fold: false }
}

/// Whether .NET takes `char` for a word character when it parses names and escapes.
pub(super) fn is_word(char: char) -> bool {
    char == '_' || char.is_alphanumeric() || matches!(char, '\u{200c}' | '\u{200d}')
}
