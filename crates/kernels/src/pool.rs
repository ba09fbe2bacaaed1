//! Shares out the chunks of one operation among threads that stay alive between operations.
//!
//! One operation is a *phase*: a number of chunks and a function to call with each chunk's index.
//! The calling thread works too; whoever is free takes one that is left, so a slow or busy core costs
//! no more than the chunk that it holds. The idea:
//!
//! ```text
//! caller:  lock; publish the phase (open);  take chunks until none is left;
//!          close it;  wait until nobody is inside;  unlock
//! worker:  wait for an open phase it has not seen;  enter;  take chunks until none is left;  leave
//! ```
//!
//! 1. Each thread has a share of the chunks, one after the other, and takes these first: what it reads
//!    follows on what it has read, as memory likes it. Who is done takes from the shares of the others.
//! 2. Entering is one compare-and-swap on a word that holds the phase's number, whether it is open,
//!    and how many workers are inside. A worker that sleeps through a phase is never waited for.
//! 3. Both sides spin for some fifty microseconds, then park: phases that follow each other closely
//!    cost less than a microsecond, and an idle or crowded machine is left alone.
//! 4. The phase lives on the caller's stack. That is sound because the caller leaves only after it
//!    has closed the phase and seen that nobody is inside.

use std::{
    any::Any,
    cell::Cell,
    panic::{AssertUnwindSafe, catch_unwind, resume_unwind},
    ptr,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, AtomicPtr, AtomicU64, Ordering},
    },
    thread::{self, JoinHandle, Thread},
};

mod chunks;
mod slices;

use chunks::{CacheLine, Chunks};
pub(crate) use slices::SharedSlice;
pub use slices::StripMut;

/// How often a waiting thread looks again before it sleeps. One look takes 10 to 40 ns (the pause
/// instruction differs that much between processors), so this is 20 to 80 microseconds: longer than
/// most of a model's operations that one thread does alone, and about as long as it takes to fall
/// asleep and be woken on a virtual machine.
const MAX_SPINS: u32 = 2048;

/// More threads than any machine this runs on has cores, so that a slip in a setting stays cheap.
const MAX_NUM_THREADS: usize = 1024;

/// Threads that stay alive between operations and share the chunks of each.
///
/// One operation runs at a time; a second caller waits its turn. A `run` inside a chunk of another
/// works through its chunks on the thread it is on.
pub struct ThreadPool {
    shared: Arc<Shared>,
    workers: Vec<JoinHandle<()>>,
    turn: Mutex<()>,
}

impl ThreadPool {
    /// Starts `num_threads - 1` workers, as the thread that calls [`run`](Self::run) works too.
    ///
    /// Zero counts as one, and 1,024 is the most. Where the system refuses a thread the pool does with those it has;
    /// [`num_threads`](Self::num_threads) tells.
    pub fn new(num_threads: usize) -> Self {
        let num_workers = num_threads.clamp(1, MAX_NUM_THREADS) - 1;
        let shared = Arc::new(Shared::new(num_workers));
        let workers = (0..num_workers).map_while(|index| {
            let shared = Arc::clone(&shared);
            let name = format!("brisk-worker-{index}");
            thread::Builder::new().name(name).spawn(move || shared.work(index)).ok()
        });
        Self { workers: workers.collect(), shared, turn: Mutex::new(()) }
    }

    /// How many threads work in a [`run`](Self::run), the caller included.
    pub fn num_threads(&self) -> usize {
        self.workers.len() + 1
    }

    /// Calls `task` once with each of `0..num_chunks`, on all threads, and returns when all calls
    /// have. Which thread takes which chunk is left open.
    ///
    /// # Panics
    ///
    /// When `task` panics, with the first panic's payload, after all threads have left. Chunks that
    /// were not begun by then are not run.
    pub fn run(&self, num_chunks: usize, task: impl Fn(usize) + Sync) {
        if num_chunks <= 1 || self.workers.is_empty() || INSIDE_A_PHASE.get() {
            return (0..num_chunks).for_each(task);
        }
        let turn = lock(&self.turn);
        self.shared.chunks.share_out(num_chunks);
        let phase = Phase::new(num_chunks, &task);
        self.publish(&phase);
        phase.take_chunks(&self.shared.chunks, CALLER);
        self.shared.close_and_wait();
        drop(turn);
        if let Some(payload) = phase.into_panic() {
            resume_unwind(payload);
        }
    }

    /// [`run`](Self::run) where the first chunks take longest: each thread's share has long and short
    /// ones, and begins with the long, so that all are done at about the same time.
    pub fn run_longest_first(&self, num_chunks: usize, task: impl Fn(usize) + Sync) {
        let in_turns = self.shared.chunks.in_turns(num_chunks);
        self.run(num_chunks, |index| task(in_turns[index]));
    }

