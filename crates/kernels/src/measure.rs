//! Measures what this machine can do at most, and what the matmul kernels make of it.
//!
//! Everything here is the best of several short runs: other work on the machine only ever makes a
//! run slower, so the fastest one is the closest to what the machine can do.

mod chains;

use std::{fmt, hint::black_box, time::Instant};

use crate::{
    columns::Columns,
    compute::Compute,
    cpu::Cpu,
    error::Error,
    level::for_each_level,
    matmul::matmul,
    memory::Zeroed,
    weights::{PackedMatrix, WeightType},
};
use chains::Chains;

/// What is read to measure memory: many times the last level of cache of common machines.
const READ_BYTES: usize = 512 << 20;
/// How much a thread reads before it takes the next part.
const READ_CHUNK_BYTES: usize = 4 << 20;

/// Weights per row of the matrices that are timed: the width of a model of a billion weights.
const MATRIX_COLS: usize = 2048;
/// Sizes of these matrices: one stays in the second level of cache, one has to come from memory.
const CACHED_BYTES: usize = 256 << 10;
const MEMORY_BYTES: usize = 128 << 20;
/// A run of a matmul repeats it until it has made so many multiplications, so that reading the
/// clock does not count.
const MIN_MACS_PER_RUN: f64 = 20e6;

/// Calls per thread in a run of pure arithmetic.
const CHAINS_PER_THREAD: usize = 4;

/// The most that this machine can do at the level and with the threads of a [`Compute`].
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Ceilings {
    /// Bytes per second that one thread reads from memory.
    pub read_bytes_per_second_one_thread: f64,
    /// Bytes per second that all threads read from memory.
    pub read_bytes_per_second: f64,
    /// Products of bytes per second, summed in 32 bits, on all threads. `None` where the kernels use
    /// no instructions for it.
    pub int8_macs_per_second: Option<f64>,
    /// Products of `bf16` numbers per second, likewise.
    pub bf16_macs_per_second: Option<f64>,
    /// Fused multiply-adds of `f32` per second, likewise.
    pub f32_macs_per_second: Option<f64>,
}

impl Ceilings {
    /// Measures, with the best of `num_runs` for each number.
    ///
    /// # Errors
    ///
    /// [`Error::OutOfMemory`] where the 512 MiB to read find no place.
    pub fn measure(compute: &Compute, num_runs: usize) -> Result<Self, Error> {
        let mut memory = Zeroed::<u8>::new(READ_BYTES, "measuring the memory")?;
        // Until it is written, all of it is one and the same page of zeros.
        compute.pool.chunks_mut(memory.as_mut_slice(), READ_CHUNK_BYTES, |_, it| it.fill(1));
        let read = |chunk: usize| {
            read_only(compute.cpu, memory.slice(chunk * READ_CHUNK_BYTES, READ_CHUNK_BYTES));
        };
        let num_chunks = READ_BYTES / READ_CHUNK_BYTES;
        let one = best_seconds(num_runs, || (0..num_chunks).for_each(read));
        let all = best_seconds(num_runs, || compute.pool.run(num_chunks, read));
        let rate = |chains: Chains| {
            let num_calls = CHAINS_PER_THREAD * compute.pool.num_threads();
            let seconds = best_seconds(num_runs, || compute.pool.run(num_calls, |_| chains.run()));
            (num_calls * chains.num_macs) as f64 / seconds
        };
        Ok(Self {
            read_bytes_per_second_one_thread: READ_BYTES as f64 / one,
            read_bytes_per_second: READ_BYTES as f64 / all,
            int8_macs_per_second: chains::int8(compute.cpu).map(rate),
            bf16_macs_per_second: chains::bf16(compute.cpu).map(rate),
            f32_macs_per_second: chains::floats(compute.cpu).map(rate),
        })
    }

    /// Multiplications per second that bound a matmul with weights of `weight_type`: the kernels
    /// multiply quantized weights as bytes, `BF16` as such where they can, and the others as `f32`.
    pub fn macs_per_second(&self, weight_type: WeightType) -> Option<f64> {
        match weight_type {
            WeightType::F32 | WeightType::F16 => self.f32_macs_per_second,
            WeightType::BF16 => self.bf16_macs_per_second.or(self.f32_macs_per_second),
            _ => self.int8_macs_per_second,
        }
    }
}

