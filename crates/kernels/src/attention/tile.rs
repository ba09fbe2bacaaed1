//! One block of keys and values seen by one tile of columns.

#![allow(clippy::inline_always, reason = "a body takes on the features of its caller")]

use super::formats::Format;
use crate::{kv_store::LINE, math};

type Query<P> = <<P as Products>::Format as Format>::Query;
type Block<'a, P> = <<P as Products>::Format as Format>::Block<'a>;

/// The two products, which each level writes for itself.
pub(super) trait Products: Copy {
    /// What the keys and values are.
    type Format: Format;

    /// How many columns a tile has at most, such that their sums fit into the registers.
    const MAX_COLUMNS: usize;

    /// `out[column] = sum over rows of q[row][column] * keys[row]`, in the order of rows.
    fn scores<const N: usize>(
        self,
        q: &[[Query<Self>; N]],
        pair: Pair<Block<'_, Self>>,
        out: &mut [[f32; LINE]; N],
    );

    /// `sums[column] += sum over t of weights[column][t] * values[t]`, in the order of `t`. `sums`
    /// is `(N, lines of a value)`.
    fn add_values<const N: usize>(
        self,
        weights: &[[f32; LINE]; N],
        pair: Pair<Block<'_, Self>>,
        sums: &mut [[f32; LINE]],
    );

    /// The largest number of a line.
    fn largest(self, line: &[f32; LINE]) -> f32;
}

/// The keys and values of one block, and of the one after it.
#[derive(Clone, Copy)]
pub(super) struct Pair<B> {
    pub(super) block: B,
    /// It should be fetched line by line while this one is used: on its own, the memory's latency
    /// would be longer than the arithmetic.
    pub(super) next: B,
}

/// The softmax of a column over the keys of some spans.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Softmax {
    /// The largest score.
    pub(super) largest: f32,
    /// The sum of all weights, relative to `largest`.
    pub(super) total: f32,
}

impl Default for Softmax {
    fn default() -> Self {
        // The smallest finite number rather than an infinity, whose difference to itself is none.
        Self { largest: f32::MIN, total: 0.0 }
    }
}

impl Softmax {
    /// Adds the next span. Returns what the sums before and those of the span have to be multiplied
    /// by.
    #[inline(always)]
    pub(super) fn merge(&mut self, span: &Self) -> (f32, f32) {
        let largest = larger(self.largest, span.largest);
        let factors = (math::exp(self.largest - largest), math::exp(span.largest - largest));
        self.total = span.total.mul_add(factors.1, self.total * factors.0);
        self.largest = largest;
        factors
    }
}

/// The softmax of a column over the blocks of one span seen so far.
#[derive(Clone, Copy)]
pub(super) struct RunningSoftmax {
    /// The largest score.
    largest: f32,
    /// Sums of the weights by place in the line, relative to `largest`.
    sums: [f32; LINE / 2],
}

impl Default for RunningSoftmax {
    fn default() -> Self {
        Self { largest: Softmax::default().largest, sums: [0.0; LINE / 2] }
    }
}

impl RunningSoftmax {
    /// The softmax over the whole span.
    #[inline(always)]
    pub(super) fn end(&self) -> Softmax {
        Softmax { largest: self.largest, total: reduce(self.sums, |a, b| a + b) }
    }

    /// Turns a line of scores into weights, given the largest of them and of those before. Earlier
    /// sums have to be multiplied by `correction`, which belongs to the change of the largest.
    ///
    /// For a line without visible scores the weights are zero and the correction is one.
    #[inline(always)]
    fn absorb(&mut self, line: &mut [f32; LINE], largest: f32, correction: f32) {
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
    }
}

#[inline(always)]
fn cap_scores(line: &mut [f32; LINE], cap: f32) {
    let inverse = 1.0 / cap;
    for score in line.iter_mut() {
        *score = cap * math::tanh(*score * inverse);
    }
}

#[inline(always)]
fn mask_scores(line: &mut [f32; LINE], visible: u32) {
    for (i, score) in line.iter_mut().enumerate() {
        *score = if visible >> i & 1 == 1 { *score } else { f32::NEG_INFINITY };
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
pub(super) struct TileView<'a, 'b, P: Products, V> {
    pub(super) queries: &'a [Query<P>], // (rows of keys, columns)
    pub(super) pair: Pair<Block<'b, P>>,
    pub(super) softcap: Option<f32>,
    pub(super) sums: &'a mut [[f32; LINE]], // (columns, lines of a value)
    pub(super) softmax: &'a mut [RunningSoftmax],
    /// For each column, one bit per token of the block that it sees.
    pub(super) visible: V,
}

/// More columns than the tiles of any level have.
const MAX_COLUMNS: usize = 12;

/// Runs `$body` with the constant `$N` equal to `$width`: a step is compiled for each number of
/// columns, to keep the sums in registers.
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
pub(super) fn absorb_block<P: Products>(
    products: P,
    view: TileView<'_, '_, P, impl Fn(usize) -> u32>,
) {
    const { assert!(P::MAX_COLUMNS <= MAX_COLUMNS, "lines for every column") };
    let TileView { queries, pair, softcap, sums, softmax, visible } = view;
    let width = softmax.len();
    assert!(width <= P::MAX_COLUMNS, "{width} columns in a tile of {}", P::MAX_COLUMNS);
    let mut lines = [[0.0_f32; LINE]; MAX_COLUMNS];
    let lines = &mut lines[..width];

    with_width!(width, N => {
        products.scores::<N>(queries.as_chunks().0, pair, &mut lines.as_chunks_mut().0[0]);
    });

    // The maxima of all columns first, so that their corrections are one vector's work and no
    // column waits for another.
    let mut largest = [0.0_f32; MAX_COLUMNS];
    let mut corrections = [0.0_f32; MAX_COLUMNS];
    for (i, (line, softmax)) in lines.iter_mut().zip(&*softmax).enumerate() {
        if let Some(cap) = softcap {
            cap_scores(line, cap);
        }
        let visible = visible(i);
        if visible != u32::MAX {
            mask_scores(line, visible);
        }
        largest[i] = larger(softmax.largest, products.largest(line));
        corrections[i] = softmax.largest - largest[i];
    }
    for correction in &mut corrections {
        *correction = math::exp(*correction);
    }
    let sums_per_column = sums.chunks_exact_mut(sums.len() / width);
    for (i, ((line, softmax), sums)) in
        lines.iter_mut().zip(softmax).zip(sums_per_column).enumerate()
    {
        softmax.absorb(line, largest[i], corrections[i]);
        // Most blocks bring no new maximum, and the product with one would change nothing.
        if corrections[i] < 1.0 {
            for sum in sums.as_flattened_mut() {
                *sum *= corrections[i];
            }
        }
    }

    with_width!(width, N => products.add_values::<N>(&lines.as_chunks().0[0], pair, sums));
}
