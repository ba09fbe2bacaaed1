//! What memory serves, for how long, to whom, and what it counts.

#![allow(clippy::unwrap_used, reason = "tests")]

mod support;

use std::{
    sync::Arc,
    time::{Duration, UNIX_EPOCH},
};

use brisk_cache::{CacheConfig, Lookup, ManualClock, NewEntry, ResponseCache, Tenant, Tier};
use support::{Text, entry, get, key, key_of, shown, small, tenant};

const DAY: u64 = 24 * 60 * 60;
const NOW: u64 = 1_800_000_000;

async fn open(config: CacheConfig) -> (ResponseCache<Text>, Arc<ManualClock>) {
    let clock = Arc::new(ManualClock::new(NOW));
    (ResponseCache::open_with_clock(config, clock.clone()).await.unwrap(), clock)
}

/// The questions of the rows below, told apart by their key alone.
fn questions() -> impl Iterator<Item = String> {
    (0..26_u8).flat_map(|a| {
        (0..26_u8).map(move |b| format!("{}{}", (b'a' + a) as char, (b'a' + b) as char))
    })
}

#[tokio::test]
async fn hits_are_exact_or_spelled_otherwise_and_belong_to_one_tenant() {
    let (cache, _) = open(small()).await;
    cache.insert(entry(key_of(tenant(1), "What is Rust?"), "a language"));
    for (who, question, expected) in [
        (1, "What is Rust?", "Memory exact a language"),
        (1, "what is  Rust?", "Memory normal a language"),
        (1, "what is rust?", "miss"),
        (2, "What is Rust?", "miss"),
        (2, "what is Rust?", "miss"),
    ] {
        let key = key_of(tenant(who), question);
        assert_eq!(shown(get(&cache, &key).await), expected, "{who} {question}");
        assert_eq!(shown(cache.get_in_memory(&key, Lookup::default())), expected);
    }
    let stats = cache.stats();
    assert_eq!((stats.num_lookups, stats.num_misses, stats.num_insertions), (10, 6, 1));
    assert_eq!((stats.memory.num_exact_hits, stats.memory.num_normalized_hits), (2, 2));
    assert_eq!(stats.saved, Duration::from_secs(8));
    assert_eq!(stats.redis_breaker, None);
    // A key whose slot is known, under another tenant's name, finds nothing either.
    let stolen = brisk_cache::Key { tenant: tenant(2), ..key_of(tenant(1), "What is Rust?") };
    assert_eq!(shown(get(&cache, &stolen).await), "miss");
}

#[tokio::test]
async fn an_entry_lives_for_its_time_give_or_take_a_tenth() {
    // The configured time, a shorter one of its own, a longer one, and one beyond any calendar.
    for (ttl, least, most) in [
        (None, DAY * 9 / 10, DAY * 11 / 10),
        (Some(Duration::from_secs(100)), 90, 110),
        (Some(Duration::from_secs(30 * DAY)), DAY * 9 / 10, DAY * 11 / 10),
        (Some(Duration::MAX), DAY * 9 / 10, DAY * 11 / 10),
        (Some(Duration::ZERO), 0, 0),
    ] {
        let (cache, clock) = open(CacheConfig { max_entries: 1000, ..small() }).await;
        for question in questions() {
            cache.insert(NewEntry { ttl, ..entry(key(&question), "value") });
        }
        let lives: Vec<u64> = cache
            .list(Tenant::LOCAL, 1000)
            .await
            .iter()
            .map(|info| info.expires.duration_since(info.created).unwrap().as_secs())
            .collect();
        assert!(lives.iter().all(|life| (least..=most).contains(life)), "{ttl:?}: {lives:?}");
        if most > 0 {
            assert_eq!(lives.len(), 676);
            let (first, last) = (*lives.iter().min().unwrap(), *lives.iter().max().unwrap());
            assert!(last - first > (most - least) * 9 / 10, "{ttl:?}: all end together");
        }
        // Just before the first end all are there, just after the last one none.
        clock.advance(Duration::from_secs(least));
        let num_hits = num_hits(&cache).await;
        assert_eq!(num_hits, if most > 0 { 676 } else { 0 }, "{ttl:?} after {least} s");
        clock.advance(Duration::from_secs(most - least + 1));
        assert_eq!(self::num_hits(&cache).await, 0, "{ttl:?} after {most} s");
        assert_eq!(cache.stats().num_entries, 0);
    }
}

