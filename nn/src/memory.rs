//! Limits how much freed memory the process keeps.
#![allow(unsafe_code, reason = "a setting of the C library")]

/// Buffers from this size are returned to the system when they are freed. It is above a camera
/// frame's buffers in RGB, which are allocated again for every frame, and below the buffers of the
/// largest pictures.
#[cfg(all(target_os = "linux", target_env = "gnu"))]
const LARGE: std::ffi::c_int = 8 << 20;

/// Makes the allocator return large buffers to the system as soon as they are freed. By default
/// glibc raises its limit with each large buffer that is freed, up to 32 MiB, and then keeps some
/// 75 MB of the largest pictures' memory. Call it first in `main`; other C libraries do not need
/// it.
pub fn give_back_large_buffers() {
    #[cfg(all(target_os = "linux", target_env = "gnu"))]
    // SAFETY: mallopt takes two numbers, and locks what it changes. It leaves refused settings
    // unchanged.
    unsafe {
        libc::mallopt(libc::M_MMAP_THRESHOLD, LARGE);
        // The first call fixes this one too; its default of 128 KiB would call the system for each
        // frame.
        libc::mallopt(libc::M_TRIM_THRESHOLD, 2 * LARGE);
    }
}
