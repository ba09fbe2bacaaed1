//! What the tests of the cache share: a value, keys, insertions.

#![allow(dead_code, unreachable_pub, reason = "each test file uses its part of this")]

use std::time::Duration;

use brisk_cache::{
    CacheConfig, Hit, Key, KeyHasher, Lookup, NewEntry, ResponseCache, Tenant, Value, normalize,
};

/// A reply of the tests: a text.
#[derive(Debug, PartialEq, Eq)]
pub struct Text(pub String);

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

pub fn tenant(n: u8) -> Tenant {
    Tenant::new([n; 32])
}

/// The key of a question, whose spelling does not decide where the entry lies.
pub fn key_of(tenant: Tenant, question: &str) -> Key {
    let mut hasher = KeyHasher::new(tenant, 1);
    let normal = normalize(question).unwrap_or_else(|| question.to_owned());
    hasher.normalized_field("question", question.as_bytes(), normal.as_bytes());
    hasher.finish()
}

pub fn key(question: &str) -> Key {
    key_of(Tenant::LOCAL, question)
}

pub fn entry(key: Key, value: &str) -> NewEntry<Text> {
    let value = Text(value.to_owned());
    NewEntry { key, value, label: "label".to_owned(), saved: Duration::from_secs(2), ttl: None }
}

pub async fn get(cache: &ResponseCache<Text>, key: &Key) -> Option<Hit<Text>> {
    cache.get(key, Lookup::default()).await
}

/// What a lookup gives, as text: `tier exact|normal value`, or `miss`.
pub fn shown(hit: Option<Hit<Text>>) -> String {
    hit.map_or("miss".to_owned(), |hit| {
        let kind = if hit.is_exact { "exact" } else { "normal" };
        format!("{:?} {kind} {}", hit.tier, hit.entry.value.0)
    })
}

pub fn small() -> CacheConfig {
    CacheConfig { max_bytes: 1 << 20, max_entries: 100, ..CacheConfig::default() }
}
