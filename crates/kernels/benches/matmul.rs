//! Times the matmul of every weight type for different numbers of columns.
//!
//! ```text
//! cargo bench -p brisk-kernels --bench matmul -- [--threads N] [--level avx2] [--columns N] [--cached] [TYPE ...]
//! ```
//!
//! Two matrices per type: one that stays in the second level of cache, for what the arithmetic
//! does, and one that has to come from memory, for what decoding sees (not with `--cached`). Beside
//! each rate stands its share of what the machine can do at most.

#![allow(clippy::print_stdout, reason = "a bench prints its results")]

use brisk_kernels::{
    Compute, Cpu, CpuLevel, WeightType,
    measure::{Ceilings, MatmulProbe, WeightsIn},
};

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
    let ceilings = Ceilings::measure(&compute, NUM_RUNS).expect("memory to measure with");
    let giga = |rate: Option<f64>| rate.map_or("-".to_owned(), |it| format!("{:.1}", it / 1e9));
    println!(
        "kernels: {cpu}, threads: {num_threads}, read {} GB/s, GMAC/s: int8 {}, bf16 {}, f32 {}",
        giga(Some(ceilings.read_bytes_per_second)),
        giga(ceilings.int8_macs_per_second),
        giga(ceilings.bf16_macs_per_second),
        giga(ceilings.f32_macs_per_second),
    );
    println!(
        "{:8} {:>7} {:>13} {:>6} {:>13} {:>11} {:>6}",
        "type", "columns", "cached GMAC/s", "share", "memory GMAC/s", "memory GB/s", "share"
    );
    for ty in WeightType::ALL {
        if wanted.is_empty() || wanted.iter().any(|name| name == ty.name()) {
            bench(&compute, &ceilings, ty, &columns, with_memory);
        }
    }
}

fn bench(
    compute: &Compute,
    ceilings: &Ceilings,
    ty: WeightType,
    columns: &[usize],
    with_memory: bool,
) {
    let probe = |place| MatmulProbe::new(compute, ty, place).expect("memory for a matrix");
    let percent = |share: f64| format!("{:.0} %", 100.0 * share);
    let cached = probe(WeightsIn::Cache);
    let in_memory = with_memory.then(|| probe(WeightsIn::Memory));
    for &num_columns in columns {
        let rate = cached.rate(num_columns, NUM_RUNS).macs_per_second;
        let share = ceilings.macs_per_second(ty).map_or("-".to_owned(), |it| percent(rate / it));
        print!("{ty:8} {num_columns:7} {:13.1} {share:>6}", rate / 1e9);
        if let Some(in_memory) = in_memory.as_ref().filter(|_| num_columns <= 12) {
            let rate = in_memory.rate(num_columns, NUM_RUNS);
            let share = percent(rate.bytes_per_second / ceilings.read_bytes_per_second);
            let (macs, bytes) = (rate.macs_per_second / 1e9, rate.bytes_per_second / 1e9);
            print!(" {macs:13.1} {bytes:11.1} {share:>6}");
        }
        println!();
    }
}
