//! Gives memory that a large request has left behind back to the system.
//!
//! The C library keeps freed memory for later: up to 64 MiB for each of its arenas, because it
//! takes the first large block that is freed as a hint to keep such blocks. A server that once had
//! a prompt of some megabytes on each of its threads would stay that large.

/// Blocks from this size on are mapped on their own and unmapped when they are freed.
#[cfg(all(target_os = "linux", target_env = "gnu"))]
const MIN_MAPPED_BYTES: libc::c_int = 256 << 10;

/// Makes the allocator give large blocks back as they are freed. For a program's first lines.
///
/// Only glibc needs it; elsewhere nothing happens.
pub fn return_large_blocks() {
    #[cfg(all(target_os = "linux", target_env = "gnu"))]
    for parameter in [libc::M_MMAP_THRESHOLD, libc::M_TRIM_THRESHOLD] {
        // SAFETY: sets a number under the allocator's own lock; no memory is touched. A refusal
        // leaves the defaults.
        unsafe { libc::mallopt(parameter, MIN_MAPPED_BYTES) };
    }
}

/// Gives whole free pages of small blocks back. Takes about a millisecond, so it is for the end of
/// requests that were large.
///
/// Only glibc needs it; elsewhere nothing happens.
pub fn return_free_pages() {
    #[cfg(all(target_os = "linux", target_env = "gnu"))]
    // SAFETY: the allocator releases pages that hold no live block, under its own locks.
    unsafe {
        libc::malloc_trim(0)
    };
}
