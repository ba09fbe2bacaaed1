//! A TCP stream that gives up on clients that are too slow, and on heads that must not be served.

use std::{
    io::{self, IoSlice},
    pin::Pin,
    sync::{
        Arc, Mutex, MutexGuard, OnceLock, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    task::{Context, Poll, Waker, ready},
    time::Duration,
};

use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    sync::Notify,
    time::{Instant, Sleep, sleep},
};

use crate::head::{HeadFault, HeadScanner, Verdict};

/// What a stream, its service and its driver tell each other.
#[derive(Debug, Default)]
pub(crate) struct ConnectionState {
    /// A request is being served: from the end of its head to the end of its response body.
    serving: AtomicBool,
    /// The body of that request has not been read to its end.
    body_is_open: AtomicBool,
    /// The server goes down: a connection between two requests ends.
    draining: AtomicBool,
    /// The client sends nothing more: it waits for its response, or it has left.
    input_ended: AtomicBool,
    input_ends: Notify,
    /// Who reads the stream, and wants to know when serving ends: only then does the time between two
    /// requests begin, and only then may the input's end be seen.
    reader: Mutex<Option<Waker>>,
    fault: OnceLock<HeadFault>,
}

impl ConnectionState {
    pub(crate) fn set_serving(&self, serving: bool) {
        self.serving.store(serving, Ordering::Release);
        if !serving && let Some(reader) = self.reader().take() {
            reader.wake();
        }
    }

    fn reader(&self) -> MutexGuard<'_, Option<Waker>> {
        self.reader.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn set_draining(&self) {
        self.draining.store(true, Ordering::Release);
    }

    pub(crate) fn set_body_is_open(&self, is_open: bool) {
        self.body_is_open.store(is_open, Ordering::Release);
    }

    /// Returns once the client sends nothing more. It may have left, or it may only have closed its
    /// sending side; which of the two it is shows when something is written.
    pub(crate) async fn input_ended(&self) {
        loop {
            let end = self.input_ends.notified();
            if self.input_ended.load(Ordering::Acquire) {
                return;
            }
            end.await;
        }
    }

    fn end_input(&self) {
        self.input_ended.store(true, Ordering::Release);
        self.input_ends.notify_waiters();
    }

    /// Why the stream refused a head, if it did.
    pub(crate) fn fault(&self) -> Option<HeadFault> {
        self.fault.get().copied()
    }

    fn is_serving(&self) -> bool {
        self.serving.load(Ordering::Acquire)
    }
}

/// Limits of one stream.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Timeouts {
    /// For a whole request head, from its first byte (of a new connection: from the beginning).
    pub(crate) header: Duration,
    /// Between two requests.
    pub(crate) idle: Duration,
    /// For the next byte that the client takes.
    pub(crate) write: Duration,
}

/// The guarded stream.
#[derive(Debug)]
pub(crate) struct GuardedIo<S> {
    stream: S,
    state: Arc<ConnectionState>,
    timeouts: Timeouts,
    scanner: HeadScanner,
    /// Runs while a head is awaited.
    read_timer: Pin<Box<Sleep>>,
    read_timer_runs: bool,
    /// Runs while the client takes nothing.
    write_timer: Option<Pin<Box<Sleep>>>,
}

impl<S> GuardedIo<S> {
    pub(crate) fn new(stream: S, timeouts: Timeouts, state: Arc<ConnectionState>) -> Self {
        Self {
            stream,
            state,
            timeouts,
            scanner: HeadScanner::default(),
            read_timer: Box::pin(sleep(timeouts.header)),
            read_timer_runs: true,
            write_timer: None,
        }
    }

    pub(crate) fn into_inner(self) -> S {
        self.stream
    }

    fn start_read_timer(&mut self, timeout: Duration) {
        self.read_timer.as_mut().reset(Instant::now() + timeout);
        self.read_timer_runs = true;
    }

    fn refuse(&self, fault: HeadFault) -> io::Error {
        // Only the first fault counts; the connection ends with it.
        let _ = self.state.fault.set(fault);
        io::Error::new(io::ErrorKind::InvalidData, "the request head is refused")
    }

