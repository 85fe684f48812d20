//! Sets of user keys: targets, `included` and `excluded` of segments, lists of `IsOneOf`.
//!
//! Must not grow after it was built, nor take an allocation for each key. All keys lie in one text; a set of more
//! than a few has an open-addressing table of their numbers beside it, 12 to 16 bytes a key in all.

use std::hash::BuildHasher;

use foldhash::quality::FixedState;

/// Up to here a walk over all keys, which compares lengths first, beats hashing the one that is looked up.
const LINEAR_MAX: usize = 8;

/// A set of distinct keys, numbered in the order in which they were first inserted.
#[derive(Debug, Default)]
pub(super) struct KeySet {
    text: Box<str>,
    ends: Box<[u32]>,
    /// Number of a key plus one, 0 for a free slot. Its length is a power of two, or 0 for a small set.
    table: Box<[u32]>,
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
    pub(super) fn contains(&self, key: &str) -> bool {
        self.find(key).is_some()
    }

    /// The number of `key`, if it is one of them.
    pub(super) fn find(&self, key: &str) -> Option<u32> {
        if self.table.is_empty() {
            let mut start = 0usize;
            for (number, &end) in self.ends.iter().enumerate() {
                let end = end as usize;
                if end - start == key.len() && self.text.as_bytes().get(start..end) == Some(key.as_bytes()) {
                    return Some(number as u32);
                }
                start = end;
            }
            return None;
        }
        let mask = self.table.len() - 1;
        let mut at = hash(key) & mask;
        loop {
            match self.table[at] {
                0 => return None,
                number if self.key(number - 1) == Some(key.as_bytes()) => return Some(number - 1),
                _ => at = (at + 1) & mask,
            }
        }
    }

    fn key(&self, number: u32) -> Option<&[u8]> {
        key_of(&self.text, &self.ends, number)
    }

    /// Bytes of memory beside the struct itself.
    pub(super) fn memory_bytes(&self) -> usize {
        self.text.len() + size_of_val(&*self.ends) + size_of_val(&*self.table)
    }
}

fn hash(key: &str) -> usize {
    FixedState::default().hash_one(key) as usize
}

fn key_of<'a>(text: &'a str, ends: &[u32], number: u32) -> Option<&'a [u8]> {
    let number = number as usize;
    let start = if number == 0 { 0 } else { *ends.get(number - 1)? as usize };
    text.as_bytes().get(start..*ends.get(number)? as usize)
}

/// Builds a [`KeySet`] key by key.
#[derive(Debug)]
pub(super) struct KeySetBuilder {
    text: String,
    ends: Vec<u32>,
    table: Vec<u32>,
}

impl KeySetBuilder {
    /// For about `keys` keys.
    pub(super) fn with_capacity(keys: usize) -> Self {
        let table = if keys > LINEAR_MAX { vec![0; slots_for(keys)] } else { Vec::new() };
        Self { text: String::new(), ends: Vec::with_capacity(keys), table }
    }

    /// Adds a key and says whether it was new. Keys past 4 GiB of text, more than any dataset may hold, are not
    /// added.
    pub(super) fn insert(&mut self, key: &str) -> bool {
        if slots_for(self.ends.len() + 1) > self.table.len() {
            self.grow();
        }
        let mask = self.table.len() - 1;
        let mut at = hash(key) & mask;
        while let Some(number) = self.table[at].checked_sub(1) {
            if key_of(&self.text, &self.ends, number) == Some(key.as_bytes()) {
                return false;
            }
            at = (at + 1) & mask;
        }
        let Ok(end) = u32::try_from(self.text.len() + key.len()) else { return false };
        self.text.push_str(key);
        self.ends.push(end);
        self.table[at] = self.ends.len() as u32;
        true
    }

    fn grow(&mut self) {
        self.table = vec![0; slots_for(self.ends.len() + 1).max(self.table.len() * 2)];
        let mask = self.table.len() - 1;
        for number in 0..self.ends.len() as u32 {
            let key = key_of(&self.text, &self.ends, number).and_then(|key| std::str::from_utf8(key).ok());
            let mut at = hash(key.unwrap_or("")) & mask;
            while self.table[at] != 0 {
                at = (at + 1) & mask;
            }
            self.table[at] = number + 1;
        }
    }

    /// How many distinct keys were added.
    pub(super) fn len(&self) -> usize {
        self.ends.len()
    }

    /// The finished set.
    pub(super) fn finish(self) -> KeySet {
        let table = if self.ends.len() > LINEAR_MAX { self.table } else { Vec::new() };
        KeySet {
            text: self.text.into_boxed_str(),
            ends: self.ends.into_boxed_slice(),
            table: table.into_boxed_slice(),
        }
    }
}

/// Slots for `keys` keys: a power of two, of which at most three quarters are used, so that a probe always ends.
fn slots_for(keys: usize) -> usize {
    (keys + keys / 3 + 1).next_power_of_two()
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
                let number = twin.len() as u32;
                let new = !twin.contains_key(key.as_str());
                twin.entry(key.as_str()).or_insert(number);
                prop_assert_eq!(builder.insert(key), new);
            }
            prop_assert_eq!(builder.len(), twin.len());
            let set = builder.finish();
            for key in keys.iter().chain(&others) {
                prop_assert_eq!(set.find(key), twin.get(key.as_str()).copied(), "{}", key);
            }
        }
    }
}
