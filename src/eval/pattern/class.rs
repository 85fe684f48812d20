//! Sets (`[…]`), character escapes and properties of .NET's regular expressions.

use super::blocks;
use super::escape::Unit;
use super::parse::{Parsed, Parser, is_word};
use super::syntax::{DIGIT, Item, SPACE, Set, WORD};

/// One member of a set.
enum Member {
    /// `literal` if it was not escaped.
    Unit { unit: Unit, literal: bool },
    /// `\d`, `\p{L}` and so on, which cannot be an end of a range.
    Items(Vec<Item>),
}

const NOT_CLOSED: &str = "a set is not closed";

impl Parser<'_> {
    /// What follows `[`, up to and including its `]`.
    pub(super) fn set(&mut self) -> Parsed<Set> {
        let mut set = Set { negated: self.eat('^'), ..Set::default() };
        let mut first = true;
        loop {
            let char = self.peek().ok_or(NOT_CLOSED)?;
            if char == ']' && !first {
                self.at += 1;
                return Ok(set);
            }
            let start = match self.member()? {
                Member::Items(items) => {
                    set.items.extend(items);
                    first = false;
                    continue;
                }
                Member::Unit { unit, literal } => {
                    let subtracts = literal && unit == Unit::Char('-') && self.peek() == Some('[') && !first;
                    if subtracts {
                        self.subtraction(&mut set)?;
                        continue;
                    }
                    unit
                }
            };
            first = false;
            if self.peek() == Some('-') && self.peek_at(1).is_some_and(|next| next != ']') {
                self.at += 1;
                self.range_from(start, &mut set)?;
            } else {
                add_range(&mut set.items, start, start)?;
            }
        }
    }

    /// The end of a range whose dash was taken, unless it turns out to be the dash of a subtraction.
    fn range_from(&mut self, start: Unit, set: &mut Set) -> Parsed<()> {
        if self.peek() == Some('[') {
            add_range(&mut set.items, start, start)?;
            return self.subtraction(set);
        }
        match self.member()? {
            Member::Unit { unit, .. } => add_range(&mut set.items, start, unit),
            Member::Items(_) => Err("a range ends with a class"),
        }
    }

    /// `[…]` after a dash; it must come last.
    fn subtraction(&mut self, set: &mut Set) -> Parsed<()> {
        self.at += 1;
        set.without = Some(Box::new(self.nested(Self::set)?));
        match self.peek() {
            Some(']') => Ok(()),
            Some(_) => Err("a subtraction is not the last thing in its set"),
            None => Err(NOT_CLOSED),
        }
    }

    fn member(&mut self) -> Parsed<Member> {
        let class = |class, negated| Ok(Member::Items(vec![Item::Class { class, negated }]));
        let char = self.next().ok_or(NOT_CLOSED)?;
        if char != '\\' || self.peek().is_none() {
            return Ok(Member::Unit { unit: Unit::Char(char), literal: true });
        }
        match self.next().ok_or(NOT_CLOSED)? {
            'd' => class(DIGIT, false),
            'D' => class(DIGIT, true),
            's' => class(SPACE, false),
            'S' => class(SPACE, true),
            'w' => class(WORD, false),
            'W' => class(WORD, true),
            letter @ ('p' | 'P') => Ok(Member::Items(self.property(letter == 'P')?)),
            '-' => Ok(Member::Unit { unit: Unit::Char('-'), literal: false }),
            _ => {
                self.at -= 1;
                Ok(Member::Unit { unit: self.char_escape()?, literal: false })
            }
        }
    }

    /// `{name}` after `\p` or `\P`.
    pub(super) fn property(&mut self, negated: bool) -> Parsed<Vec<Item>> {
        const FAULT: &str = "a \\p is not well formed";
        if !self.eat('{') {
            return Err(FAULT);
        }
        let start = self.at;
        while self.peek().is_some_and(|char| is_word(char) || char == '-') {
            self.at += 1;
        }
        let name: String = self.chars[start..self.at].iter().collect();
        if !self.eat('}') {
            return Err(FAULT);
        }
        blocks::property(&name, negated, self.options.ignore_case)
            .ok_or("a \\p names a category or block that is unknown or not supported")
    }
}

/// Adds a range of UTF-16 units. Halves of surrogate pairs exist only together: a range over all of them means every
/// character beyond U+FFFF, and a range over a part of them cannot be expressed.
fn add_range(items: &mut Vec<Item>, first: Unit, last: Unit) -> Parsed<()> {
    let (first, last) = (first.code(), last.code());
    if first > last {
        return Err("a range has its ends in the wrong order");
    }
    let mut add = |first: u32, last: u32| {
        if let (Some(first), Some(last)) = (char::from_u32(first), char::from_u32(last))
            && first <= last
        {
            items.push(Item::Range(first, last));
        }
    };
    if last < 0xd800 || first > 0xdfff {
        add(first, last);
    } else if first <= 0xd800 && last >= 0xdfff {
        if first < 0xd800 {
            add(first, 0xd7ff);
        }
        if last > 0xdfff {
            add(0xe000, last.min(0xffff));
        }
        add(0x10000, char::MAX as u32);
    } else {
        return Err("half of a surrogate pair is not supported");
    }
    Ok(())
}
