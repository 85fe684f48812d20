//! Memory of the process: how much there is, and back to the system with what nobody uses.
//!
//! The allocator keeps what was freed for those who allocate next. After a large dataset, or many slow readers, that
//! can be a multiple of what is in use.

/// Growth since the last time from which on memory is given back.
const GROWTH_BYTES: u64 = 32 << 20;

/// Growth from one look to the next up to which the process counts as at rest.
const REST_BYTES: u64 = 1 << 20;

/// The process's resident memory, where the system tells it.
pub fn resident_bytes() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    let kib: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kib * 1024)
}

/// Gives memory back once it has grown and come to rest. To be asked every few seconds.
#[derive(Debug, Default)]
pub struct GiveBack {
    /// What was resident after the last time, or since then at the least.
    base: u64,
    /// What was resident at the last look.
    last: u64,
}

impl GiveBack {
    /// Looks, and gives back what can be.
    pub fn look(&mut self) {
        let Some(resident) = resident_bytes() else { return };
        if self.is_due(resident) {
            give_back();
            self.gave_back(resident_bytes().unwrap_or(resident));
        }
    }

    fn is_due(&mut self, resident: u64) -> bool {
        let rests = resident <= self.last + REST_BYTES;
        self.last = resident;
        self.base = self.base.min(resident);
        rests && resident > self.base + GROWTH_BYTES
    }

    fn gave_back(&mut self, resident: u64) {
        (self.base, self.last) = (resident, resident);
    }
}

/// Whole pages that nobody uses go back to the system.
fn give_back() {
    // SAFETY: it takes no pointer and keeps every allocation where it is; it may be called by any thread at any time.
    #[cfg(all(target_os = "linux", target_env = "gnu"))]
    unsafe {
        libc::malloc_trim(0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MB: u64 = 1 << 20;

    #[test]
    fn memory_goes_back_once_when_it_has_grown_and_rests() {
        let mut memory = GiveBack::default();
        memory.gave_back(10 * MB);
        assert!(!memory.is_due(30 * MB), "little growth");
        assert!(!memory.is_due(100 * MB), "still growing");
        assert!(!memory.is_due(200 * MB), "still growing");
        assert!(memory.is_due(200 * MB));
        memory.gave_back(150 * MB);
        // What stayed is in use: it is not tried again.
        assert!(!memory.is_due(150 * MB) && !memory.is_due(180 * MB) && !memory.is_due(180 * MB));
        // Less by itself; what comes after that is growth again.
        assert!(!memory.is_due(20 * MB));
        assert!(!memory.is_due(60 * MB), "growing");
        assert!(memory.is_due(60 * MB));
    }

    #[test]
    #[cfg(all(target_os = "linux", target_env = "gnu"))]
    fn pages_that_nobody_uses_are_given_back() {
        // Small pieces, of which a few stay, so that the allocator cannot give back the end of its heap.
        let mut pieces: Vec<Vec<u8>> = (0..150_000).map(|_| vec![1; 2000]).collect();
        let before = resident_bytes().unwrap();
        let mut kept = 0;
        pieces.retain(|_| {
            kept += 1;
            kept % 1000 == 0
        });
        give_back();
        let after = resident_bytes().unwrap();
        assert!(after + 150 * MB < before, "{before} to {after}");
        assert_eq!(pieces.len(), 150);
    }
}
