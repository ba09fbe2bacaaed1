//! The kernels: 16 rows times up to eight columns, for each family of weight types.
//!
//! In the words of one row and one column of blocks of 256:
//!
//! ```text
//! for each block
//!     total = 0
//!     for each run of the block            (16 or 32 weights with one integer scale)
//!         total += scale[run] * sum(code[k] * activation[k])
//!     total -= zero * sum(scale[run] * sum of the run's activations)
//!     result += d * activation_scale * total
//! ```
//!
//! 1. Rows are lanes. A line holds four codes of each row, and one instruction multiplies them with
//!    the same four activations and adds up within the lane. Nothing is ever summed across lanes.
//! 2. Columns are registers. Codes are unpacked once and meet all columns while they are at hand.
//! 3. Sums stay integers until the block ends, so they are exact, and a column's result is the same
//!    whatever columns it travels with: its floating-point operations are the same in the same order.
//!    Largest sums: 32 bits hold up to 2.1e9. Activation codes are at most 127 in magnitude, so a
//!    block of 256 sums up to `256 * code * 127 * scale`: 262e6 for `Q6_K` (codes to 63, scales to
//!    128), 265e6 for `IQ4_XS` (codes to 255 with the zero point added, scales to 32), and less for
//!    the others. The correction for zero points sums up to `256 * 127 * 128 * 32 = 133e6` for both.
//!    A block of 32 sums up to `32 * 255 * 127 = 1e6`.
//! 4. A zero point is not subtracted from codes, as they are to be unsigned. What it would have
//!    taken away is `zero` times a sum of activations, which was computed with their rounding: a
//!    run's sum of products begins with it, below zero.
//! 5. Loops count and index: iterators are functions, which are not always inlined into code for
//!    other processors.

use std::hint::black_box;

use super::{
    formats::{Codes, Format32, Format256, FormatFloat, Tile},
    simd::{Kernel, Simd},
};
use crate::{
    columns::{Block32Tile, Block256Tile, FloatTile},
    weights::TILE_ROWS,
};

const CACHE_LINE_BYTES: usize = 64;

/// Repeats a block for `$i` from 0 to 7. Shifts and positions that depend on `$i` are constants then,
/// which no number of turns of a loop would make them.
macro_rules! unrolled {
    ($i:ident => $body:block) => { unrolled!(@ $i, $body, 0 1 2 3 4 5 6 7) };
    (@ $i:ident, $body:block, $($value:literal)*) => {$({
        let $i: usize = $value;
        $body
    })*};
}

/// Calls `$add` with the sums of each part for each tile, and `$finish` with the sums of each part.
///
/// Few columns wait for memory, which should not rest while other parts of the same tiles are read from
/// the cache: all parts of a tile come before the next tile. More columns have no registers for the sums
/// of all parts: each part goes over all tiles.
macro_rules! each_tile {
    (
        $S:ident, $N:ident, $num_tiles:expr, $no_sums:ident,
        |$tile:ident, $part:ident, $sums:ident| $add:block,
        |$last_part:ident, $last_sums:ident| $finish:expr
    ) => {
        if $N <= MAX_MEMORY_BOUND_COLUMNS && $S::NUM_PARTS > 1 {
            const { assert!($S::NUM_PARTS <= MAX_PARTS, "sums for each part") };
            let mut sums_of_parts = [$no_sums; MAX_PARTS];
            for $tile in 0..$num_tiles {
                for $part in 0..$S::NUM_PARTS {
                    let $sums = &mut sums_of_parts[$part];
                    $add
                }
            }
            for $last_part in 0..$S::NUM_PARTS {
                let $last_sums = &mut sums_of_parts[$last_part];
                $finish;
            }
        } else {
            for $part in 0..$S::NUM_PARTS {
                let mut sums = $no_sums;
                for $tile in 0..$num_tiles {
                    let $sums = &mut sums;
                    $add
                }
                let ($last_part, $last_sums) = ($part, &mut sums);
                $finish;
            }
        }
    };
}

/// The most registers that 16 rows take, at any level.
const MAX_PARTS: usize = 4;

/// Results of 16 rows for each of `N` columns.
pub(super) type Results<const N: usize> = [[f32; TILE_ROWS]; N];

/// Multiplies a row of tiles with `N` columns, for types with blocks of 256.
pub(super) struct Multiply256<'a, F, const N: usize> {
    pub(super) tiles: &'a [F],
    /// Whether the tiles come from memory, so that those that follow should be fetched meanwhile.
    pub(super) fetch: bool,
    pub(super) columns: &'a Block256Tile,
    pub(super) results: &'a mut Results<N>,
}

