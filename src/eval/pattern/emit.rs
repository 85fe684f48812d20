//! Writes a parsed .NET pattern in the syntax of the engines.
//!
//! Must preserve the meaning for one question only: does the pattern match anywhere in the text? Conditions ask nothing else,
//! and that is why `$` at the end of a pattern needs no look-ahead.

use std::collections::BTreeSet;
use std::fmt::Write;

use super::parse::{Parsed, PatternError};
use super::syntax::{Anchor, Item, Node, Set, Tree, WORD};

/// What a pattern needs from its engine.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Needs {
    /// How many look-arounds, back-references and the like there are, which take backtracking.
    pub(super) looks: usize,
    /// How many `\b` and `\B`. In ASCII texts every engine means the same by them.
    pub(super) boundaries: usize,
}

/// Finds out what `node` needs; `tail` if nothing that could consume text follows it.
pub(super) fn needs(node: &Node, tail: bool) -> Needs {
    let mut found = Needs::default();
    collect(node, tail, &mut found);
    found
}

fn collect(node: &Node, tail: bool, found: &mut Needs) {
    match node {
        Node::Empty | Node::Literal { .. } | Node::Set { .. } => {}
        Node::Anchor(Anchor::Boundary | Anchor::NotBoundary) => found.boundaries += 1,
        Node::Anchor(Anchor::EndOrLastNewline) => found.looks += usize::from(!tail),
        Node::Anchor(_) => {}
        Node::Capture { node, .. } => collect(node, tail, found),
        Node::Look { node, .. } | Node::Atomic(node) => {
            found.looks += 1;
            collect(node, false, found);
        }
        Node::BackReference { .. } => found.looks += 1,
        Node::IfCaptured { yes, no, .. } => {
            found.looks += 1;
            collect(yes, false, found);
            collect(no, false, found);
        }
        Node::IfMatches { condition, yes, no } => {
            // The condition is written twice.
            found.looks += 2;
            for node in [condition, condition, yes, no] {
                collect(node, false, found);
            }
        }
        Node::Concat(nodes) => {
            for (at, node) in nodes.iter().enumerate() {
                collect(node, tail && at + 1 == nodes.len(), found);
            }
        }
        Node::Alternation(nodes) => nodes.iter().for_each(|node| collect(node, tail, found)),
        Node::Repeat { node, .. } => collect(node, false, found),
    }
}

/// The engine that a pattern is written for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Dialect {
    /// `regex`. Boundaries are right for ASCII texts only.
    Automaton,
    /// `fancy-regex`.
    Backtracking,
    /// An automaton of everything that `fancy-regex` delegates, to measure its size: look-around becomes a group, and a
    /// back-reference becomes nothing.
    Delegated,
}

/// Writes the pattern for `dialect`.
pub(super) fn emit(tree: &Tree, dialect: Dialect) -> Result<String, PatternError> {
    let mut referred = BTreeSet::new();
    collect_references(&tree.node, &mut referred);
    if referred.iter().any(|slot| tree.slots.get(slot) != Some(&1)) {
        return Err("a back-reference to several groups or to the whole match is not supported");
    }
    let mut emitter = Emitter { out: String::new(), dialect, referred };
    emitter.alternation(&tree.node)?;
    Ok(emitter.out)
}

/// Collects the slots that something refers to: all other groups need not capture.
pub(super) fn collect_references(node: &Node, into: &mut BTreeSet<u32>) {
    match node {
        Node::Empty | Node::Literal { .. } | Node::Set { .. } | Node::Anchor(_) => {}
        Node::Capture { node, .. }
        | Node::Look { node, .. }
        | Node::Atomic(node)
        | Node::Repeat { node, .. } => {
            collect_references(node, into);
        }
        Node::BackReference { slot, .. } => drop(into.insert(*slot)),
        Node::IfCaptured { slot, yes, no } => {
            into.insert(*slot);
            collect_references(yes, into);
            collect_references(no, into);
        }
        Node::IfMatches { condition, yes, no } => {
            for node in [condition, yes, no] {
                collect_references(node, into);
            }
        }
        Node::Concat(nodes) | Node::Alternation(nodes) => {
            nodes.iter().for_each(|node| collect_references(node, into));
        }
    }
}

struct Emitter {
    out: String,
    dialect: Dialect,
    referred: BTreeSet<u32>,
}

impl Emitter {
    /// Writes a node where a `|` is allowed.
    fn alternation(&mut self, node: &Node) -> Parsed<()> {
        let Node::Alternation(branches) = node else { return self.sequence(node) };
        for (at, branch) in branches.iter().enumerate() {
            if at > 0 {
                self.out.push('|');
            }
            self.sequence(branch)?;
        }
        Ok(())
    }

