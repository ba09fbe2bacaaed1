//! The tier in a file: what outlives a restart, and what no file can do to a request.

#![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]

mod support;

use std::{
    fs,
    path::{Path, PathBuf},
    sync::Arc,
    time::{Duration, Instant},
};

use brisk_cache::{
    CacheConfig, CacheError, DiskConfig, ManualClock, NewEntry, NotEverywhere, ResponseCache,
    Tenant, Tier,
};
use rusqlite::Connection;
use support::{Text, entry, get, key, key_of, shown, small, tenant};

const NOW: u64 = 1_800_000_000;

async fn open_at(path: &Path, max_bytes: u64) -> (ResponseCache<Text>, Arc<ManualClock>) {
    let clock = Arc::new(ManualClock::new(NOW));
    let disk = Some(DiskConfig { path: path.to_owned(), max_bytes });
    let config = CacheConfig { disk, ..small() };
    (ResponseCache::open_with_clock(config, clock.clone()).await.unwrap(), clock)
}

async fn open(path: &Path) -> ResponseCache<Text> {
    open_at(path, 1 << 20).await.0
}

/// A file with the entries `a` and `b`, by a cache that has ended.
async fn filled() -> (tempfile::TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("new/folder/cache.sqlite");
    let cache = open(&path).await;
    for question in ["a", "b"] {
        cache.insert(entry(key(question), &format!("the answer to {question}")));
    }
    cache.drain().await;
    close(cache, &path);
    (folder, path)
}

/// Drops a cache and waits until its thread has closed the file.
fn close(cache: ResponseCache<Text>, path: &Path) {
    drop(cache);
    let started = Instant::now();
    while path.with_file_name("cache.sqlite-wal").exists() {
        assert!(started.elapsed() < Duration::from_secs(10), "the file stays open");
        std::thread::yield_now();
    }
}

/// What a fresh cache on this file gives for `a`.
async fn after_restart(path: &Path) -> String {
    shown(get(&open(path).await, &key("a")).await)
}

#[tokio::test]
async fn entries_outlive_a_restart() {
    let (_folder, path) = filled().await;
    let (cache, clock) = open_at(&path, 1 << 20).await;
    clock.advance(Duration::from_secs(60));
    let hit = get(&cache, &key("a")).await.unwrap();
    assert_eq!((hit.age(), hit.tier), (Duration::from_secs(60), Tier::Disk));
    assert_eq!(shown(get(&cache, &key(" a")).await), "Memory normal the answer to a");
    assert_eq!(shown(get(&cache, &key("c")).await), "miss");
    assert_eq!(shown(get(&cache, &key_of(tenant(1), "a")).await), "miss");
    assert_eq!(cache.stats().disk.num_exact_hits, 1);
    // A list has what is in memory, and what only the file has.
    let list = cache.list(Tenant::LOCAL, 10).await;
    let tiers: Vec<_> = list.iter().map(|info| (info.slot == key("a").slot, info.tier)).collect();
    assert!(tiers.contains(&(true, Tier::Memory)) && tiers.contains(&(false, Tier::Disk)));
    assert_eq!((list.len(), list[0].label.as_str()), (2, "label"));
    assert_eq!(cache.list(Tenant::LOCAL, 1).await.len(), 1);
    assert!(cache.list(tenant(1), 10).await.is_empty());
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    }
}

#[tokio::test]
async fn entries_end_by_the_calendar_and_live_no_longer_than_any() {
    let (_folder, path) = filled().await;
    let day = 24 * 60 * 60;
    for (wall, expected) in [
        (NOW + day / 2, "Disk exact the answer to a"),
        (NOW - 5 * 60, "Disk exact the answer to a"),
        (NOW + 2 * day, "miss"),
        // It has ended, and does not come back with the clock.
        (NOW + day / 2, "miss"),
    ] {
        let (cache, clock) = open_at(&path, 1 << 20).await;
        clock.set_wall(wall);
        assert_eq!(shown(get(&cache, &key("a")).await), expected, "{wall}");
    }
}

