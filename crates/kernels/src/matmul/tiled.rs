//! Walks the kernels over a whole matrix: which tiles meet which columns, in which order, on which
//! thread.
//!
//! Threads share the rows. Within its rows a thread takes as many columns as stay in its second
//! level of cache, and for these goes from one row of tiles to the next: a row of tiles then stays
//! in the cache while all these columns pass, and comes from memory once per such block of columns.

#[cfg(target_arch = "x86_64")]
use super::avx512::Avx512Bf16;
use super::{
    formats::{
        BF16, F16, F32, Format32, Format256, FormatFloat, IQ4NL, IQ4XS, Q2K, Q3K, Q4_0, Q4_1, Q4K,
        Q5_0, Q5_1, Q5K, Q6K, Q8_0,
    },
    kernels::{Multiply32, Multiply256, MultiplyFloats, Results},
    simd::Simd,
};
#[cfg(target_arch = "x86_64")]
use crate::columns::Bf16Tile;
use crate::{
    columns::{Block32Tile, Block256Tile, ColumnTile, Columns, FloatTile},
    compute::Compute,
    weights::{PackedMatrix, TILE_ROWS, WeightType},
};

/// How many bytes of columns a thread works on at a time: half of a second-level cache of 1 MB.
const COLUMN_BLOCK_BYTES: usize = 512 << 10;

/// Chunks per thread, so that a thread that was held up leaves its share to the others. Each chunk brings
/// the blocks of columns into the cache again.
const CHUNKS_PER_THREAD: usize = 8;

/// The same where one tile of columns is all, which stays in the cache: at the end nobody waits long.
const CHUNKS_PER_THREAD_OF_ONE_TILE: usize = 32;

/// The most columns that a kernel takes.
const MAX_COLUMNS: usize = 8;

/// [`matmul`](super::matmul) with the operations of one processor level.
pub(super) fn matmul<S: Simd>(
    simd: S,
    compute: &Compute,
    weights: &PackedMatrix,
    columns: &mut Columns,
    out: &mut [f32],
) {
    let walk = Walk { simd, compute, weights, out };
    match weights.weight_type() {
        WeightType::F32 => walk.floats::<F32>(columns),
        WeightType::F16 => walk.floats::<F16>(columns),
        WeightType::BF16 => walk.floats::<BF16>(columns),
        WeightType::Q4_0 => walk.blocks_of_32::<Q4_0>(columns),
        WeightType::Q4_1 => walk.blocks_of_32::<Q4_1>(columns),
        WeightType::Q5_0 => walk.blocks_of_32::<Q5_0>(columns),
        WeightType::Q5_1 => walk.blocks_of_32::<Q5_1>(columns),
        WeightType::Q8_0 => walk.blocks_of_32::<Q8_0>(columns),
        WeightType::IQ4_NL => walk.blocks_of_32::<IQ4NL>(columns),
        WeightType::Q2_K => walk.blocks_of_256::<Q2K>(columns),
        WeightType::Q3_K => walk.blocks_of_256::<Q3K>(columns),
        WeightType::Q4_K => walk.blocks_of_256::<Q4K>(columns),
        WeightType::Q5_K => walk.blocks_of_256::<Q5K>(columns),
        WeightType::Q6_K => walk.blocks_of_256::<Q6K>(columns),
        WeightType::IQ4_XS => walk.blocks_of_256::<IQ4XS>(columns),
    }
}

/// Calls `$body` with the constant `$n` equal to `$num`, which is between one and [`MAX_COLUMNS`].
macro_rules! with_const {
    ($num:expr, $n:ident => $body:block) => {
        match $num {
            1 => with_const!(@ 1, $n, $body),
            2 => with_const!(@ 2, $n, $body),
            3 => with_const!(@ 3, $n, $body),
            4 => with_const!(@ 4, $n, $body),
            5 => with_const!(@ 5, $n, $body),
            6 => with_const!(@ 6, $n, $body),
            7 => with_const!(@ 7, $n, $body),
            8 => with_const!(@ 8, $n, $body),
            num => unreachable!("{num} columns in a tile of at most {MAX_COLUMNS}"),
        }
    };
    (@ $num:literal, $n:ident, $body:block) => {{
        const $n: usize = $num;
        $body
    }};
}

/// [`matmul`](super::matmul) of `BF16` weights with the processor's own products of such numbers.
#[cfg(target_arch = "x86_64")]
pub(super) fn matmul_bf16(
    simd: Avx512Bf16,
    compute: &Compute,
    weights: &PackedMatrix,
    columns: &mut Columns,
    out: &mut [f32],
) {
    let column_tiles = columns.as_bf16(compute, Avx512Bf16::MAX_COLUMNS);
    let column_bytes = weights.cols() * size_of::<u16>();
    let walk = Walk { simd, compute, weights, out };
    walk.each(column_tiles, column_bytes, |tile_row, _, columns: &Bf16Tile, results| {
        let (tiles, _) = tile_row.as_chunks::<{ 2 * TILE_ROWS }>();
        with_const!(columns.columns().len(), N => {
            simd.multiply(tiles, columns, first_results::<N>(results));
        });
    });
}

