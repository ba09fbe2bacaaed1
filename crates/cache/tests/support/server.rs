//! A real Redis on a free port, in a folder of its own, that a test can stop, hold and kill.

#![allow(
    dead_code,
    unreachable_pub,
    clippy::unwrap_used,
    clippy::print_stderr,
    reason = "each test file uses its part of this"
)]

use std::{
    net::{TcpListener, TcpStream},
    process::{Child, Command, Stdio},
    sync::Arc,
    thread,
    time::{Duration, Instant},
};

use brisk_cache::{CacheConfig, Key, ManualClock, RedisConfig, ResponseCache, Secret};
use redis::Commands;

use crate::support::{Text, entry, get, small};

pub struct Server {
    process: Child,
    pub port: u16,
    folder: tempfile::TempDir,
}

impl Server {
    /// Starts a server, or says loudly that there is none on this machine.
    pub fn start() -> Option<Self> {
        let folder = tempfile::tempdir().unwrap();
        // Another process may take the port before the server does; then try another one.
        for _ in 0..20 {
            let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
            let Some(process) = run(port, &folder) else {
                eprintln!("SKIPPED: redis-server is not installed");
                return None;
            };
            let mut server = Self { process, port, folder: tempfile::tempdir().unwrap() };
            if server.is_up() {
                server.folder = folder;
                return Some(server);
            }
        }
        panic!("redis-server does not start");
    }

    pub fn url(&self) -> String {
        format!("redis://127.0.0.1:{}", self.port)
    }

    /// A plain client, as somebody else's would be.
    pub fn client(&self) -> redis::Connection {
        redis::Client::open(self.url()).unwrap().get_connection().unwrap()
    }

    /// Holds the process, so that it accepts and answers nothing.
    pub fn hold(&self) {
        self.signal("-STOP");
    }

    pub fn resume(&self) {
        self.signal("-CONT");
    }

    pub fn kill(&mut self) {
        self.process.kill().unwrap();
        self.process.wait().unwrap();
    }

    /// Starts a killed server again, on the same port and empty.
    pub fn restart(&mut self) {
        self.process = run(self.port, &self.folder).unwrap();
        assert!(self.is_up());
    }

    fn signal(&self, signal: &str) {
        let id = self.process.id().to_string();
        assert!(Command::new("kill").args([signal, &id]).status().unwrap().success());
    }

    fn is_up(&mut self) -> bool {
        let started = Instant::now();
        while started.elapsed() < Duration::from_secs(10) {
            if self.process.try_wait().unwrap().is_some() {
                return false;
            }
            if TcpStream::connect(("127.0.0.1", self.port)).is_ok() {
                return true;
            }
            thread::yield_now();
        }
        false
    }
}

fn run(port: u16, folder: &tempfile::TempDir) -> Option<Child> {
    Command::new("redis-server")
        .args([
            "--port",
            &port.to_string(),
            "--bind",
            "127.0.0.1",
            "--save",
            "",
            "--appendonly",
            "no",
        ])
        .arg("--dir")
        .arg(folder.path())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .ok()
}

impl Drop for Server {
    fn drop(&mut self) {
        self.process.kill().ok();
        self.process.wait().ok();
    }
}

pub const NOW: u64 = 1_800_000_000;

/// A deadline that no healthy call on a busy test machine misses. Tests of the deadline itself use
/// the default.
pub const EASY: Duration = Duration::from_secs(10);

pub fn config(url: &str, secret: &str) -> RedisConfig {
    RedisConfig { deadline: EASY, ..RedisConfig::new(url, Secret::new(secret)) }
}

pub async fn open_with(redis: RedisConfig) -> (ResponseCache<Text>, Arc<ManualClock>) {
    let clock = Arc::new(ManualClock::new(NOW));
    let config = CacheConfig { redis: Some(redis), ..small() };
    (ResponseCache::open_with_clock(config, clock.clone()).await.unwrap(), clock)
}

pub async fn open(server: &Server) -> ResponseCache<Text> {
    open_with(config(&server.url(), "secret")).await.0
}

/// Inserts an entry and asks for it once, so that it is written.
pub async fn share(cache: &ResponseCache<Text>, key: &Key, value: &str) {
    cache.insert(entry(*key, value));
    get(cache, key).await.unwrap();
    cache.drain().await;
}

pub fn names(client: &mut redis::Connection) -> Vec<String> {
    let mut names: Vec<String> = client.keys("*").unwrap();
    names.sort();
    names
}