impl<F: Format256, const N: usize> Kernel for Multiply256<'_, F, N> {
    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        let ahead = start_of_fetch(self.tiles, self.fetch);
        let has_mins = matches!(F::CODES, Codes::WithMin(_));
        let (gathers, dots_per_gather) = dots_per_gather::<S>(F::CODES, F::RUN / 4);
        // Sums that need gathering have no registers to begin with anything but zero.
        let zero = zero_point::<S>(F::CODES);
        let (zero_at_start, zero_at_end) = if gathers { (None, zero) } else { (zero, None) };
        let groups_per_run = F::RUN / 4;
        // Were the number known, the compiler would unroll the loop over groups and load far ahead,
        // for which there are not enough registers. (It is a bound, which spares checks.)
        let num_groups = black_box(groups_per_run).min(groups_per_run);
        let num_octets = 256 / F::RUN / 8;
        let columns = self.columns;
        let (codes, _) = columns.codes.as_chunks::<N>();
        let (scales, _) = columns.scales.as_chunks::<N>();
        let (pairs_of_sums, zeros, zero_bits) = match F::RUN {
            16 => {
                (&columns.pairs_of_sums_of_16, &columns.zeros_of_16, Block256Tile::ZERO_BITS_OF_16)
            }
            _ => {
                (&columns.pairs_of_sums_of_32, &columns.zeros_of_32, Block256Tile::ZERO_BITS_OF_32)
            }
        };
        let (pairs_of_sums, _) = pairs_of_sums.as_chunks::<N>();
        let (column_zeros, _) = zeros.as_chunks::<N>();

        let no_sums = [simd.splat_float(0.0); N];
        each_tile!(
            S,
            N,
            self.tiles.len(),
            no_sums,
            |block, part, results| {
                let ahead = ahead.wrapping_add(block);
                let tile = &self.tiles[block];
                let column_scales = &scales[block];
                let mut totals = [simd.splat(0); N];
                let mut corrections = [simd.splat(0); N];
                for octet in 0..num_octets {
                    let index = num_octets * block + octet;
                    let codes = &codes[8 * groups_per_run * index..][..8 * groups_per_run];
                    let column_zeros = &column_zeros[8 * index..][..8];
                    let scales = tile.scales(simd, part, octet);
                    unrolled!(run => {
                        if N > MAX_MEMORY_BOUND_COLUMNS {
                            fetch(simd, ahead, 8 * octet + run, 8 * num_octets);
                        }
                        let mut products = start_at_zero(simd, zero_at_start, zero_bits, &column_zeros[run]);
                        let scale = simd.widen_byte(scales[run / 4], run % 4);
                        let factors = simd.twice(scale);
                        for group in 0..num_groups {
                            let weights = tile.codes(simd, part, octet, run, group);
                            let activations = &codes[groups_per_run * run + group];
                            for j in 0..N {
                                products[j] =
                                    dot::<S>(simd, F::CODES, products[j], weights, activations[j]);
                            }
                            if gathers && (group + 1).is_multiple_of(dots_per_gather) {
                                for j in 0..N {
                                    totals[j] = simd.gather(totals[j], products[j], factors);
                                    products[j] = simd.splat(0);
                                }
                            }
                        }
                        if !gathers {
                            for j in 0..N {
                                // Were the sum not pinned down, the compiler would put off all
                                // additions to the end of the block, and the numbers into memory
                                // until then.
                                let scaled = simd.mul(products[j], scale);
                                totals[j] = simd.pin(simd.add(totals[j], scaled));
                            }
                        }
                    });
                    if has_mins || zero_at_end.is_some() {
                        let pairs_of_sums = &pairs_of_sums[4 * index..][..4];
                        let [first, second] = tile.mins(simd, part, octet);
                        let pairs = [
                            simd.even_bytes(first),
                            simd.odd_bytes(first),
                            simd.even_bytes(second),
                            simd.odd_bytes(second),
                        ];
                        for i in 0..4 {
                            for j in 0..N {
                                corrections[j] =
                                    simd.dot_pairs(corrections[j], pairs[i], pairs_of_sums[i][j]);
                            }
                        }
                    }
                }
                for j in 0..N {
                    if let Some(bits) = zero_at_end {
                        let correction = simd.shift_left(corrections[j], bits as usize);
                        totals[j] = simd.sub(totals[j], correction);
                    }
                    let column_scale = simd.splat_float(column_scales[j]);
                    let scale = simd.mul_floats(tile.d(simd, part), column_scale);
                    results[j] = simd.mul_add(scale, simd.to_float(totals[j]), results[j]);
                    if has_mins {
                        let scale = simd.mul_floats(tile.dmin(simd, part), column_scale);
                        let min = simd.to_float(corrections[j]);
                        results[j] = simd.neg_mul_add(scale, min, results[j]);
                    }
                }
            },
            |part, results| store(simd, results, self.results, part)
        );
    }
}

