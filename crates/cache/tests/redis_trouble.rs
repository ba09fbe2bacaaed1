//! The shared tier when Redis is slow, dead, full, locked or lying: misses within the deadline.

#![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]

#[path = "support/server.rs"]
mod server;
mod support;

use std::{
    io::{Read, Write},
    net::TcpListener,
    sync::mpsc,
    thread,
    time::{Duration, Instant, SystemTime},
};

use brisk_cache::{
    BreakerState, CacheConfig, CacheError, Clock, ManualClock, NotEverywhere, RedisConfig,
    ResponseCache, Secret, Tenant, Tier, TierErrors,
};
use server::{Server, config, open, open_with, share};
use support::{Text, entry, get, key, shown, small};

/// The longest that ten lookups take, with the default deadline, and what they gave.
async fn slowest_lookup(cache: &ResponseCache<Text>, question: &str) -> Duration {
    let mut slowest = Duration::ZERO;
    for n in 0..10 {
        let started = Instant::now();
        assert_eq!(shown(get(cache, &key(&format!("{question} {n}"))).await), "miss");
        slowest = slowest.max(started.elapsed());
    }
    slowest
}

/// The deadline, and what a loaded test machine may add to it; a lookup that waits for the server
/// takes for ever.
const SLOWEST: Duration = Duration::from_secs(1);

