//! The forms in which kernels read columns: interleaved, and mostly rounded to signed bytes.
//!
//! Up to `max_width` columns make a tile, and within a tile the columns take turns: four codes of
//! column 0, four of column 1, and so on. A kernel for that many columns reads the tile once from
//! front to back. The columns are shared out as evenly as possible, so that no tile is left with one.

use std::ops::Range;

use super::round::Rounded;
use crate::{compute::Compute, cpu::Cpu};

/// All columns in tiles, made on demand.
#[derive(Debug)]
pub(super) struct Form<T> {
    /// At least `num_tiles`; tiles beyond those keep their memory for later.
    tiles: Vec<T>,
    num_tiles: usize,
    /// The greatest width the tiles are made for; `None` while they are out of date.
    made_for: Option<usize>,
}

/// Some columns, interleaved.
pub(crate) trait ColumnTile: Default + Send + Sync {
    /// Takes over `values`, `(columns.len(), width)`, which are `columns` of all.
    fn fill(&mut self, cpu: Cpu, columns: Range<usize>, values: &[f32]);

    /// Which of all columns these are.
    fn columns(&self) -> Range<usize>;
}

impl<T> Default for Form<T> {
    fn default() -> Self {
        Self { tiles: Vec::new(), num_tiles: 0, made_for: None }
    }
}

impl<T: ColumnTile> Form<T> {
    /// Marks the tiles as out of date.
    pub(super) fn forget(&mut self) {
        self.made_for = None;
    }

    /// Brings the tiles up to date with `values`, `(num_columns, width)`, and returns them.
    pub(super) fn make(
        &mut self,
        compute: &Compute,
        values: &[f32],
        num_columns: usize,
        max_width: usize,
    ) -> &[T] {
        if self.made_for != Some(max_width) {
            self.made_for = Some(max_width);
            self.num_tiles = num_columns.div_ceil(max_width);
            if self.tiles.len() < self.num_tiles {
                self.tiles.resize_with(self.num_tiles, T::default);
            }
            let (num_tiles, width) = (self.num_tiles, values.len() / num_columns.max(1));
            let tiles_per_chunk = compute.rows_per_chunk(num_tiles, max_width * width);
            let tiles = &mut self.tiles[..num_tiles];
            compute.pool.chunks_mut(tiles, tiles_per_chunk, |chunk, tiles| {
                for (i, tile) in tiles.iter_mut().enumerate() {
                    let columns = even_share(num_columns, num_tiles, chunk * tiles_per_chunk + i);
                    let values = &values[columns.start * width..columns.end * width];
                    tile.fill(compute.cpu, columns, values);
                }
            });
        }
        &self.tiles[..self.num_tiles]
    }
}

/// The `index`-th of `num_shares` parts of `0..total`, whose sizes differ by one at most.
fn even_share(total: usize, num_shares: usize, index: usize) -> Range<usize> {
    let (size, num_larger) = (total / num_shares, total % num_shares);
    let start = index * size + index.min(num_larger);
    start..start + size + usize::from(index < num_larger)
}

/// Columns as they are.
#[derive(Debug, Default)]
pub(crate) struct FloatTile {
    columns: Range<usize>,
    /// `(width, columns)`.
    pub(crate) values: Vec<f32>,
}

impl ColumnTile for FloatTile {
    fn fill(&mut self, _cpu: Cpu, columns: Range<usize>, values: &[f32]) {
        interleave(values, columns.len(), |&value| value, &mut self.values);
        self.columns = columns;
    }

    fn columns(&self) -> Range<usize> {
        self.columns.clone()
    }
}

/// Columns rounded in blocks of 32.
#[derive(Debug, Default)]
pub(crate) struct Block32Tile {
    columns: Range<usize>,
    rounded: Rounded<32, 32>,
    /// `(width / 4, columns)`: four consecutive codes of a column, the first in the lowest byte.
    pub(crate) codes: Vec<i32>,
    /// `(width / 32, columns)`: what a code of one stands for; NaN if the block holds NaN or infinity.
    pub(crate) scales: Vec<f32>,
    /// `(width / 32, columns)`: what the block's codes add up to, times `-2^ZERO_BITS`.
    pub(crate) zeros: Vec<i32>,
    /// `(width / 32, columns)`: what the block's codes add up to, times its scale.
    pub(crate) scaled_sums: Vec<f32>,
}

impl Block32Tile {
    /// Signed codes have `2^7` added to them; the zero points of other types are lower.
    pub(crate) const ZERO_BITS: u32 = 7;
}

impl ColumnTile for Block32Tile {
    fn fill(&mut self, cpu: Cpu, columns: Range<usize>, values: &[f32]) {
        let rounded = &mut self.rounded;
        rounded.round(cpu, values);
        let num_columns = columns.len();
        interleave(rounded.codes.as_chunks().0, num_columns, four_codes, &mut self.codes);
        interleave(&rounded.scales, num_columns, |&scale| scale, &mut self.scales);
        let zero = |&sum: &i16| -i32::from(sum) << Self::ZERO_BITS;
        interleave(&rounded.sums, num_columns, zero, &mut self.zeros);
        let scaled: Vec<f32> = rounded
            .sums
            .iter()
            .zip(&rounded.scales)
            .map(|(&sum, scale)| f32::from(sum) * scale)
            .collect();
        interleave(&scaled, num_columns, |&sum| sum, &mut self.scaled_sums);
        self.columns = columns;
    }