    /// What to do while a head is awaited, before reading on. `Ready(Ok)` pretends the stream ended.
    fn poll_between_requests(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let has_begun = self.scanner.has_begun();
        if !has_begun && self.state.draining.load(Ordering::Acquire) {
            // To the HTTP library an end here means that nobody wants what it still holds.
            if self.write_timer.is_some() {
                return Poll::Pending;
            }
            return Poll::Ready(Ok(()));
        }
        if !self.read_timer_runs {
            self.start_read_timer(self.timeouts.idle);
        }
        ready!(self.read_timer.as_mut().poll(context));
        if has_begun {
            return Poll::Ready(Err(self.refuse(HeadFault::TooSlow)));
        }
        // A silent client is owed no answer.
        Poll::Ready(Ok(()))
    }

    fn scan(&mut self, bytes: &[u8]) -> io::Result<()> {
        if bytes.is_empty() {
            return Ok(());
        }
        if !self.scanner.has_begun() {
            self.start_read_timer(self.timeouts.header);
        }
        match self.scanner.feed(bytes) {
            Verdict::Incomplete => Ok(()),
            Verdict::Complete => {
                self.scanner = HeadScanner::default();
                self.read_timer_runs = false;
                self.state.set_serving(true);
                Ok(())
            }
            Verdict::Refused(fault) => Err(self.refuse(fault)),
        }
    }

    fn guard_write<T>(
        &mut self,
        context: &mut Context<'_>,
        result: Poll<io::Result<T>>,
    ) -> Poll<io::Result<T>> {
        if result.is_ready() {
            // A reader may wait for the last bytes to go out: see `poll_between_requests`.
            if self.write_timer.take().is_some() {
                context.waker().wake_by_ref();
            }
            return result;
        }
        let timeout = self.timeouts.write;
        let timer = self.write_timer.get_or_insert_with(|| Box::pin(sleep(timeout)));
        ready!(timer.as_mut().poll(context));
        Poll::Ready(Err(io::Error::new(io::ErrorKind::TimedOut, "the client takes no bytes")))
    }
}

impl<S: AsyncRead + Unpin> GuardedIo<S> {
    /// Reads on, but keeps the input's end from the HTTP library, which would drop the response.
    fn poll_read_while_serving(
        &mut self,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        *self.state.reader() = Some(context.waker().clone());
        if self.input_is_over() {
            return Poll::Pending;
        }
        let num_filled = buffer.filled().len();
        ready!(Pin::new(&mut self.stream).poll_read(context, buffer))?;
        if buffer.filled().len() == num_filled && buffer.remaining() > 0 {
            self.state.end_input();
            if self.input_is_over() {
                return Poll::Pending;
            }
        }
        Poll::Ready(Ok(()))
    }

    /// Whether everything that was to be read is read. A body that ends too early is an error and
    /// no such end.
    fn input_is_over(&self) -> bool {
        self.state.input_ended.load(Ordering::Acquire)
            && !self.state.body_is_open.load(Ordering::Acquire)
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for GuardedIo<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = &mut *self;
        if this.state.is_serving() {
            // The service may have begun with bytes that came together with an earlier request.
            this.scanner = HeadScanner::default();
            this.read_timer_runs = false;
            return this.poll_read_while_serving(context, buffer);
        }
        if let Poll::Ready(end) = this.poll_between_requests(context) {
            return Poll::Ready(end);
        }
        let num_filled = buffer.filled().len();
        ready!(Pin::new(&mut this.stream).poll_read(context, buffer))?;
        let result = this.scan(&buffer.filled()[num_filled..]);
        // The head may have begun with these bytes: the timer must be polled to wake this task.
        if result.is_ok() && this.read_timer_runs {
            let _ = this.read_timer.as_mut().poll(context);
        }
        Poll::Ready(result)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for GuardedIo<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let result = Pin::new(&mut self.stream).poll_write(context, bytes);
        self.guard_write(context, result)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let result = Pin::new(&mut self.stream).poll_write_vectored(context, slices);
        self.guard_write(context, result)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let result = Pin::new(&mut self.stream).poll_flush(context);
        self.guard_write(context, result)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        // The refusal of a head is still to be written, by whoever has the stream afterwards.
        if self.state.fault().is_some() {
            return Poll::Ready(Ok(()));
        }
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}
