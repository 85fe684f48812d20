//! The engines against a matcher that follows the tree of a pattern word by word, on generated patterns and texts.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::super::syntax::{Anchor, DIGIT, Item, Node, SPACE, Set, WORD};
use super::super::*;

/// A matcher that follows the tree word by word, for small texts.
struct Naive<'t> {
    text: &'t [char],
    captures: BTreeMap<u32, (usize, usize)>,
    steps: u32,
}

type Next<'n> = &'n mut dyn FnMut(&mut Naive<'_>, usize) -> bool;

impl Naive<'_> {
    fn search(node: &Node, text: &[char]) -> Option<bool> {
        let mut naive = Naive { text, captures: BTreeMap::new(), steps: 0 };
        let found = (0..=text.len()).any(|start| {
            naive.captures.clear();
            naive.run(node, start, &mut |_, _| true)
        });
        (naive.steps < 200_000).then_some(found)
    }

    fn run(&mut self, node: &Node, at: usize, next: Next<'_>) -> bool {
        self.steps += 1;
        if self.steps >= 200_000 {
            return false;
        }
        match node {
            Node::Empty => next(self, at),
            Node::Literal { char, fold } => {
                let one = |found: char| same(found, *char, *fold);
                self.text.get(at).copied().is_some_and(one) && next(self, at + 1)
            }
            Node::Set { set, fold } => {
                self.text.get(at).copied().is_some_and(|found| holds(set, found, *fold)) && next(self, at + 1)
            }
            Node::Anchor(anchor) => self.anchor(*anchor, at) && next(self, at),
            Node::Capture { slot, node } => self.run(node, at, &mut |naive, end| {
                let before = naive.captures.insert(*slot, (at, end));
                next(naive, end) || {
                    match before {
                        Some(before) => naive.captures.insert(*slot, before),
                        None => naive.captures.remove(slot),
                    };
                    false
                }
            }),
            Node::Look { behind, negative, node } => {
                let found = if *behind {
                    (0..=at).any(|start| self.run(node, start, &mut |_, end| end == at))
                } else {
                    self.run(node, at, &mut |_, _| true)
                };
                found != *negative && next(self, at)
            }
            Node::Atomic(node) => {
                let mut end = None;
                self.run(node, at, &mut |_, found| {
                    end = Some(found);
                    true
                });
                end.is_some_and(|end| next(self, end))
            }
            Node::BackReference { slot, fold } => {
                let Some(&(start, end)) = self.captures.get(slot) else { return false };
                let end_here = at + end - start;
                let found = end_here <= self.text.len()
                    && (start..end)
                        .zip(at..)
                        .all(|(one, other)| same(self.text[one], self.text[other], *fold));
                found && next(self, end_here)
            }
            Node::IfCaptured { slot, yes, no } => {
                let node = if self.captures.contains_key(slot) { yes } else { no };
                self.run(node, at, next)
            }
            Node::IfMatches { condition, yes, no } => {
                let node = if self.run(condition, at, &mut |_, _| true) { yes } else { no };
                self.run(node, at, next)
            }
            Node::Concat(nodes) => self.concat(nodes, at, next),
            Node::Alternation(nodes) => nodes.iter().any(|node| self.run(node, at, next)),
            Node::Repeat { node, min, max, lazy } => self.repeat(node, *min, *max, *lazy, at, next),
        }
    }

    fn concat(&mut self, nodes: &[Node], at: usize, next: Next<'_>) -> bool {
        match nodes.split_first() {
            None => next(self, at),
            Some((first, rest)) => self.run(first, at, &mut |naive, at| naive.concat(rest, at, next)),
        }
    }

    fn repeat(
        &mut self,
        node: &Node,
        min: u32,
        max: Option<u32>,
        lazy: bool,
        at: usize,
        next: Next<'_>,
    ) -> bool {
        if lazy && min == 0 && next(self, at) {
            return true;
        }
        let more = max != Some(0)
            && self.run(node, at, &mut |naive, end| {
                (end > at || min > 0)
                    && naive.repeat(node, min.saturating_sub(1), max.map(|max| max - 1), lazy, end, next)
            });
        more || !lazy && min == 0 && next(self, at)
    }

    fn anchor(&self, anchor: Anchor, at: usize) -> bool {
        let word =
            |at: usize| self.text.get(at).is_some_and(|found| is_word(*found) || matches!(found, '\u{200d}'));
        let boundary = (at > 0 && word(at - 1)) != word(at);
        match anchor {
            Anchor::Start => at == 0,
            Anchor::End => at == self.text.len(),
            Anchor::LineStart => at == 0 || self.text[at - 1] == '\n',
            Anchor::LineEnd => self.text.get(at).is_none_or(|found| *found == '\n'),
            Anchor::EndOrLastNewline => matches!(self.text[at..], [] | ['\n']),
            Anchor::Boundary => boundary,
            Anchor::NotBoundary => !boundary,
        }
    }
}

fn same(one: char, other: char, fold: bool) -> bool {
    one == other || fold && one.to_lowercase().eq(other.to_lowercase())
}

fn is_word(char: char) -> bool {
    // Of the characters that the texts below are made of.
    char.is_alphanumeric() && char != '\u{903}' || matches!(char, '_' | '\u{301}')
}

