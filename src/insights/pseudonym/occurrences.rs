//! Finds and replaces what identifies a user, wherever it occurs in a text.
//!
//! Must not decide what identifies a user. Long values are replaced wherever they are, short ones only as whole words: the
//! user key `1` must not take every 1 out of `step-10`.

use std::borrow::Cow;
use std::collections::{HashMap, HashSet};

use aho_corasick::{AhoCorasick, AhoCorasickKind, MatchKind};
use memchr::memmem;

use super::levels::{Lowercased, each_level};

/// What stands for values that are not the user key.
pub const REDACTED: &str = "redacted";

/// Values with fewer characters are replaced as whole words only.
const LONG_CHARS: usize = 4;

/// From here on scripts have no spaces between words, and names of two characters.
const WITHOUT_SPACES: char = '\u{e00}';

/// Numbers with fewer digits are too common to identify a user.
const DIGITS_MIN: usize = 4;

/// Up to so many values, one search each is faster than making a search for all.
const SINGLE_MAX: usize = 8;

/// The most bytes of many values that are searched for, which takes some fifty times as much memory. Of a user with more, no
/// free text goes out.
const SEARCH_BYTES_MAX: usize = 256 << 10;

/// Values that everybody has.
const COMMON: [&str; 3] = ["true", "false", "null"];

/// Finds the values of one user.
pub struct Occurrences {
    pseudonym: String,
    long: Long,
    /// Whether a short value is the user key.
    short: HashMap<String, bool, foldhash::fast::RandomState>,
    short_chars_max: usize,
    /// Numbers that are values, by their bits.
    numbers: HashSet<u64, foldhash::fast::RandomState>,
}

/// Finds long values. The first of them are the user key.
struct Long {
    search: Search,
    keys: usize,
}

enum Search {
    Single(Vec<memmem::Finder<'static>>),
    Many(AhoCorasick),
    /// There is too much to search for.
    Impossible,
}

impl Occurrences {
    /// Finds `key`, for which `pseudonym` stands, and `values`.
    pub fn new<'v>(key: &str, pseudonym: String, values: impl Iterator<Item = &'v str>) -> Self {
        let mut found = Values::default();
        found.add(key, true);
        let is_common = |value: &str| COMMON.iter().any(|common| common.eq_ignore_ascii_case(value.trim()));
        values.filter(|value| !is_common(value)).for_each(|value| found.add(value, false));
        let short_chars_max = found.short.keys().map(|value| value.chars().count()).max().unwrap_or(0);
        let Values { long, keys, short, numbers, .. } = found;
        Self { pseudonym, long: Long::new(long, keys), short, short_chars_max, numbers }
    }

    /// The text without the values.
    pub fn replace<'t>(&self, text: &'t str) -> Cow<'t, str> {
        let mut parts = Vec::new();
        each_level(text, |lowercased| {
            let mut found = |start, end, is_key| {
                let (start, end) = lowercased.origin(start, end);
                parts.push((start, end, is_key));
            };
            self.long.find(&lowercased.text, &mut found);
            self.find_short(lowercased, &mut found);
        });
        if parts.is_empty() { Cow::Borrowed(text) } else { Cow::Owned(self.without(text, parts)) }
    }

    /// Whether the whole text is a short value other than the user key, such as `de` or `pro`.
    pub fn is_short_value(&self, text: &str) -> bool {
        let mut first = None;
        each_level(text.trim(), |lowercased| {
            first.get_or_insert_with(|| self.short.get(&lowercased.text).is_some_and(|is_key| !is_key));
        });
        first.unwrap_or(false)
    }

    /// Whether a number, as JSON writes it, is one of the values.
    pub fn is_number(&self, text: &str) -> bool {
        !self.numbers.is_empty()
            && text.parse::<f64>().is_ok_and(|number| self.numbers.contains(&(number + 0.0).to_bits()))
    }

    fn find_short(&self, lowercased: &Lowercased, found: &mut impl FnMut(usize, usize, bool)) {
        if self.short.is_empty() {
            return;
        }
        let text = lowercased.text.as_str();
        let mut before = None;
        for (start, first) in text.char_indices() {
            let begins = !before.replace(first).is_some_and(char::is_alphanumeric);
            let rest = if begins { &text[start..] } else { "" };
            for (at, last) in rest.char_indices().take(self.short_chars_max) {
                let end = at + last.len_utf8();
                let ends = !rest[end..].chars().next().is_some_and(char::is_alphanumeric);
                if let Some(&is_key) = self.short.get(&rest[..end]).filter(|_| ends) {
                    found(start, start + end, is_key);
                }
            }
        }
    }

    /// The text with these parts of it replaced. Parts that overlap are replaced together; the user key decides.
    fn without(&self, text: &str, mut parts: Vec<(usize, usize, bool)>) -> String {
        parts.sort_unstable();
        let mut result = String::with_capacity(text.len());
        let mut at = 0;
        let mut parts = parts.into_iter().peekable();
        while let Some((start, mut end, mut is_key)) = parts.next() {
            while let Some((_, other_end, other_is_key)) = parts.next_if(|other| other.0 < end) {
                end = end.max(other_end);
                is_key |= other_is_key;
            }
            result.push_str(text.get(at..start).unwrap_or_default());
            result.push_str(if is_key { &self.pseudonym } else { REDACTED });
            at = end;
        }
        result.push_str(text.get(at..).unwrap_or_default());
        result
    }
}

