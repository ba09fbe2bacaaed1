//! A TCP stream that hands over one request at a time, and gives up on clients that are too slow and
//! on heads that must not be served.

use std::{
    io::{self, IoSlice},
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
    time::Duration,
};

use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::TcpStream,
    time::{Instant, Sleep, sleep},
};

use crate::{
    connection_state::{ConnectionState, End, Phase},
    framing::Framing,
    head::HeadFault,
};

/// Bytes of a next request that are taken while this one is served; more wait in the system.
const MAX_AHEAD_BYTES: usize = 512;

/// Limits of one stream.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Timeouts {
    /// For a whole request head, from its first byte (of a new connection: from the beginning).
    pub(crate) header: Duration,
    /// Between two requests.
    pub(crate) idle: Duration,
    /// For room in the system's send buffer.
    pub(crate) write: Duration,
}

/// The guarded stream.
#[derive(Debug)]
pub(crate) struct GuardedIo {
    stream: TcpStream,
    state: Arc<ConnectionState>,
    timeouts: Timeouts,
    framing: Framing,
    /// What came behind a request's end. The HTTP library gets it after that request's response, so
    /// that each head is looked at, and an answer is always the current request's.
    ahead: Vec<u8>,
    /// Runs while a head is awaited.
    read_timer: Pin<Box<Sleep>>,
    read_timer_runs: bool,
    /// Runs while the client takes nothing.
    write_timer: Option<Pin<Box<Sleep>>>,
}

impl GuardedIo {
    pub(crate) fn new(stream: TcpStream, timeouts: Timeouts, state: Arc<ConnectionState>) -> Self {
        Self {
            stream,
            state,
            timeouts,
            framing: Framing::default(),
            ahead: Vec::new(),
            read_timer: Box::pin(sleep(timeouts.header)),
            read_timer_runs: true,
            write_timer: None,
        }
    }

    /// The stream, and whether a request was broken off that the client may still be sending.
    pub(crate) fn into_parts(self) -> (TcpStream, bool) {
        let is_between = self.framing.is_in_head() && !self.framing.has_begun_head();
        (self.stream, !is_between && !self.framing.is_whole())
    }

    fn start_read_timer(&mut self, timeout: Duration) {
        self.read_timer.as_mut().reset(Instant::now() + timeout);
        self.read_timer_runs = true;
    }

    fn refuse(&self, fault: HeadFault) -> io::Error {
        self.state.set_fault(fault);
        io::Error::new(io::ErrorKind::InvalidData, "the request head is refused")
    }