#[tokio::test]
async fn what_was_kept_while_the_clock_was_ahead_does_not_outlive_its_time() {
    let (minute, day, century) = (60, 24 * 60 * 60, 100 * 365 * 24 * 60 * 60);
    for (ahead, expected) in [
        (0, "Disk exact new"),
        (5 * minute, "Disk exact new"),
        (6 * minute, "miss"),
        (day, "miss"),
        (3 * century, "miss"),
    ] {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("cache.sqlite");
        let (cache, clock) = open_at(&path, 1 << 20).await;
        clock.set_wall(NOW + ahead);
        cache.insert(entry(key("a"), "new"));
        cache.drain().await;
        // In memory it lives by the clock that nobody sets.
        clock.set_wall(NOW);
        assert_eq!(shown(get(&cache, &key("a")).await), "Memory exact new", "{ahead}");
        cache.close().await;
        let (cache, _clock) = open_at(&path, 1 << 20).await;
        let num_listed = cache.list(Tenant::LOCAL, 10).await.len();
        assert_eq!(num_listed, usize::from(expected != "miss"), "{ahead}");
        assert_eq!(shown(get(&cache, &key("a")).await), expected, "{ahead}");
        cache.close().await;
        // It is gone, not only passed over.
        let connection = Connection::open(&path).unwrap();
        let sql = "SELECT count(*) FROM entries";
        let num_rows: u32 = connection.query_row(sql, [], |row| row.get(0)).unwrap();
        assert_eq!(num_rows as usize, num_listed, "{ahead}");
    }
}

#[tokio::test]
async fn a_file_makes_room_by_what_the_clock_made_wrong() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("cache.sqlite");
    let (cache, clock) = open_at(&path, 20_000).await;
    clock.set_wall(NOW + 1_000_000);
    cache.insert(entry(key("ahead"), &"x".repeat(12_000)));
    cache.drain().await;
    clock.set_wall(NOW);
    cache.insert(entry(key("b"), &"x".repeat(12_000)));
    cache.drain().await;
    let slots: Vec<_> = cache.list(Tenant::LOCAL, 10).await.into_iter().map(|it| it.slot).collect();
    assert!(slots.contains(&key("b").slot));
    cache.close().await;
    assert!(after_restart(&path).await == "miss");
    assert_eq!(cache.stats().disk.errors.num_failures, 0);
}

#[tokio::test]
async fn a_closed_file_is_whole_by_itself() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("cache.sqlite");
    let cache = open(&path).await;
    for n in 0..50 {
        cache.insert(entry(key(&format!("question {n}")), &"x".repeat(1000 + n)));
        cache.drain().await;
    }
    cache.close().await;
    assert!(!folder.path().join("cache.sqlite-wal").exists(), "nothing is beside it");
    let copy = folder.path().join("copy.sqlite");
    fs::copy(&path, &copy).unwrap();
    let copied = open(&copy).await;
    for n in 0..50 {
        let hit = get(&copied, &key(&format!("question {n}"))).await.unwrap();
        assert_eq!((hit.tier, hit.entry.value.0.len()), (Tier::Disk, 1000 + n));
    }
    // Whoever asks after the end gets misses, at once.
    cache.insert(entry(key("late"), "value"));
    assert_eq!(shown(get(&cache, &key("another")).await), "miss");
    assert!(cache.remove(Tenant::LOCAL, &key("a").slot).await.is_err());
}

#[tokio::test]
async fn the_write_ahead_file_stays_small() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("cache.sqlite");
    let (cache, _clock) = open_at(&path, 64 << 20).await;
    let mut largest = 0;
    for n in 0..300 {
        cache.insert(entry(key(&format!("question {n}")), &"x".repeat(12_000)));
        cache.drain().await;
        largest = largest.max(fs::metadata(path.with_file_name("cache.sqlite-wal")).unwrap().len());
    }
    assert!(largest < 2 << 20, "{largest}");
    assert!(fs::metadata(&path).unwrap().len() > 2 << 20);
}

#[tokio::test]
async fn removed_and_flushed_entries_do_not_come_back() {
    let (_folder, path) = filled().await;
    let cache = open(&path).await;
    assert!(!cache.remove(tenant(1), &key("a").slot).await.unwrap());
    assert!(cache.report_bad(Tenant::LOCAL, &key("a").slot).await.unwrap());
    assert_eq!(shown(get(&cache, &key("a")).await), "miss");
    drop(cache);
    assert_eq!(after_restart(&path).await, "miss");
    let (cache, clock) = open_at(&path, 1 << 20).await;
    for who in [1, 2] {
        cache.insert(entry(key_of(tenant(who), "a"), "value"));
    }
    clock.advance(Duration::from_secs(1));
    cache.flush(tenant(1)).await.unwrap();
    drop(cache);
    let cache = open(&path).await;
    assert_eq!(shown(get(&cache, &key_of(tenant(1), "a")).await), "miss");
    assert_eq!(shown(get(&cache, &key_of(tenant(2), "a")).await), "Disk exact value");
    assert_eq!(shown(get(&cache, &key("b")).await), "Disk exact the answer to b");
    // The epoch outlives a restart too, so an old record that comes back from elsewhere is old.
    cache.insert(entry(key_of(tenant(1), "a"), "new"));
    cache.drain().await;
    drop(cache);
    assert_eq!(shown(get(&open(&path).await, &key_of(tenant(1), "a")).await), "Disk exact new");
}

