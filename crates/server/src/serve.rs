//! Accepts connections until told to stop, then lets them finish.

use std::{
    future::Future,
    io,
    sync::Arc,
    time::{Duration, Instant},
};

use brisk_gateway::Gateway;
use socket2::SockRef;
use thiserror::Error;
use tokio::{
    net::{TcpListener, TcpStream},
    sync::watch,
    task::{self, JoinError, JoinSet},
    time::{sleep, timeout},
};

use crate::{
    app::{App, router},
    config::{ConfigError, ServerConfig},
    connection::drive,
    connection_state::ConnectionState,
    performance::take_samples,
    places::Places,
};

/// Bytes of a response that the system takes before the client does; Linux keeps twice as many. By
/// itself it would take megabytes, and a client that never reads would be noticed only when a reply
/// is larger than that.
const SEND_BUFFER_BYTES: usize = 64 << 10;
/// How often a newcomer looks for a place when nobody could give way.
const LOOK_AGAIN: Duration = Duration::from_millis(20);

/// Pause after a failed `accept`, as when the process has no file descriptor left: trying again at
/// once would only burn the processor.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// The server could not start.
#[derive(Debug, Error)]
pub enum Error {
    /// The configuration forbids it.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// The listener has no address.
    #[error("the listening socket is not usable: {0}")]
    Listener(#[source] io::Error),
}

/// Serves `gateway` on `listener` until `shutdown` completes, then drains: readiness turns false, no
/// connection is accepted, requests in flight have [`ServerConfig::shutdown_grace`] to finish,
/// and what is left ends with an error. The gateway's engine is told to stop at the end.
///
/// # Errors
///
/// Only before the first connection; a clean end is `Ok`.
pub async fn serve(
    listener: TcpListener,
    gateway: Arc<Gateway>,
    config: ServerConfig,
    shutdown: impl Future<Output = ()> + Send,
) -> Result<(), Error> {
    let address = listener.local_addr().map_err(Error::Listener)?;
    config.check(address)?;
    prepare(&listener, config.write_timeout);
    let app = Arc::new(App::new(gateway, config, address));
    let router = router(&app);
    let (drain, draining) = watch::channel(false);
    let mut places = Places::new(app.config.max_connections);
    let mut connections = JoinSet::new();
    // Accepted, and without a place.
    let mut newcomer: Option<TcpStream> = None;
    let mut has_failed = false;
    let mut shutdown = std::pin::pin!(shutdown);
    let mut samples = std::pin::pin!(take_samples(Arc::clone(&app)));
    tracing::info!(%address, "listening");
    loop {
        if !places.are_taken()
            && let Some(stream) = newcomer.take()
        {
            let state = Arc::new(ConnectionState::default());
            let (router, app, draining) = (router.clone(), Arc::clone(&app), draining.clone());
            let task = drive(stream, Arc::clone(&state), router, app, draining);
            places.take(connections.spawn(task).id(), state);
        }
        if newcomer.is_some() {
            places.make_room(Instant::now());
        }
        tokio::select! {
            biased;
            () = &mut shutdown => break,
            () = &mut samples => {}
            Some(ended) = connections.join_next_with_id() => places.give_back(id_of(ended)),
            () = sleep(LOOK_AGAIN), if newcomer.is_some() => {}
            accepted = accept(&listener, has_failed), if newcomer.is_none() => {
                has_failed = accepted.is_err();
                match accepted {
                    Ok(stream) => newcomer = Some(stream),
                    Err(error) => {
                        tracing::warn!(error = %error, "accept failed");
                        // As a rule it is a descriptor that is missing.
                        places.make_room(Instant::now());
                    }
                }
            }
        }
    }
    app.set_draining();
    drop(listener);
    tracing::info!(num_connections = connections.len(), "draining");
    // An error means that no connection is left to hear it.
    let _ = drain.send(true);
    finish(&app, &mut connections, &places).await;
    Ok(())
}

/// The next connection; not at once after a failure.
async fn accept(listener: &TcpListener, has_failed: bool) -> io::Result<TcpStream> {
    if has_failed {
        sleep(ACCEPT_PAUSE).await;
    }
    let (stream, _) = listener.accept().await?;
    Ok(stream)
}

/// Prepares a listening socket; what is accepted from it has the same properties.
fn prepare(listener: &TcpListener, write_timeout: Duration) {
    let socket = SockRef::from(listener);
    // Streamed tokens are small packets that must not wait for each other.
    let mut result = socket.set_tcp_nodelay(true);
    result = result.and(socket.set_send_buffer_size(SEND_BUFFER_BYTES));
    // A client that acknowledges nothing, or that has had no room for so long, ends by the
    // system's own doing, also when all of its response lies in the system already.
    #[cfg(target_os = "linux")]
    let result = result.and(socket.set_tcp_user_timeout(Some(write_timeout)));
    if let Err(error) = result {
        tracing::warn!(error = %error, "the listening socket keeps the system's defaults");
    }
}

/// Whose task has ended.
fn id_of(ended: Result<(task::Id, ()), JoinError>) -> task::Id {
    match ended {
        Ok((id, ())) => id,
        Err(error) => {
            tracing::error!(error = %error, "a connection's task broke");
            error.id()
        }
    }
}

/// Gives the connections their grace, then ends the engine's work, then cuts what is left.
async fn finish(app: &App, connections: &mut JoinSet<()>, places: &Places) {
    let in_grace = timeout(app.config.shutdown_grace, wait_for_all(connections)).await;
    app.gateway.shutdown(Duration::ZERO);
    if in_grace.is_err() {
        tracing::warn!(num_connections = connections.len(), "the grace period is over");
        if timeout(app.config.close_timeout, wait_for_all(connections)).await.is_err() {
            places.cut_off();
            connections.shutdown().await;
        }
    }
    tracing::info!("stopped");
}

async fn wait_for_all(connections: &mut JoinSet<()>) {
    while connections.join_next().await.is_some() {}
}