    /// Writes a node where several constructs are allowed.
    fn sequence(&mut self, node: &Node) -> Parsed<()> {
        match node {
            Node::Empty => Ok(()),
            Node::Concat(nodes) => {
                let mut nodes = nodes.as_slice();
                while let Some(node) = nodes.first() {
                    let literals = nodes.iter().take_while(|other| same_literal(node, other)).count();
                    if literals > 0 {
                        self.literals(&nodes[..literals]);
                        nodes = &nodes[literals..];
                    } else {
                        self.sequence(node)?;
                        nodes = &nodes[1..];
                    }
                }
                Ok(())
            }
            Node::Alternation(_) => self.grouped(node),
            Node::Repeat { node, min, max, lazy } => self.repeat(node, *min, *max, *lazy),
            node => self.single(node),
        }
    }

    /// Writes a node so that a quantifier can follow.
    fn single(&mut self, node: &Node) -> Parsed<()> {
        match node {
            Node::Empty | Node::Concat(_) | Node::Alternation(_) | Node::Repeat { .. } => self.grouped(node),
            Node::Literal { .. } => {
                self.literals(std::slice::from_ref(node));
                Ok(())
            }
            Node::Set { set, fold } => {
                self.ignoring_case(*fold, |emitter| emitter.set(set));
                Ok(())
            }
            Node::Anchor(anchor) => {
                self.anchor(*anchor);
                Ok(())
            }
            Node::Capture { slot, node }
                if self.referred.contains(slot) && self.dialect != Dialect::Delegated =>
            {
                // The engine hands whole runs of simple constructs to another one, which gives a single way to match them.
                // The look-ahead, which always holds, keeps this group out of such a run: another branch, in which it
                // captures nothing, may be the one that lets the rest match.
                self.wrapped(&format!("(?P<g{slot}>(?=)"), node)
            }
            Node::Capture { node, .. } => self.grouped(node),
            Node::Look { node, .. } | Node::Atomic(node) if self.dialect == Dialect::Delegated => {
                self.grouped(node)
            }
            Node::BackReference { .. } if self.dialect == Dialect::Delegated => {
                self.out.push_str("(?:)");
                Ok(())
            }
            Node::IfCaptured { yes, no, .. } if self.dialect == Dialect::Delegated => {
                self.out.push_str("(?:");
                self.branches(yes, no)
            }
            Node::Look { behind, negative, node } => {
                let open = match (behind, negative) {
                    (false, false) => "(?=",
                    (false, true) => "(?!",
                    (true, false) => "(?<=",
                    (true, true) => "(?<!",
                };
                self.wrapped(open, node)
            }
            Node::Atomic(node) => self.wrapped("(?>", node),
            Node::BackReference { slot, fold } => {
                self.ignoring_case(*fold, |emitter| emitter.push(format_args!("\\k<g{slot}>")));
                Ok(())
            }
            // Without branches, the engine would take the condition for an assertion.
            Node::IfCaptured { yes, no, .. } if **yes == Node::Empty && **no == Node::Empty => Ok(()),
            Node::IfCaptured { slot, yes, no } => {
                self.push(format_args!("(?(<g{slot}>)"));
                self.branches(yes, no)
            }
            Node::IfMatches { condition, yes, no } => self.if_matches(condition, yes, no),
        }
    }

    /// As a choice between two look-aheads, which is what .NET makes of the condition.
    fn if_matches(&mut self, condition: &Node, yes: &Node, no: &Node) -> Parsed<()> {
        if captures(condition) {
            return Err("a condition that captures is not supported");
        }
        let (ahead, not_ahead) = match self.dialect {
            Dialect::Delegated => ("(?:(?:", "|(?:"),
            _ => ("(?:(?=", "|(?!"),
        };
        self.out.push_str(ahead);
        self.alternation(condition)?;
        self.out.push(')');
        self.in_branch(yes)?;
        self.out.push_str(not_ahead);
        self.alternation(condition)?;
        self.out.push(')');
        self.branches_end(no)
    }

    fn branches(&mut self, yes: &Node, no: &Node) -> Parsed<()> {
        self.in_branch(yes)?;
        self.out.push('|');
        self.branches_end(no)
    }

    fn branches_end(&mut self, no: &Node) -> Parsed<()> {
        self.in_branch(no)?;
        self.out.push(')');
        Ok(())
    }

    fn in_branch(&mut self, node: &Node) -> Parsed<()> {
        self.sequence(node)
    }

    fn repeat(&mut self, node: &Node, min: u32, max: Option<u32>, lazy: bool) -> Parsed<()> {
        if is_empty_width(node) {
            // The engines do not repeat what consumes nothing, and once is as good as often.
            return if min == 0 {
                self.out.push_str("(?:");
                self.sequence(node)?;
                self.out.push_str("|)");
                Ok(())
            } else {
                self.sequence(node)
            };
        }
        self.single(node)?;
        match (min, max) {
            (0, None) => self.out.push('*'),
            (1, None) => self.out.push('+'),
            (0, Some(1)) => self.out.push('?'),
            (min, None) => self.push(format_args!("{{{min},}}")),
            (min, Some(max)) if min == max => self.push(format_args!("{{{min}}}")),
            (min, Some(max)) => self.push(format_args!("{{{min},{max}}}")),
        }
        if lazy {
            self.out.push('?');
        }
        Ok(())
    }

    fn grouped(&mut self, node: &Node) -> Parsed<()> {
        self.wrapped("(?:", node)
    }

