//! The shared tier against a real Redis: what instances share, and what no Redis can do to them.

#![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]

#[path = "support/server.rs"]
mod server;
mod support;

use std::{thread, time::Duration};

use brisk_cache::{
    BreakerState, CacheConfig, NewEntry, RedisConfig, ResponseCache, Secret, Tenant, TierErrors,
};
use redis::Commands;
use server::{NOW, Server, config, names, open, open_with, share};
use support::{entry, get, key, key_of, shown, small, tenant};

#[tokio::test]
async fn instances_share_what_was_asked_for_twice() {
    let Some(server) = Server::start() else { return };
    let (a, b) = (open(&server).await, open(&server).await);
    let mut client = server.client();
    let key = key_of(tenant(1), "What is Rust?");
    a.insert(entry(key, "a language"));
    a.drain().await;
    assert_eq!(names(&mut client), [""; 0], "one sight is not enough");
    assert_eq!(shown(get(&b, &key).await), "miss");
    share(&a, &key, "a language").await;
    assert_eq!(names(&mut client).len(), 1);
    let name = names(&mut client).pop().unwrap();
    assert!(client.pttl::<_, i64>(name).unwrap() > 0, "it ends by itself");
    // Another spelling finds it, then memory has it, and another tenant never does.
    assert_eq!(
        shown(get(&b, &key_of(tenant(1), "what is  Rust?")).await),
        "Redis normal a language"
    );
    assert_eq!(shown(get(&b, &key).await), "Memory exact a language");
    assert_eq!(shown(get(&open(&server).await, &key).await), "Redis exact a language");
    assert_eq!(shown(get(&b, &key_of(tenant(2), "What is Rust?")).await), "miss");
    let stats = b.stats();
    assert_eq!((stats.redis.num_normalized_hits, stats.memory.num_exact_hits), (1, 1));
    assert_eq!((a.stats().redis.num_writes, stats.redis.num_writes), (1, 0));
    assert_eq!(stats.redis_breaker, Some(BreakerState::Closed));
    // A second insertion is a second sight as well.
    let twice = support::key("twice");
    for _ in 0..2 {
        a.insert(entry(twice, "value"));
    }
    a.drain().await;
    assert_eq!(shown(get(&b, &twice).await), "Redis exact value");
}

#[tokio::test]
async fn the_longest_times_are_times_for_redis_too() {
    let Some(server) = Server::start() else { return };
    let config = CacheConfig {
        ttl: Duration::MAX,
        max_ttl: Duration::MAX,
        redis: Some(config(&server.url(), "secret")),
        ..small()
    };
    let cache = ResponseCache::open(config).await.unwrap();
    cache.flush(Tenant::LOCAL).await.unwrap();
    share(&cache, &key("a"), "value").await;
    assert_eq!(names(&mut server.client()).len(), 2);
    assert_eq!(cache.stats().redis.errors, TierErrors::default());
}

#[tokio::test]
async fn names_say_neither_who_nor_what() {
    let Some(server) = Server::start() else { return };
    let cache = open(&server).await;
    let key = key_of(tenant(1), "question");
    share(&cache, &key, "answer").await;
    cache.flush(tenant(1)).await.unwrap();
    for name in names(&mut server.client()) {
        let hidden = name.strip_prefix("brisk:").unwrap().split_once(':').unwrap().1;
        assert_eq!(hidden.len(), 64);
        for digest in [key.slot, key.exact, [1; 32]] {
            let hex: String = digest.iter().map(|byte| format!("{byte:02x}")).collect();
            assert_ne!(hidden, hex);
        }
    }
}