/// Where the weights of a timed matmul lie.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WeightsIn {
    /// In the second level of cache: shows what the arithmetic does.
    Cache,
    /// In memory: shows what decoding sees.
    Memory,
}

/// How fast a matmul was.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct MatmulRate {
    /// Multiplications per second, over all columns.
    pub macs_per_second: f64,
    /// Bytes of weights per second.
    pub bytes_per_second: f64,
}

/// A matrix of made-up weights to time matmuls with.
pub struct MatmulProbe<'a> {
    compute: &'a Compute,
    matrix: PackedMatrix,
}

impl<'a> MatmulProbe<'a> {
    /// A matrix of this type in this place.
    ///
    /// # Errors
    ///
    /// [`Error::OutOfMemory`] where it finds no place.
    pub fn new(
        compute: &'a Compute,
        weight_type: WeightType,
        place: WeightsIn,
    ) -> Result<Self, Error> {
        let (cols, block_len) = (MATRIX_COLS, weight_type.block_len());
        let row_bytes = weight_type.row_bytes(cols).ok_or(Error::PartialBlock {
            weight_type,
            cols,
            block_len,
        })?;
        let rows = match place {
            WeightsIn::Cache => (CACHED_BYTES / row_bytes).next_multiple_of(64),
            WeightsIn::Memory => (MEMORY_BYTES / row_bytes).next_multiple_of(64),
        };
        // Small codes and scales, so that no sum overflows.
        let data: Vec<u8> = (0..rows * row_bytes).map(|i| (i % 61) as u8 / 2).collect();
        let matrix = PackedMatrix::pack(compute, weight_type, rows, cols, &data)?;
        Ok(Self { compute, matrix })
    }

    /// Times the matmul of `num_columns` columns, with the best of `num_runs`.
    pub fn rate(&self, num_columns: usize, num_runs: usize) -> MatmulRate {
        let Self { compute, matrix } = self;
        let mut columns = Columns::new();
        for (i, value) in columns.reset(num_columns, matrix.cols()).iter_mut().enumerate() {
            *value = (i % 97) as f32 / 48.0 - 1.0;
        }
        let mut out = vec![0.0; num_columns * matrix.rows()];
        let macs = (matrix.rows() * matrix.cols() * num_columns) as f64;
        let num_repeats = (MIN_MACS_PER_RUN / macs).ceil().max(1.0);
        let seconds = best_seconds(num_runs, || {
            for _ in 0..num_repeats as usize {
                matmul(compute, matrix, &mut columns, black_box(&mut out));
            }
        });
        MatmulRate {
            macs_per_second: macs * num_repeats / seconds,
            bytes_per_second: matrix.num_bytes() as f64 * num_repeats / seconds,
        }
    }
}

impl fmt::Debug for MatmulProbe<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MatmulProbe").field("matrix", &self.matrix).finish_non_exhaustive()
    }
}

/// The seconds in which all threads read `matrices` once and do nothing with them: the least that a
/// step of a model can take, in this memory and at this moment.
pub fn read_seconds<'a>(
    compute: &Compute,
    matrices: impl Iterator<Item = &'a PackedMatrix>,
) -> f64 {
    let chunks = read_chunks(matrices);
    best_seconds(1, || compute.pool.run(chunks.len(), |it| read_only(compute.cpu, chunks[it])))
}

/// All bytes of `matrices`, in parts that a thread reads at a time.
fn read_chunks<'a>(matrices: impl Iterator<Item = &'a PackedMatrix>) -> Vec<&'a [u8]> {
    matrices.flat_map(|it| it.tiles().chunks(READ_CHUNK_BYTES)).collect()
}

/// The shortest of `num_runs` runs.
fn best_seconds(num_runs: usize, mut run: impl FnMut()) -> f64 {
    let times = (0..num_runs.max(1)).map(|_| {
        let started = Instant::now();
        run();
        started.elapsed().as_secs_f64()
    });
    // A clock may stand still for a run; no rate is infinite.
    times.fold(f64::INFINITY, f64::min).max(1e-9)
}

/// Reads every byte.
fn read_only(cpu: Cpu, bytes: &[u8]) {
    let mut any = [0];
    read_all(cpu, bytes, &mut any);
    black_box(any);
}

