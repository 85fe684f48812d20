//! Sets of user keys: targets, `included` and `excluded` of segments, lists of `IsOneOf`.
//!
//! Must not grow after it was built, nor allocate per key. All keys are in one text. In addition, each key has an entry with
//! its position, its length and some bits of its hash: a lookup reads one entry and, only if length and bits match, one place
//! of the text. That matters for sets larger than the CPU caches. An entry takes 8 bytes, and all but small sets have five
//! places for three entries.

use std::hash::{BuildHasher, Hasher};

use foldhash::fast::FixedState;

/// Up to this size, comparing all entries (lengths first) is faster than hashing the key.
const LINEAR_MAX: usize = 8;

/// A key this long or longer has its length before it in the text.
const LONG: usize = 0xffff;

/// The position of a key in the text (lower half), and a mark that distinguishes it from most other keys (upper half). 0
/// means a free place: a mark is never 0.
type Entry = u64;

/// The mark of a key: some bits of the hash, one bit that is always set, the length up to [`LONG`].
fn mark(hash: u64, len: usize) -> u32 {
    ((hash as u32) << 17) | (1 << 16) | len.min(LONG) as u32
}

/// A set of distinct keys, each with its position in the text. Positions ascend in the order in which the keys
/// were first inserted.
#[derive(Debug, Default)]
pub(super) struct KeySet {
    text: Box<[u8]>,
    /// In the order of insertion for a small set, an open-addressing table for another.
    entries: Box<[Entry]>,
}

impl KeySet {
    /// The set of `keys`.
    pub(super) fn new<'a>(keys: impl IntoIterator<Item = &'a str>) -> Self {
        let keys = keys.into_iter();
        let mut builder = KeySetBuilder::with_capacity(keys.size_hint().0);
        for key in keys {
            builder.insert(key);
        }
        builder.finish()
    }

    /// Whether `key` is one of them.
    #[inline]
    pub(super) fn contains(&self, key: &str) -> bool {
        self.find(key).is_some()
    }

    /// The position of `key`, if it is one of them.
    #[inline]
    pub(super) fn find(&self, key: &str) -> Option<u32> {
        if self.entries.is_empty() {
            return None;
        }
        if self.entries.len() <= LINEAR_MAX {
            let len = key.len().min(LONG) as u64;
            let same = |entry: &&Entry| (**entry >> 32) & 0xffff == len && holds(&self.text, **entry, key);
            return self.entries.iter().find(same).map(|entry| *entry as u32);
        }
        self.look_up(key)
    }

    fn look_up(&self, key: &str) -> Option<u32> {
        let hash = hash(key.as_bytes());
        let mark = mark(hash, key.len());
        let mut at = first_place(hash, self.entries.len());
        loop {
            let entry = self.entries[at];
            if (entry >> 32) as u32 == mark && holds(&self.text, entry, key) {
                return Some(entry as u32);
            }
            if entry == 0 {
                return None;
            }
            at = next_place(at, self.entries.len());
        }
    }

    /// Memory in addition to the struct itself, in bytes.
    pub(super) fn memory_bytes(&self) -> usize {
        self.text.len() + size_of_val(&*self.entries)
    }
}

fn hash(key: &[u8]) -> u64 {
    // Without the end mark that `Hash` adds to a text: there is only one.
    let mut hasher = FixedState::default().build_hasher();
    hasher.write(key);
    hasher.finish()
}

/// Where the search for a key begins. Takes the upper half of the hash, and [`mark`] the lower.
fn first_place(hash: u64, places: usize) -> usize {
    (((hash >> 32) * places as u64) >> 32) as usize
}

fn next_place(at: usize, places: usize) -> usize {
    if at + 1 == places { 0 } else { at + 1 }
}

/// Whether the key of `entry` is `key`; the length in the entry's mark matches that of `key`.
fn holds(text: &[u8], entry: Entry, key: &str) -> bool {
    let start = entry as u32 as usize;
    if key.len() < LONG {
        text.get(start..start + key.len()) == Some(key.as_bytes())
    } else {
        key_of(text, entry) == Some(key.as_bytes())
    }
}

/// The key of an entry.
fn key_of(text: &[u8], entry: Entry) -> Option<&[u8]> {
    let rest = text.get(entry as u32 as usize..)?;
    match (entry >> 32) as usize & 0xffff {
        LONG => {
            let (len, rest) = rest.split_first_chunk()?;
            rest.get(..u32::from_le_bytes(*len) as usize)
        }
        len => rest.get(..len),
    }
}

/// Builds a [`KeySet`] key by key.
#[derive(Debug)]
pub(super) struct KeySetBuilder {
    text: Vec<u8>,
    len: usize,
    table: Vec<Entry>,
}

