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
const NUM_ROUNDS: usize = 10;
const RUN_LENGTH: usize = 200;

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
    let questions = |about: &str| -> Vec<String> {
        (0..NUM_ENTRIES).map(|n| format!("What is the {about} of {}, please?", word(n))).collect()
    };
    let known = questions("capital");
    let keys: Vec<Key> = known.iter().map(|question| key(question)).collect();
    let missing: Vec<Key> = questions("color").iter().map(|question| key(question)).collect();
    for key in &keys {
        let saved = Duration::from_secs(1);
        let value = Text("x".repeat(2_000));
        cache.insert(NewEntry { key: *key, value, label: String::new(), saved, ttl: None });
    }
    let has = |key: &Key| cache.get_in_memory(key, Lookup::default()).is_some();
    report("normal form", &known, |question| normalize(question).is_some());
    report("key of a request", &known, |question| key(question).slot != [0; 32]);
    report("hit", &keys, has);
    report("miss", &missing, has);
    report("hit through `get`", &keys, |key| {
        runtime.block_on(cache.get(key, Lookup::default())).is_some()
    });
    report("key and hit", &known, |question| has(&key(question)));
}

/// A number in letters.
fn word(mut n: usize) -> String {
    let mut word = String::new();
    while n > 0 || word.is_empty() {
        word.push(char::from(b'a' + (n % 26) as u8));
        n /= 26;
    }
    word
}

/// Runs `work` on all items, in runs so short that one of them falls into a quiet moment.
fn report<T>(what: &str, items: &[T], work: impl Fn(&T) -> bool) {
    let mut num_successes = 0;
    let mut nanos: Vec<f64> = items
        .chunks(RUN_LENGTH)
        .cycle()
        .take(NUM_ROUNDS * items.len() / RUN_LENGTH)
        .map(|run| {
            let started = Instant::now();
            num_successes += run.iter().filter(|item| black_box(work(item))).count();
            started.elapsed().as_secs_f64() * 1e9 / run.len() as f64
        })
        .collect();
    nanos.sort_by(f64::total_cmp);
    let (best, median) = (nanos[0], nanos[nanos.len() / 2]);
    let share = num_successes * 100 / (NUM_ROUNDS * items.len());
    println!("{what:20} {best:8.0} ns at best, {median:8.0} ns median, {share:3} % found");
}