#[tokio::test]
async fn the_file_stays_within_its_bytes_and_keeps_what_is_used() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("cache.sqlite");
    let max_bytes = 200_000;
    // Little memory, so that lookups reach the file.
    let clock = Arc::new(ManualClock::new(NOW));
    let config = CacheConfig {
        max_entries: 1,
        disk: Some(DiskConfig { path: path.clone(), max_bytes }),
        ..CacheConfig::default()
    };
    let cache = ResponseCache::open_with_clock(config, clock.clone()).await.unwrap();
    for n in 0..500 {
        clock.advance(Duration::from_secs(1));
        cache.insert(entry(key(&format!("question {n}")), &"x".repeat(500 + n * 7 % 3000)));
        cache.drain().await;
        if n >= 10 {
            assert!(get(&cache, &key("question 7")).await.is_some(), "{n}");
        }
    }
    let list = cache.list(Tenant::LOCAL, 1000).await;
    let on_disk = list.iter().filter(|info| info.tier == Tier::Disk);
    let num_bytes: u64 = on_disk.map(|info| info.num_bytes).sum();
    assert!((max_bytes / 2..=max_bytes).contains(&num_bytes), "{num_bytes}");
    cache.insert(entry(key("too large"), &"x".repeat(250_000)));
    cache.drain().await;
    assert_eq!(cache.stats().disk.errors.num_too_large, 1);
    assert_eq!(cache.stats().disk.errors.num_failures, 0);
    drop(cache);
    let file_bytes = fs::metadata(&path).unwrap().len();
    assert!(file_bytes < 2 * max_bytes + (64 << 12), "{file_bytes}");
}

/// Spoils the file of an ended cache. A fresh one works all the same.
async fn check_spoiled(what: &str, spoil: impl FnOnce(&Path), expected: &str) {
    let (_folder, path) = filled().await;
    spoil(&path);
    let cache = open(&path).await;
    assert_eq!(shown(get(&cache, &key("a")).await), expected, "{what}");
    cache.insert(entry(key("c"), "new"));
    cache.drain().await;
    // Where damage shows only in use, the second write is the one that lands.
    cache.insert(entry(key("d"), "new"));
    cache.drain().await;
    close(cache, &path);
    assert_eq!(shown(get(&open(&path).await, &key("d")).await), "Disk exact new", "{what}");
}

#[tokio::test]
async fn a_spoiled_file_of_ours_is_put_aside_or_passed_over() {
    let sql = |path: &Path, sql: &str| Connection::open(path).unwrap().execute_batch(sql).unwrap();
    let kept = "Disk exact the answer to a";
    check_spoiled("nothing", |_| {}, kept).await;
    check_spoiled("empty", |path| fs::write(path, "").unwrap(), "miss").await;
    check_spoiled(
        "cut",
        |path| {
            sql(path, "PRAGMA wal_checkpoint(TRUNCATE)");
            fs::File::options().write(true).open(path).unwrap().set_len(6000).unwrap();
        },
        "miss",
    )
    .await;
    check_spoiled(
        "garbage in every page",
        |path| {
            sql(path, "PRAGMA wal_checkpoint(TRUNCATE)");
            let mut bytes = fs::read(path).unwrap();
            bytes[100..].iter_mut().step_by(3).for_each(|byte| *byte ^= 0x5a);
            fs::write(path, bytes).unwrap();
        },
        "miss",
    )
    .await;
    check_spoiled("another version", |path| sql(path, "PRAGMA user_version = 7"), "miss").await;
    check_spoiled(
        "other tables",
        |path| sql(path, "DROP TABLE entries; CREATE TABLE theirs (x); PRAGMA user_version = 0"),
        "miss",
    )
    .await;
    check_spoiled(
        "a changed record",
        |path| sql(path, "UPDATE entries SET record = substr(record, 2)"),
        "miss",
    )
    .await;
    check_spoiled("an empty record", |path| sql(path, "UPDATE entries SET record = x''"), "miss")
        .await;
    check_spoiled(
        "a text for a record",
        |path| sql(path, "UPDATE entries SET record = 'text'"),
        "miss",
    )
    .await;
    check_spoiled("no table", |path| sql(path, "DROP TABLE entries"), "miss").await;
    check_spoiled(
        "swapped records",
        |path| sql(path, "UPDATE entries SET record = (SELECT record FROM entries e WHERE e.slot <> entries.slot)"),
        "miss",
    )
    .await;
}

