//! The path of a chain of agents: the random names of the processes from one agent up to the FeatBit server. It is sent in
//! the response to a relay agent's upgrade, and in `rp-path` when it changes. An agent that finds its own name in the path
//! of its upstream would follow itself.
//!
//! Must not trust a name: names are passed on to downstream agents, so every reader of a path checks it here.

/// The header field of the response to a relay agent's upgrade: the name of the responding process, then that of its
/// upstream, and so on, separated by commas.
pub const PATH_FIELD: &str = "X-FeatBit-Relay-Path";

/// The most names on a path; a longer chain is a mistake.
pub const PATH_MAX: usize = 16;

/// The most bytes of a name.
const NAME_BYTES_MAX: usize = 64;

/// Whether `names` is a valid path: at least one name, not too many, and each in the format that agents use.
pub fn is_path<T: AsRef<str>>(names: &[T]) -> bool {
    let plain = |name: &T| {
        let name = name.as_ref();
        !name.is_empty()
            && name.len() <= NAME_BYTES_MAX
            && name.bytes().all(|byte| byte.is_ascii_alphanumeric())
    };
    (1..=PATH_MAX).contains(&names.len()) && names.iter().all(plain)
}

/// Writes the value of [`PATH_FIELD`].
pub fn write_path(names: &[String]) -> String {
    names.join(",")
}

/// Parses the value of [`PATH_FIELD`]. Empty if it is not a valid path.
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
