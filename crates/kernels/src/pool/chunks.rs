//! The chunks of a phase, shared out among threads.

use std::sync::atomic::{AtomicUsize, Ordering};

/// The chunks of the phase that nobody has taken yet: a share for each thread.
pub(super) struct Chunks {
    shares: Vec<CacheLine<Share>>,
}

/// Chunks that follow each other: from `next` to `end`. Those who come too late leave `next` beyond it.
#[derive(Debug, Default)]
struct Share {
    next: AtomicUsize,
    end: AtomicUsize,
}

impl Chunks {
    pub(super) fn new(num_threads: usize) -> Self {
        Self { shares: (0..num_threads).map(|_| CacheLine(Share::default())).collect() }
    }

    /// Begins a phase. Nobody takes chunks meanwhile: the previous phase is closed and all have left.
    pub(super) fn share_out(&self, num_chunks: usize) {
        let (least, rest) = (num_chunks / self.shares.len(), num_chunks % self.shares.len());
        let mut start = 0;
        for (i, CacheLine(share)) in self.shares.iter().enumerate() {
            let end = start + least + usize::from(i < rest);
            share.next.store(start, Ordering::Relaxed);
            share.end.store(end, Ordering::Relaxed);
            start = end;
        }
    }

    /// All chunks in an order in which shares have them in turns: of n shares the first has numbers 0, n,
    /// 2n and so on.
    pub(super) fn in_turns(&self, num_chunks: usize) -> Vec<usize> {
        let num_shares = self.shares.len();
        (0..num_shares).flat_map(|share| (share..num_chunks).step_by(num_shares)).collect()
    }

    /// Calls `task` with every chunk that `thread` gets: first its own, then what others have left.
    pub(super) fn take_all(&self, thread: usize, task: impl Fn(usize)) {
        let (before, from_own_on) = self.shares.split_at(thread);
        for CacheLine(share) in from_own_on.iter().chain(before) {
            let end = share.end.load(Ordering::Relaxed);
            // Looking first: a line that nobody writes is at hand for all.
            while share.next.load(Ordering::Relaxed) < end {
                let chunk = share.next.fetch_add(1, Ordering::Relaxed);
                if chunk < end {
                    task(chunk);
                }
            }
        }
    }

    /// Ends the phase for all.
    pub(super) fn leave_none(&self) {
        for CacheLine(share) in &self.shares {
            share.next.store(share.end.load(Ordering::Relaxed), Ordering::Relaxed);
        }
    }
}

/// Keeps a hot word apart from its neighbors: two lines, as some processors fetch them in pairs.
#[repr(align(128))]
#[derive(Debug)]
pub(super) struct CacheLine<T>(pub(super) T);
