//! Accepts connections until told to stop, then lets them finish.

use std::{future::Future, io, sync::Arc, time::Duration};

use brisk_gateway::Gateway;
use thiserror::Error;
use tokio::{
    net::{TcpListener, TcpStream},
    sync::{Semaphore, watch},
    task::JoinSet,
    time::{sleep, timeout},
};

use crate::{
    app::{App, router},
    config::{ConfigError, ServerConfig},
    connection::drive,
    performance::take_samples,
};

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
    let app = Arc::new(App::new(gateway, config, address));
    let router = router(&app);
    let (drain, draining) = watch::channel(false);
    let places = Arc::new(Semaphore::new(app.config.max_connections));
    let mut connections = JoinSet::new();
    let mut shutdown = std::pin::pin!(shutdown);
    let mut samples = std::pin::pin!(take_samples(Arc::clone(&app)));
    tracing::info!(%address, "listening");
    loop {
        let stream = tokio::select! {
            biased;
            () = &mut shutdown => break,
            () = &mut samples => continue,
            Some(ended) = connections.join_next() => {
                if let Err(error) = ended {
                    tracing::error!(error = %error, "a connection's task broke");
                }
                continue;
            }
            accepted = accept(&listener, &places) => accepted,
        };
        let (stream, place) = stream;
        let (router, app, draining) = (router.clone(), Arc::clone(&app), draining.clone());
        connections.spawn(async move {
            drive(stream, router, app, draining).await;
            drop(place);
        });
    }
    app.set_draining();
    drop(listener);
    tracing::info!(num_connections = connections.len(), "draining");
    // An error means that no connection is left to hear it.
    let _ = drain.send(true);
    finish(&app, &mut connections).await;
    Ok(())
}

/// Waits for a free place and then for a connection to put there.
async fn accept(
    listener: &TcpListener,
    places: &Arc<Semaphore>,
) -> (TcpStream, tokio::sync::OwnedSemaphorePermit) {
    let place = Arc::clone(places).acquire_owned().await;
    let place = place.expect("the semaphore is never closed");
    loop {
        match listener.accept().await {
            Ok((stream, _)) => {
                // Streamed tokens are small packets that must not wait for each other.
                if let Err(error) = stream.set_nodelay(true) {
                    tracing::debug!(error = %error, "no TCP_NODELAY");
                }
                return (stream, place);
            }
            Err(error) => {
                tracing::warn!(error = %error, "accept failed");
                sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

/// Gives the connections their grace, then ends the engine's work, then cuts what is left.
async fn finish(app: &App, connections: &mut JoinSet<()>) {
    let in_grace = timeout(app.config.shutdown_grace, wait_for_all(connections)).await;
    app.gateway.shutdown(Duration::ZERO);
    if in_grace.is_err() {
        tracing::warn!(num_connections = connections.len(), "the grace period is over");
        if timeout(app.config.close_timeout, wait_for_all(connections)).await.is_err() {
            connections.shutdown().await;
        }
    }
    tracing::info!("stopped");
}

async fn wait_for_all(connections: &mut JoinSet<()>) {
    while connections.join_next().await.is_some() {}
}
