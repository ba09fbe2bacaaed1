//! Times the matmul of every weight type for different numbers of columns.
//!
//! ```text
//! cargo bench -p brisk-kernels --bench matmul -- [--threads N] [--level avx2] [--columns N] [--cached] [TYPE ...]
//! ```
//!
//! Two matrices per type: one that stays in the second level of cache, for what the arithmetic
//! does, and one that has to come from memory, for what decoding sees (not with `--cached`). The best of several runs is
//! printed, as other work on the machine only ever makes a run slower.

#![allow(clippy::print_stdout, reason = "a bench prints its results")]

use std::{hint::black_box, time::Instant};

use brisk_kernels::{Columns, Compute, Cpu, CpuLevel, PackedMatrix, WeightType, matmul};

const COLS: usize = 2048;
const NUM_COLUMNS: [usize; 9] = [1, 2, 3, 4, 6, 8, 12, 64, 256];

/// Runs of each case, all short, so that one of them falls into a quiet moment.
const NUM_RUNS: usize = 40;

fn main() {
    let mut level: Option<CpuLevel> = None;
    let mut num_threads = 1;
    let mut with_memory = true;
    let mut columns = NUM_COLUMNS.to_vec();
    let mut wanted = Vec::new();
    let mut args = std::env::args().skip(1);
    while let Some(arg) = args.next() {
        let mut value = || args.next().expect("the option needs a value");
        match arg.as_str() {
            "--level" => level = Some(value().parse().expect("a processor level")),
            "--threads" => num_threads = value().parse().expect("a number of threads"),
            "--columns" => columns = vec![value().parse().expect("a number of columns")],
            "--cached" => with_memory = false,
            "--bench" => {} // what cargo itself passes
            name => wanted.push(name.to_owned()),
        }
    }
    let cpu = match level {
        Some(level) => Cpu::forced(level).expect("a level that this processor has"),
        None => Cpu::detect(),
    };
    let compute = Compute::new(cpu, num_threads);
    println!("kernels: {cpu}, threads: {num_threads}, rows of {COLS} weights");
    println!(
        "{:8} {:>7} {:>16} {:>16} {:>12}",
        "type", "columns", "cached GMAC/s", "memory GMAC/s", "memory GB/s"
    );
    for ty in WeightType::ALL {
        if wanted.is_empty() || wanted.iter().any(|name| name == ty.name()) {
            bench(&compute, ty, &columns, with_memory);
        }
    }
}

fn bench(compute: &Compute, ty: WeightType, columns: &[usize], with_memory: bool) {
    let row_bytes = ty.row_bytes(COLS).expect("COLS is a multiple of every block");
    let cached = matrix(compute, ty, ((256 << 10) / row_bytes / 16 * 16).max(64));
    let in_memory = with_memory.then(|| matrix(compute, ty, (64 << 20) / row_bytes / 16 * 16));
    for &num_columns in columns {
        let seconds = time(compute, &cached, num_columns, 20_000_000);
        let cached_rate = macs(&cached, num_columns) / seconds / 1e9;
        print!("{ty:8} {num_columns:7} {cached_rate:16.1}");
        if let Some(in_memory) = in_memory.as_ref().filter(|_| num_columns <= 12) {
            let seconds = time(compute, in_memory, num_columns, 1);
            let memory_rate = macs(in_memory, num_columns) / seconds / 1e9;
            let bytes_rate = in_memory.num_bytes() as f64 / seconds / 1e9;
            print!(" {memory_rate:16.1} {bytes_rate:12.1}");
        }
        println!();
    }
}

/// A matrix of small codes and scales, so that no sum overflows.
fn matrix(compute: &Compute, ty: WeightType, rows: usize) -> PackedMatrix {
    let num_bytes = rows * ty.row_bytes(COLS).expect("COLS is a multiple of every block");
    let data: Vec<u8> = (0..num_bytes).map(|i| (i % 61) as u8 / 2).collect();
    PackedMatrix::pack(compute, ty, rows, COLS, &data).expect("the data has the right size")
}

fn macs(matrix: &PackedMatrix, num_columns: usize) -> f64 {
    (matrix.rows() * matrix.cols() * num_columns) as f64
}

/// The best time of one matmul, of runs of at least `macs_per_run` multiplications each.
fn time(compute: &Compute, matrix: &PackedMatrix, num_columns: usize, macs_per_run: u64) -> f64 {
    let mut columns = Columns::new();
    let values = columns.reset(num_columns, COLS);
    for (i, value) in values.iter_mut().enumerate() {
        *value = (i % 97) as f32 / 48.0 - 1.0;
    }
    let mut out = vec![0.0; num_columns * matrix.rows()];
    let repeats = (macs_per_run as f64 / macs(matrix, num_columns)).ceil().max(1.0) as usize;
    let run = |columns: &mut Columns, out: &mut [f32]| {
        let start = Instant::now();
        for _ in 0..repeats {
            matmul(compute, matrix, columns, black_box(out));
        }
        start.elapsed().as_secs_f64() / repeats as f64
    };
    (0..NUM_RUNS).map(|_| run(&mut columns, &mut out)).fold(f64::INFINITY, f64::min)
}