    /// Calls `task` with each chunk of `data` and its index. All chunks but the last have
    /// `chunk_len` items.
    pub fn chunks_mut<T: Send>(
        &self,
        data: &mut [T],
        chunk_len: usize,
        task: impl Fn(usize, &mut [T]) + Sync,
    ) {
        assert!(chunk_len > 0, "a chunk must hold at least one item");
        let shared = SharedSlice::new(data);
        self.run(shared.len().div_ceil(chunk_len), |index| {
            let start = index * chunk_len;
            let end = (start + chunk_len).min(shared.len());
            // SAFETY: `run` gives each index to one call only, and the ranges of two indices do not
            // overlap.
            task(index, unsafe { shared.slice_mut(start..end) });
        });
    }

    /// Cuts the matrix `data` of rows of `row_len` items into vertical strips of `strip_len`
    /// columns (the last may be narrower), and calls `task` with each strip and its index.
    pub fn strips_mut<T: Send>(
        &self,
        data: &mut [T],
        row_len: usize,
        strip_len: usize,
        task: impl Fn(usize, StripMut<'_, T>) + Sync,
    ) {
        assert!(strip_len > 0, "a strip must hold at least one column");
        assert!(row_len > 0 || data.is_empty(), "rows of no columns hold no data");
        let num_rows = data.len() / row_len.max(1);
        assert_eq!(num_rows * row_len, data.len(), "the matrix must consist of whole rows");
        let shared = SharedSlice::new(data);
        self.run(row_len.div_ceil(strip_len), |index| {
            let start = index * strip_len;
            let columns = start..(start + strip_len).min(row_len);
            // Strips of two indices have no column in common, and `run` gives each index to one
            // call only: this is the one strip with these columns.
            task(index, StripMut::new(&shared, row_len, num_rows, columns));
        });
    }

    /// Makes `phase` visible and wakes as many sleeping workers as it has use for.
    fn publish(&self, phase: &Phase) {
        self.shared.open(phase);
        let useful = self.workers.len().min(phase.num_chunks - 1);
        let asleep = &self.shared.asleep[..self.workers.len()];
        let num_asleep = asleep.iter().filter(|flag| flag.0.load(Ordering::SeqCst)).count();
        let mut num_to_wake = (useful + num_asleep).saturating_sub(self.workers.len());
        for (worker, asleep) in self.workers.iter().zip(asleep) {
            if num_to_wake == 0 {
                break;
            }
            if asleep.0.swap(false, Ordering::SeqCst) {
                worker.thread().unpark();
                num_to_wake -= 1;
            }
        }
    }
}

impl Drop for ThreadPool {
    fn drop(&mut self) {
        self.shared.stop.store(true, Ordering::SeqCst);
        for worker in self.workers.drain(..) {
            worker.thread().unpark();
            // A worker catches the panics of its chunks, so there is none to pass on.
            let _ = worker.join();
        }
    }
}

impl std::fmt::Debug for ThreadPool {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ThreadPool").field("num_threads", &self.num_threads()).finish()
    }
}

thread_local! {
    /// Whether this thread is working on a chunk, so that a nested `run` does not wait for itself.
    static INSIDE_A_PHASE: Cell<bool> = const { Cell::new(false) };
}

type PanicPayload = Box<dyn Any + Send>;

/// One operation: what to call, for how many chunks, and how far it has come.
struct Phase {
    /// Calls the closure behind `task` with a chunk's index.
    call: unsafe fn(task: *const (), chunk: usize),
    task: *const (),
    num_chunks: usize,
    panic: Mutex<Option<PanicPayload>>,
}

impl Phase {
    /// The phase must not outlive `task`; `run` keeps both on its stack.
    fn new<F: Fn(usize) + Sync>(num_chunks: usize, task: &F) -> Self {
        /// # Safety
        ///
        /// - `task` must point to a live `F`.
        unsafe fn call<F: Fn(usize)>(task: *const (), chunk: usize) {
            // SAFETY: the caller promises that an `F` lives there.
            unsafe { (*task.cast::<F>())(chunk) }
        }
        Self {
            call: call::<F>,
            task: ptr::from_ref(task).cast(),
            num_chunks,
            panic: Mutex::new(None),
        }
    }

    /// Takes chunks until none is left. A panic ends the phase for everybody.
    fn take_chunks(&self, chunks: &Chunks, thread: usize) {
        let outcome = catch_unwind(AssertUnwindSafe(|| {
            let _inside = MarkInside::new();
            // SAFETY: `task` is the closure that `call` was made for. It lives until `run` returns,
            // which waits for every thread that is in here.
            chunks.take_all(thread, |chunk| unsafe { (self.call)(self.task, chunk) });
        }));
        if let Err(payload) = outcome {
            chunks.leave_none();
            self.keep_first(payload);
        }
    }

