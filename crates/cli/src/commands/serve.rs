//! `brisk serve`: the server, from the first log line to the last drained reply.

use std::{
    io::{self, Write},
    net::{SocketAddr, TcpListener},
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use anyhow::{Context, Result, anyhow};
use brisk_gateway::{
    CacheConfig, ConversationConfig, DiskConfig, Gateway, GatewayConfig, RedisConfig, Secret,
    StoreConfig,
};
use brisk_server::ServerConfig;
use tokio::sync::oneshot;

use crate::{
    config::Config,
    identity::identity,
    loading::{self, Opened, WarmUp},
    machine,
};

/// Descriptors for everything but connections: model files, databases, Redis, the listener.
const RESERVED_DESCRIPTORS: usize = 64;

/// Exit status after a second Ctrl-C: that of a process ended by SIGINT.
const INTERRUPTED: i32 = 130;

pub(crate) fn run(config: &Config) -> Result<()> {
    config.check_exposure()?;
    // Both fail at once where they fail: a missing file, a port that is taken.
    let opened = loading::open(config)?;
    let (listener, address) = listen(config.address)?;
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let result = runtime.block_on(serve(config.clone(), opened, listener, address));
    // A model that is still being loaded is not waited for.
    runtime.shutdown_background();
    result
}

fn listen(address: SocketAddr) -> Result<(TcpListener, SocketAddr)> {
    let listener = TcpListener::bind(address).with_context(|| match address.port() {
        0 => format!("listening on {address}"),
        port => format!("listening on {address} (is port {port} in use? choose one with --port)"),
    })?;
    listener.set_nonblocking(true)?;
    let address = listener.local_addr()?;
    Ok((listener, address))
}

async fn serve(
    config: Config,
    opened: Opened,
    listener: TcpListener,
    address: SocketAddr,
) -> Result<()> {
    let listener = tokio::net::TcpListener::from_std(listener)?;
    let server_config = ServerConfig {
        api_keys: config.api_keys.clone(),
        allowed_hosts: config.allowed_hosts.clone(),
        cors_origins: config.cors_origins.clone(),
        max_body_bytes: config.max_body_bytes,
        max_connections: max_connections(config.max_connections, machine::raise_max_descriptors()),
        header_timeout: config.header_timeout,
        body_timeout: config.body_timeout,
        write_timeout: config.write_timeout,
        idle_timeout: config.idle_timeout,
        shutdown_grace: config.shutdown_grace,
        assistant: config.assistant,
        replay_pace: config
            .cache_replay_speed
            .map(|speed| Duration::from_secs_f64(1.0 / speed as f64)),
        after_large_request: Some(brisk_kernels::return_free_pages),
        ..ServerConfig::default()
    };
    let mut signals = Signals::new()?;
    let gateway = Gateway::open(GatewayConfig::default(), stores(&config)).await?;
    let gateway = Arc::new(gateway);
    let (failed, failure) = oneshot::channel();
    tokio::spawn({
        let gateway = Arc::clone(&gateway);
        async move {
            if let Err(error) = run_engine(config, opened, &gateway, address).await {
                // Nobody listens when the server has ended for another reason.
                let _ = failed.send(error);
            }
        }
    });
    let reason = Arc::new(Mutex::new(None));
    let shutdown = {
        let reason = Arc::clone(&reason);
        async move {
            tokio::select! {
                name = signals.next() => tracing::info!(signal = name, "shutting down"),
                Ok(error) = failure => {
                    *reason.lock().unwrap_or_else(PoisonError::into_inner) = Some(error);
                }
            }
            tokio::spawn(async move {
                signals.next().await;
                #[expect(clippy::exit, reason = "whoever asks twice does not want to wait")]
                std::process::exit(INTERRUPTED);
            });
        }
    };
    let served = brisk_server::serve(listener, Arc::clone(&gateway), server_config, shutdown).await;
    gateway.close().await;
    served?;
    let reason = reason.lock().unwrap_or_else(PoisonError::into_inner).take();
    reason.map_or(Ok(()), Err)
}

/// As many connections as are wanted, if the system gives so many descriptors.
fn max_connections(wanted: usize, max_descriptors: Option<usize>) -> usize {
    let Some(max_descriptors) = max_descriptors else { return wanted };
    // Where there are hardly any, connections get half of them.
    let room = max_descriptors.saturating_sub(RESERVED_DESCRIPTORS).max(max_descriptors / 2).max(1);
    if room < wanted {
        tracing::warn!(
            max_connections = wanted,
            max_descriptors,
            num_connections = room,
            "the limit of open files allows fewer connections; raise it (`ulimit -Hn`, `LimitNOFILE`)"
        );
    }
    wanted.min(room)
}

/// Loads the model while the server already says that it does, then waits for the engine's end,
/// which comes after the server's or is a failure.
async fn run_engine(
    config: Config,
    opened: Opened,
    gateway: &Gateway,
    address: SocketAddr,
) -> Result<()> {
    let (config, opened) = (Arc::new(config), Arc::new(opened));
    let identity = tokio::task::spawn_blocking({
        let (config, opened) = (Arc::clone(&config), Arc::clone(&opened));
        move || {
            let is_shared = config.cache_file.is_some() || config.cache_redis_url.is_some();
            let is_shared = config.response_cache && is_shared;
            identity(&opened.file, loading::cpu(&config)?, config.kv_cache_type, is_shared)
                .context("reading the model")
        }
    });
    let loaded =
        tokio::task::spawn_blocking(move || loading::start_engine(&config, &opened, WarmUp::Yes))
            .await;
    let engine = loaded.context("loading the model")??;
    gateway.attach(engine.clone(), &identity.await.context("reading the model")??);
    announce(address);
    engine.stopped().await;
    Err(anyhow!("the engine stopped: see the log"))
}

/// What the gateway keeps, by the settings.
fn stores(config: &Config) -> StoreConfig {
    if config.cache_redis_url.is_some() && config.cache_secret.is_none() {
        tracing::warn!("kept replies in Redis are not shared: cache_secret is not set");
    }
    let cache = config.response_cache.then(|| CacheConfig {
        max_bytes: config.cache_max_bytes,
        max_entries: config.cache_max_entries,
        ttl: config.cache_ttl,
        disk: config
            .cache_file
            .clone()
            .map(|path| DiskConfig { path, max_bytes: config.cache_file_max_bytes }),
        redis: config.cache_redis_url.as_ref().map(|url| {
            let secret = config.cache_secret.as_deref().map_or(Secret::PerProcess, Secret::new);
            RedisConfig::new(url, secret)
        }),
        ..CacheConfig::default()
    });
    let max_messages = config.conversation_max_messages;
    StoreConfig {
        cache,
        conversations: Some(ConversationConfig { max_messages, ..ConversationConfig::default() }),
        conversations_file: config.conversations_file.clone(),
    }
}

/// The one line that scripts wait for. A closed standard output does not stop the server.
fn announce(address: SocketAddr) {
    let mut out = io::stdout().lock();
    let written =
        writeln!(out, "Brisk is listening on http://{address}").and_then(|()| out.flush());
    if let Err(error) = written {
        tracing::warn!(%error, %address, "ready, but standard output is closed");
    }
}

/// Requests to end: SIGINT (Ctrl-C) and SIGTERM.
struct Signals {
    #[cfg(unix)]
    interrupt: tokio::signal::unix::Signal,
    #[cfg(unix)]
    terminate: tokio::signal::unix::Signal,
    /// Where a limit on the size of files is reached, the system would end the process; caught, it is a
    /// failed write like that on a full disk.
    #[cfg(unix)]
    _file_too_large: tokio::signal::unix::Signal,
}

/// SIGXFSZ, the same number on Linux and on macOS.
#[cfg(unix)]
const FILE_TOO_LARGE: i32 = 25;

impl Signals {
    #[cfg(unix)]
    fn new() -> io::Result<Self> {
        use tokio::signal::unix::{SignalKind, signal};
        Ok(Self {
            interrupt: signal(SignalKind::interrupt())?,
            terminate: signal(SignalKind::terminate())?,
            _file_too_large: signal(SignalKind::from_raw(FILE_TOO_LARGE))?,
        })
    }

    #[cfg(unix)]
    async fn next(&mut self) -> &'static str {
        tokio::select! {
            _ = self.interrupt.recv() => "SIGINT",
            _ = self.terminate.recv() => "SIGTERM",
        }
    }

    #[cfg(not(unix))]
    fn new() -> io::Result<Self> {
        Ok(Self {})
    }

    #[cfg(not(unix))]
    async fn next(&mut self) -> &'static str {
        if tokio::signal::ctrl_c().await.is_err() {
            std::future::pending::<()>().await;
        }
        "Ctrl-C"
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn connections_leave_descriptors_for_files() {
        for (wanted, max_descriptors, expected) in [
            (1024, None, 1024),
            (1024, Some(20_000), 1024),
            (1024, Some(1024), 960),
            (1024, Some(100), 50),
            (8, Some(100), 8),
            (8, Some(1), 1),
            (8, Some(0), 1),
        ] {
            assert_eq!(max_connections(wanted, max_descriptors), expected, "{max_descriptors:?}");
        }
    }
}
