//! The path of a chain of agents: the random names of the processes from one of them to the source of truth.
//!
//! It goes into the head of an answer, and on to the next agent: whoever takes one in, from wherever, checks it here.

/// Agents on a path at most; a longer chain is a mistake.
pub const PATH_MAX: usize = 16;

/// Bytes of a name at most.
const NAME_BYTES_MAX: usize = 64;

/// Whether these are names such as agents give themselves, at least one, and not too many.
pub fn is_path<T: AsRef<str>>(names: &[T]) -> bool {
    let plain = |name: &T| {
        let name = name.as_ref();
        !name.is_empty()
            && name.len() <= NAME_BYTES_MAX
            && name.bytes().all(|byte| byte.is_ascii_alphanumeric())
    };
    (1..=PATH_MAX).contains(&names.len()) && names.iter().all(plain)
}