    #[expect(
        clippy::mem_forget,
        reason = "a payload's own drop may panic, and `run` must not unwind here"
    )]
    fn keep_first(&self, payload: PanicPayload) {
        let mut first = lock(&self.panic);
        if first.is_none() {
            *first = Some(payload);
        } else {
            std::mem::forget(payload);
        }
    }

    fn into_panic(self) -> Option<PanicPayload> {
        self.panic.into_inner().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Marks the thread as working on a chunk, also through a panic.
struct MarkInside;

impl MarkInside {
    fn new() -> Self {
        INSIDE_A_PHASE.set(true);
        Self
    }
}

impl Drop for MarkInside {
    fn drop(&mut self) {
        INSIDE_A_PHASE.set(false);
    }
}

/// The number of the calling thread among those that share out chunks. Workers follow.
const CALLER: usize = 0;

/// What the caller and the workers share.
struct Shared {
    /// The phase's number (upper 32 bits), whether it is open, and how many workers are inside.
    state: CacheLine<AtomicU64>,
    /// The phase, valid while it is open or a worker is inside.
    phase: AtomicPtr<Phase>,
    chunks: Chunks,
    /// The caller, while it sleeps until the last worker has left.
    waiting_caller: Mutex<Option<Thread>>,
    caller_waits: AtomicBool,
    /// For each worker, whether it needs a wake-up call.
    asleep: Vec<CacheLine<AtomicBool>>,
    stop: AtomicBool,
}

const OPEN: u64 = 1 << 31;
const NUM_INSIDE: u64 = OPEN - 1;

fn phase_number(state: u64) -> u64 {
    state >> 32
}

impl Shared {
    fn new(num_workers: usize) -> Self {
        Self {
            state: CacheLine(AtomicU64::new(0)),
            phase: AtomicPtr::new(ptr::null_mut()),
            chunks: Chunks::new(num_workers + 1),
            waiting_caller: Mutex::new(None),
            caller_waits: AtomicBool::new(false),
            asleep: (0..num_workers).map(|_| CacheLine(AtomicBool::new(false))).collect(),
            stop: AtomicBool::new(false),
        }
    }

    /// Opens `phase` to the workers. The previous one is closed and nobody is inside.
    fn open(&self, phase: &Phase) {
        self.phase.store(ptr::from_ref(phase).cast_mut(), Ordering::Relaxed);
        let number = phase_number(self.state.0.load(Ordering::Relaxed)).wrapping_add(1);
        // SeqCst: either a worker that goes to sleep sees this, or `publish` sees it asleep.
        self.state.0.store(number << 32 | OPEN, Ordering::SeqCst);
    }

    /// Lets no more workers in, and returns when the last one has left.
    fn close_and_wait(&self) {
        self.state.0.fetch_and(!OPEN, Ordering::Relaxed);
        let all_left = || self.state.0.load(Ordering::SeqCst) & NUM_INSIDE == 0;
        if spin_until(all_left) {
            return;
        }
        *lock(&self.waiting_caller) = Some(thread::current());
        self.caller_waits.store(true, Ordering::SeqCst);
        while !all_left() {
            thread::park();
        }
        self.caller_waits.store(false, Ordering::SeqCst);
    }

    /// The life of a worker.
    fn work(&self, index: usize) {
        let mut seen = 0;
        while let Some(state) = self.wait_for_news(index, seen) {
            seen = phase_number(state);
            if self.enter(state) {
                let phase = self.phase.load(Ordering::Relaxed);
                // SAFETY: this worker is inside an open phase, and the caller keeps the phase alive
                // until all who are inside have left. Entering acquired what opening released.
                unsafe { (*phase).take_chunks(&self.chunks, CALLER + 1 + index) };
                self.leave();
            }
        }
    }

    /// Waits for a phase other than number `seen`, first awake, then asleep. `None` ends the worker.
    fn wait_for_news(&self, index: usize, seen: u64) -> Option<u64> {
        let news = || {
            let state = self.state.0.load(Ordering::SeqCst);
            self.stop.load(Ordering::SeqCst) || phase_number(state) != seen
        };
        while !spin_until(news) {
            self.asleep[index].0.store(true, Ordering::SeqCst);
            if !news() {
                thread::park();
            }
            self.asleep[index].0.store(false, Ordering::SeqCst);
        }
        let stopped = self.stop.load(Ordering::SeqCst);
        (!stopped).then(|| self.state.0.load(Ordering::Relaxed))
    }

    /// Goes inside unless the phase has been closed.
    fn enter(&self, mut state: u64) -> bool {
        while state & OPEN != 0 {
            let inside = state + 1;
            match self.state.0.compare_exchange_weak(
                state,
                inside,
                Ordering::Acquire,
                Ordering::Relaxed,
            ) {
                Ok(_) => return true,
                Err(now) if phase_number(now) == phase_number(state) => state = now,
                Err(_) => return false,
            }
        }
        false
    }

    /// Leaves the phase, and wakes the caller if it sleeps. The phase may be gone after this.
    fn leave(&self) {
        let before = self.state.0.fetch_sub(1, Ordering::SeqCst);
        if before & NUM_INSIDE == 1 && self.caller_waits.load(Ordering::SeqCst) {
            // The caller may have woken by itself and another may wait by now: that one looks
            // again and goes on waiting.
            if let Some(caller) = lock(&self.waiting_caller).as_ref() {
                caller.unpark();
            }
        }
    }
}

/// Looks until `done`, for a bounded time, and says whether it came.
fn spin_until(done: impl Fn() -> bool) -> bool {
    for _ in 0..MAX_SPINS {
        if done() {
            return true;
        }
        std::hint::spin_loop();
    }
    done()
}

/// Locks, also after a panic elsewhere: what these mutexes guard is whole at all times.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests;