    /// Reads from the socket into `buffer`. A system that gives up on a client says so here.
    fn poll_socket(
        &mut self,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<usize>> {
        let num_before = buffer.filled().len();
        let result = ready!(Pin::new(&mut self.stream).poll_read(context, buffer));
        Poll::Ready(match result {
            Ok(()) => Ok(buffer.filled().len() - num_before),
            Err(error) => Err(self.noted(error)),
        })
    }

    fn noted(&self, error: io::Error) -> io::Error {
        if error.kind() == io::ErrorKind::TimedOut {
            self.state.set_end(End::ClientTooSlow);
        }
        error
    }

    /// What to do while a head is awaited, before reading on. `Ready(Ok)` pretends the stream ended.
    fn poll_between_requests(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let has_begun = self.framing.has_begun_head();
        if !has_begun && self.state.is_draining() {
            return Poll::Ready(Ok(()));
        }
        if !self.read_timer_runs {
            self.start_read_timer(self.timeouts.idle);
        }
        // Those who are here already need not hurry.
        if !self.ahead.is_empty() {
            return Poll::Pending;
        }
        ready!(self.read_timer.as_mut().poll(context));
        if has_begun {
            return Poll::Ready(Err(self.refuse(HeadFault::TooSlow)));
        }
        // A silent client is owed no answer.
        Poll::Ready(Ok(()))
    }

    /// Reads the next bytes of a head, and of the body behind it.
    fn poll_read_head(
        &mut self,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        // Of the response before, the client has not taken all yet. To the HTTP library an end here
        // would mean that nobody wants the rest, and what it wrote next could not be told from it.
        if self.write_timer.is_some() {
            return Poll::Pending;
        }
        if let Poll::Ready(end) = self.poll_between_requests(context) {
            return Poll::Ready(end);
        }
        if self.ahead.is_empty() {
            return self.poll_read_request(context, buffer);
        }
        let ahead = std::mem::take(&mut self.ahead);
        let num_bytes = ahead.len().min(buffer.remaining());
        let num_before = buffer.filled().len();
        buffer.put_slice(&ahead[..num_bytes]);
        let result = self.take(buffer, num_before);
        self.ahead.extend_from_slice(&ahead[num_bytes..]);
        Poll::Ready(result)
    }

    /// Reads the next bytes of the current request.
    fn poll_read_request(
        &mut self,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let num_before = buffer.filled().len();
        let has_room = buffer.remaining() > 0;
        let num_read = ready!(self.poll_socket(context, buffer))?;
        if num_read == 0 && has_room && self.framing.has_begun_head() {
            return Poll::Ready(Err(self.refuse(HeadFault::BrokenOff)));
        }
        let result = self.take(buffer, num_before);
        // A head may have begun with these bytes: the timer must be polled to wake this task.
        if result.is_ok() && self.read_timer_runs {
            let _ = self.read_timer.as_mut().poll(context);
        }
        Poll::Ready(result)
    }

    /// Follows the request in what came into `buffer`, and puts aside what is behind its end.
    fn take(&mut self, buffer: &mut ReadBuf<'_>, num_before: usize) -> io::Result<()> {
        let bytes = &buffer.filled()[num_before..];
        if bytes.is_empty() {
            return Ok(());
        }
        let was_in_head = self.framing.is_in_head();
        let had_begun = self.framing.has_begun_head();
        if was_in_head {
            self.state.set_answering(false);
        }
        let num_taken = self.framing.feed(bytes).map_err(|fault| self.refuse(fault))?;
        self.ahead.extend_from_slice(&bytes[num_taken..]);
        buffer.set_filled(num_before + num_taken);
        if self.framing.is_in_head() {
            if !had_begun && self.framing.has_begun_head() {
                self.start_read_timer(self.timeouts.header);
            }
        } else if self.framing.is_whole() {
            self.read_timer_runs = false;
            self.state.set_phase(Phase::Serving);
        } else if was_in_head {
            self.read_timer_runs = false;
            self.state.set_phase(Phase::Receiving);
        }
        Ok(())
    }

    /// Looks for the input's end while a request is served that is whole, but keeps it from the HTTP
    /// library, which would drop the response: who sends nothing more may still listen.
    fn poll_watch(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.state.set_reader(context.waker().clone());
        if self.ahead.is_empty() && !self.state.has_input_ended() {
            let mut bytes = [0; MAX_AHEAD_BYTES];
            let mut buffer = ReadBuf::new(&mut bytes);
            if ready!(self.poll_socket(context, &mut buffer))? == 0 {
                self.state.end_input();
            }
            self.ahead.extend_from_slice(buffer.filled());
        }
        Poll::Pending
    }

    /// Whether the HTTP library writes by itself, no request having come to the service. What it
    /// says has no body; whoever has the stream afterwards says it with one.
    fn is_librarys_own(&self) -> bool {
        let is_own = !self.state.is_answering();
        if is_own {
            self.state.set_fault(HeadFault::Malformed);
        }
        is_own
    }

    fn guard_write<T>(
        &mut self,
        context: &mut Context<'_>,
        result: Poll<io::Result<T>>,
    ) -> Poll<io::Result<T>> {
        if let Poll::Ready(result) = result {
            if self.write_timer.take().is_some() {
                self.state.set_blocked(false);
                // A reader may wait for the last bytes to go out: see `poll_read_head`.
                context.waker().wake_by_ref();
            }
            return Poll::Ready(result.map_err(|error| self.noted(error)));
        }
        if self.write_timer.is_none() {
            self.state.set_blocked(true);
        }
        let timeout = self.timeouts.write;
        let timer = self.write_timer.get_or_insert_with(|| Box::pin(sleep(timeout)));
        ready!(timer.as_mut().poll(context));
        self.state.set_end(End::ClientTooSlow);
        Poll::Ready(Err(io::Error::new(io::ErrorKind::TimedOut, "the client takes no bytes")))
    }
}

impl AsyncRead for GuardedIo {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = &mut *self;
        if this.framing.is_whole() {
            if this.state.is_serving() {
                return this.poll_watch(context);
            }
            this.framing = Framing::default();
        }
        if this.framing.is_in_head() {
            return this.poll_read_head(context, buffer);
        }
        this.poll_read_request(context, buffer)
    }
}

impl AsyncWrite for GuardedIo {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        if self.is_librarys_own() {
            return Poll::Ready(Ok(bytes.len()));
        }
        let result = Pin::new(&mut self.stream).poll_write(context, bytes);
        self.guard_write(context, result)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        if self.is_librarys_own() {
            return Poll::Ready(Ok(slices.iter().map(|slice| slice.len()).sum()));
        }
        let result = Pin::new(&mut self.stream).poll_write_vectored(context, slices);
        self.guard_write(context, result)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        // The refusal of a head is still to be written, by whoever has the stream afterwards.
        if self.state.fault().is_some() {
            return Poll::Ready(Ok(()));
        }
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}
