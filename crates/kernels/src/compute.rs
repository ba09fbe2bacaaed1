//! Joins the processor and the threads that every operation needs.

use crate::{cpu::Cpu, pool::ThreadPool};

/// Below this many `f32` values an operation that streams through memory runs on the calling
/// thread: 16 Ki values take about two microseconds, as long as handing out the work would.
const MIN_VALUES_PER_CHUNK: usize = 16 * 1024;

/// What an operation runs on: a processor's abilities and a pool of threads.
#[derive(Debug)]
pub struct Compute {
    /// What the processor can do.
    pub cpu: Cpu,
    /// Who does it.
    pub pool: ThreadPool,
}

impl Compute {
    /// Starts `num_threads - 1` workers; the thread that calls an operation is the last one.
    pub fn new(cpu: Cpu, num_threads: usize) -> Self {
        Self { cpu, pool: ThreadPool::new(num_threads) }
    }

    /// How many rows of `row_len` values one chunk of a light operation takes: enough that handing
    /// it out pays, and all rows where the whole is small.
    pub(crate) fn rows_per_chunk(&self, num_rows: usize, row_len: usize) -> usize {
        let worthwhile = MIN_VALUES_PER_CHUNK.div_ceil(row_len.max(1));
        let fair = num_rows.div_ceil(4 * self.pool.num_threads());
        worthwhile.max(fair).max(1)
    }
}
