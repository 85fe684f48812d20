//! Patterns that are little more than texts: compared byte by byte, without an automaton.
//!
//! Must be exact: a shape gives the same answer as the automaton, or none. Most patterns of flags are of this kind: `@example\.(com|org)$`, `^beta-\d+$`, `^.*@example\.com$`.

use memchr::memmem::{self, Finder};
use regex_syntax::hir::{Class, Hir, HirKind, Look};

/// The most texts that a part of a pattern may match, and their bytes together.
const WORDS_MAX: usize = 16;
const WORDS_BYTES_MAX: usize = 4096;

/// A pattern as alternatives, of which one must match.
#[derive(Debug)]
pub(super) struct Shapes(Box<[Shape]>);

type Words = Box<[Box<[u8]>]>;

/// [`Words`] while they are collected.
type List = Vec<Vec<u8>>;

/// One alternative.
#[derive(Debug)]
enum Shape {
    /// The text is one of these.
    Is(Words),
    /// It begins with one of these.
    Starts(Words),
    /// It ends with one of these.
    Ends(Words),
    /// One of these is somewhere in it.
    Contains(Box<[Finder<'static>]>),
    /// It is a head, characters of a class, and a tail.
    Spans { heads: Words, gap: Gap, tails: Words },
    /// It begins with a head and so many characters of a class.
    StartsSpan { heads: Words, gap: Gap },
    /// It ends with so many characters of a class and a tail.
    EndsSpan { gap: Gap, tails: Words },
    /// It begins with any number of characters of a class, and then one of these.
    Within { gap: Gap, tails: Box<[Finder<'static>]> },
}

/// A number of characters of a class in a row.
#[derive(Clone, Debug)]
struct Gap {
    bytes: Box<[Byte; 256]>,
    others: Others,
    min: usize,
    max: Option<usize>,
}

/// Whether a byte can be in a gap.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Byte {
    Never,
    Always,
    /// Unknown: it depends on the bytes around it, or characters must be counted.
    Unknown,
}

/// Which characters beyond ASCII a class holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Others {
    Nothing,
    All,
    Some,
}

/// An element of a pattern.
#[derive(Debug)]
enum Element {
    Start,
    End,
    Words(List),
    Gap(Gap),
}

impl Shapes {
    /// The shapes of a pattern, if it is as simple as that.
    pub(super) fn of(pattern: &Hir) -> Option<Self> {
        let alternatives = match pattern.kind() {
            HirKind::Alternation(branches) if words(pattern).is_none() => branches.as_slice(),
            _ => std::slice::from_ref(pattern),
        };
        if alternatives.len() > WORDS_MAX {
            return None;
        }
        alternatives.iter().map(Shape::of).collect::<Option<Vec<_>>>().map(|shapes| Self(shapes.into()))
    }

    /// Whether the pattern matches anywhere in `text`; `None` if that depends on characters beyond ASCII.
    pub(super) fn is_match(&self, text: &str) -> Option<bool> {
        let mut certain = true;
        for shape in &self.0 {
            match shape.is_match(text.as_bytes()) {
                Some(true) => return Some(true),
                Some(false) => {}
                None => certain = false,
            }
        }
        certain.then_some(false)
    }

    /// Bytes of memory, roughly.
    pub(super) fn memory_bytes(&self) -> usize {
        let words = |words: &Words| words.iter().map(|word| size_of_val(word) + word.len()).sum::<usize>();
        let finders = |finders: &[Finder<'_>]| {
            finders.iter().map(|finder| size_of_val(finder) + finder.needle().len()).sum::<usize>()
        };
        let each = |shape: &Shape| {
            size_of::<Shape>()
                + match shape {
                    Shape::Is(texts) | Shape::Starts(texts) | Shape::Ends(texts) => words(texts),
                    Shape::Contains(texts) => finders(texts),
                    Shape::Spans { heads, gap, tails } => {
                        words(heads) + size_of_val(&*gap.bytes) + words(tails)
                    }
                    Shape::StartsSpan { heads: texts, gap } | Shape::EndsSpan { gap, tails: texts } => {
                        size_of_val(&*gap.bytes) + words(texts)
                    }
                    Shape::Within { gap, tails } => size_of_val(&*gap.bytes) + finders(tails),
                }
        };
        self.0.iter().map(each).sum()
    }

    /// Whether there is an answer for every text.
    pub(super) fn is_certain(&self) -> bool {
        self.0.iter().all(|shape| match shape {
            Shape::Is(_) | Shape::Starts(_) | Shape::Ends(_) | Shape::Contains(_) => true,
            Shape::Spans { gap, .. } | Shape::Within { gap, .. } => gap.is_certain(),
            Shape::StartsSpan { gap, .. } | Shape::EndsSpan { gap, .. } => gap.min == 0 || gap.is_certain(),
        })
    }
}

impl Shape {
    fn of(pattern: &Hir) -> Option<Self> {
        let mut elements = Vec::new();
        collect(pattern, &mut elements)?;
        let starts = elements.iter().take_while(|element| matches!(element, Element::Start)).count();
        let ends = elements.iter().rev().take_while(|element| matches!(element, Element::End)).count();
        let (at_start, at_end) = (starts > 0, ends > 0);
        let inner = elements.get(starts..elements.len() - ends)?;
        let (heads, gap, tails) = parts(inner)?;
        let Some(gap) = gap else {
            return Some(match (at_start, at_end) {
                (true, true) => Shape::Is(boxed(heads)),
                (true, false) => Shape::Starts(boxed(heads)),
                (false, true) => Shape::Ends(boxed(heads)),
                (false, false) => Shape::Contains(finders(heads)),
            });
        };
        let nothing = |words: &[Vec<u8>]| words.iter().any(Vec::is_empty);
        // At an end that is not anchored, as few characters as there may be are as good as more.
        let fewest = || gap.clone().of(gap.min, Some(gap.min), gap.min > 1);
        match (at_start, at_end) {
            (true, true) => Some(Shape::Spans { heads: boxed(heads), gap, tails: boxed(tails) }),
            (true, false) if nothing(&tails) => {
                Some(Shape::StartsSpan { heads: boxed(heads), gap: fewest() })
            }
            (true, false) if heads.iter().all(Vec::is_empty) && gap.min == 0 && gap.max.is_none() => {
                Some(Shape::Within { gap, tails: finders(tails) })
            }
            (false, true) if nothing(&heads) => Some(Shape::EndsSpan { gap: fewest(), tails: boxed(tails) }),
            (false, false) if gap.min == 0 && nothing(&heads) => Some(Shape::Contains(finders(tails))),
            (false, false) if gap.min == 0 && nothing(&tails) => Some(Shape::Contains(finders(heads))),
            _ => None,
        }
    }

    fn is_match(&self, text: &[u8]) -> Option<bool> {
        let starts = |words: &Words| words.iter().any(|word| text.starts_with(word));
        let found = match self {
            Shape::Is(words) => words.iter().any(|word| **word == *text),
            Shape::Starts(words) => starts(words),
            Shape::Ends(words) => words.iter().any(|word| text.ends_with(word)),
            Shape::Contains(finders) => finders.iter().any(|finder| finder.find(text).is_some()),
            Shape::Spans { heads, gap, tails } => {
                return any(heads.iter().filter_map(|head| text.strip_prefix(&**head)).flat_map(|rest| {
                    tails.iter().filter_map(|tail| rest.strip_suffix(&**tail)).map(|within| gap.is(within))
                }));
            }
            Shape::StartsSpan { heads, gap } => {
                let rests = heads.iter().filter_map(|head| text.strip_prefix(&**head));
                return any(rests.map(|rest| gap.is_next(rest.iter())));
            }
            Shape::EndsSpan { gap, tails } => {
                let rests = tails.iter().filter_map(|tail| text.strip_suffix(&**tail));
                return any(rests.map(|rest| gap.is_next(rest.iter().rev())));
            }
            Shape::Within { gap, tails } => {
                // The first place of a tail is the best: what is before it is before every other one.
                return any(tails.iter().filter_map(|tail| tail.find(text)).map(|at| gap.is(&text[..at])));
            }
        };
        Some(found)
    }
}

/// Whether one of the answers is yes; unknown if none is and one is unknown.
fn any(answers: impl Iterator<Item = Option<bool>>) -> Option<bool> {
    let mut found = Some(false);
    for answer in answers {
        match answer {
            Some(true) => return Some(true),
            Some(false) => {}
            None => found = None,
        }
    }
    found
}

impl Gap {
    /// The same class, in other numbers. `counted`: two characters are not the same as one.
    fn of(mut self, min: usize, max: Option<usize>, counted: bool) -> Self {
        self.bytes[128..].fill(match self.others {
            Others::Nothing => Byte::Never,
            Others::All if !counted => Byte::Always,
            Others::All | Others::Some => Byte::Unknown,
        });
        Self { min, max, ..self }
    }

    /// Whether `within`, which whole characters are before and after, is what the gap may hold.
    fn is(&self, within: &[u8]) -> Option<bool> {
        for byte in within {
            match self.bytes[usize::from(*byte)] {
                Byte::Always => {}
                Byte::Never => return Some(false),
                Byte::Unknown => return None,
            }
        }
        Some(within.len() >= self.min && self.max.is_none_or(|max| within.len() <= max))
    }

    /// Whether the next characters are in the class, as many as there have to be.
    fn is_next<'t>(&self, mut bytes: impl Iterator<Item = &'t u8>) -> Option<bool> {
        for _ in 0..self.min {
            let Some(byte) = bytes.next() else { return Some(false) };
            match self.bytes[usize::from(*byte)] {
                Byte::Always => {}
                Byte::Never => return Some(false),
                Byte::Unknown => return None,
            }
        }
        Some(true)
    }

    fn is_certain(&self) -> bool {
        !self.bytes.contains(&Byte::Unknown)
    }
}

/// What is between the anchors: texts, then perhaps a gap and texts again.
fn parts(elements: &[Element]) -> Option<(List, Option<Gap>, List)> {
    let (mut heads, mut gap, mut tails) = (vec![Vec::new()], None, vec![Vec::new()]);
    for element in elements {
        match element {
            Element::Words(words) if gap.is_none() => heads = product(&heads, words)?,
            Element::Words(words) => tails = product(&tails, words)?,
            Element::Gap(found) if gap.is_none() => gap = Some(found.clone()),
            Element::Gap(_) | Element::Start | Element::End => return None,
        }
    }
    Some((heads, gap, tails))
}

fn collect(pattern: &Hir, into: &mut Vec<Element>) -> Option<()> {
    match pattern.kind() {
        HirKind::Look(Look::Start) => into.push(Element::Start),
        HirKind::Look(Look::End) => into.push(Element::End),
        HirKind::Capture(capture) => collect(&capture.sub, into)?,
        HirKind::Concat(parts) => parts.iter().try_for_each(|part| collect(part, into))?,
        _ => into.push(match words(pattern) {
            Some(words) => Element::Words(words),
            None => Element::Gap(gap(pattern)?),
        }),
    }
    Some(())
}

/// All texts that `pattern` can match, if they are few.
fn words(pattern: &Hir) -> Option<List> {
    Some(match pattern.kind() {
        HirKind::Empty => vec![Vec::new()],
        HirKind::Literal(literal) => vec![literal.0.to_vec()],
        HirKind::Class(Class::Unicode(class)) => {
            if class.ranges().iter().map(|range| range.len()).sum::<usize>() > WORDS_MAX {
                return None;
            }
            let chars = class.ranges().iter().flat_map(|range| range.start()..=range.end());
            chars.map(|char| char.to_string().into_bytes()).collect()
        }
        HirKind::Class(Class::Bytes(_)) | HirKind::Look(_) => return None,
        HirKind::Capture(capture) => words(&capture.sub)?,
        HirKind::Concat(parts) => {
            parts.iter().try_fold(vec![Vec::new()], |before, part| product(&before, &words(part)?))?
        }
        HirKind::Alternation(branches) => {
            let mut all = Vec::new();
            for branch in branches {
                all.extend(words(branch)?);
                if all.len() > WORDS_MAX {
                    return None;
                }
            }
            all
        }
        HirKind::Repetition(repetition) => {
            let max = repetition.max.filter(|max| *max as usize <= WORDS_BYTES_MAX)?;
            let once = words(&repetition.sub)?;
            let mut before = vec![Vec::new()];
            let mut all = if repetition.min == 0 { before.clone() } else { Vec::new() };
            for times in 1..=max {
                before = product(&before, &once)?;
                if times >= repetition.min {
                    all.extend(before.iter().cloned());
                }
                if all.len() > WORDS_MAX {
                    return None;
                }
            }
            all
        }
    })
}

/// Each of the first followed by each of the second.
fn product(first: &[Vec<u8>], second: &[Vec<u8>]) -> Option<List> {
    if first.len() * second.len() > WORDS_MAX {
        return None;
    }
    let all: List =
        first.iter().flat_map(|one| second.iter().map(move |other| [&**one, &**other].concat())).collect();
    (all.iter().map(Vec::len).sum::<usize>() <= WORDS_BYTES_MAX).then_some(all)
}

/// A class, or one that is repeated.
fn gap(pattern: &Hir) -> Option<Gap> {
    let (repeated, min, max) = match pattern.kind() {
        HirKind::Repetition(repetition) => (&*repetition.sub, repetition.min, repetition.max),
        _ => (pattern, 1, Some(1)),
    };
    let (mut bytes, mut others) = (Box::new([Byte::Never; 256]), Others::Nothing);
    match repeated.kind() {
        HirKind::Class(Class::Unicode(class)) => {
            for range in class.ranges() {
                let (start, end) = (u32::from(range.start()), u32::from(range.end()).min(0x7f));
                for char in start..=end {
                    bytes[char as usize] = Byte::Always;
                }
                match (range.start(), range.end()) {
                    (_, ..='\x7f') => {}
                    (..='\u{80}', char::MAX) => others = Others::All,
                    _ => others = Others::Some,
                }
            }
        }
        HirKind::Literal(literal) if literal.0.len() == 1 && literal.0[0].is_ascii() => {
            bytes[usize::from(literal.0[0])] = Byte::Always;
        }
        _ => return None,
    }
    let gap = Gap { bytes, others, min: 0, max: None };
    Some(gap.of(min as usize, max.map(|max| max as usize), min > 1 || max.is_some()))
}

fn boxed(words: List) -> Words {
    words.into_iter().map(Vec::into_boxed_slice).collect()
}

fn finders(words: List) -> Box<[Finder<'static>]> {
    words.iter().map(|word| memmem::Finder::new(word).into_owned()).collect()
}
