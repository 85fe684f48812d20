//! A pattern as one table of states, for ASCII texts only.
//!
//! Must give the same answers as the automaton. A table for all of Unicode would be large for a mere `\d`; cut down to ASCII,
//! which nearly all users' values are, it takes a few hundred bytes, and a search needs neither a cache nor a lock.

use regex_automata::dfa::{Automaton, StartKind, dense};
use regex_automata::nfa::thompson::{self, WhichCaptures};
use regex_automata::{Anchored, Input};
use regex_syntax::hir::{Class, ClassUnicode, ClassUnicodeRange, Hir, HirKind, Look, Repetition};

/// A table of states.
#[derive(Debug)]
pub(super) struct Table {
    states: dense::DFA<Vec<u32>>,
    anchored: Anchored,
}

impl Table {
    /// The table of a pattern, if it takes no more than `bytes`.
    pub(super) fn of(pattern: &Hir, bytes: usize) -> Option<Self> {
        let pattern = ascii(pattern);
        let only_at_start = pattern.properties().look_set_prefix().contains(Look::Start);
        let (anchored, start) = match only_at_start {
            true => (Anchored::Yes, StartKind::Anchored),
            false => (Anchored::No, StartKind::Unanchored),
        };
        // Of bytes, not of characters: they are the same here.
        let nfa = thompson::Config::new()
            .utf8(false)
            .which_captures(WhichCaptures::None)
            .nfa_size_limit(Some(bytes * 8));
        let nfa = thompson::Compiler::new().configure(nfa).build_from_hir(&pattern).ok()?;
        let states = dense::Config::new()
            .start_kind(start)
            .dfa_size_limit(Some(bytes))
            .determinize_size_limit(Some(bytes * 8));
        let states = dense::Builder::new().configure(states).build_from_nfa(&nfa).ok()?;
        Some(Self { states, anchored })
    }

    /// Bytes of memory.
    pub(super) fn memory_bytes(&self) -> usize {
        self.states.memory_usage()
    }

    /// Whether the pattern matches anywhere in `text`, which is ASCII.
    pub(super) fn is_match(&self, text: &str) -> bool {
        let input = Input::new(text).anchored(self.anchored).earliest(true);
        // A search of these states cannot fail: no byte makes them give up.
        matches!(self.states.try_search_fwd(&input), Ok(Some(_)))
    }
}

/// The pattern without what matches only characters beyond ASCII. Boundaries of words are those of ASCII, which are
/// the same where there is nothing else.
fn ascii(pattern: &Hir) -> Hir {
    match pattern.kind() {
        HirKind::Empty => Hir::empty(),
        HirKind::Literal(literal) if literal.0.is_ascii() => Hir::literal(literal.0.clone()),
        HirKind::Literal(_) => Hir::fail(),
        HirKind::Class(Class::Unicode(class)) => {
            let mut class = class.clone();
            class.intersect(&ClassUnicode::new([ClassUnicodeRange::new('\0', '\x7f')]));
            Hir::class(Class::Unicode(class))
        }
        HirKind::Class(class) => Hir::class(class.clone()),
        HirKind::Look(look) => Hir::look(match look {
            Look::WordUnicode => Look::WordAscii,
            Look::WordUnicodeNegate => Look::WordAsciiNegate,
            Look::WordStartUnicode => Look::WordStartAscii,
            Look::WordEndUnicode => Look::WordEndAscii,
            Look::WordStartHalfUnicode => Look::WordStartHalfAscii,
            Look::WordEndHalfUnicode => Look::WordEndHalfAscii,
            look => *look,
        }),
        HirKind::Repetition(Repetition { min, max, greedy, sub }) => {
            Hir::repetition(Repetition { min: *min, max: *max, greedy: *greedy, sub: Box::new(ascii(sub)) })
        }
        HirKind::Capture(capture) => ascii(&capture.sub),
        HirKind::Concat(parts) => Hir::concat(parts.iter().map(ascii).collect()),
        HirKind::Alternation(branches) => Hir::alternation(branches.iter().map(ascii).collect()),
    }
}
