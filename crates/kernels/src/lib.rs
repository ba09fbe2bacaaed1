//! Arithmetic over slices and packed blocks: the only home of SIMD and `unsafe` in Brisk.
//!
//! This crate knows numbers and nothing else: no files, no models, no requests. A caller holds one
//! [`Compute`], which is a [`Cpu`] (what the processor can do, found by detection) and a
//! [`ThreadPool`] (who does it), and passes it to every operation:
//!
//! ```
//! use brisk_kernels::{Compute, Cpu};
//!
//! let compute = Compute::new(Cpu::detect(), 2);
//! let mut squares = [0; 100];
//! compute.pool.chunks_mut(&mut squares, 10, |index, chunk| {
//!     for (i, square) in chunk.iter_mut().enumerate() {
//!         *square = (index * 10 + i).pow(2);
//!     }
//! });
//! assert_eq!(squares[99], 99 * 99);
//! ```
//!
//! Every operation has the same shape. A safe public function checks the lengths of its slices
//! with a sentence, looks at [`Cpu::level`], and hands the work to a small `#[target_feature]`
//! function. Next to the fast code stands a plain reference that says what it means; it serves
//! processors without the features, and it is what the tests compare with.
//!
//! Two promises hold everywhere:
//!
//! - **A result does not depend on its company.** The bits of one token's output are the same
//!   whatever else is in the batch and however many threads work. Sums are added in an order that
//!   follows from the row alone. (Levels of processor may differ from each other by rounding.)
//! - **A panic stays in its place.** A panic in a worker reaches the caller after every worker has
//!   left the work, and the pool remains usable.

#![allow(
    unsafe_code,
    reason = "SIMD and disjoint writes from several threads live here and nowhere else"
)]

mod attention;
mod columns;
mod compute;
mod cpu;
mod elementwise;
mod error;
mod freed_memory;
mod kv_store;
mod level;
mod math;
mod matmul;
pub mod measure;
mod memory;
mod norm;
mod pool;
mod rope;
#[cfg(test)]
mod test_data;
mod weights;

pub use attention::{AttentionSequence, AttentionSpec, attention};
pub use columns::Columns;
pub use compute::Compute;
pub use cpu::{Cpu, CpuLevel};
pub use elementwise::{add, add_bias, gelu_tanh_mul, scale, silu_mul, softcap};
pub use error::Error;
pub use freed_memory::{return_free_pages, return_freed_memory};
pub use kv_store::{BLOCK_SIZE, KvShape, KvStore, KvType};
pub use matmul::matmul;
pub use norm::{rms_norm, rms_norm_in_place};
pub use pool::{StripMut, ThreadPool};
pub use rope::{RopeStyle, rope};
pub use weights::{PackedMatrix, WeightType, dequantize_row, quantize_row_q8_0};
