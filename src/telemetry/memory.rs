//! The memory of the process: measures it and returns unused memory to the system.
//!
//! The allocator keeps freed memory for later allocations. After a large dataset, or many slow readers, that can be a
//! multiple of the memory in use.

/// Growth since the last time after which memory is returned.
const GROWTH_BYTES: u64 = 32 << 20;

/// The process counts as idle if it grows by less than this between two checks.
const REST_BYTES: u64 = 1 << 20;

/// The process's resident memory in bytes, if the system reports it.
pub fn resident_bytes() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    let kib: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kib * 1024)
}

/// Returns memory to the system when it has grown and stopped growing. To be called every few seconds.
#[derive(Debug, Default)]
pub struct GiveBack {
    /// The lowest resident memory since memory was last returned.
    base: u64,
    /// The resident memory at the last check.
    last: u64,
}

impl GiveBack {
    /// Checks the memory and returns what is unused, if it is time.
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

/// Returns unused pages to the system.
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
        // The memory shrinks without help; growth counts from there.
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