#[tokio::test]
async fn files_that_are_put_aside_are_numbered() {
    let (folder, path) = filled().await;
    let folder = folder.path().join("new/folder");
    for number in 1..=3 {
        let sql = format!("PRAGMA user_version = {}", 6 + number);
        Connection::open(&path).unwrap().execute_batch(&sql).unwrap();
        let cache = open(&path).await;
        assert_eq!(shown(get(&cache, &key("a")).await), "miss");
        cache.insert(entry(key("a"), "value"));
        cache.close().await;
    }
    for number in 1..=3 {
        let aside = folder.join(format!("cache.sqlite.aside-{number}"));
        let version: i64 = Connection::open(aside)
            .unwrap()
            .pragma_query_value(None, "user_version", |row| row.get(0))
            .unwrap();
        assert_eq!(version, 6 + number);
    }
    assert_eq!(after_restart(&path).await, "Disk exact value");
}

#[tokio::test]
async fn what_is_not_ours_is_an_error_at_the_start_and_stays() {
    for (what, bytes) in [
        ("a text", b"not a database".repeat(100)),
        ("a GGUF model", b"GGUF\x03\0\0\0".to_vec()),
        ("a SQLite database without Brisk's mark", {
            let folder = tempfile::tempdir().unwrap();
            let path = folder.path().join("theirs");
            let sql = "CREATE TABLE entries (slot); CREATE TABLE epochs (tenant)";
            Connection::open(&path).unwrap().execute_batch(sql).unwrap();
            fs::read(path).unwrap()
        }),
    ] {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("cache.sqlite");
        fs::write(&path, &bytes).unwrap();
        let config = CacheConfig {
            disk: Some(DiskConfig { path: path.clone(), max_bytes: 1 << 20 }),
            ..small()
        };
        let error = ResponseCache::<Text>::open(config).await.unwrap_err();
        assert!(error.to_string().contains(&format!("is {what}, not Brisk's")), "{error}");
        assert_eq!(fs::read(&path).unwrap(), bytes);
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1, "nothing is put beside it");
    }
}

#[tokio::test]
async fn a_file_that_another_replaced_while_we_ran_stays() {
    let (_folder, path) = filled().await;
    let cache = open(&path).await;
    // Somebody puts a text in the place of our file and spoils the one that is open.
    Connection::open(&path).unwrap().execute_batch("DROP TABLE entries").unwrap();
    fs::remove_file(&path).unwrap();
    fs::write(&path, "their notes").unwrap();
    for _ in 0..3 {
        assert_eq!(shown(get(&cache, &key("a")).await), "miss");
    }
    assert_eq!(fs::read(&path).unwrap(), b"their notes");
    assert_eq!(cache.stats().is_disk_degraded, Some(true));
}

/// A write that finds no room. The file's own bound is met like the disk's end.
#[tokio::test]
async fn a_full_file_is_a_figure_and_deletes() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("cache.sqlite");
    let cache = open(&path).await;
    cache.insert(entry(key("a"), "value"));
    cache.drain().await;
    assert_eq!(cache.stats().is_disk_degraded, Some(false));
    // Another program fills the pages that this file may have.
    let other = Connection::open(&path).unwrap();
    other
        .execute_batch("CREATE TABLE theirs (x); INSERT INTO theirs VALUES (zeroblob(2400000))")
        .unwrap();
    for n in 0..3 {
        cache.insert(entry(key(&format!("{n}")), &"x".repeat(15_000)));
        cache.drain().await;
    }
    let stats = cache.stats();
    assert_eq!((stats.disk.num_writes, stats.disk.num_dropped_writes), (1, 3), "{stats:?}");
    assert_eq!(stats.is_disk_degraded, Some(true));
    // What can be read still is, and what is to go goes.
    let reader = open(&path).await;
    assert_eq!(shown(get(&reader, &key("a")).await), "Disk exact value");
    assert_eq!(reader.stats().is_disk_degraded, Some(false));
    assert!(cache.remove(Tenant::LOCAL, &key("a").slot).await.unwrap());
    assert_eq!(cache.stats().is_disk_degraded, Some(true), "reading is not writing");
    cache.flush(Tenant::LOCAL).await.unwrap();
    other.execute_batch("DROP TABLE theirs").unwrap();
    cache.insert(entry(key("b"), "value"));
    cache.drain().await;
    assert_eq!(cache.stats().is_disk_degraded, Some(false));
}