#[tokio::test]
async fn another_secret_or_prefix_shares_nothing() {
    let Some(server) = Server::start() else { return };
    share(&open(&server).await, &key("a"), "value").await;
    let other_prefix =
        RedisConfig { key_prefix: "other:".to_owned(), ..config(&server.url(), "secret") };
    let random = RedisConfig { secret: Secret::PerProcess, ..config(&server.url(), "") };
    for redis in [config(&server.url(), "other"), other_prefix, random.clone(), random] {
        let (cache, _) = open_with(redis).await;
        assert_eq!(shown(get(&cache, &key("a")).await), "miss");
        share(&cache, &key("a"), "its own").await;
    }
    assert_eq!(names(&mut server.client()).len(), 5);
    assert_eq!(shown(get(&open(&server).await, &key("a")).await), "Redis exact value");
}

/// Changes the stored value of `a`, and sees that it is a miss, counted once, and cleared away.
async fn check_refused(
    server: &Server,
    what: &str,
    spoil: impl FnOnce(&mut redis::Connection, &str, Vec<u8>),
    counted: impl Fn(TierErrors) -> u64,
) {
    let mut client = server.client();
    redis::cmd("FLUSHDB").exec(&mut client).unwrap();
    let writer = open(server).await;
    share(&writer, &key("a"), "the answer").await;
    let name = names(&mut client).pop().unwrap();
    let value: Vec<u8> = client.get(&name).unwrap();
    spoil(&mut client, &name, value);
    let cache = open(server).await;
    assert_eq!(shown(get(&cache, &key("a")).await), "miss", "{what}");
    let stats = cache.stats();
    assert_eq!(counted(stats.redis.errors), 1, "{what}: {stats:?}");
    cache.drain().await;
    assert!(!client.exists::<_, bool>(&name).unwrap(), "{what} stays");
    assert_eq!(cache.stats().redis_breaker, Some(BreakerState::Closed), "{what}");
    // And the place is free again.
    share(&cache, &key("a"), "new").await;
    assert_eq!(shown(get(&open(server).await, &key("a")).await), "Redis exact new", "{what}");
}

#[tokio::test]
async fn what_is_not_ours_is_a_miss_a_counter_and_gone() {
    let Some(server) = Server::start() else { return };
    let set = |client: &mut redis::Connection, name: &str, value: &[u8]| {
        client.set::<_, _, ()>(name, value).unwrap();
    };
    for num_bytes in [1, 31, 32, 33, 100] {
        check_refused(
            &server,
            &format!("cut to {num_bytes}"),
            |client, name, value| set(client, name, &value[..num_bytes]),
            |errors| errors.num_bad_seals,
        )
        .await;
    }
    for bit in [0, 9, 100, 1000, 1423] {
        check_refused(
            &server,
            &format!("bit {bit} flipped"),
            |client, name, mut value| {
                value[bit / 8] ^= 1 << (bit % 8);
                set(client, name, &value);
            },
            |errors| errors.num_bad_seals,
        )
        .await;
    }
    check_refused(
        &server,
        "more at the end",
        |client, name, _| client.append::<_, _, ()>(name, "more").unwrap(),
        |errors| errors.num_bad_seals,
    )
    .await;
    check_refused(
        &server,
        "a forged value",
        |client, name, value| set(client, name, &[&value[..value.len() - 32], &[0; 32]].concat()),
        |errors| errors.num_bad_seals,
    )
    .await;
    check_refused(
        &server,
        "the value of another secret",
        |client, name, _| {
            run_elsewhere(async {
                let (other, _) = open_with(config(&server.url(), "other")).await;
                share(&other, &key("a"), "forged").await;
            });
            let foreign = names(client).into_iter().find(|other| other != name).unwrap();
            let value: Vec<u8> = client.get(&foreign).unwrap();
            set(client, name, &value);
        },
        |errors| errors.num_bad_seals,
    )
    .await;
    check_refused(
        &server,
        "too large by a byte",
        |client, name, _| set(client, name, &vec![7; (1 << 20) + 1]),
        |errors| errors.num_too_large,
    )
    .await;
    check_refused(
        &server,
        "200 MiB",
        |client, name, _| client.setrange::<_, _, ()>(name, 200 << 20, b"end").unwrap(),
        |errors| errors.num_too_large,
    )
    .await;
    check_refused(
        &server,
        "a list",
        |client, name, _| {
            client.del::<_, ()>(name).unwrap();
            client.rpush::<_, _, ()>(name, "item").unwrap();
        },
        |errors| errors.num_bad_seals,
    )
    .await;
}