    fn wrapped(&mut self, open: &str, node: &Node) -> Parsed<()> {
        self.out.push_str(open);
        self.alternation(node)?;
        self.out.push(')');
        Ok(())
    }

    fn ignoring_case(&mut self, fold: bool, write: impl FnOnce(&mut Self)) {
        if fold {
            self.out.push_str("(?i:");
        }
        write(self);
        if fold {
            self.out.push(')');
        }
    }

    fn anchor(&mut self, anchor: Anchor) {
        let backtracking = self.dialect == Dialect::Backtracking;
        match anchor {
            Anchor::Start => self.out.push_str(r"\A"),
            Anchor::End => self.out.push_str(r"\z"),
            Anchor::LineStart => self.out.push_str("(?m:^)"),
            Anchor::LineEnd => self.out.push_str("(?m:$)"),
            Anchor::EndOrLastNewline if backtracking => self.out.push_str(r"(?=\n?\z)"),
            // `needs` made sure that nothing follows which could consume the newline otherwise.
            Anchor::EndOrLastNewline => self.out.push_str(r"\n?\z"),
            Anchor::Boundary if backtracking => self.boundary("(?!", "(?="),
            Anchor::NotBoundary if backtracking => self.boundary("(?=", "(?!"),
            Anchor::Boundary => self.out.push_str(r"\b"),
            Anchor::NotBoundary => self.out.push_str(r"\B"),
        }
    }

    /// A boundary by .NET's word characters, to which the two joiners belong here and nowhere else.
    fn boundary(&mut self, after_word: &str, after_other: &str) {
        let word = format!(r"[{WORD}\u{{200c}}\u{{200d}}]");
        self.push(format_args!("(?:(?<={word}){after_word}{word})|(?<!{word}){after_other}{word}))"));
    }

    fn literals(&mut self, literals: &[Node]) {
        let Some(Node::Literal { fold, .. }) = literals.first() else { return };
        let chars = || {
            literals
                .iter()
                .filter_map(|node| if let Node::Literal { char, .. } = node { Some(*char) } else { None })
        };
        let fold = *fold && chars().any(|char| !char.is_ascii() || char.is_ascii_alphabetic());
        self.ignoring_case(fold, |emitter| chars().for_each(|char| emitter.char(char)));
    }

    fn set(&mut self, set: &Set) {
        if set.without.is_some() {
            self.out.push('[');
        }
        self.out.push_str(if set.negated { "[^" } else { "[" });
        for item in &set.items {
            match *item {
                Item::Range(first, last) if first == last => self.char(first),
                Item::Range(first, last) => {
                    self.char(first);
                    self.out.push('-');
                    self.char(last);
                }
                Item::Class { class, negated: false } => self.out.push_str(class),
                Item::Class { class, negated: true } => self.push(format_args!("[^{class}]")),
            }
        }
        self.out.push(']');
        if let Some(without) = &set.without {
            self.out.push_str("--");
            self.set(without);
            self.out.push(']');
        }
    }

    /// A character that means itself, in a set or outside of one, in either dialect.
    fn char(&mut self, char: char) {
        if char.is_ascii_alphanumeric() || !char.is_ascii() {
            self.out.push(char);
        } else {
            self.push(format_args!("\\u{{{:x}}}", char as u32));
        }
    }

    fn push(&mut self, args: std::fmt::Arguments<'_>) {
        // Writing to a `String` cannot fail.
        let _ = self.out.write_fmt(args);
    }
}

fn same_literal(one: &Node, other: &Node) -> bool {
    match (one, other) {
        (Node::Literal { fold, .. }, Node::Literal { fold: other, .. }) => fold == other,
        _ => false,
    }
}

/// Whether `node` can never consume anything.
fn is_empty_width(node: &Node) -> bool {
    match node {
        Node::Empty | Node::Anchor(_) | Node::Look { .. } => true,
        Node::Literal { .. } | Node::Set { .. } | Node::BackReference { .. } => false,
        Node::Capture { node, .. } | Node::Atomic(node) => is_empty_width(node),
        Node::Repeat { node, max, .. } => *max == Some(0) || is_empty_width(node),
        Node::IfCaptured { yes, no, .. } | Node::IfMatches { yes, no, .. } => {
            is_empty_width(yes) && is_empty_width(no)
        }
        Node::Concat(nodes) | Node::Alternation(nodes) => nodes.iter().all(is_empty_width),
    }
}

/// Whether `node` holds a group that captures.
pub(super) fn captures(node: &Node) -> bool {
    match node {
        Node::Capture { .. } => true,
        Node::Empty
        | Node::Anchor(_)
        | Node::Literal { .. }
        | Node::Set { .. }
        | Node::BackReference { .. } => false,
        Node::Look { node, .. } | Node::Atomic(node) | Node::Repeat { node, .. } => captures(node),
        Node::IfCaptured { yes, no, .. } => captures(yes) || captures(no),
        Node::IfMatches { condition, yes, no } => captures(condition) || captures(yes) || captures(no),
        Node::Concat(nodes) | Node::Alternation(nodes) => nodes.iter().any(captures),
    }
}
