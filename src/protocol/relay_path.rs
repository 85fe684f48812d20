//! The path of a chain of agents: the random names of the processes from one of them to the source of truth. It is in
//! the answer to an agent's upgrade, and in `rp-path` when it changes. An agent that finds its own name on the path of
//! what it follows would follow itself.
//!
//! Must not trust a name: names go on to the next agent, so whoever reads one checks it here.

/// The header field of the answer to an agent's upgrade: the name of the answering process, then of what that follows,
/// and so on, with commas between them.
pub const PATH_FIELD: &str = "X-FeatBit-Relay-Path";

/// Names on a path at most; a longer chain is a mistake.
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

/// The value of [`PATH_FIELD`].
pub fn write_path(names: &[String]) -> String {
    names.join(",")
}

/// Reads the value of [`PATH_FIELD`]. Empty if it holds anything but names, or too many.
pub fn parse_path(value: &str) -> Vec<String> {
    let names: Vec<String> = value.split(',').map(|name| name.trim().to_owned()).collect();
    if is_path(&names) { names } else { Vec::new() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_is_a_few_plain_names() {
        assert_eq!(parse_path("ab, cd"), ["ab", "cd"]);
        assert_eq!(parse_path(&write_path(&["ab".into(), "cd".into()])), ["ab", "cd"]);
        for bad in ["", "a,,b", "a b", "ä", &"x".repeat(65), &["a"; PATH_MAX + 1].join(",")] {
            assert!(parse_path(bad).is_empty(), "{bad}");
        }
    }
}
