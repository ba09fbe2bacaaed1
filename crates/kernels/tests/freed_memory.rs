//! Freed memory leaves the process. Alone in its file, for it looks at the memory of the whole process.

#![cfg(all(target_os = "linux", target_env = "gnu"))]
#![allow(clippy::unwrap_used, reason = "this is a test")]

use std::fs;

fn resident_bytes() -> usize {
    let statm = fs::read_to_string("/proc/self/statm").unwrap();
    statm.split(' ').nth(1).unwrap().parse::<usize>().unwrap() * 4096
}

#[test]
fn freed_blocks_leave_the_process() {
    brisk_kernels::return_freed_memory();
    let before = resident_bytes();
    // What nobody reads, an optimizer leaves out.
    let large = std::hint::black_box(vec![1_u8; 64 << 20]);
    let mut small: Vec<_> = (0..1 << 20).map(|i| Box::new([i; 4])).collect();
    assert!(resident_bytes() > before + (80 << 20));
    // The last one keeps the end of the heap in use.
    let last = small.pop();
    drop((large, small));
    brisk_kernels::return_free_pages();
    let left = resident_bytes().saturating_sub(before);
    assert!(left < 8 << 20, "{left} bytes are left");
    drop(last);
}