#[tokio::test]
async fn no_configured_time_is_too_long() {
    let (ttl, max_ttl) = (Duration::MAX, Duration::MAX);
    let (cache, clock) = open(CacheConfig { ttl, max_ttl, ..small() }).await;
    cache.insert(entry(key("a"), "value"));
    clock.advance(Duration::from_secs(9 * 364 * DAY));
    assert_eq!(shown(get(&cache, &key("a")).await), "Memory exact value");
    clock.advance(Duration::from_secs(364 * DAY + 100 * DAY));
    assert_eq!(shown(get(&cache, &key("a")).await), "miss");
    cache.report_bad(Tenant::LOCAL, &key("a").slot).await.unwrap();
    cache.flush(Tenant::LOCAL).await.unwrap();
}

async fn num_hits(cache: &ResponseCache<Text>) -> usize {
    let mut num_hits = 0;
    for question in questions() {
        num_hits += usize::from(get(cache, &key(&question)).await.is_some());
    }
    num_hits
}

#[tokio::test]
async fn a_calendar_that_jumps_neither_ends_nor_prolongs_what_is_in_memory() {
    for jump in [NOW + DAY, NOW - DAY, 0, NOW + 10_000 * DAY] {
        let (cache, clock) = open(small()).await;
        let ttl = Some(Duration::from_secs(100));
        cache.insert(NewEntry { ttl, ..entry(key("a"), "value") });
        clock.set_wall(jump);
        clock.advance(Duration::from_secs(89));
        assert_eq!(get(&cache, &key("a")).await.unwrap().age(), Duration::from_secs(89));
        clock.advance(Duration::from_secs(22));
        assert_eq!(shown(get(&cache, &key("a")).await), "miss", "{jump}");
        assert_eq!(cache.stats().num_expired, 1);
    }
}

#[tokio::test]
async fn a_lookup_can_ask_for_a_young_entry() {
    let (cache, clock) = open(small()).await;
    cache.insert(entry(key("a"), "old"));
    clock.advance(Duration::from_secs(60));
    for (max_age, expected) in [(59, "miss"), (60, "Memory exact old")] {
        let lookup = Lookup { max_age: Some(Duration::from_secs(max_age)), ..Lookup::default() };
        assert_eq!(shown(cache.get(&key("a"), lookup).await), expected);
    }
    cache.insert(entry(key("a"), "new"));
    let hit = get(&cache, &key("a")).await.unwrap();
    assert_eq!((hit.age(), hit.entry.value.0.as_str()), (Duration::ZERO, "new"));
    assert_eq!(hit.entry.created, UNIX_EPOCH + Duration::from_secs(NOW + 60));
}

#[tokio::test]
async fn a_bad_hit_is_gone_and_its_slot_serves_the_same_request_only() {
    let (cache, clock) = open(small()).await;
    let (asked, spelled) = (key("Is it open?"), key("is it  open?"));
    cache.insert(entry(asked, "yes"));
    assert!(!cache.report_bad(tenant(1), &asked.slot).await.unwrap(), "of another tenant");
    assert_eq!(shown(get(&cache, &spelled).await), "Memory normal yes");
    assert!(cache.report_bad(Tenant::LOCAL, &asked.slot).await.unwrap());
    assert!(!cache.report_bad(Tenant::LOCAL, &asked.slot).await.unwrap());
    assert_eq!(shown(get(&cache, &asked).await), "miss");
    cache.insert(entry(asked, "no"));
    assert_eq!(shown(get(&cache, &asked).await), "Memory exact no");
    assert_eq!(shown(get(&cache, &spelled).await), "miss");
    // A removal by hand does not lift it; the end of the longest life does.
    assert!(cache.remove(Tenant::LOCAL, &asked.slot).await.unwrap());
    cache.insert(entry(asked, "no"));
    assert_eq!(shown(get(&cache, &spelled).await), "miss");
    clock.advance(Duration::from_secs(7 * DAY));
    cache.insert(entry(asked, "perhaps"));
    assert_eq!(shown(get(&cache, &spelled).await), "Memory normal perhaps");
}

#[tokio::test]
async fn no_tenant_makes_another_ones_report_forgotten() {
    let (cache, _) = open(small()).await;
    let (asked, spelled) = (key_of(tenant(1), "Is it open?"), key_of(tenant(1), "is it  open?"));
    cache.insert(entry(asked, "yes"));
    assert!(cache.report_bad(tenant(1), &asked.slot).await.unwrap());
    for n in 0..2_000 {
        let other = key_of(tenant(2), &format!("question {n}"));
        // Half of them exist.
        if n % 2 == 0 {
            cache.insert(entry(other, "value"));
        }
        let was_held = cache.report_bad(tenant(2), &other.slot).await.unwrap();
        assert_eq!(was_held, n % 2 == 0);
        assert!(!cache.remove(tenant(2), &other.slot).await.unwrap());
    }
    assert!(!cache.report_bad(tenant(2), &asked.slot).await.unwrap());
    cache.insert(entry(asked, "no"));
    assert_eq!(shown(get(&cache, &asked).await), "Memory exact no");
    assert_eq!(shown(get(&cache, &spelled).await), "miss");
}

