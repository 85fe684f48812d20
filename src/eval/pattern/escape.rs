//! Escapes of .NET's regular expressions: classes, anchors, back-references and character codes.

use super::parse::{Parsed, Parser, is_word, set_of};
use super::syntax::{Anchor, DIGIT, Item, Node, SPACE, Set, WORD};

/// One UTF-16 unit, or two that belong together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Unit {
    Char(char),
    /// Half of a pair, which .NET takes for a character.
    Surrogate(u32),
}

impl Unit {
    pub(super) fn code(self) -> u32 {
        match self {
            Unit::Char(char) => char as u32,
            Unit::Surrogate(code) => code,
        }
    }
}

impl Parser<'_> {
    /// What follows a backslash outside of a set.
    pub(super) fn escape(&mut self) -> Parsed<Node> {
        let class = |class, negated| Ok(set_of(Item::Class { class, negated }, false));
        let anchor = |anchor| Ok(Node::Anchor(anchor));
        match self.next().ok_or("it ends with a backslash")? {
            'b' => anchor(Anchor::Boundary),
            'B' => anchor(Anchor::NotBoundary),
            'A' | 'G' => anchor(Anchor::Start),
            'Z' => anchor(Anchor::EndOrLastNewline),
            'z' => anchor(Anchor::End),
            'w' => class(WORD, false),
            'W' => class(WORD, true),
            's' => class(SPACE, false),
            'S' => class(SPACE, true),
            'd' => class(DIGIT, false),
            'D' => class(DIGIT, true),
            letter @ ('p' | 'P') => {
                let items = self.property(letter == 'P')?;
                let set = Set { items, ..Set::default() };
                Ok(Node::Set { set, fold: self.options.ignore_case })
            }
            _ => {
                self.at -= 1;
                self.reference_or_char()
            }
        }
    }

    fn reference_or_char(&mut self) -> Parsed<Node> {
        let start = self.at;
        if let Some('1'..='9') = self.peek() {
            let number = self.decimal()?;
            if self.slots.is_none() || number <= 9 || self.is_slot(number) {
                return self.reference(number);
            }
        } else if let Some(node) = self.named_reference()? {
            return Ok(node);
        }
        self.at = start;
        match self.char_escape()? {
            Unit::Char(char) => Ok(self.literal(char)),
            Unit::Surrogate(_) => Err("half of a surrogate pair is not supported"),
        }
    }

    /// `k<name>`, `k'name'`, and `<name>`, `'name'`, which .NET takes too.
    fn named_reference(&mut self) -> Parsed<Option<Node>> {
        let explicit = self.eat('k');
        let close = match self.peek() {
            Some('<') => '>',
            Some('\'') => '\'',
            _ if explicit => return Err("a back-reference is not well formed"),
            _ => return Ok(None),
        };
        self.at += 1;
        let slot = match self.peek() {
            Some('0'..='9') => {
                let number = self.decimal()?;
                if !self.eat(close) {
                    return Ok(None);
                }
                return self.reference(number).map(Some);
            }
            Some(char) if is_word(char) => {
                let name = self.name();
                if !self.eat(close) {
                    return Ok(None);
                }
                match self.slots {
                    None => return Ok(Some(Node::Empty)),
                    Some(slots) => slots.names.get(&name).copied(),
                }
            }
            _ => return Ok(None),
        };
        let slot = slot.ok_or("a back-reference names no group")?;
        Ok(Some(Node::BackReference { slot, fold: self.options.ignore_case }))
    }

    fn reference(&mut self, number: u32) -> Parsed<Node> {
        if self.slots.is_none() {
            return Ok(Node::Empty);
        }
        let slot = self.known_slot(number)?;
        Ok(Node::BackReference { slot, fold: self.options.ignore_case })
    }

    fn is_slot(&self, number: u32) -> bool {
        self.slots.is_none_or(|slots| slots.numbers.contains(&number))
    }

    pub(super) fn known_slot(&self, number: u32) -> Parsed<u32> {
        if self.is_slot(number) { Ok(number) } else { Err("a back-reference names no group") }
    }

    /// A character code or an escaped character, after the backslash.
    pub(super) fn char_escape(&mut self) -> Parsed<Unit> {
        let char = self.next().ok_or("it ends with a backslash")?;
        Ok(Unit::Char(match char {
            '0'..='7' => {
                self.at -= 1;
                self.octal()
            }
            'x' => return self.hex(2),
            'u' => return self.code_unit(),
            'a' => '\u{7}',
            'b' => '\u{8}',
            'e' => '\u{1b}',
            'f' => '\u{c}',
            'n' => '\n',
            'r' => '\r',
            't' => '\t',
            'v' => '\u{b}',
            'c' => self.control()?,
            char if is_word(char) => return Err("an escape is unknown"),
            char => char,
        }))
    }

    /// Up to three octal digits, of which eight bits count.
    fn octal(&mut self) -> char {
        let mut code = 0u32;
        for _ in 0..3 {
            let Some(digit) = self.peek().and_then(|char| char.to_digit(8)) else { break };
            self.at += 1;
            code = code * 8 + digit;
        }
        char::from((code & 0xff) as u8)
    }

    fn hex(&mut self, digits: usize) -> Parsed<Unit> {
        let mut code = 0;
        for _ in 0..digits {
            let digit =
                self.next().and_then(|char| char.to_digit(16)).ok_or("a character code is too short")?;
            code = code * 16 + digit;
        }
        Ok(char::from_u32(code).map_or(Unit::Surrogate(code), Unit::Char))
    }

    /// Four hexadecimal digits after `\u`, and the second half of a pair when the first one is followed by it.
    fn code_unit(&mut self) -> Parsed<Unit> {
        let unit = self.hex(4)?;
        let Unit::Surrogate(high @ 0xd800..=0xdbff) = unit else { return Ok(unit) };
        let after = self.at;
        if self.eat('\\')
            && self.eat('u')
            && let Ok(Unit::Surrogate(low @ 0xdc00..=0xdfff)) = self.hex(4)
            && let Some(char) = char::from_u32(0x10000 + ((high - 0xd800) << 10) + (low - 0xdc00))
        {
            return Ok(Unit::Char(char));
        }
        self.at = after;
        Ok(unit)
    }

    fn control(&mut self) -> Parsed<char> {
        match self.next().map(|char| char.to_ascii_uppercase()) {
            Some(char @ '@'..='_') => Ok(char::from(char as u8 - b'@')),
            _ => Err("a control character is unknown"),
        }
    }
}