/// What all walks over a matrix need.
struct Walk<'a, S> {
    simd: S,
    compute: &'a Compute,
    weights: &'a PackedMatrix,
    out: &'a mut [f32],
}

impl<S: Simd> Walk<'_, S> {
    fn blocks_of_256<F: Format256>(self, columns: &mut Columns) {
        let (simd, code_bytes) = (self.simd, size_of::<i8>());
        let column_tiles = columns.in_blocks_of_256(self.compute, S::MAX_COLUMNS);
        self.each(column_tiles, code_bytes, |tile_row, fetch, columns: &Block256Tile, results| {
            let tiles = F::from_bytes(tile_row);
            with_const!(columns.columns().len(), N => {
                let results = first_results::<N>(results);
                simd.vectorize(Multiply256 { tiles, fetch, columns, results });
            });
        });
    }

    fn blocks_of_32<F: Format32>(self, columns: &mut Columns) {
        let (simd, code_bytes) = (self.simd, size_of::<i8>());
        let column_tiles = columns.in_blocks_of_32(self.compute, S::MAX_COLUMNS);
        self.each(column_tiles, code_bytes, |tile_row, fetch, columns: &Block32Tile, results| {
            let tiles = F::from_bytes(tile_row);
            with_const!(columns.columns().len(), N => {
                let results = first_results::<N>(results);
                simd.vectorize(Multiply32 { tiles, fetch, columns, results });
            });
        });
    }

    fn floats<F: FormatFloat>(self, columns: &mut Columns) {
        let (simd, value_bytes) = (self.simd, size_of::<f32>());
        let column_tiles = columns.as_floats(self.compute, S::MAX_COLUMNS);
        self.each(column_tiles, value_bytes, |tile_row, _, columns: &FloatTile, results| {
            let tiles = F::from_bytes(tile_row);
            with_const!(columns.columns().len(), N => {
                let results = first_results::<N>(results);
                simd.vectorize(MultiplyFloats { tiles, columns, results });
            });
        });
    }
}

impl<S> Walk<'_, S> {
    /// Calls `multiply` with each row of tiles and each tile of columns, and puts the results where
    /// they belong. The flag says that the tiles come from memory: the first columns meet them.
    fn each<C: ColumnTile>(
        self,
        column_tiles: &[C],
        value_bytes: usize,
        multiply: impl Fn(&[u8], bool, &C, &mut Results<MAX_COLUMNS>) + Sync,
    ) {
        let Self { compute, weights, out, .. } = self;
        let num_tile_rows = weights.rows().div_ceil(TILE_ROWS);
        let chunks_per_thread = match column_tiles {
            [_] => CHUNKS_PER_THREAD_OF_ONE_TILE,
            _ => CHUNKS_PER_THREAD,
        };
        let num_chunks = chunks_per_thread * compute.pool.num_threads();
        let strip_len = TILE_ROWS * num_tile_rows.div_ceil(num_chunks);
        let column_tile_bytes = column_tiles[0].columns().len() * weights.cols() * value_bytes;
        let tiles_per_block = (COLUMN_BLOCK_BYTES / column_tile_bytes).max(1);

        compute.pool.strips_mut(out, weights.rows(), strip_len, |_, mut strip| {
            let rows = strip.columns();
            let mut results = [[0.0; TILE_ROWS]; MAX_COLUMNS];
            for column_tiles in column_tiles.chunks(tiles_per_block) {
                for first_row in rows.clone().step_by(TILE_ROWS) {
                    let tile_row = weights.tile_row(first_row / TILE_ROWS);
                    let start = first_row - rows.start;
                    let end = rows.len().min(start + TILE_ROWS);
                    for (i, columns) in column_tiles.iter().enumerate() {
                        multiply(tile_row, i == 0, columns, &mut results);
                        for (column, results) in columns.columns().zip(&results) {
                            let out = &mut strip.row_mut(column)[start..end];
                            // A copy of known length is two instructions, any other is a call.
                            match out.as_mut_array::<TILE_ROWS>() {
                                Some(out) => *out = *results,
                                None => out.copy_from_slice(&results[..out.len()]),
                            }
                        }
                    }
                }
            }
        });
    }
}

fn first_results<const N: usize>(results: &mut Results<MAX_COLUMNS>) -> &mut Results<N> {
    results.first_chunk_mut().expect("no kernel takes more than MAX_COLUMNS columns")
}
