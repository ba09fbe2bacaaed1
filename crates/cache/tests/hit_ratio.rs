//! How often the cache has what is asked for, beside a plain LRU of the same size.

#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "tests")]

mod support;

use std::collections::{BTreeMap, HashMap};

use brisk_cache::{CacheConfig, Digest, Key, Lookup, ResponseCache, Tenant};
use support::{Text, entry};

const NUM_ITEMS: usize = 100_000;
const NUM_REQUESTS: usize = 500_000;
const CAPACITY: usize = NUM_ITEMS / 100;

/// A generator with a fixed seed: SplitMix64.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn unit(&mut self) -> f64 {
        (self.next() >> 11) as f64 / (1_u64 << 53) as f64
    }
}

/// Requests for items whose popularity falls as 1 / rank.
fn zipf(num_requests: usize) -> impl Iterator<Item = usize> {
    let mut sums = Vec::with_capacity(NUM_ITEMS);
    let mut sum = 0.0;
    for rank in 1..=NUM_ITEMS {
        sum += 1.0 / rank as f64;
        sums.push(sum);
    }
    let mut random = Random(7);
    (0..num_requests).map(move |_| {
        let point = random.unit() * sum;
        sums.partition_point(|sum| *sum < point)
    })
}

/// The plainest cache: what was used last stays.
#[derive(Default)]
struct Lru {
    used: HashMap<usize, usize>,
    by_use: BTreeMap<usize, usize>,
    time: usize,
}

impl Lru {
    fn has(&mut self, item: usize) -> bool {
        self.time += 1;
        let before = self.used.insert(item, self.time);
        if let Some(before) = before {
            self.by_use.remove(&before);
        }
        self.by_use.insert(self.time, item);
        if self.used.len() > CAPACITY {
            let (_, oldest) = self.by_use.pop_first().unwrap();
            self.used.remove(&oldest);
        }
        before.is_some()
    }
}

fn key(item: usize) -> Key {
    let digest = |salt: u64| -> Digest {
        let mut random = Random(item as u64 * 2 + salt);
        let mut digest = [0; 32];
        for part in digest.chunks_mut(8) {
            part.copy_from_slice(&random.next().to_le_bytes());
        }
        digest
    };
    Key { slot: digest(0), exact: digest(1), tenant: Tenant::LOCAL }
}

/// A cache that is limited by the number of its entries: they are far below their share of the
/// default 64 MiB.
async fn cache(max_entries: u64) -> ResponseCache<Text> {
    let config = CacheConfig { max_entries, ..CacheConfig::default() };
    ResponseCache::open(config).await.unwrap()
}

fn has(cache: &ResponseCache<Text>, item: usize) -> bool {
    let key = key(item);
    let is_hit = cache.get_in_memory(&key, Lookup::default()).is_some();
    if !is_hit {
        cache.insert(entry(key, "value"));
    }
    is_hit
}

#[tokio::test]
async fn room_for_one_item_in_a_hundred_hits_ten_points_more_than_lru() {
    let (cache, mut lru) = (cache(CAPACITY as u64).await, Lru::default());
    let (mut num_hits, mut num_lru_hits) = (0, 0);
    for item in zipf(NUM_REQUESTS) {
        num_hits += usize::from(has(&cache, item));
        num_lru_hits += usize::from(lru.has(item));
    }
    let percent = |hits: usize| 100.0 * hits as f64 / NUM_REQUESTS as f64;
    let (ours, plain) = (percent(num_hits), percent(num_lru_hits));
    println!("Zipf 1.0, room for 1 %: {ours:.2} %, LRU {plain:.2} %");
    assert!(ours >= plain + 10.0, "{ours:.2} % against {plain:.2} %");
    let stats = cache.stats();
    assert!(stats.num_entries <= CAPACITY as u64, "{stats:?}");
}

#[tokio::test]
async fn questions_asked_once_do_not_push_out_what_is_asked_often() {
    let cache = cache(CacheConfig::default().max_entries).await;
    let hot = |from: usize| zipf(200_000).skip(from).take(50_000);
    for item in hot(0).chain(hot(50_000)) {
        has(&cache, item);
    }
    let before = hot(100_000).filter(|item| has(&cache, *item)).count();
    for once in NUM_ITEMS..NUM_ITEMS + 100_000 {
        has(&cache, once);
    }
    let after = hot(150_000).filter(|item| has(&cache, *item)).count();
    let points = (before as f64 - after as f64) * 100.0 / 50_000.0;
    println!("a scan of 100,000 questions costs {points:.2} points");
    assert!(points <= 2.0, "{points:.2} points");
}
