//! Times attention for prompts and for decoding, by the head shapes of common models.
//!
//! ```text
//! cargo bench -p brisk-kernels --bench attention -- [--threads N] [--level avx2] [--only NAME]
//!     [--new N --before N] [--kv-type q8_0] [--layers N] [--shuffled]
//! ```
//!
//! The store has sixteen layers, so that decoding reads keys and values from memory, as it does in
//! a model; with `--layers 1` the arithmetic alone counts. A sequence's blocks follow each other in
//! the store as they do in a fresh one, or lie anywhere with `--shuffled`. The best of the runs of
//! half a second is printed, with its share of two ceilings that are measured in the same run: reading memory, and
//! multiply-adds of `f32` in registers.

#![allow(clippy::print_stdout, reason = "a bench prints its results")]

use std::time::{Duration, Instant};

use brisk_kernels::{
    AttentionSequence, AttentionSpec, BLOCK_SIZE, Compute, Cpu, CpuLevel, KvShape, KvStore, KvType,
    attention, measure::Ceilings,
};

const MIN_NUM_RUNS: usize = 7;
const MIN_TIME: Duration = Duration::from_millis(500);

/// The heads of a model.
struct Heads {
    name: &'static str,
    head_dim: usize,
    num_kv_heads: usize,
    num_heads: usize,
    softcap: Option<f32>,
}

const MODELS: [Heads; 5] = [
    Heads { name: "Llama-3.2-1B", head_dim: 64, num_kv_heads: 8, num_heads: 32, softcap: None },
    Heads { name: "Llama-3.2-3B", head_dim: 128, num_kv_heads: 8, num_heads: 24, softcap: None },
    Heads { name: "Gemma-2-2B", head_dim: 256, num_kv_heads: 4, num_heads: 8, softcap: Some(50.0) },
    Heads { name: "Qwen2.5-0.5B", head_dim: 64, num_kv_heads: 2, num_heads: 14, softcap: None },
    Heads { name: "Gemma-3-1B", head_dim: 256, num_kv_heads: 1, num_heads: 4, softcap: None },
];

/// How many tokens are new, and how many come before.
const TOKENS: [(usize, usize); 4] = [(512, 0), (512, 1536), (1, 512), (1, 2048)];

fn main() {
    let mut level: Option<CpuLevel> = None;
    let mut num_threads = 1;
    let mut num_layers = 16;
    let mut is_shuffled = false;
    let mut only = String::new();
    let mut tokens = TOKENS.to_vec();
    let mut kv_types = KvType::ALL.to_vec();
    let mut args = std::env::args().skip(1);
    while let Some(arg) = args.next() {
        let mut value = || args.next().expect("the option needs a value");
        match arg.as_str() {
            "--level" => level = Some(value().parse().expect("a processor level")),
            "--threads" => num_threads = value().parse().expect("a number of threads"),
            "--shuffled" => is_shuffled = true,
            "--layers" => num_layers = value().parse().expect("a number of layers"),
            "--only" => only = value(),
            "--kv-type" => kv_types = vec![value().parse().expect("a type of keys and values")],
            "--new" => tokens = vec![(value().parse().expect("a number of new tokens"), 0)],
            "--before" => tokens[0].1 = value().parse().expect("a number of tokens before"),
            _ => {} // what cargo itself passes
        }
    }
    let cpu = match level {
        Some(level) => Cpu::forced(level).expect("a level that this processor has"),
        None => Cpu::detect(),
    };
    let compute = Compute::new(cpu, num_threads);
    let ceilings = Ceilings::measure(&compute, MIN_NUM_RUNS).expect("memory to read");
    let read_peak = ceilings.read_bytes_per_second;
    let mac_peak = ceilings.f32_macs_per_second.unwrap_or(f64::NAN);
    println!(
        "kernels: {cpu}, threads: {num_threads}, reading: {:.1} GB/s, f32 multiply-adds: {:.1} G/s",
        read_peak / 1e9,
        mac_peak / 1e9
    );
    println!(
        "{:>14} {:>4} {:>5} {:>6} {:>12} {:>8} {:>6} {:>8} {:>6}",
        "heads of", "kv", "new", "before", "us per layer", "GMAC/s", "of it", "KV GB/s", "of it"
    );
    for heads in MODELS.iter().filter(|heads| heads.name.contains(&only)) {
        let cases = tokens.iter().flat_map(|it| kv_types.iter().map(move |kv_type| (it, kv_type)));
        for (&(num_tokens, start), &kv_type) in cases {
            let num_blocks = (start + num_tokens).div_ceil(BLOCK_SIZE);
            let shape = KvShape {
                kv_type,
                num_layers,
                num_blocks,
                num_kv_heads: heads.num_kv_heads,
                head_dim: heads.head_dim,
            };
            let seconds =
                seconds_per_layer(&compute, shape, heads, (num_tokens, start), is_shuffled);
            let num_pairs = num_tokens * start + num_tokens * (num_tokens + 1) / 2;
            let macs = (num_pairs * heads.num_heads * heads.head_dim * 2) as f64 / seconds;
            let bytes = (shape.num_bytes() / num_layers) as f64 / seconds;
            println!(
                "{:>14} {kv_type:>4} {num_tokens:5} {start:6} {:12.1} {:8.1} {:4.0} % {:8.1} {:4.0} %",
                heads.name,
                seconds * 1e6,
                macs / 1e9,
                100.0 * macs / mac_peak,
                bytes / 1e9,
                100.0 * bytes / read_peak
            );
        }
    }
}

fn seconds_per_layer(
    compute: &Compute,
    shape: KvShape,
    heads: &Heads,
    (num_tokens, start): (usize, usize),
    is_shuffled: bool,
) -> f64 {
    let mut store = KvStore::new(shape).expect("memory for the store");
    let slots: Vec<u32> = (0..(shape.num_blocks * BLOCK_SIZE) as u32).collect();
    let kv = numbers(slots.len() * shape.num_kv_heads * shape.head_dim);
    for layer in 0..shape.num_layers {
        store.write(compute, layer, &slots, &kv, &kv);
    }
    let mut block_table: Vec<u32> = (0..shape.num_blocks as u32).collect();
    if is_shuffled {
        block_table.sort_by_key(|block| block.wrapping_mul(0x9E37_79B1));
    }
    let sequences = [AttentionSequence { num_tokens, start, block_table: &block_table }];
    let scale = 1.0 / (shape.head_dim as f32).sqrt();
    let Heads { num_heads, softcap, .. } = *heads;
    let spec = AttentionSpec { num_heads, scale, softcap, window: None };
    let q = numbers(num_tokens * num_heads * shape.head_dim);
    let mut out = vec![0.0; q.len()];
    best(|| {
        for layer in 0..shape.num_layers {
            attention(compute, &store, layer, &spec, &sequences, &q, &mut out);
        }
    }) / shape.num_layers as f64
}

/// Numbers between -1 and 1 without a visible pattern.
fn numbers(len: usize) -> Vec<f32> {
    (0..len).map(|i| (i as f32 * 0.618_034).fract() * 2.0 - 1.0).collect()
}

/// The seconds of the fastest run.
fn best(mut run: impl FnMut()) -> f64 {
    let mut time = || {
        let begin = Instant::now();
        run();
        begin.elapsed().as_secs_f64()
    };
    let begin = Instant::now();
    let mut fastest = f64::INFINITY;
    let mut num_runs = 0;
    while num_runs < MIN_NUM_RUNS || begin.elapsed() < MIN_TIME {
        fastest = fastest.min(time());
        num_runs += 1;
    }
    fastest
}
