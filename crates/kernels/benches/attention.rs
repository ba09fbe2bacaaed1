//! Times attention for prompts and for decoding, by the head shapes of common models.
//!
//! ```text
//! cargo bench -p brisk-kernels --bench attention -- [--threads N] [--level avx2]
//! ```
//!
//! The store has sixteen layers, so that decoding reads keys and values from memory, as it does in
//! a model. The best of several runs is printed.

#![allow(clippy::print_stdout, reason = "a bench prints its results")]

use std::time::Instant;

use brisk_kernels::{
    AttentionSequence, AttentionSpec, BLOCK_SIZE, Compute, Cpu, CpuLevel, KvShape, KvStore,
    attention,
};

const NUM_LAYERS: usize = 16;
const NUM_RUNS: usize = 7;

/// `(head_dim, num_kv_heads, num_heads)`.
const HEADS: [(usize, usize, usize); 5] =
    [(64, 8, 32), (64, 2, 14), (128, 8, 24), (128, 8, 32), (256, 1, 4)];

/// How many tokens are new, and how many come before.
const TOKENS: [(usize, usize); 4] = [(512, 0), (512, 2048), (1, 512), (1, 2048)];

fn main() {
    let mut level: Option<CpuLevel> = None;
    let mut num_threads = 1;
    let mut args = std::env::args().skip(1);
    while let Some(arg) = args.next() {
        let mut value = || args.next().expect("the option needs a value");
        match arg.as_str() {
            "--level" => level = Some(value().parse().expect("a processor level")),
            "--threads" => num_threads = value().parse().expect("a number of threads"),
            _ => {} // what cargo itself passes
        }
    }
    let cpu = match level {
        Some(level) => Cpu::forced(level).expect("a level that this processor has"),
        None => Cpu::detect(),
    };
    let compute = Compute::new(cpu, num_threads);
    println!("kernels: {cpu}, threads: {num_threads}");
    println!(
        "{:>8} {:>8} {:>5} {:>5} {:>6} {:>12} {:>8} {:>8}",
        "head_dim", "kv_heads", "heads", "new", "before", "us per layer", "GMAC/s", "KV GB/s"
    );
    for (head_dim, num_kv_heads, num_heads) in HEADS {
        for (num_tokens, start) in TOKENS {
            let num_blocks = (start + num_tokens).div_ceil(BLOCK_SIZE);
            let shape = KvShape { num_layers: NUM_LAYERS, num_blocks, num_kv_heads, head_dim };
            let seconds = seconds_per_layer(&compute, shape, num_heads, num_tokens, start);
            let num_pairs = num_tokens * start + num_tokens * (num_tokens + 1) / 2;
            let macs = (num_pairs * num_heads * head_dim * 2) as f64;
            let bytes = ((start + num_tokens) * num_kv_heads * head_dim * 4) as f64;
            println!(
                "{head_dim:8} {num_kv_heads:8} {num_heads:5} {num_tokens:5} {start:6} {:12.1} {:8.1} {:8.1}",
                seconds * 1e6,
                macs / seconds / 1e9,
                bytes / seconds / 1e9
            );
        }
    }
}

fn seconds_per_layer(
    compute: &Compute,
    shape: KvShape,
    num_heads: usize,
    num_tokens: usize,
    start: usize,
) -> f64 {
    let mut store = KvStore::new(shape).expect("memory for the store");
    let slots: Vec<u32> = (0..(shape.num_blocks * BLOCK_SIZE) as u32).collect();
    let kv = numbers(slots.len() * shape.num_kv_heads * shape.head_dim);
    for layer in 0..NUM_LAYERS {
        store.write(compute, layer, &slots, &kv, &kv);
    }
    let block_table: Vec<u32> = (0..shape.num_blocks as u32).collect();
    let sequences = [AttentionSequence { num_tokens, start, block_table: &block_table }];
    let scale = 1.0 / (shape.head_dim as f32).sqrt();
    let spec = AttentionSpec { num_heads, scale, softcap: None, window: None };
    let q = numbers(num_tokens * num_heads * shape.head_dim);
    let mut out = vec![0.0; q.len()];
    let run = |out: &mut [f32]| {
        let begin = Instant::now();
        for layer in 0..NUM_LAYERS {
            attention(compute, &store, layer, &spec, &sequences, &q, out);
        }
        begin.elapsed().as_secs_f64() / NUM_LAYERS as f64
    };
    (0..NUM_RUNS).map(|_| run(&mut out)).fold(f64::INFINITY, f64::min)
}

/// Numbers between -1 and 1 without a visible pattern.
fn numbers(len: usize) -> Vec<f32> {
    (0..len).map(|i| (i as f32 * 0.618_034).fract() * 2.0 - 1.0).collect()
}
