//! Limits of the operating system: descriptors and waiting connections.
//!
//! Must not fail: if the system refuses a request, the agent works with the lower limit.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// The process's limit of open descriptors.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DescriptorLimits {
    /// The current limit; `None` means unlimited.
    pub soft: Option<u64>,
    /// How far the process may raise it; `None` means unlimited.
    pub hard: Option<u64>,
}

/// Raises the process's limit of open descriptors as far as possible, and returns the limit after that.
pub fn raise_descriptor_limit() -> DescriptorLimits {
    let before = getrlimit(Resource::Nofile);
    if before.current != before.maximum {
        // Linux refuses "unlimited" for descriptors; then the old limit stays.
        let _ = setrlimit(Resource::Nofile, Rlimit { current: before.maximum, maximum: before.maximum });
    }
    let after = getrlimit(Resource::Nofile);
    DescriptorLimits { soft: after.current, hard: after.maximum }
}

/// The most connections that may wait to be accepted on one listener, whatever its backlog; `None` if the system does not
/// report it.
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
