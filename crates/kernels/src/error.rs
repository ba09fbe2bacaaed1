//! What can go wrong in a kernel before it starts: the processor, the memory, or the data's size.

use crate::{cpu::CpuLevel, weights::WeightType};

/// Why something could not be set up. Wrong slice lengths are bugs and panic instead.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// A level was asked for that this processor does not have.
    #[error("this processor has no {wanted} instructions, the best it has is {found}")]
    CpuLevelMissing {
        /// The level asked for.
        wanted: CpuLevel,
        /// The best level that detection found.
        found: CpuLevel,
    },

    /// A level's name was not one of `reference`, `neon`, `avx2`, `avx512`.
    #[error("unknown processor level {name:?}, known are reference, neon, avx2 and avx512")]
    UnknownCpuLevel {
        /// What was written.
        name: String,
    },

    /// A type's name was not one of `f16`, `q8_0`.
    #[error("unknown type of keys and values {name:?}, known are f16 and q8_0")]
    UnknownKvType {
        /// What was written.
        name: String,
    },

    /// The system refused memory.
    #[error("could not allocate {num_bytes} bytes for {what}")]
    OutOfMemory {
        /// What the memory was for, such as "the KV cache".
        what: &'static str,
        /// How much was asked for.
        num_bytes: usize,
    },

    /// A size does not fit into the address space.
    #[error("the size of {what} overflows: {factors:?} multiplied")]
    SizeOverflow {
        /// What was to be sized, such as "the KV cache".
        what: &'static str,
        /// The numbers whose product is too large.
        factors: Vec<usize>,
    },

    /// A row of weights would end inside a block.
    #[error("a row of {cols} {weight_type} weights ends inside a block of {block_len}")]
    PartialBlock {
        /// The format.
        weight_type: WeightType,
        /// Weights in a row.
        cols: usize,
        /// Weights in a block.
        block_len: usize,
    },

    /// The bytes of a matrix are too few or too many.
    #[error("{rows} rows of {cols} {weight_type} weights do not take {num_bytes} bytes")]
    WeightBytes {
        /// The format.
        weight_type: WeightType,
        /// Rows of the matrix.
        rows: usize,
        /// Weights in a row.
        cols: usize,
        /// The bytes that came.
        num_bytes: usize,
    },
}