fn holds(set: &Set, found: char, fold: bool) -> bool {
    let alike = |test: &dyn Fn(char) -> bool| {
        test(found) || fold && (found.to_lowercase().any(test) || found.to_uppercase().any(test))
    };
    let item = |item: &Item| match item {
        Item::Range(first, last) => alike(&|char| (*first..=*last).contains(&char)),
        Item::Class { class, negated } => {
            let inside = match *class {
                WORD => is_word(found),
                DIGIT => found.is_numeric(),
                SPACE => found.is_whitespace(),
                _ => unreachable!("the patterns below have no other class"),
            };
            inside != *negated
        }
    };
    set.items.iter().any(item) != set.negated
        && !set.without.as_ref().is_some_and(|set| holds(set, found, fold))
}

fn piece() -> impl Strategy<Value = String> {
    let leaf = prop_oneof![
        8 => "[ab1é_-]",
        1 => Just("\\.".to_owned()),
        1 => Just("\\n".to_owned()),
        2 => prop::sample::select(vec![".", "\\w", "\\W", "\\d", "\\s", "\\S"]).prop_map(str::to_owned),
        2 => prop::sample::select(vec!["^", "$", "\\b", "\\B", "\\A", "\\Z", "\\z", "(?i)", "(?m)", "(?s)"])
            .prop_map(str::to_owned),
        2 => prop::sample::select(vec![
            "[ab]", "[^a]", "[a-z-[b]]", "[^a-b-[1]]", "[\\w-]", "[&&a]", "[^\\W1]", "[]a]", "[A-B]",
        ]).prop_map(str::to_owned),
        1 => Just("\\1".to_owned()),
    ];
    leaf.prop_recursive(4, 24, 4, |inner| {
        let many = prop::collection::vec(inner.clone(), 0..4);
        prop_oneof![
            4 => many.clone().prop_map(|pieces| pieces.concat()),
            2 => (many.clone(), prop::sample::select(vec![
                "(", "(?:", "(?i:", "(?=", "(?!", "(?<=", "(?<!", "(?>", "(?<n>", "(?(a)", "(?(1)",
            ])).prop_map(|(pieces, open)| format!("{open}{})", pieces.concat())),
            2 => (inner.clone(), inner.clone()).prop_map(|(one, other)| format!("(?:{one}|{other})")),
            2 => (inner, prop::sample::select(vec!["*", "+", "?", "{2}", "{0,2}", "{1,}", "*?", "+?", "??", "{,2}"]))
                .prop_map(|(piece, quantifier)| format!("(?:{piece}){quantifier}")),
        ]
    })
}

/// Whether a group that captures is repeated though it may capture nothing: `(?:())*?(?(1)a)`. Engines differ in how
/// often they enter it, and no condition of a flag looks like that.
fn repeats_an_empty_capture(node: &Node) -> bool {
    fn can_be_empty(node: &Node) -> bool {
        match node {
            Node::Literal { .. } | Node::Set { .. } => false,
            Node::Capture { node, .. } | Node::Atomic(node) => can_be_empty(node),
            Node::Concat(nodes) => nodes.iter().all(can_be_empty),
            Node::Alternation(nodes) => nodes.iter().any(can_be_empty),
            Node::Repeat { node, min, .. } => *min == 0 || can_be_empty(node),
            _ => true,
        }
    }
    let inner = |node: &Node| repeats_an_empty_capture(node);
    match node {
        Node::Repeat { node, .. } => can_be_empty(node) && emit::captures(node) || inner(node),
        Node::Capture { node, .. } | Node::Atomic(node) | Node::Look { node, .. } => inner(node),
        Node::Concat(nodes) | Node::Alternation(nodes) => nodes.iter().any(inner),
        Node::IfCaptured { yes, no, .. } => inner(yes) || inner(no),
        Node::IfMatches { condition, yes, no } => inner(condition) || inner(yes) || inner(no),
        _ => false,
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1000))]

    #[test]
    fn engines_answer_as_the_tree_does(
        pieces in prop::collection::vec(piece(), 1..4),
        texts in prop::collection::vec("[ab1é_\\-. \nA\u{301}\u{200d}\u{903}]{0,5}", 1..6),
    ) {
        let pattern = pieces.concat();
        let Ok(tree) = parse::parse(&pattern) else { return Ok(()) };
        let Ok(compiled) = Pattern::new(&pattern, &RegexLimits::default(), &Arc::default()) else { return Ok(()) };
        if repeats_an_empty_capture(&tree.node) {
            return Ok(());
        }
        for text in &texts {
            let chars: Vec<char> = text.chars().collect();
            if let Some(expected) = Naive::search(&tree.node, &chars) {
                prop_assert_eq!(compiled.is_match(text), Some(expected), "{:?} in {:?}", pattern, text);
            }
        }
    }

    #[test]
    fn both_engines_agree(
        pieces in prop::collection::vec(piece(), 1..4),
        texts in prop::collection::vec("[ab1_\\-. \nA]{0,5}", 1..6),
    ) {
        let Ok(tree) = parse::parse(&pieces.concat()) else { return Ok(()) };
        if emit::needs(&tree.node, true).looks > 0 {
            return Ok(());
        }
        let limits = RegexLimits::default();
        let one = emit::emit(&tree, Dialect::Automaton).and_then(|pattern| automaton(&pattern, &limits));
        let other = emit::emit(&tree, Dialect::Backtracking).and_then(|pattern| backtracking(&pattern, &limits));
        if let (Ok(one), Ok(other)) = (one, other) {
            for text in texts {
                prop_assert_eq!(Some(one.is_match(&text)), other.is_match(&text).ok());
            }
        }
    }
}
