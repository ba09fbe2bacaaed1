//! A thread for what comes from the cache's Redis, so that its bytes hold up nobody else.

use std::{future::Future, io, thread};

use tokio::{
    runtime::{Builder, Handle},
    sync::oneshot,
    task::JoinHandle,
};

/// A small runtime on a thread of its own.
///
/// A connection is read for as long as bytes are there, and a runtime whose thread does that looks
/// at no timer meanwhile. So a server that floods us would stretch the deadline of its own call, and
/// stop everything else. Here it only holds up itself.
pub(crate) struct RedisThread {
    runtime: Handle,
    /// Dropped with this, and that ends the thread.
    _end: oneshot::Sender<()>,
}

impl RedisThread {
    pub(crate) fn start() -> io::Result<Self> {
        let runtime = Builder::new_current_thread().enable_io().enable_time().build()?;
        let handle = runtime.handle().clone();
        let (end, ended) = oneshot::channel::<()>();
        let run = move || {
            runtime.block_on(ended).ok();
        };
        thread::Builder::new().name("brisk-cache-redis".to_owned()).spawn(run)?;
        Ok(Self { runtime: handle, _end: end })
    }

    /// Runs `work` on the thread, along with all that it spawns.
    pub(crate) fn spawn<T: Send + 'static>(
        &self,
        work: impl Future<Output = T> + Send + 'static,
    ) -> JoinHandle<T> {
        self.runtime.spawn(work)
    }
}