/// Runs a future to its end on a thread of its own.
fn run_elsewhere(future: impl Future<Output = ()> + Send) {
    thread::scope(|scope| {
        scope.spawn(|| tokio::runtime::Runtime::new().unwrap().block_on(future));
    });
}

#[tokio::test]
async fn values_that_changed_places_are_misses() {
    let Some(server) = Server::start() else { return };
    let mut client = server.client();
    let keys = [key_of(tenant(1), "a"), key_of(tenant(1), "b"), key_of(tenant(2), "a")];
    let writer = open(&server).await;
    let mut found = Vec::new();
    for (n, key) in keys.iter().enumerate() {
        share(&writer, key, &n.to_string()).await;
        let name = names(&mut client)
            .into_iter()
            .find(|name| found.iter().all(|(known, _)| known != name));
        let name = name.unwrap();
        let value: Vec<u8> = client.get(&name).unwrap();
        found.push((name, value));
    }
    for (n, (name, _)) in found.iter().enumerate() {
        client.set::<_, _, ()>(name, &found[(n + 1) % 3].1).unwrap();
    }
    let cache = open(&server).await;
    for key in keys {
        assert_eq!(shown(get(&cache, &key).await), "miss");
    }
    assert_eq!(cache.stats().redis.errors.num_wrong_keys, 3);
}

#[tokio::test]
async fn a_flush_reaches_the_other_instances() {
    let Some(mut server) = Server::start() else { return };
    let (a, b) = (open(&server).await, open(&server).await);
    let (mine, yours) = (key_of(tenant(1), "a"), key_of(tenant(2), "a"));
    for key in [&mine, &yours] {
        share(&a, key, "old").await;
        assert_eq!(shown(get(&b, key).await), "Redis exact old");
    }
    a.flush(tenant(1)).await.unwrap();
    // Whatever b looks up for this tenant tells it, and its memory is old from then on.
    assert_eq!(shown(get(&b, &key_of(tenant(1), "other")).await), "miss");
    assert_eq!(shown(get(&b, &mine).await), "miss");
    assert_eq!(shown(get(&open(&server).await, &mine).await), "miss");
    assert_eq!(shown(get(&b, &yours).await), "Memory exact old");
    // What is made after the flush is served by all.
    share(&b, &mine, "new").await;
    assert_eq!(shown(get(&a, &mine).await), "Redis exact new");
    // A server that lost the epoch learns it again from whoever knows it.
    redis::cmd("FLUSHDB").exec(&mut server.client()).unwrap();
    assert_eq!(shown(get(&a, &key_of(tenant(1), "other")).await), "miss");
    a.drain().await;
    assert_eq!(names(&mut server.client()).len(), 1);
    // A forged epoch cannot flush, or bring back what was flushed; for a moment it is a miss.
    let name = names(&mut server.client()).pop().unwrap();
    for forged in [vec![0xff; 40], b"9".to_vec(), vec![0; 100]] {
        server.client().set::<_, _, ()>(&name, &forged).unwrap();
        assert_eq!(shown(get(&b, &key_of(tenant(1), "other")).await), "miss");
        b.drain().await;
        assert_ne!(server.client().get::<_, Vec<u8>>(&name).unwrap(), forged);
        assert_eq!(shown(get(&b, &mine).await), "Memory exact new");
    }
    // Who does not know the epoch yet does not take it away when something else is wrong.
    let more = key_of(tenant(1), "more");
    share(&b, &more, "value").await;
    let spoiled = names(&mut server.client()).into_iter().find(|other| *other != name).unwrap();
    server.client().del::<_, ()>(&spoiled).unwrap();
    server.client().rpush::<_, _, ()>(&spoiled, "item").unwrap();
    let newcomer = open(&server).await;
    assert_eq!(shown(get(&newcomer, &more).await), "miss");
    newcomer.drain().await;
    assert!(server.client().exists::<_, bool>(&name).unwrap());
    // A flush while the server is away takes effect here at once, and there when it is back.
    share(&a, &yours, "old").await;
    server.kill();
    a.flush(tenant(2)).await.unwrap_err();
    assert_eq!(shown(get(&a, &yours).await), "miss");
}

