//! Gives memory that a large request has left behind back to the system.
//!
//! The C library keeps freed memory for later: up to 64 MiB for each of its arenas, because it
//! takes the first large block that is freed as a hint to keep such blocks. A server that once had
//! a prompt of some megabytes on each of its threads would stay that large.

/// Blocks from this size on are mapped on their own and unmapped when they are freed.
#[cfg(all(target_os = "linux", target_env = "gnu"))]
const MIN_MAPPED_BYTES: libc::c_int = 256 << 10;

/// Sets the allocator up to give memory back as it is freed. For a program's first lines.
///
/// Large blocks get mappings of their own. Small ones are joined with their free neighbours at once:
/// put aside for reuse, they would keep the free end of an arena from being found.
///
/// Only glibc needs it; elsewhere nothing happens.
pub fn return_freed_memory() {
    #[cfg(all(target_os = "linux", target_env = "gnu"))]
    for (parameter, value) in [
        (libc::M_MMAP_THRESHOLD, MIN_MAPPED_BYTES),
        (libc::M_TRIM_THRESHOLD, MIN_MAPPED_BYTES),
        (libc::M_MXFAST, 0),
    ] {
        // SAFETY: sets a number under the allocator's own lock; no memory is touched. A refusal
        // leaves the defaults.
        unsafe { libc::mallopt(parameter, value) };
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
