//! Floods the cache with keys that come once, and times hits beside it.
//!
//! ```text
//! cargo bench -p brisk-cache --bench flood
//! ```
//!
//! One thread asks for 1,000 kept replies again and again, while another one inserts new keys as fast
//! as it can, or, for comparison, hashes. Bytes that the entries take are read after the flood.

#![allow(clippy::print_stdout, reason = "a bench prints its results")]

use std::{
    hint::black_box,
    sync::atomic::{AtomicBool, Ordering},
    thread,
    time::{Duration, Instant},
};

use brisk_cache::{CacheConfig, Key, KeyHasher, Lookup, NewEntry, ResponseCache, Tenant, Value};

const NUM_HOT: u64 = 1_000;
const PHASE: Duration = Duration::from_secs(10);

struct Text(Box<[u8]>);

impl Value for Text {
    fn num_bytes(&self) -> usize {
        size_of::<Self>() + self.0.len()
    }

    fn encode(&self) -> Vec<u8> {
        self.0.to_vec()
    }

    fn decode(bytes: &[u8]) -> Option<Self> {
        Some(Self(bytes.into()))
    }
}

fn key(number: u64) -> Key {
    let mut hasher = KeyHasher::new(Tenant::LOCAL, 1);
    hasher.field("number", &number.to_le_bytes());
    hasher.finish()
}

fn insert(cache: &ResponseCache<Text>, number: u64) {
    let (value, saved) = (Text(vec![1; 500].into()), Duration::from_secs(1));
    cache.insert(NewEntry { key: key(number), value, label: String::new(), saved, ttl: None });
}

fn main() {
    let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
    let config = CacheConfig::default();
    let max_bytes = config.max_bytes;
    let cache = runtime.block_on(ResponseCache::open(config)).expect("a cache in memory");
    let hot: Vec<Key> = (0..NUM_HOT).map(key).collect();
    (0..NUM_HOT).for_each(|number| insert(&cache, number));
    let mut next = NUM_HOT;
    let quiet = phase(&cache, &hot, || {
        next += 1;
        black_box(key(next));
    });
    let num_before = next;
    let flooded = phase(&cache, &hot, || {
        next += 1;
        insert(&cache, next);
    });
    let rate = (next - num_before) as f64 / PHASE.as_secs_f64();
    println!("beside hashing:     {quiet}");
    println!("beside insertions:  {flooded}");
    let num_bytes = cache.stats().num_bytes;
    println!("{rate:.0} new keys a second; {num_bytes} bytes are kept, {max_bytes} may be");
}

/// Times hits while another thread does `work` over and over.
fn phase(cache: &ResponseCache<Text>, hot: &[Key], mut work: impl FnMut() + Send) -> String {
    let is_over = AtomicBool::new(false);
    thread::scope(|scope| {
        scope.spawn(|| {
            while !is_over.load(Ordering::Relaxed) {
                work();
            }
        });
        let started = Instant::now();
        let (mut nanos, mut num_hits) = (Vec::new(), 0_usize);
        while started.elapsed() < PHASE {
            for key in hot {
                let asked = Instant::now();
                num_hits += usize::from(cache.get_in_memory(key, Lookup::default()).is_some());
                nanos.push(asked.elapsed().as_nanos());
            }
            // As often as a busy server asks, not as often as it could.
            thread::sleep(Duration::from_millis(1));
        }
        is_over.store(true, Ordering::Relaxed);
        nanos.sort_unstable();
        let at = |share: f64| nanos[(nanos.len() as f64 * share) as usize];
        let share = num_hits * 100 / nanos.len();
        format!("hits p50 {} ns, p99 {} ns; {share} % found", at(0.5), at(0.99))
    })
}