#[tokio::test]
async fn a_locked_file_is_a_miss_until_it_is_free() {
    let (_folder, path) = filled().await;
    let open_before = open(&path).await;
    let other = Connection::open(&path).unwrap();
    other.execute_batch("BEGIN IMMEDIATE").unwrap();
    let opened_since = open(&path).await;
    for cache in [&open_before, &opened_since] {
        // Reading marks the entry as used, so a writer's lock shows.
        assert_eq!(shown(get(cache, &key("a")).await), "miss");
        cache.insert(entry(key("c"), "value"));
        cache.drain().await;
        let stats = cache.stats();
        assert_eq!((stats.disk.num_writes, stats.disk.num_dropped_writes), (0, 1));
        assert!(stats.disk.errors.num_failures >= 2, "{stats:?}");
    }
    other.execute_batch("ROLLBACK").unwrap();
    for cache in [&open_before, &opened_since] {
        assert_eq!(shown(get(cache, &key("a")).await), "Disk exact the answer to a");
        cache.insert(entry(key("d"), "value"));
        cache.drain().await;
        assert_eq!(cache.stats().disk.num_writes, 1);
    }
}

#[tokio::test]
async fn a_removal_that_the_file_did_not_take_is_an_error_until_it_does() {
    let slot = key("a").slot;
    for what in ["remove", "report", "flush"] {
        let (_folder, path) = filled().await;
        let cache = open(&path).await;
        assert_eq!(shown(get(&cache, &key("a")).await), "Disk exact the answer to a");
        let call = async || match what {
            "remove" => cache.remove(Tenant::LOCAL, &slot).await.map(drop),
            "report" => cache.report_bad(Tenant::LOCAL, &slot).await.map(drop),
            _ => cache.flush(Tenant::LOCAL).await,
        };
        let other = Connection::open(&path).unwrap();
        other.execute_batch("BEGIN IMMEDIATE").unwrap();
        assert_eq!(call().await, Err(NotEverywhere { tier: Tier::Disk }), "{what}");
        other.execute_batch("ROLLBACK").unwrap();
        // This instance has let go of it; the file has not.
        assert_eq!(shown(get(&cache, &key("a")).await), "miss", "{what}");
        assert_eq!(after_restart(&path).await, "Disk exact the answer to a", "{what}");
        assert_eq!(call().await, Ok(()), "{what}");
        assert_eq!(after_restart(&path).await, "miss", "{what}");
    }
}

#[tokio::test]
async fn a_bad_hit_of_the_file_alone_makes_its_slot_strict() {
    let (_folder, path) = filled().await;
    let cache = open(&path).await;
    let spelled = key(" a");
    assert!(cache.report_bad(Tenant::LOCAL, &key("a").slot).await.unwrap());
    cache.insert(entry(key("a"), "another answer"));
    assert_eq!(shown(get(&cache, &spelled).await), "miss");
    // Where nothing lay, nothing is remembered.
    assert!(!cache.report_bad(Tenant::LOCAL, &key("c").slot).await.unwrap());
    cache.insert(entry(key("c"), "value"));
    assert_eq!(shown(get(&cache, &key(" c")).await), "Memory normal value");
}

#[tokio::test]
async fn an_unusable_path_is_an_error_at_the_start() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("file");
    fs::write(&file, "").unwrap();
    for path in [file.join("below/cache.sqlite"), folder.path().to_owned()] {
        let config = CacheConfig {
            disk: Some(DiskConfig { path: path.clone(), max_bytes: 1 << 20 }),
            ..small()
        };
        match ResponseCache::<Text>::open(config).await {
            Err(CacheError::DiskPath { path: shown, .. }) => assert_eq!(shown, path),
            Err(CacheError::DiskFile(_)) => assert!(path.is_dir()),
            other => panic!("{other:?}"),
        }
    }
}

#[tokio::test]
async fn entries_that_end_at_once_are_not_written() {
    let (_folder, path) = filled().await;
    let cache = open(&path).await;
    cache.insert(NewEntry { ttl: Some(Duration::ZERO), ..entry(key("z"), "value") });
    cache.drain().await;
    assert_eq!(cache.stats().disk.num_writes, 0);
}
