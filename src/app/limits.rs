//! What the system allows: descriptors and waiting connections.
//!
//! Must not fail: where the system does not tell or does not let itself be told, the agent goes on with less.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// How many descriptors the process may have open.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// How many it may open now; `None` is without limit.
    pub soft: Option<u64>,
    /// How far it may raise that by itself; `None` is without limit.
    pub hard: Option<u64>,
}

/// Raises the process's own limit of open descriptors as far as it may, and returns what holds then.
pub fn raise_descriptor_limit() -> Limits {
    let before = getrlimit(Resource::Nofile);
    if before.current != before.maximum {
        // Linux caps "without limit" for descriptors; then the call fails and the old limit stays.
        let _ = setrlimit(Resource::Nofile, Rlimit { current: before.maximum, maximum: before.maximum });
    }
    let after = getrlimit(Resource::Nofile);
    Limits { soft: after.current, hard: after.maximum }
}

/// How many connections may wait to be accepted on one listener, whatever backlog it asks for; `None` where the
/// system does not tell.
pub fn somaxconn() -> Option<u32> {
    std::fs::read_to_string("/proc/sys/net/core/somaxconn").ok()?.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_soft_limit_is_raised_to_the_hard_one() {
        let limits = raise_descriptor_limit();
        assert_eq!(limits.soft, limits.hard);
        assert_eq!(raise_descriptor_limit(), limits);
    }

    #[test]
    #[cfg(target_os = "linux")]
    fn linux_tells_how_many_may_wait() {
        assert!(somaxconn().unwrap() > 0);
    }
}
