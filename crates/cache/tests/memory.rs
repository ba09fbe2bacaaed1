//! A full cache takes the memory that it was given.

#![allow(clippy::unwrap_used, clippy::print_stdout, clippy::print_stderr, reason = "tests")]

mod support;

use std::alloc::System;

use brisk_cache::{CacheConfig, ResponseCache};
use cap::Cap;
use support::{Text, entry, key};

#[global_allocator]
static ALLOCATOR: Cap<System> = Cap::new(System, usize::MAX);

const MAX_BYTES: u64 = 64 << 20;

/// Fills a cache three times over with values of about this size. How much more the program held
/// than before, at most and at the end, as shares of the cap.
fn fill(max_bytes: u64, value_bytes: usize, max_entries: u64) -> (f64, f64) {
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let config = CacheConfig { max_bytes, max_entries, ..CacheConfig::default() };
    let before = ALLOCATOR.allocated();
    let cache: ResponseCache<Text> = runtime.block_on(ResponseCache::open(config)).unwrap();
    let mut most = 0;
    let num_entries = 3 * max_bytes as usize / value_bytes.max(400);
    for n in 0..num_entries {
        let value_bytes = value_bytes * (50 + n % 101) / 100;
        cache.insert(entry(key(&format!("question {n}")), &"x".repeat(value_bytes)));
        most = most.max(ALLOCATOR.allocated());
    }
    let stats = cache.stats();
    let share = |bytes: usize| (bytes - before) as f64 / max_bytes as f64;
    let (most, end) = (share(most), share(ALLOCATOR.allocated()));
    let counted = stats.num_bytes as f64 / max_bytes as f64;
    println!(
        "values of {value_bytes} bytes: {} entries counted as {counted:.3} of the cap, \
         at most {most:.3}, at the end {end:.3}",
        stats.num_entries,
    );
    assert!(stats.num_bytes <= max_bytes);
    (most, end)
}

/// The most memory that this process ever had, where the system tells.
fn peak_resident_bytes() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    peak.trim().strip_suffix(" kB")?.parse().ok().map(|kib: u64| kib << 10)
}

#[test]
fn peak_memory_is_within_five_percent_of_the_cap() {
    // The process as the system sees it can only be measured for the first cache.
    // A small one before it brings in the code.
    fill(1 << 20, 2_000, 100);
    let before = peak_resident_bytes();
    let rows = [(8_000, 10_000), (100, 1_000_000), (600, 1_000_000), (2_000, 1_000_000)];
    for (row, (value_bytes, max_entries)) in
        rows.into_iter().chain([(60_000, 10_000), (600_000, 10_000)]).enumerate()
    {
        let (most, end) = fill(MAX_BYTES, value_bytes, max_entries);
        assert!(most <= 1.05, "{value_bytes}: {most:.3}");
        // The allocator's own bytes, which are counted but not seen here, are a tenth of tiny ones.
        assert!(end >= 0.85, "{value_bytes}: {end:.3}");
        match (row, before, peak_resident_bytes()) {
            (0, Some(before), Some(after)) => {
                let share = (after - before) as f64 / MAX_BYTES as f64;
                println!("as the system sees it: at most {share:.3}");
                assert!(share <= 1.05, "{share:.3}");
            }
            (0, ..) => eprintln!("SKIPPED: this system does not tell a process's peak memory"),
            _ => {}
        }
    }
}
