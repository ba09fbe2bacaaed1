//! One block of keys and values seen by one tile of columns.

#![allow(clippy::inline_always, reason = "a body takes on the features of its caller")]

use half::f16;

use crate::{kv_store::LINE, math};

/// The two products, which each level writes for itself.
pub(super) trait Products: Copy {
    /// How many columns a tile has at most, such that their sums fit into the registers.
    const MAX_COLUMNS: usize;

    /// `out[column] = sum over d of q[d][column] * keys[d]`, in the order of `d`.
    fn scores<const N: usize>(self, q: &[[f32; N]], keys: Lines<'_>, out: &mut [[f32; LINE]; N]);

    /// `sums[column] += sum over t of weights[column][t] * values[t]`, in the order of `t`. `sums`
    /// is `(N, lines of a value)`, `values` is `(32, lines of a value)`.
    fn add_values<const N: usize>(
        self,
        weights: &[[f32; LINE]; N],
        values: Lines<'_>,
        sums: &mut [[f32; LINE]],
    );

    /// The largest number of a line.
    fn largest(self, line: &[f32; LINE]) -> f32;
}

/// The keys or values of one block.
#[derive(Clone, Copy)]
pub(super) struct Lines<'a> {
    pub(super) lines: &'a [[f16; LINE]],
    /// What stands in the same places of the next block. It should be fetched line by line while
    /// this one is used: on its own, the memory's latency would be longer than the arithmetic.
    pub(super) next: &'a [[f16; LINE]],
}

/// The softmax of a column over the blocks seen so far.
#[derive(Clone, Copy)]
pub(super) struct RunningSoftmax {
    /// The largest score.
    largest: f32,
    /// Sums of the weights by place in the line, relative to `largest`.
    sums: [f32; LINE / 2],
}

impl Default for RunningSoftmax {
    fn default() -> Self {
        // The smallest finite number rather than an infinity, whose difference to itself is none.
        Self { largest: f32::MIN, sums: [0.0; LINE / 2] }
    }
}

impl RunningSoftmax {
    /// The sum of all weights.
    #[inline(always)]
    pub(super) fn total(&self) -> f32 {
        reduce(self.sums, |a, b| a + b)
    }

    /// Turns a line of scores into weights. Returns what earlier sums have to be multiplied by.
    ///
    /// For a line without visible scores the weights are zero and the factor is one.
    #[inline(always)]
    fn absorb<P: Products>(
        &mut self,
        products: P,
        line: &mut [f32; LINE],
        visible: u32,
        softcap: Option<f32>,
    ) -> f32 {
        if let Some(cap) = softcap {
            let inverse = 1.0 / cap;
            for score in line.iter_mut() {
                *score = cap * math::tanh(*score * inverse);
            }
        }
        if visible != u32::MAX {
            for (i, score) in line.iter_mut().enumerate() {
                *score = if visible >> i & 1 == 1 { *score } else { f32::NEG_INFINITY };
            }
        }
        let largest = larger(self.largest, products.largest(line));
        let correction = math::exp(self.largest - largest);
        self.largest = largest;
        for score in line.iter_mut() {
            *score = math::exp(*score - largest);
        }
        let (halves, _) = line.as_chunks::<{ LINE / 2 }>();
        let mut sums = self.sums;
        for (i, sum) in sums.iter_mut().enumerate() {
            *sum = sum.mul_add(correction, halves[0][i] + halves[1][i]);
        }
        self.sums = sums;
        correction
    }
}

#[inline(always)]
pub(super) fn larger(a: f32, b: f32) -> f32 {
    if a > b { a } else { b }
}

/// Combines all lanes, always in the same order.
#[inline(always)]
pub(super) fn reduce<const N: usize>(
    mut lanes: [f32; N],
    combine: impl Fn(f32, f32) -> f32,
) -> f32 {
    let mut width = N / 2;
    while width > 0 {
        for i in 0..width {
            lanes[i] = combine(lanes[i], lanes[i + width]);
        }
        width /= 2;
    }
    lanes[0]
}

/// What one step works on.
pub(super) struct TileView<'a, V> {
    pub(super) queries: &'a [f32], // (head_dim, columns), scaled
    pub(super) keys: Lines<'a>,    // (head_dim)
    pub(super) values: Lines<'a>,  // (32, lines of a value)
    pub(super) softcap: Option<f32>,
    pub(super) sums: &'a mut [[f32; LINE]], // (columns, lines of a value)
    pub(super) softmax: &'a mut [RunningSoftmax],
    /// For each column, one bit per token of the block that it sees.
    pub(super) visible: V,
}

/// More columns than the tiles of any level have.
const MAX_COLUMNS: usize = 12;

/// Runs `$body` with the constant `$N` equal to `$width`: the products are compiled for each number
/// of columns, to keep the sums in registers.
macro_rules! with_width {
    ($width:expr, $N:ident => $body:expr) => {
        with_width!($width, $N => $body; 1 2 3 4 5 6 7 8 9 10 11 12)
    };
    ($width:expr, $N:ident => $body:expr; $($number:literal)*) => {
        match $width {
            $($number => {
                const $N: usize = $number;
                if $N <= P::MAX_COLUMNS { $body }
            })*
            width => unreachable!("a tile has 1 to 12 columns, not {width}"),
        }
    };
}

/// Lets the columns of a tile take in one block.
#[inline(always)]
pub(super) fn absorb_block<P: Products>(products: P, view: TileView<'_, impl Fn(usize) -> u32>) {
    const { assert!(P::MAX_COLUMNS <= MAX_COLUMNS, "lines for every column") };
    let TileView { queries, keys, values, softcap, sums, softmax, visible } = view;
    let width = softmax.len();
    assert!(width <= P::MAX_COLUMNS, "{width} columns in a tile of {}", P::MAX_COLUMNS);
    let mut lines = [[0.0_f32; LINE]; MAX_COLUMNS];
    let lines = &mut lines[..width];

    with_width!(width, N => {
        products.scores::<N>(queries.as_chunks().0, keys, &mut lines.as_chunks_mut().0[0]);
    });

    let sums_per_column = sums.chunks_exact_mut(sums.len() / width);
    for (i, ((line, softmax), sums)) in
        lines.iter_mut().zip(softmax).zip(sums_per_column).enumerate()
    {
        let correction = softmax.absorb(products, line, visible(i), softcap);
        // Most blocks bring no new maximum, and the product with one would change nothing.
        if correction < 1.0 {
            for sum in sums.as_flattened_mut() {
                *sum *= correction;
            }
        }
    }

    with_width!(width, N => products.add_values::<N>(&lines.as_chunks().0[0], values, sums));
}
