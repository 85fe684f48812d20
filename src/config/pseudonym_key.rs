//! Which texts can be a key of pseudonyms.
//!
//! Must not keep or show a key.

/// The fewest characters of a key: whoever guesses it can try out user keys.
pub const KEY_CHARS_MIN: usize = 32;

/// The fewest different characters of a key, against `xxxxxxxx…`.
const DIFFERENT_CHARS_MIN: usize = 8;

/// Why a text cannot be a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WeakKey {
    /// It has too few characters.
    Short,
    /// It has too few different characters.
    Uniform,
}

/// The key in `text`. White space around it does not count.
///
/// # Errors
/// It is too easy to guess.
pub fn strong(text: &str) -> Result<&str, WeakKey> {
    let text = text.trim();
    if text.chars().count() < KEY_CHARS_MIN {
        return Err(WeakKey::Short);
    }
    let mut characters: Vec<char> = text.chars().collect();
    characters.sort_unstable();
    characters.dedup();
    if characters.len() < DIFFERENT_CHARS_MIN { Err(WeakKey::Uniform) } else { Ok(text) }
}
