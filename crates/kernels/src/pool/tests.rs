//! The pool runs every chunk once, survives panics, and ends when it is dropped.

use std::sync::atomic::{AtomicU32, AtomicUsize};

use super::*;

const THREADS: [usize; 4] = [1, 2, 3, 8];

#[test]
fn every_chunk_runs_once() {
    for num_threads in THREADS {
        let pool = ThreadPool::new(num_threads);
        for num_chunks in [0, 1, 2, 7, 100, 1000] {
            let counts: Vec<AtomicU32> = (0..num_chunks).map(|_| AtomicU32::new(0)).collect();
            pool.run(num_chunks, |chunk| {
                counts[chunk].fetch_add(1, Ordering::Relaxed);
            });
            let once = counts.iter().all(|count| count.load(Ordering::Relaxed) == 1);
            assert!(once, "{num_chunks} chunks on {num_threads} threads");
        }
    }
}

#[test]
fn a_thread_takes_its_own_share_first_and_then_what_others_left() {
    let taken_by = |chunks: &Chunks, thread| {
        let taken = Mutex::new(Vec::new());
        chunks.take_all(thread, |chunk| lock(&taken).push(chunk));
        taken.into_inner().unwrap()
    };
    let chunks = Chunks::new(3);
    chunks.share_out(10);
    assert_eq!(taken_by(&chunks, 1), [4, 5, 6, 7, 8, 9, 0, 1, 2, 3]);
    assert_eq!(taken_by(&chunks, 0), [0; 0], "all are taken");
    chunks.share_out(2);
    assert_eq!(taken_by(&chunks, 2), [0, 1], "there are fewer chunks than threads");
    chunks.share_out(10);
    chunks.leave_none();
    assert_eq!(taken_by(&chunks, 0), [0; 0], "the phase was ended");
}

#[test]
fn the_longest_chunks_are_dealt_out_in_turns() {
    let chunks = Chunks::new(3);
    assert_eq!(chunks.in_turns(8), [0, 3, 6, 1, 4, 7, 2, 5]);
    assert_eq!(chunks.in_turns(2), [0, 1]);
    let pool = ThreadPool::new(3);
    let counts: Vec<AtomicU32> = (0..20).map(|_| AtomicU32::new(0)).collect();
    pool.run_longest_first(20, |chunk| {
        counts[chunk].fetch_add(1, Ordering::Relaxed);
    });
    assert!(counts.iter().all(|count| count.load(Ordering::Relaxed) == 1));
}

#[test]
fn many_tiny_runs_follow_each_other() {
    for num_threads in THREADS {
        let pool = ThreadPool::new(num_threads);
        let mut data = [0_u64; 6];
        for round in 0..20_000 {
            pool.chunks_mut(&mut data, 2, |index, chunk| {
                for value in chunk {
                    assert_eq!(*value, round * (index as u64 + 1), "the previous run is complete");
                    *value += index as u64 + 1;
                }
            });
        }
        assert_eq!(data, [20_000, 20_000, 40_000, 40_000, 60_000, 60_000]);
    }
}

#[test]
fn a_panic_reaches_the_caller_and_the_pool_works_on() {
    for num_threads in THREADS {
        let pool = ThreadPool::new(num_threads);
        for bad_chunk in [0, 5, 99] {
            let num_inside = AtomicUsize::new(0);
            let result = catch_unwind(AssertUnwindSafe(|| {
                pool.run(100, |chunk| {
                    num_inside.fetch_add(1, Ordering::SeqCst);
                    let _leaves = OnDrop(|| {
                        num_inside.fetch_sub(1, Ordering::SeqCst);
                    });
                    assert_ne!(chunk, bad_chunk, "chunk {bad_chunk} is bad");
                });
            }));
            assert_eq!(num_inside.load(Ordering::SeqCst), 0, "all chunks have stopped");
            let payload = result.expect_err("the panic reaches the caller");
            let message = payload.downcast_ref::<String>().expect("a message");
            assert!(message.contains(&format!("chunk {bad_chunk} is bad")), "{message}");
            every_index_arrives(&pool);
        }
    }
}

#[test]
fn a_run_inside_a_chunk_works_on_its_own_thread() {
    let (pool, other) = (ThreadPool::new(3), ThreadPool::new(2));
    let total = AtomicUsize::new(0);
    pool.run(8, |_| {
        pool.run(10, |_| {
            total.fetch_add(1, Ordering::Relaxed);
        });
        other.run(10, |_| {
            total.fetch_add(1, Ordering::Relaxed);
        });
    });
    assert_eq!(total.into_inner(), 160);
}

#[test]
fn callers_take_turns() {
    let pool = ThreadPool::new(3);
    thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| (0..500).for_each(|_| every_index_arrives(&pool)));
        }
    });
}

#[test]
fn a_pool_may_be_dropped_at_any_moment() {
    for num_threads in THREADS {
        drop(ThreadPool::new(num_threads));
        let outer = ThreadPool::new(num_threads);
        outer.run(16, |_| {
            let inner = ThreadPool::new(num_threads);
            every_index_arrives(&inner);
        });
    }
}

#[test]
fn a_pool_of_no_threads_has_the_caller() {
    assert_eq!(ThreadPool::new(0).num_threads(), 1);
    assert_eq!(ThreadPool::new(4).num_threads(), 4);
}

#[test]
fn strips_cover_the_matrix_without_overlap() {
    for (num_rows, row_len, strip_len) in
        [(3, 10, 4), (1, 16, 16), (5, 7, 1), (2, 3, 100), (0, 5, 2)]
    {
        let pool = ThreadPool::new(4);
        let mut matrix = vec![0_usize; num_rows * row_len];
        pool.strips_mut(&mut matrix, row_len, strip_len, |index, mut strip| {
            assert_eq!(strip.columns().start, index * strip_len);
            for row in 0..strip.num_rows() {
                let columns = strip.columns();
                for (value, column) in strip.row_mut(row).iter_mut().zip(columns) {
                    *value += row * row_len + column + 1;
                }
            }
        });
        let expected: Vec<usize> = (1..=num_rows * row_len).collect();
        assert_eq!(matrix, expected, "{num_rows} rows of {row_len} in strips of {strip_len}");
    }
}

fn every_index_arrives(pool: &ThreadPool) {
    let sum = AtomicUsize::new(0);
    pool.run(20, |chunk| {
        sum.fetch_add(chunk, Ordering::Relaxed);
    });
    assert_eq!(sum.into_inner(), 190);
}

struct OnDrop<F: FnMut()>(F);

impl<F: FnMut()> Drop for OnDrop<F> {
    fn drop(&mut self) {
        (self.0)();
    }
}
