//! The free space of a disk, and the part of it that enrolments must leave to deletions and events.

use std::path::Path;

/// Free disk space that an enrolment must leave, in bytes, or an eighth of a small disk: enough for
/// some thousand deletions and events.
const RESERVE: u64 = 64 << 20;

/// Space of a file system, in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Space {
    pub size: u64,
    pub free: u64,
    /// Enrolments are refused while less is free.
    pub reserve: u64,
    pub read_only: bool,
}

impl Space {
    /// Reads the space of the file system that holds a file or folder; `None` if it does not report
    /// it.
    pub fn of(path: &Path) -> Option<Self> {
        let stat = rustix::fs::statvfs(path).ok()?;
        let bytes = |blocks: u64| blocks.saturating_mul(stat.f_frsize);
        let (size, free) = (bytes(stat.f_blocks), bytes(stat.f_bavail));
        let read_only = stat.f_flag.contains(rustix::fs::StatVfsMountFlags::RDONLY);
        Some(Self { size, free, reserve: RESERVE.min(size / 8), read_only })
    }

    /// True if enrolments are refused.
    pub fn is_short(&self) -> bool {
        self.free < self.reserve
    }
}