/// Lets calls through until the tier is in service again.
async fn recover(cache: &ResponseCache<Text>, clock: &ManualClock) {
    let started = Instant::now();
    while cache.stats().redis_breaker != Some(BreakerState::Closed) {
        assert!(started.elapsed() < Duration::from_secs(30), "{:?}", cache.stats());
        clock.advance(Duration::from_secs(31));
        get(cache, &key("probe")).await;
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn a_held_or_killed_server_costs_a_few_deadlines_and_then_nothing() {
    let Some(mut server) = Server::start() else { return };
    let (cache, clock) = open_with(RedisConfig::new(server.url(), Secret::new("secret"))).await;
    cache.insert(entry(key("a"), "value"));
    for trouble in ["held", "killed"] {
        match trouble {
            "held" => server.hold(),
            _ => server.kill(),
        }
        let slowest = slowest_lookup(&cache, trouble).await;
        assert!(slowest < SLOWEST, "{trouble}: {slowest:?}");
        // Connecting fails in the background, a second each for a held one.
        let started = Instant::now();
        while cache.stats().redis_breaker != Some(BreakerState::Open) {
            assert!(started.elapsed() < Duration::from_secs(30), "{:?}", cache.stats());
            assert!(get(&cache, &key("missing")).await.is_none());
            tokio::task::yield_now().await;
        }
        let errors = cache.stats().redis.errors;
        assert!(slowest_lookup(&cache, "open").await < SLOWEST);
        assert_eq!(cache.stats().redis.errors, errors, "nothing is tried while it is open");
        assert_eq!(shown(get(&cache, &key("a")).await), "Memory exact value");
        match trouble {
            "held" => server.resume(),
            _ => server.restart(),
        }
        recover(&cache, &clock).await;
    }
    // On a loaded machine a write may miss its deadline; the next hit tries it again.
    let started = Instant::now();
    while cache.stats().redis.num_writes == 0 {
        assert!(started.elapsed() < Duration::from_secs(30), "{:?}", cache.stats());
        share(&cache, &key("b"), "value").await;
        recover(&cache, &clock).await;
    }
    // A reader whose clock went with the writer's.
    let (reader, reader_clock) = open_with(config(&server.url(), "secret")).await;
    let now = clock.wall().duration_since(SystemTime::UNIX_EPOCH).unwrap();
    reader_clock.set_wall(now.as_secs());
    assert_eq!(shown(get(&reader, &key("b")).await), "Redis exact value");
}

#[tokio::test]
async fn a_server_that_is_down_at_the_start_is_found_later() {
    let Some(mut server) = Server::start() else { return };
    server.kill();
    let (cache, clock) = open_with(config(&server.url(), "secret")).await;
    assert_eq!(shown(get(&cache, &key("a")).await), "miss");
    assert!(cache.stats().redis.errors.num_failures > 0);
    server.restart();
    let writer = open(&server).await;
    share(&writer, &key("a"), "value").await;
    let started = Instant::now();
    while get(&cache, &key("a")).await.is_none() {
        assert!(started.elapsed() < Duration::from_secs(30), "{:?}", cache.stats());
        clock.advance(Duration::from_secs(1));
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn a_removal_that_redis_did_not_take_is_an_error_until_it_does() {
    let Some(server) = Server::start() else { return };
    let redis = || RedisConfig::new(server.url(), Secret::new("secret"));
    let not_in_redis = Err(NotEverywhere { tier: Tier::Redis });
    for what in ["remove", "report", "flush"] {
        // With an easy deadline, so that the entry is there and a fresh instance sees it.
        share(&open(&server).await, &key(what), "value").await;
        let fresh = async || shown(get(&open(&server).await, &key(what)).await);
        assert_eq!(fresh().await, "Redis exact value");
        let (cache, clock) = open_with(redis()).await;
        cache.insert(entry(key(what), "value"));
        let call = async || match what {
            "remove" => cache.remove(Tenant::LOCAL, &key(what).slot).await.map(drop),
            "report" => cache.report_bad(Tenant::LOCAL, &key(what).slot).await.map(drop),
            _ => cache.flush(Tenant::LOCAL).await,
        };
        server.hold();
        let started = Instant::now();
        assert_eq!(call().await, not_in_redis, "{what}");
        assert!(started.elapsed() < SLOWEST, "{what}: {:?}", started.elapsed());
        assert_eq!(cache.stats().num_entries, 0, "{what}: memory has let go of it");
        server.resume();
        let started = Instant::now();
        while call().await.is_err() {
            assert!(started.elapsed() < Duration::from_secs(30), "{:?}", cache.stats());
            clock.advance(Duration::from_secs(31));
            tokio::task::yield_now().await;
        }
        assert_eq!(fresh().await, "miss", "{what}");
    }
}

/// A server that answers the handshake, and everything after it with these bytes.
fn liar(reply: &'static [u8], times: usize) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("redis://{}", listener.local_addr().unwrap());
    thread::spawn(move || {
        for stream in listener.incoming() {
            let Ok(mut stream) = stream else { continue };
            thread::spawn(move || {
                let mut request = [0; 4096];
                while let Ok(num_bytes @ 1..) = stream.read(&mut request) {
                    let text = String::from_utf8_lossy(&request[..num_bytes]);
                    let is_handshake = text.contains("CLIENT");
                    let num_commands = text.matches("\r\nCLIENT\r\n").count();
                    let reply = if is_handshake {
                        b"+OK\r\n".repeat(num_commands)
                    } else {
                        reply.repeat(times)
                    };
                    if stream.write_all(&reply).is_err() {
                        return;
                    }
                }
            });
        }
    });
    url
}

#[tokio::test]
async fn no_reply_of_a_lying_server_is_more_than_a_miss() {
    for (reply, times) in [
        (&b"$2147483648\r\nabc"[..], 1),
        (b"$-9\r\n$-9\r\n", 1),
        (b"*2147483647\r\n", 1),
        (b"*1\r\n", 1_000_000),
        (b"%-1\r\n", 4),
        (b"$3\r\nabcdef\r\n", 2),
        (b"HTTP/1.1 200 OK\r\n\r\n", 1),
        (b"\xff\xfe\r\n", 10),
        (b":1\r\n", 2),
        (b"+OK\r\n", 2),
        (b"*0\r\n", 2),
        (b"$-1\r\n", 2),
        (b"", 1),
        (b"-LOADING Redis is loading the dataset in memory\r\n", 2),
        (b"-NOAUTH Authentication required.\r\n", 2),
        (b"-MOVED 3999 127.0.0.1:6381\r\n", 2),
        (b"-OOM command not allowed when used memory > 'maxmemory'.\r\n", 2),
        (b"-READONLY You can't write against a read only replica.\r\n", 2),
        (b"-WRONGTYPE Operation against a key holding the wrong kind of value\r\n", 2),
        (b"-\r\n", 2),
    ] {
        let what = String::from_utf8_lossy(&reply[..reply.len().min(40)]).into_owned();
        let (cache, _) =
            open_with(RedisConfig::new(liar(reply, times), Secret::new("secret"))).await;
        let slowest = slowest_lookup(&cache, "question").await;
        assert!(slowest < SLOWEST, "{what:?}: {slowest:?}");
        share(&cache, &key("a"), "value").await;
        cache.flush(Tenant::LOCAL).await.ok();
        cache.remove(Tenant::LOCAL, &key("a").slot).await.ok();
        assert_eq!(shown(get(&cache, &key("a")).await), "miss", "{what:?}");
    }
}

/// A reply without an end is read for no longer than the deadline, then the connection is closed.
#[tokio::test]
async fn an_endless_reply_is_cut_off() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("redis://{}", listener.local_addr().unwrap());
    let (sent, num_sent) = mpsc::channel();
    thread::spawn(move || {
        let mut stream = listener.accept().unwrap().0;
        let mut request = [0; 4096];
        while let Ok(num_bytes @ 1..) = stream.read(&mut request) {
            let text = String::from_utf8_lossy(&request[..num_bytes]).into_owned();
            if text.contains("CLIENT") {
                let num_commands = text.matches("\r\nCLIENT\r\n").count();
                stream.write_all(&b"+OK\r\n".repeat(num_commands)).unwrap();
                continue;
            }
            stream.write_all(b"$200000000000\r\n").unwrap();
            let mut num_bytes = 0_u64;
            while stream.write_all(&[7; 65536]).is_ok() {
                num_bytes += 65536;
            }
            sent.send(num_bytes).unwrap();
            return;
        }
    });
    let (cache, _) = open_with(RedisConfig::new(url, Secret::new("secret"))).await;
    let started = Instant::now();
    assert_eq!(shown(get(&cache, &key("a")).await), "miss");
    assert!(started.elapsed() < SLOWEST, "{:?}", started.elapsed());
    assert_eq!(cache.stats().redis.errors.num_timeouts, 1);
    // The connection's task ends on the runtime, so give it a turn while waiting.
    let waiting =
        tokio::task::spawn_blocking(move || num_sent.recv_timeout(Duration::from_secs(30)));
    let num_bytes = waiting.await.unwrap().expect("the connection is closed");
    assert!(num_bytes < 2 << 30, "{num_bytes} bytes were read");
}

#[tokio::test]
async fn a_full_or_read_only_server_still_serves() {
    let Some(server) = Server::start() else { return };
    share(&open(&server).await, &key("a"), "value").await;
    let mut client = server.client();
    redis::cmd("CONFIG").arg(&["SET", "maxmemory", "1"]).exec(&mut client).unwrap();
    let cache = open(&server).await;
    for n in 0..10 {
        share(&cache, &key(&format!("other {n}")), "value").await;
    }
    assert_eq!(shown(get(&cache, &key("a")).await), "Redis exact value");
    let stats = cache.stats();
    assert_eq!(stats.redis_breaker, Some(BreakerState::Closed));
    assert_eq!((stats.redis.num_writes, stats.redis.num_dropped_writes), (0, 10));
    // Once there is room, the next hit writes what was dropped.
    redis::cmd("CONFIG").arg(&["SET", "maxmemory", "0"]).exec(&mut client).unwrap();
    get(&cache, &key("other 3")).await.unwrap();
    cache.drain().await;
    assert_eq!(shown(get(&open(&server).await, &key("other 3")).await), "Redis exact value");
}

#[tokio::test]
async fn a_password_is_used_and_never_shown() {
    let Some(server) = Server::start() else { return };
    let mut client = server.client();
    redis::cmd("CONFIG").arg(&["SET", "requirepass", "hunter2"]).exec(&mut client).unwrap();
    let with =
        |password: &str| config(&format!("redis://:{password}@127.0.0.1:{}", server.port), "s");
    let (cache, _) = open_with(with("hunter2")).await;
    share(&cache, &key("a"), "value").await;
    assert_eq!(
        shown(get(&open_with(with("hunter2")).await.0, &key("a")).await),
        "Redis exact value"
    );
    let (wrong, _) = open_with(with("wrong")).await;
    assert_eq!(shown(get(&wrong, &key("a")).await), "miss");
    assert!(!format!("{:?}", with("hunter2")).contains("hunter2"));
    for url in ["http://:hunter2@127.0.0.1", "redis://:hunter2@127.0.0.1:x", "", "127.0.0.1:1"] {
        let config = CacheConfig { redis: Some(config(url, "s")), ..small() };
        match ResponseCache::<Text>::open(config).await {
            Err(error @ CacheError::RedisUrl { .. }) => {
                assert!(!error.to_string().contains("hunter2"), "{error}");
            }
            other => panic!("{url}: {other:?}"),
        }
    }
}

#[tokio::test]
async fn a_dropped_lookup_harms_nobody() {
    let Some(server) = Server::start() else { return };
    let writer = open(&server).await;
    share(&writer, &key("a"), "value").await;
    let cache = open(&server).await;
    // The connection is read by a thread of its own, which may be done before the first look.
    let mut num_dropped = 0;
    for n in 0..100 {
        let key = key(&format!("other {n}"));
        let mut lookup = Box::pin(get(&cache, &key));
        let poll =
            lookup.as_mut().poll(&mut std::task::Context::from_waker(std::task::Waker::noop()));
        num_dropped += u32::from(poll.is_pending());
    }
    assert!(num_dropped > 0);
    assert_eq!(shown(get(&cache, &key("a")).await), "Redis exact value");
    assert_eq!(cache.stats().redis.errors, TierErrors::default());
}