impl KeySetBuilder {
    /// For about `keys` keys.
    pub(super) fn with_capacity(keys: usize) -> Self {
        Self { text: Vec::new(), len: 0, table: vec![0; places_for(keys)] }
    }

    /// Adds a key and says whether it was new. Keys past 4 GiB of text, more than any dataset may hold, are not
    /// added.
    pub(super) fn insert(&mut self, key: &str) -> bool {
        if places_for(self.len + 1) > self.table.len() {
            self.table = table(&self.text, &self.table, places_for(self.len * 2 + 1));
        }
        let hash = hash(key.as_bytes());
        let mark = mark(hash, key.len());
        let mut at = first_place(hash, self.table.len());
        while self.table[at] != 0 {
            if (self.table[at] >> 32) as u32 == mark && holds(&self.text, self.table[at], key) {
                return false;
            }
            at = next_place(at, self.table.len());
        }
        if u32::try_from(self.text.len() + key.len() + size_of::<u32>()).is_err() {
            return false;
        }
        self.table[at] = (u64::from(mark) << 32) | self.text.len() as u64;
        if key.len() >= LONG {
            self.text.extend_from_slice(&(key.len() as u32).to_le_bytes());
        }
        self.text.extend_from_slice(key.as_bytes());
        if key.is_empty() {
            // No two keys share a position.
            self.text.push(0);
        }
        self.len += 1;
        true
    }

    /// The position that the next new key will have.
    pub(super) fn position(&self) -> u32 {
        self.text.len() as u32
    }

    /// The finished set.
    pub(super) fn finish(self) -> KeySet {
        let entries = if self.len <= LINEAR_MAX {
            let mut entries: Vec<Entry> = self.table.into_iter().filter(|entry| *entry != 0).collect();
            entries.sort_unstable_by_key(|entry| *entry as u32);
            entries
        } else if self.table.len() != places_for(self.len) {
            table(&self.text, &self.table, places_for(self.len))
        } else {
            self.table
        };
        KeySet { text: self.text.into_boxed_slice(), entries: entries.into_boxed_slice() }
    }
}

/// The entries in a table of another size.
fn table(text: &[u8], entries: &[Entry], places: usize) -> Vec<Entry> {
    let mut table = vec![0; places];
    for entry in entries.iter().filter(|entry| **entry != 0) {
        let mut at = first_place(hash(key_of(text, *entry).unwrap_or_default()), places);
        while table[at] != 0 {
            at = next_place(at, places);
        }
        table[at] = *entry;
    }
    table
}

/// Places for `keys` keys: some always stay free, so that a search always ends, and soon.
fn places_for(keys: usize) -> usize {
    keys + keys * 2 / 3 + 1
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::HashMap;

    #[test]
    fn a_large_set_takes_at_most_sixteen_bytes_a_key_beside_its_text() {
        let keys: Vec<String> = (0..100_000).map(|number| format!("user-{number}")).collect();
        let text: usize = keys.iter().map(String::len).sum();
        let set = KeySet::new(keys.iter().map(String::as_str));
        assert!(set.memory_bytes() - text <= 16 * keys.len(), "{}", set.memory_bytes());
        assert!(keys.iter().all(|key| set.contains(key)));
        assert!(!set.contains("user-100000") && !set.contains(""));
    }

    #[test]
    fn keys_of_any_length_are_told_apart() {
        let lengths = [0, 1, LONG - 1, LONG, LONG + 1, 2 * LONG];
        let keys: Vec<String> =
            lengths.iter().flat_map(|len| ["x", "y"].map(|letter| letter.repeat(*len))).collect();
        for count in [4, keys.len()] {
            let set = KeySet::new(keys[keys.len() - count..].iter().map(String::as_str));
            for (number, key) in keys.iter().enumerate() {
                assert_eq!(set.contains(key), number >= keys.len() - count, "{count} {}", key.len());
            }
        }
    }

    proptest! {
        #[test]
        fn finds_what_a_hash_map_finds(
            keys in prop::collection::vec("[ab]{0,4}|客[0-9]{1,2}", 0..60),
            others in prop::collection::vec("[ab]{0,5}", 0..20),
            hint in 0usize..80,
        ) {
            let mut twin = HashMap::new();
            let mut builder = KeySetBuilder::with_capacity(hint);
            for key in &keys {
                let (new, position) = (!twin.contains_key(key.as_str()), builder.position());
                twin.entry(key.as_str()).or_insert(position);
                prop_assert_eq!(builder.insert(key), new);
                prop_assert_eq!(builder.position() > position, new);
            }
            let set = builder.finish();
            for key in keys.iter().chain(&others) {
                prop_assert_eq!(set.find(key), twin.get(key.as_str()).copied(), "{}", key);
            }
        }
    }
}
