//! How much freed memory the process keeps.
#![allow(unsafe_code, reason = "a setting of the C library")]

/// Buffers from here on go back to the system when they are freed. Above the buffers of a camera's frame
/// in RGB, which are asked for again with every frame; below those of the largest pictures.
#[cfg(all(target_os = "linux", target_env = "gnu"))]
const LARGE: std::ffi::c_int = 8 << 20;

/// Has large buffers go back to the system as soon as they are freed. By itself glibc raises its limit
/// with each large buffer that is freed, up to 32 MiB, and then keeps some 75 MB of what the largest
/// pictures took. To be called first in `main`; other C libraries need none of it.
pub fn give_back_large_buffers() {
    #[cfg(all(target_os = "linux", target_env = "gnu"))]
    // SAFETY: mallopt takes two numbers, and locks what it changes. What it refuses stays as it was.
    unsafe {
        libc::mallopt(libc::M_MMAP_THRESHOLD, LARGE);
        // Fixed as well by the first; its default of 128 KiB would ask the system for each frame.
        libc::mallopt(libc::M_TRIM_THRESHOLD, 2 * LARGE);
    }
}