for_each_level! {
    /// Reads every byte and leaves something in `any` that depends on all of them.
    fn read_all(bytes: &[u8], any: &mut [u64; 1]);
    body = read_lines; reference = read_lines;
}

/// Eight vectors of 64 bytes at a time, so that many reads are under way at once.
#[inline(always)]
fn read_lines(bytes: &[u8], any: &mut [u64; 1]) {
    let mut seen = [0; 64];
    for group in bytes.as_chunks::<512>().0 {
        fetch_ahead(group);
        for (seen, word) in seen.iter_mut().zip(group.as_chunks::<8>().0) {
            *seen |= u64::from_ne_bytes(*word);
        }
    }
    any[0] = seen.iter().fold(0, |any, it| any | it);
}

/// Asks for the lines that are read some microseconds later, as the processor by itself stops at
/// the end of a page.
#[inline(always)]
fn fetch_ahead(group: &[u8; 512]) {
    #[cfg(target_arch = "x86_64")]
    for line in group.as_chunks::<64>().0 {
        use std::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
        const AHEAD_BYTES: usize = 8 << 10;
        // SAFETY: a prefetch reads nothing that the program can see, wherever it points, and SSE is
        // in every x86-64.
        unsafe { _mm_prefetch::<_MM_HINT_T0>(line.as_ptr().wrapping_add(AHEAD_BYTES).cast()) };
    }
    #[cfg(not(target_arch = "x86_64"))]
    let _ = group;
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cpu::CpuLevel;

    #[test]
    fn every_level_has_rates_and_all_but_the_reference_have_ceilings() {
        for cpu in Cpu::every_level() {
            let compute = Compute::new(cpu, 2);
            let ceilings = Ceilings::measure(&compute, 1).unwrap();
            assert!(ceilings.read_bytes_per_second_one_thread > 0.0);
            assert!(ceilings.read_bytes_per_second > 0.0);
            let is_known = cpu.level() != CpuLevel::Reference;
            for weight_type in [WeightType::F16, WeightType::BF16, WeightType::Q4_K] {
                let ceiling = ceilings.macs_per_second(weight_type);
                assert!(!is_known || ceiling.is_some_and(|it| it > 0.0 && it.is_finite()));
            }
        }
    }

    #[test]
    fn a_rate_in_bytes_fits_the_rate_in_products() {
        let compute = Compute::new(Cpu::detect(), 2);
        for weight_type in WeightType::ALL {
            let probe = MatmulProbe::new(&compute, weight_type, WeightsIn::Cache).unwrap();
            let bytes_per_weight =
                weight_type.block_bytes() as f64 / weight_type.block_len() as f64;
            for num_columns in [1, 8] {
                let rate = probe.rate(num_columns, 1);
                let expected = rate.macs_per_second / num_columns as f64 * bytes_per_weight;
                let ratio = rate.bytes_per_second / expected;
                assert!((0.999..1.001).contains(&ratio), "{weight_type}: {ratio}");
            }
        }
    }

    #[test]
    fn every_byte_of_every_matrix_is_read() {
        let compute = Compute::new(Cpu::detect(), 2);
        let probe = |ty, place| MatmulProbe::new(&compute, ty, place).unwrap().matrix;
        let matrices =
            [probe(WeightType::Q4_K, WeightsIn::Cache), probe(WeightType::F16, WeightsIn::Memory)];
        let chunks = read_chunks(matrices.iter());
        let num_bytes: usize = chunks.iter().map(|it| it.len()).sum();
        assert_eq!(num_bytes, matrices.iter().map(PackedMatrix::num_bytes).sum::<usize>());
        assert!(chunks.iter().all(|it| it.len() <= READ_CHUNK_BYTES));
        assert!(read_seconds(&compute, matrices.iter()).is_finite());
    }

    #[test]
    fn reading_sees_every_byte() {
        for cpu in Cpu::every_level() {
            for position in [0, 63, 511, 512, 4095] {
                let mut bytes = vec![0; 4096];
                bytes[position] = 1;
                let mut any = [0];
                read_all(cpu, &bytes, &mut any);
                assert_ne!(any, [0], "byte {position} at {cpu}");
            }
        }
    }
}