/// Multiplies a row of tiles with `N` columns, for types with blocks of 32.
pub(super) struct Multiply32<'a, F, const N: usize> {
    pub(super) tiles: &'a [F],
    /// Whether the tiles come from memory, so that those that follow should be fetched meanwhile.
    pub(super) fetch: bool,
    pub(super) columns: &'a Block32Tile,
    pub(super) results: &'a mut Results<N>,
}

impl<F: Format32, const N: usize> Kernel for Multiply32<'_, F, N> {
    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        let (codes, _) = self.columns.codes.as_chunks::<N>();
        let (scales, _) = self.columns.scales.as_chunks::<N>();
        let (column_zeros, _) = self.columns.zeros.as_chunks::<N>();
        let (scaled_sums, _) = self.columns.scaled_sums.as_chunks::<N>();
        let zero = zero_point::<S>(F::CODES);
        let (gathers, dots_per_gather) = dots_per_gather::<S>(F::CODES, 8);
        let ahead = start_of_fetch(self.tiles, self.fetch);

        // Two of 16 bits in each lane.
        let ones = simd.splat(0x0001_0001);
        let no_sums = [simd.splat_float(0.0); N];
        each_tile!(
            S,
            N,
            self.tiles.len(),
            no_sums,
            |block, part, results| {
                if N > MAX_MEMORY_BOUND_COLUMNS {
                    fetch(simd, ahead.wrapping_add(block), 0, 1);
                }
                let tile = &self.tiles[block];
                let codes = &codes[8 * block..][..8];
                let scales = &scales[block];
                // The correction for the zero point comes first: the products are added to it.
                let mut products =
                    start_at_zero(simd, zero, Block32Tile::ZERO_BITS, &column_zeros[block]);
                let mut gathered = products;
                if gathers {
                    products = [simd.splat(0); N];
                }
                unrolled!(group => {
                    let weights = tile.codes(simd, part, group);
                    for j in 0..N {
                        products[j] =
                            dot::<S>(simd, F::CODES, products[j], weights, codes[group][j]);
                    }
                    if gathers && (group + 1).is_multiple_of(dots_per_gather) {
                        for j in 0..N {
                            gathered[j] = simd.gather(gathered[j], products[j], ones);
                            products[j] = simd.splat(0);
                        }
                    }
                });
                let sums = if gathers { gathered } else { products };
                let d = tile.d(simd, part);
                for j in 0..N {
                    let scale = simd.mul_floats(d, simd.splat_float(scales[j]));
                    results[j] = simd.mul_add(scale, simd.to_float(sums[j]), results[j]);
                }
                if matches!(F::CODES, Codes::WithMin(_)) {
                    let m = tile.m(simd, part);
                    for j in 0..N {
                        let sum = simd.splat_float(scaled_sums[block][j]);
                        results[j] = simd.mul_add(m, sum, results[j]);
                    }
                }
            },
            |part, results| store(simd, results, self.results, part)
        );
    }
}

/// Multiplies a row of tiles with `N` columns, for types that are plain numbers.
pub(super) struct MultiplyFloats<'a, F, const N: usize> {
    pub(super) tiles: &'a [F],
    pub(super) columns: &'a FloatTile,
    pub(super) results: &'a mut Results<N>,
}