impl Long {
    fn new(values: Vec<String>, keys: usize) -> Self {
        let search = if values.len() <= SINGLE_MAX {
            let finders = values.iter().map(|value| memmem::Finder::new(value.as_bytes()).into_owned());
            Search::Single(finders.collect())
        } else {
            Self::many(&values).map_or(Search::Impossible, Search::Many)
        };
        Self { search, keys }
    }

    /// One search for all values. It is made anew for each event, so making it must be cheap.
    fn many(values: &[String]) -> Option<AhoCorasick> {
        let bytes: usize = values.iter().map(String::len).sum();
        let builder = || {
            AhoCorasick::builder()
                .kind(Some(AhoCorasickKind::NoncontiguousNFA))
                .match_kind(MatchKind::LeftmostLongest)
                .prefilter(false)
                .build(values)
        };
        if bytes <= SEARCH_BYTES_MAX { builder().ok() } else { None }
    }

    fn find(&self, text: &str, found: &mut impl FnMut(usize, usize, bool)) {
        match &self.search {
            Search::Single(finders) => {
                for (index, finder) in finders.iter().enumerate() {
                    for start in finder.find_iter(text.as_bytes()) {
                        found(start, start + finder.needle().len(), index < self.keys);
                    }
                }
            }
            Search::Many(all) => {
                for one in all.find_iter(text) {
                    found(one.start(), one.end(), one.pattern().as_usize() < self.keys);
                }
            }
            Search::Impossible if text.is_empty() => {}
            Search::Impossible => found(0, text.len(), false),
        }
    }
}

/// Collects values.
#[derive(Default)]
struct Values {
    long: Vec<String>,
    known: HashSet<String, foldhash::fast::RandomState>,
    /// How many long values are the user key, from the first.
    keys: usize,
    short: HashMap<String, bool, foldhash::fast::RandomState>,
    numbers: HashSet<u64, foldhash::fast::RandomState>,
}

impl Values {
    /// Adds a value, also as what it says once its escapes are decoded.
    fn add(&mut self, value: &str, is_key: bool) {
        let value = value.trim();
        self.numbers.extend(number(value));
        each_level(value, |lowercased| {
            let text = lowercased.text.trim();
            let chars = text.chars().count();
            let is_dense = chars >= 2 && text.chars().any(|character| character >= WITHOUT_SPACES);
            if text.is_empty() {
            } else if chars >= LONG_CHARS || is_dense {
                if self.known.insert(text.to_owned()) {
                    self.long.push(text.to_owned());
                    self.keys += usize::from(is_key);
                }
            } else {
                self.short.entry(text.to_owned()).or_insert(is_key);
            }
        });
    }
}

/// The bits of a value that is a number, or written like the number of a telephone.
fn number(value: &str) -> Option<u64> {
    let is_number = |text: &str| text.bytes().filter(u8::is_ascii_digit).count() >= DIGITS_MIN;
    let plain = value.parse::<f64>().ok().filter(|number| number.is_finite() && is_number(value));
    let number = plain.or_else(|| {
        let is_separator = |character: char| " -/().+".contains(character);
        let is_telephone = |character: char| character.is_ascii_digit() || is_separator(character);
        let digits = value.replace(is_separator, "");
        (value.chars().all(is_telephone) && is_number(&digits)).then(|| digits.parse().ok()).flatten()
    });
    // One zero has one form.
    number.map(|number| (number + 0.0).to_bits())
}

#[cfg(test)]
mod tests;