#[tokio::test]
async fn a_flush_takes_one_tenants_entries() {
    let (cache, clock) = open(small()).await;
    for who in [1, 2] {
        cache.insert(entry(key_of(tenant(who), "a"), "value"));
    }
    cache.flush(tenant(1)).await.unwrap();
    assert_eq!(cache.stats().num_entries, 1);
    assert_eq!(shown(get(&cache, &key_of(tenant(1), "a")).await), "miss");
    assert_eq!(shown(get(&cache, &key_of(tenant(2), "a")).await), "Memory exact value");
    // What is made from then on is served, even when the calendar goes back in between.
    for _ in 0..2 {
        cache.insert(entry(key_of(tenant(1), "a"), "new"));
        assert_eq!(shown(get(&cache, &key_of(tenant(1), "a")).await), "Memory exact new");
        clock.set_wall(5);
        cache.flush(tenant(1)).await.unwrap();
        assert_eq!(shown(get(&cache, &key_of(tenant(1), "a")).await), "miss");
    }
}

#[tokio::test]
async fn a_list_is_one_tenants_newest_first() {
    let (cache, clock) = open(small()).await;
    let long = "é".repeat(100);
    for (who, question) in [(1, "first"), (1, long.as_str()), (2, "other"), (1, "third")] {
        let label = question.to_owned();
        cache.insert(NewEntry { label, ..entry(key_of(tenant(who), question), "value") });
        clock.advance(Duration::from_secs(1));
    }
    get(&cache, &key_of(tenant(1), "first")).await.unwrap();
    let list = cache.list(tenant(1), 10).await;
    let labels: Vec<_> = list.iter().map(|info| info.label.as_str()).collect();
    assert_eq!(labels, ["third", &"é".repeat(60), "first"]);
    assert_eq!(list.iter().map(|info| info.num_hits).collect::<Vec<_>>(), [0, 0, 1]);
    assert_eq!((list[2].slot, list[2].tier), (key_of(tenant(1), "first").slot, Tier::Memory));
    assert_eq!(cache.list(tenant(1), 2).await, list[..2]);
    assert!(cache.list(tenant(3), 10).await.is_empty());
    assert!(cache.remove(tenant(1), &list[0].slot).await.unwrap());
    assert!(!cache.remove(tenant(2), &list[1].slot).await.unwrap());
    assert_eq!(cache.list(tenant(1), 10).await, list[1..]);
}

#[tokio::test]
async fn neither_cap_is_passed_and_what_is_too_large_is_not_kept() {
    for (max_bytes, max_entries, value_bytes) in
        [(1 << 20, 50, 10), (1 << 20, 10_000, 12_000), (1 << 20, 200, 4_000), (1 << 20, 1, 10)]
    {
        let (cache, _) = open(CacheConfig { max_bytes, max_entries, ..small() }).await;
        for question in questions() {
            cache.insert(entry(key(&question), &"x".repeat(value_bytes)));
            let stats = cache.stats();
            assert!(stats.num_bytes <= max_bytes && stats.num_entries <= max_entries, "{stats:?}");
        }
        let stats = cache.stats();
        assert_eq!(stats.num_entries + stats.num_evictions, 676);
        assert!(stats.num_entries >= 1);
        for info in cache.list(Tenant::LOCAL, 1000).await {
            assert!(cache.remove(Tenant::LOCAL, &info.slot).await.unwrap());
        }
        let stats = cache.stats();
        assert_eq!((stats.num_entries, stats.num_bytes), (0, 0), "the count came back to nothing");
    }
    for config in [
        small(),
        CacheConfig { max_bytes: 0, ..small() },
        CacheConfig { max_entries: 0, ..small() },
    ] {
        let is_off = config.max_bytes == 0 || config.max_entries == 0;
        let (cache, _) = open(config).await;
        cache.insert(entry(key("large"), &"x".repeat(60_000)));
        cache.insert(entry(key("tiny"), "x"));
        let stats = cache.stats();
        let expected = if is_off { (0, 2) } else { (1, 1) };
        assert_eq!((stats.num_entries, stats.memory.errors.num_too_large), expected);
    }
}

#[tokio::test]
async fn a_hit_outlives_its_eviction() {
    let (cache, _) = open(small()).await;
    cache.insert(entry(key("a"), "value"));
    let hit = get(&cache, &key("a")).await.unwrap();
    cache.remove(Tenant::LOCAL, &key("a").slot).await.unwrap();
    assert_eq!(hit.entry.value.0, "value");
}
