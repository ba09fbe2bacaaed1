//! The input columns of a matmul, and the forms in which kernels read them.
//!
//! A column is one token's activations. Kernels multiply integers, so columns are rounded to signed
//! bytes with a scale per block, as long as the block of the weights they meet; or they stay numbers,
//! rounded to `bf16` where the processor multiplies those. Each form is made when a matmul first asks
//! for it and kept until the columns change: the three projections of an attention layer share one.

#[cfg(target_arch = "x86_64")]
mod bf16;
mod forms;
mod round;

#[cfg(target_arch = "x86_64")]
pub(crate) use bf16::Bf16Tile;
pub(crate) use forms::{Block32Tile, Block256Tile, ColumnTile, FloatTile};

use crate::compute::Compute;
use forms::Form;

/// Columns of `f32`, and their quantized forms once something asked for them.
#[derive(Debug, Default)]
pub struct Columns {
    values: Vec<f32>, // (num_columns, width)
    num_columns: usize,
    width: usize,
    floats: Form<FloatTile>,
    #[cfg(target_arch = "x86_64")]
    bf16: Form<Bf16Tile>,
    block_32: Form<Block32Tile>,
    block_256: Form<Block256Tile>,
}

impl Columns {
    /// No columns yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Makes room for other columns and returns it, `(num_columns, width)`, to be filled. What it
    /// holds at first is left over from before. The memory is kept for the next time.
    pub fn reset(&mut self, num_columns: usize, width: usize) -> &mut [f32] {
        self.values.resize(num_columns * width, 0.0);
        (self.num_columns, self.width) = (num_columns, width);
        self.floats.forget();
        #[cfg(target_arch = "x86_64")]
        self.bf16.forget();
        self.block_32.forget();
        self.block_256.forget();
        &mut self.values
    }

    /// The columns as they were filled in, `(num_columns, width)`.
    pub fn values(&self) -> &[f32] {
        &self.values
    }

    /// How many columns there are.
    pub fn num_columns(&self) -> usize {
        self.num_columns
    }

    /// How long each column is.
    pub fn width(&self) -> usize {
        self.width
    }

    /// The columns as they are, in tiles of at most `max_width`.
    pub(crate) fn as_floats(&mut self, compute: &Compute, max_width: usize) -> &[FloatTile] {
        self.floats.make(compute, &self.values, self.num_columns, max_width)
    }

    /// The columns rounded to `bf16`, in tiles of at most `max_width`.
    #[cfg(target_arch = "x86_64")]
    pub(crate) fn as_bf16(&mut self, compute: &Compute, max_width: usize) -> &[Bf16Tile] {
        self.bf16.make(compute, &self.values, self.num_columns, max_width)
    }

    /// The columns rounded in blocks of 32, in tiles of at most `max_width`.
    pub(crate) fn in_blocks_of_32(
        &mut self,
        compute: &Compute,
        max_width: usize,
    ) -> &[Block32Tile] {
        self.block_32.make(compute, &self.values, self.num_columns, max_width)
    }

    /// The columns rounded in blocks of 256, in tiles of at most `max_width`.
    pub(crate) fn in_blocks_of_256(
        &mut self,
        compute: &Compute,
        max_width: usize,
    ) -> &[Block256Tile] {
        self.block_256.make(compute, &self.values, self.num_columns, max_width)
    }
}