impl<F: FormatFloat, const N: usize> Kernel for MultiplyFloats<'_, F, N> {
    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        let (values, _) = self.columns.values.as_chunks::<N>();
        // Two chains of additions per column, so that one column alone does not wait for itself.
        let (tile_pairs, tile_rest) = self.tiles.as_chunks::<2>();
        let (value_pairs, value_rest) = values.as_chunks::<2>();
        let no_sums = [[simd.splat_float(0.0); N]; 2];
        each_tile!(
            S,
            N,
            tile_pairs.len(),
            no_sums,
            |pair, part, results| {
                let (tiles, values) = (&tile_pairs[pair], &value_pairs[pair]);
                for i in 0..2 {
                    let weights = tiles[i].weights(simd, part);
                    for j in 0..N {
                        let value = simd.splat_float(values[i][j]);
                        results[i][j] = simd.mul_add(weights, value, results[i][j]);
                    }
                }
            },
            |part, results| {
                let [even, odd] = results;
                for i in 0..tile_rest.len() {
                    let weights = tile_rest[i].weights(simd, part);
                    for j in 0..N {
                        even[j] =
                            simd.mul_add(weights, simd.splat_float(value_rest[i][j]), even[j]);
                    }
                }
                for j in 0..N {
                    even[j] = simd.add_floats(even[j], odd[j]);
                }
                store(simd, even, self.results, part);
            }
        );
    }
}

/// Writes the results of a part.
#[inline(always)]
fn store<S: Simd, const N: usize>(
    simd: S,
    sums: &[S::Float; N],
    results: &mut Results<N>,
    part: usize,
) {
    for j in 0..N {
        simd.store(sums[j], &mut results[j], part);
    }
}

/// What sums of products of codes begin with, from which a zero point of `2^zero_point` is to be taken away:
/// the numbers of the columns, which are made for one of `2^bits`.
#[inline(always)]
fn start_at_zero<S: Simd, const N: usize>(
    simd: S,
    zero_point: Option<u32>,
    bits: u32,
    column_zeros: &[i32; N],
) -> [S::Int; N] {
    let mut start = [simd.splat(0); N];
    if let Some(zero_point) = zero_point {
        for j in 0..N {
            start[j] = simd.splat(column_zeros[j]);
            if zero_point < bits {
                start[j] = simd.shift_right_signed(start[j], (bits - zero_point) as usize);
            }
        }
    }
    start
}

/// The zero point of codes as they are multiplied, `2^n`, if there is one.
#[inline(always)]
fn zero_point<S: Simd>(codes: Codes) -> Option<u32> {
    match codes {
        Codes::Signed => S::SIGNED_ZERO,
        Codes::ZeroAt(bits) => Some(bits),
        Codes::WithMin(_) => None,
    }
}

/// Whether sums of products must be gathered in between, and after how many groups of a run: a power of
/// two, so that a run ends with it.
#[inline(always)]
fn dots_per_gather<S: Simd>(codes: Codes, groups_per_run: usize) -> (bool, usize) {
    match (codes, S::dots_per_gather(codes.max())) {
        (Codes::Signed, _) | (_, None) => (false, groups_per_run),
        (_, Some(most)) => {
            (true, if most >= groups_per_run { groups_per_run } else { 1 << most.ilog2() })
        }
    }
}

/// Up to this many columns the kernels wait for memory only. The processor then finds out by itself
/// what to fetch, and requests on top slow it down by a tenth (measured on Zen 4).
const MAX_MEMORY_BOUND_COLUMNS: usize = 2;

/// How far ahead of their use weights are fetched: about one tile of the larger types.
const FETCH_AHEAD_BYTES: usize = 2048;

/// Where fetching begins. Tiles that are at hand anyway are asked for themselves, which costs less
/// than to ask whether to ask.
#[inline(always)]
fn start_of_fetch<F: Tile>(tiles: &[F], fetch: bool) -> *const F {
    let num_tiles = if fetch { FETCH_AHEAD_BYTES.div_ceil(size_of::<F>()) } else { 0 };
    tiles.as_ptr().wrapping_add(num_tiles)
}

/// Asks for part `index` of `count` of a tile that may be read soon. Its address is a guess: it may
/// lie behind the last tile.
#[inline(always)]
fn fetch<S: Simd, F: Tile>(simd: S, ahead: *const F, index: usize, count: usize) {
    let lines = size_of::<F>().div_ceil(CACHE_LINE_BYTES * count);
    for line in 0..lines {
        let offset = CACHE_LINE_BYTES * (lines * index + line);
        simd.prefetch(ahead.cast::<u8>().wrapping_add(offset));
    }
}

/// Adds the products of four codes to each lane.
#[inline(always)]
fn dot<S: Simd>(simd: S, codes: Codes, sums: S::Int, weights: S::Int, activations: i32) -> S::Int {
    match codes {
        Codes::Signed => simd.dot_signed(sums, weights, activations),
        Codes::ZeroAt(_) | Codes::WithMin(_) => simd.dot(sums, weights, activations),
    }
}
