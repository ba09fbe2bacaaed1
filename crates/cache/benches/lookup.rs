//! Times what stands between a request and its cached reply: the key, and the lookup in memory.
//!
//! ```text
//! cargo bench -p brisk-cache --bench lookup
//! ```
//!
//! The best and the median of several runs over a full cache are printed, in nanoseconds each.

#![allow(clippy::print_stdout, reason = "a bench prints its results")]

use std::{
    hint::black_box,
    time::{Duration, Instant},
};

use brisk_cache::{
    CacheConfig, Key, KeyHasher, Lookup, NewEntry, ResponseCache, Tenant, Value, normalize,
};

const NUM_ENTRIES: usize = 8_000;
const NUM_RUNS: usize = 21;

struct Text(String);

impl Value for Text {
    fn num_bytes(&self) -> usize {
        size_of::<Self>() + self.0.capacity()
    }

    fn encode(&self) -> Vec<u8> {
        self.0.as_bytes().to_vec()
    }

    fn decode(bytes: &[u8]) -> Option<Self> {
        String::from_utf8(bytes.to_vec()).ok().map(Self)
    }
}

/// A key over about as many fields as a chat request has.
fn key(question: &str) -> Key {
    const FIELDS: [&str; 20] = [
        "model",
        "template",
        "role",
        "system",
        "temperature",
        "top_p",
        "top_k",
        "min_p",
        "seed",
        "stop",
        "max_tokens",
        "presence_penalty",
        "frequency_penalty",
        "logit_bias",
        "logprobs",
        "top_logprobs",
        "response_format",
        "tools",
        "tool_choice",
        "num_choices",
    ];
    let mut hasher = KeyHasher::new(Tenant::LOCAL, 1);
    for field in FIELDS {
        hasher.field(field, b"a value of usual length");
    }
    let normal = normalize(question);
    let normal = normal.as_deref().unwrap_or(question);
    hasher.normalized_field("question", question.as_bytes(), normal.as_bytes());
    hasher.finish()
}

fn main() {
    let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
    let opening = ResponseCache::open(CacheConfig::default());
    let cache: ResponseCache<Text> = runtime.block_on(opening).expect("a cache in memory");
    let questions: Vec<String> =
        (0..NUM_ENTRIES).map(|n| format!("What is the capital of country {n}?")).collect();
    let keys: Vec<Key> = questions.iter().map(|question| key(question)).collect();
    for key in &keys {
        let saved = Duration::from_secs(1);
        let value = Text("x".repeat(2_000));
        cache.insert(NewEntry { key: *key, value, label: String::new(), saved, ttl: None });
    }
    let missing: Vec<Key> = (0..NUM_ENTRIES).map(|n| key(&format!("Who is person {n}?"))).collect();
    report("key of a request", || {
        questions.iter().filter(|text| black_box(key(text)).slot[0] < 255).count()
    });
    report("hit", || count_hits(&cache, &keys));
    report("miss", || count_hits(&cache, &missing));
    report("hit through `get`", || {
        let hits = async {
            let mut num_hits = 0;
            for key in &keys {
                num_hits += usize::from(cache.get(key, Lookup::default()).await.is_some());
            }
            num_hits
        };
        runtime.block_on(hits)
    });
    report("key and hit", || {
        let hits = |text: &&String| cache.get_in_memory(&key(text), Lookup::default()).is_some();
        questions.iter().filter(hits).count()
    });
}

fn count_hits(cache: &ResponseCache<Text>, keys: &[Key]) -> usize {
    keys.iter().filter(|key| cache.get_in_memory(key, Lookup::default()).is_some()).count()
}

/// Runs `work`, which does something `NUM_ENTRIES` times and counts its successes.
fn report(what: &str, work: impl Fn() -> usize) {
    let mut num_successes = 0;
    let mut nanos: Vec<f64> = (0..NUM_RUNS)
        .map(|_| {
            let started = Instant::now();
            num_successes = black_box(work());
            started.elapsed().as_secs_f64() * 1e9 / NUM_ENTRIES as f64
        })
        .collect();
    nanos.sort_by(f64::total_cmp);
    let (best, median) = (nanos[0], nanos[NUM_RUNS / 2]);
    println!(
        "{what:20} {best:8.0} ns at best, {median:8.0} ns median, {num_successes} of {NUM_ENTRIES}"
    );
}
