//! The user for whom flags are evaluated.

use std::fmt;

/// A user in one allocation: key, name and custom properties, packed. Every client connection keeps one, so it contains only
/// its texts and their lengths.
#[derive(Clone, PartialEq, Eq)]
pub struct User {
    // count of texts (u32), then per text its end offset (u32, `NULL` flag in the top bit), then the texts.
    // Text 0 is `keyId`, 1 is `name`, then name and value of each property in turn.
    packed: Box<[u8]>,
}

const NULL: u32 = 1 << 31;

impl User {
    /// Packs a user. `properties` are name and value, in order; a null value reads as the empty text.
    ///
    /// Returns `None` if the texts together exceed 1 GiB.
    pub fn new(key_id: &str, name: Option<&str>, properties: &[(&str, Option<&str>)]) -> Option<Self> {
        let texts = 2 + properties.len() * 2;
        let bytes = key_id.len()
            + name.map_or(0, str::len)
            + properties.iter().map(|(name, value)| name.len() + value.map_or(0, str::len)).sum::<usize>();
        if bytes > 1 << 30 || texts > 1 << 24 {
            return None;
        }
        let mut packed = Vec::with_capacity(4 + texts * 4 + bytes);
        packed.extend_from_slice(&(texts as u32).to_le_bytes());
        let mut end = 0u32;
        let each = |text: Option<&str>, packed: &mut Vec<u8>, end: &mut u32| {
            *end += text.map_or(0, str::len) as u32;
            let mark = if text.is_none() { NULL } else { 0 };
            packed.extend_from_slice(&(*end | mark).to_le_bytes());
        };
        each(Some(key_id), &mut packed, &mut end);
        each(name, &mut packed, &mut end);
        for (name, value) in properties {
            each(Some(name), &mut packed, &mut end);
            each(*value, &mut packed, &mut end);
        }
        packed.extend_from_slice(key_id.as_bytes());
        packed.extend_from_slice(name.unwrap_or("").as_bytes());
        for (name, value) in properties {
            packed.extend_from_slice(name.as_bytes());
            packed.extend_from_slice(value.unwrap_or("").as_bytes());
        }
        Some(Self { packed: packed.into_boxed_slice() })
    }

    fn word(&self, index: usize) -> u32 {
        let at = index * 4;
        match self.packed.get(at..at + 4) {
            Some(&[a, b, c, d]) => u32::from_le_bytes([a, b, c, d]),
            _ => 0,
        }
    }

    fn texts(&self) -> usize {
        self.word(0) as usize
    }

    fn text(&self, index: usize) -> Option<&str> {
        let word = self.word(1 + index);
        if word & NULL != 0 {
            return None;
        }
        let start = if index == 0 { 0 } else { self.word(index) & !NULL };
        let base = 4 + self.texts() * 4;
        let bytes = &self.packed[base + start as usize..base + word as usize];
        // SAFETY: `new` copied whole `&str`s to exactly these bounds, and nothing changes them afterwards.
        Some(unsafe { std::str::from_utf8_unchecked(bytes) })
    }

    /// The user's key; `protocol` accepts no blank one.
    pub fn key_id(&self) -> &str {
        self.text(0).unwrap_or("")
    }

    /// The user's name, which may be missing.
    pub fn name(&self) -> Option<&str> {
        self.text(1)
    }

    /// Name and value of each custom property, in order.
    pub fn properties(&self) -> impl Iterator<Item = (&str, Option<&str>)> {
        (2..self.texts()).step_by(2).map(|index| (self.text(index).unwrap_or(""), self.text(index + 1)))
    }

    /// The value of the first custom property of exactly this name, in UTF-8; `None` if there is none, or its value
    /// is null.
    pub fn property(&self, name: &[u8]) -> Option<&str> {
        // The same result as by `properties`, but faster, because every condition of every flag calls it: reads the end of
        // each text once.
        let (count, rest) = self.packed.split_first_chunk()?;
        let (ends, texts) = rest.split_at_checked(u32::from_le_bytes(*count) as usize * 4)?;
        let (ends, _) = ends.as_chunks::<4>();
        let mut start = u32::from_le_bytes(*ends.get(1)?) & !NULL;
        let (pairs, _) = ends.get(2..)?.as_chunks::<2>();
        for [name_end, value_end] in pairs {
            let (name_end, value_end) = (u32::from_le_bytes(*name_end), u32::from_le_bytes(*value_end));
            if (name_end - start) as usize == name.len()
                && texts.get(start as usize..name_end as usize) == Some(name)
            {
                let value = texts.get(name_end as usize..value_end as usize)?;
                // SAFETY: `new` copied whole `&str`s to exactly these bounds, and nothing changes them afterwards.
                return Some(unsafe { std::str::from_utf8_unchecked(value) });
            }
            start = value_end & !NULL;
        }
        None
    }

    /// Memory of the user in addition to the struct itself, in bytes.
    pub fn memory(&self) -> usize {
        self.packed.len()
    }
}

/// Only the size: users must never appear in logs.
impl fmt::Debug for User {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "User({} bytes)", self.packed.len())
    }
}

#[cfg(test)]
mod tests {
    use super::User;

    #[test]
    fn gives_back_what_was_packed() {
        let properties = [("age", Some("18")), ("", None), ("国", Some("")), ("age", Some("second"))];
        for name in [None, Some(""), Some("名")] {
            let user = User::new("客户1", name, &properties).unwrap();
            assert_eq!(user.key_id(), "客户1");
            assert_eq!(user.name(), name);
            assert_eq!(user.properties().collect::<Vec<_>>(), properties);
            for name in ["age", "", "国", "ag", "ages", "name", "客户1"] {
                let first = properties.iter().find(|(known, _)| *known == name);
                assert_eq!(user.property(name.as_bytes()), first.and_then(|(_, value)| *value), "{name}");
            }
        }
        assert_eq!(User::new("k", None, &[]).unwrap().properties().count(), 0);
    }

    #[test]
    fn debug_output_tells_nothing_about_the_user() {
        let user = User::new("alice@example.com", Some("Alice"), &[]).unwrap();
        assert!(!format!("{user:?}").to_lowercase().contains("alice"));
    }
}