#[tokio::test]
async fn removing_reaches_redis_and_stays_removed() {
    let Some(server) = Server::start() else { return };
    let cache = open(&server).await;
    let (asked, spelled) = (key("Is it open?"), key("is it  open?"));
    share(&cache, &asked, "yes").await;
    let stored: Vec<u8> = {
        let mut client = server.client();
        let name = names(&mut client).pop().unwrap();
        client.get(&name).unwrap()
    };
    let name = names(&mut server.client()).pop().unwrap();
    assert!(!cache.remove(tenant(1), &asked.slot).await.unwrap(), "another tenant's");
    assert!(cache.report_bad(Tenant::LOCAL, &asked.slot).await.unwrap());
    assert_eq!(names(&mut server.client()), [""; 0]);
    // Somebody puts the old value back.
    cache.drain().await;
    server.client().set::<_, _, ()>(&name, &stored).unwrap();
    for key in [asked, spelled] {
        assert_eq!(shown(get(&cache, &key).await), "miss");
    }
    // Another instance knows nothing of the report, but can remove what only Redis holds.
    let other = open(&server).await;
    assert!(other.remove(Tenant::LOCAL, &asked.slot).await.unwrap());
    assert!(!other.remove(Tenant::LOCAL, &asked.slot).await.unwrap());
}

#[tokio::test]
async fn entries_end_in_redis_and_by_any_clock() {
    let Some(server) = Server::start() else { return };
    let (writer, _) = open_with(config(&server.url(), "secret")).await;
    let ttl = Some(Duration::from_secs(1000));
    writer.insert(NewEntry { ttl, ..entry(key("a"), "value") });
    get(&writer, &key("a")).await.unwrap();
    writer.drain().await;
    let mut client = server.client();
    let name = names(&mut client).pop().unwrap();
    let left_ms: i64 = client.pttl(&name).unwrap();
    assert!((890_000..=1_100_000).contains(&left_ms), "{left_ms}");
    client.persist::<_, ()>(&name).unwrap();
    for (passed, jump, expected) in [
        (500, 0, "Redis exact value"),
        (1101, 0, "miss"),
        (0, 2000, "miss"),
        (0, -300, "Redis exact value"),
        // Made in the future: this clock is behind, or that of the writer was ahead.
        (0, -301, "miss"),
        (0, -86_400, "miss"),
        // It stays for those whose clocks are right.
        (0, 0, "Redis exact value"),
    ] {
        let (reader, clock) = open_with(config(&server.url(), "secret")).await;
        clock.advance(Duration::from_secs(passed));
        clock.set_wall((NOW + passed).checked_add_signed(jump).unwrap());
        assert_eq!(shown(get(&reader, &key("a")).await), expected, "{passed} {jump}");
    }
    // A reader whose calendar is a little behind for good keeps it no longer than any entry lives.
    let (reader, clock) = open_with(config(&server.url(), "secret")).await;
    clock.set_wall(NOW - 200);
    assert_eq!(shown(get(&reader, &key("a")).await), "Redis exact value");
    clock.advance(Duration::from_secs(7 * 24 * 60 * 60));
    clock.set_wall(NOW + 5000);
    assert_eq!(shown(get(&reader, &key("a")).await), "miss");
}