    fn columns(&self) -> Range<usize> {
        self.columns.clone()
    }
}

/// Columns rounded in blocks of 256.
///
/// The sums serve the minima and zero points of weights, which come per run of 16 or 32 weights.
/// They lie in pairs of 16 bits, as instructions for products of pairs take them: of each four runs,
/// the sums of runs 0 and 2 make a pair, then those of runs 1 and 3. Four 8-bit scales in a 32-bit lane can
/// be widened to such pairs by shifts alone.
#[derive(Debug, Default)]
pub(crate) struct Block256Tile {
    columns: Range<usize>,
    rounded: Rounded<256, 16>,
    /// `(width / 4, columns)`: four consecutive codes of a column, the first in the lowest byte.
    pub(crate) codes: Vec<i32>,
    /// `(width / 256, columns)`: what a code of one stands for; NaN if the block holds NaN or infinity.
    pub(crate) scales: Vec<f32>,
    /// `(width / 256, 8, columns)`: pairs of sums of 16 codes.
    pub(crate) pairs_of_sums_of_16: Vec<i32>,
    /// `(width / 256, 4, columns)`: pairs of sums of 32 codes.
    pub(crate) pairs_of_sums_of_32: Vec<i32>,
    /// `(width / 16, columns)`: what 16 codes add up to, times `-2^ZERO_BITS_OF_16`.
    pub(crate) zeros_of_16: Vec<i32>,
    /// `(width / 32, columns)`: what 32 codes add up to, times `-2^ZERO_BITS_OF_32`.
    pub(crate) zeros_of_32: Vec<i32>,
}

impl Block256Tile {
    /// The zero point of `Q6_K` is `2^5`; `Q3_K`, with `2^2`, has to shift.
    pub(crate) const ZERO_BITS_OF_16: u32 = 5;
    /// Signed codes have `2^7` added to them.
    pub(crate) const ZERO_BITS_OF_32: u32 = 7;
}

impl ColumnTile for Block256Tile {
    fn fill(&mut self, cpu: Cpu, columns: Range<usize>, values: &[f32]) {
        let rounded = &mut self.rounded;
        rounded.round(cpu, values);
        let num_columns = columns.len();
        interleave(rounded.codes.as_chunks().0, num_columns, four_codes, &mut self.codes);
        interleave(&rounded.scales, num_columns, |&scale| scale, &mut self.scales);

        let zeros = |bits: u32| move |&sum: &i16| -i32::from(sum) << bits;
        let sums_of_16 = &rounded.sums;
        let pairs_of_16: Vec<_> = sums_of_16.as_chunks().0.iter().flat_map(pairs).collect();
        interleave(&pairs_of_16, num_columns, |&pair| pair, &mut self.pairs_of_sums_of_16);
        let zeros_of_16 = zeros(Self::ZERO_BITS_OF_16);
        interleave(sums_of_16, num_columns, zeros_of_16, &mut self.zeros_of_16);
        let sums_of_32: Vec<_> = sums_of_16.as_chunks().0.iter().map(|[a, b]| a + b).collect();
        let pairs_of_32: Vec<_> = sums_of_32.as_chunks().0.iter().flat_map(pairs).collect();
        interleave(&pairs_of_32, num_columns, |&pair| pair, &mut self.pairs_of_sums_of_32);
        let zeros_of_32 = zeros(Self::ZERO_BITS_OF_32);
        interleave(&sums_of_32, num_columns, zeros_of_32, &mut self.zeros_of_32);
        self.columns = columns;
    }

    fn columns(&self) -> Range<usize> {
        self.columns.clone()
    }
}

/// Four codes in a word, the first in the lowest byte.
fn four_codes(codes: &[i8; 4]) -> i32 {
    i32::from_le_bytes(codes.map(i8::cast_unsigned))
}

/// Of four sums, the first with the third and the second with the fourth.
fn pairs(&[a, b, c, d]: &[i16; 4]) -> [i32; 2] {
    let pair = |low: i16, high: i16| i32::from(high) << 16 | i32::from(low.cast_unsigned());
    [pair(a, c), pair(b, d)]
}

/// Turns `(columns, items per column)` into `(items per column, columns)`.
fn interleave<T, U: Copy + Default>(
    source: &[T],
    num_columns: usize,
    item: impl Fn(&T) -> U,
    target: &mut Vec<U>,
) {
    target.resize(source.len(), U::default());
    if source.is_empty() {
        return;
    }
    if num_columns == 1 {
        // Without strides the compiler makes vectors of it.
        return target.iter_mut().zip(source).for_each(|(slot, value)| *slot = item(value));
    }
    for (i, column) in source.chunks_exact(source.len() / num_columns).enumerate() {
        for (slot, value) in target.iter_mut().skip(i).step_by(num_columns).zip(column) {
            *slot = item(value);
        }
    }
}
