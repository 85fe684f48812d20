//! Groups of .NET's regular expressions: what captures into which slot, look-around, options, conditions.

use super::parse::{Parsed, Parser, is_word};
use super::slots::Group;
use super::syntax::Node;

impl Parser<'_> {
    /// What follows an opening parenthesis. `None` for `(?i)` and the like.
    pub(super) fn group(&mut self) -> Parsed<Option<Node>> {
        let outer = self.options;
        let close = |parser: &mut Self, node: Node| {
            if !parser.eat(')') {
                return Err("a parenthesis is not closed");
            }
            parser.options = outer;
            Ok(Some(node))
        };
        if self.peek() != Some('?') || self.peek_at(1) == Some(')') {
            if self.options.explicit_capture {
                let node = self.nested(Self::alternation)?;
                return close(self, node);
            }
            self.unnamed += 1;
            let group = Group::Unnamed(self.unnamed);
            let node = self.capture(group)?;
            return close(self, node);
        }
        self.at += 1;
        let node = match self.next() {
            Some(':') => self.nested(Self::alternation)?,
            Some('>') => Node::Atomic(Box::new(self.nested(Self::alternation)?)),
            Some('=') => self.look(false, false)?,
            Some('!') => self.look(false, true)?,
            Some('<') if self.eat('=') => self.look(true, false)?,
            Some('<') if self.eat('!') => self.look(true, true)?,
            Some('<') => self.named('>')?,
            Some('\'') => self.named('\'')?,
            Some('(') => self.nested(Self::conditional)?,
            _ => {
                self.at -= 1;
                self.switch_options();
                match self.next() {
                    Some(')') => return Ok(None),
                    Some(':') => self.nested(Self::alternation)?,
                    _ => return Err("a group begins in an unknown way"),
                }
            }
        };
        close(self, node)
    }

    fn look(&mut self, behind: bool, negative: bool) -> Parsed<Node> {
        let node = Box::new(self.nested(Self::alternation)?);
        Ok(Node::Look { behind, negative, node })
    }

    fn capture(&mut self, group: Group) -> Parsed<Node> {
        let slot = self.slots.map_or(0, |slots| slots.of(&group));
        self.groups.push(group);
        let node = Box::new(self.nested(Self::alternation)?);
        Ok(Node::Capture { slot, node })
    }

    /// `name>…` or `name'…`, after `(?<` or `(?'`.
    fn named(&mut self, close: char) -> Parsed<Node> {
        let group = match self.peek() {
            Some('0'..='9') => match self.decimal()? {
                0 => return Err("a group is numbered 0"),
                number => Group::Number(number),
            },
            Some(char) if is_word(char) => Group::Name(self.name()),
            Some('-') => return Err("balancing groups are not supported"),
            _ => return Err("a group has an invalid name"),
        };
        if self.peek() == Some('-') {
            return Err("balancing groups are not supported");
        }
        if !self.eat(close) {
            return Err("a group has an invalid name");
        }
        self.capture(group)
    }

    pub(super) fn name(&mut self) -> String {
        let start = self.at;
        while self.peek().is_some_and(is_word) {
            self.at += 1;
        }
        self.chars[start..self.at].iter().collect()
    }

    fn switch_options(&mut self) {
        let mut on = true;
        while let Some(char) = self.peek() {
            match char.to_ascii_lowercase() {
                '-' => on = false,
                '+' => on = true,
                'i' => self.options.ignore_case = on,
                'm' => self.options.multiline = on,
                'n' => self.options.explicit_capture = on,
                's' => self.options.single_line = on,
                'x' => self.options.ignore_whitespace = on,
                _ => return,
            }
            self.at += 1;
        }
    }

    /// `condition)yes|no`, after `(?(`.
    fn conditional(&mut self) -> Parsed<Node> {
        let start = self.at;
        let slot = match self.peek() {
            Some('0'..='9') => {
                let number = self.decimal()?;
                if !self.eat(')') {
                    return Err("a condition is not well formed");
                }
                Some(self.known_slot(number)?)
            }
            Some(char) if is_word(char) => {
                let name = self.name();
                let slot = self.slots.and_then(|slots| slots.names.get(&name).copied());
                slot.filter(|_| self.eat(')'))
            }
            _ => None,
        };
        if let Some(slot) = slot {
            let (yes, no) = self.two_branches()?;
            return Ok(Node::IfCaptured { slot, yes, no });
        }
        self.at = start;
        let condition = Box::new(self.condition()?);
        let (yes, no) = self.two_branches()?;
        Ok(Node::IfMatches { condition, yes, no })
    }

    /// An expression as condition: its own parentheses do not capture.
    fn condition(&mut self) -> Parsed<Node> {
        if self.peek() != Some('?') {
            let outer = self.options;
            let node = self.nested(Self::alternation)?;
            self.options = outer;
            return if self.eat(')') { Ok(node) } else { Err("a parenthesis is not closed") };
        }
        match (self.peek_at(1), self.peek_at(2)) {
            (Some(':' | '=' | '!' | '>'), _) | (Some('<'), Some('=' | '!')) => {}
            _ => return Err("a condition is not well formed"),
        }
        self.group()?.ok_or("a condition is not well formed")
    }

    fn two_branches(&mut self) -> Parsed<(Box<Node>, Box<Node>)> {
        let mut branches = self.branches()?.into_iter();
        let yes = branches.next().unwrap_or(Node::Empty);
        let no = branches.next().unwrap_or(Node::Empty);
        if branches.next().is_some() {
            return Err("a condition has more than two branches");
        }
        Ok((Box::new(yes), Box::new(no)))
    }
}
