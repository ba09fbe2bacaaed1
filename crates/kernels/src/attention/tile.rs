//! One block of keys and values seen by one tile of columns.

#![allow(clippy::inline_always, reason = "a body takes on the features of its caller")]

use super::formats::Format;
use crate::{kv_store::LINE, math};

type Query<P> = <<P as Products>::Format as Format>::Query;
type Block<'a, P> = <<P as Products>::Format as Format>::Block<'a>;

/// 32 numbers, aligned such that a vector of them never lies in two cache lines.
#[derive(Debug, Clone, Copy)]
#[repr(C, align(64))]
pub(super) struct Line(pub(super) [f32; LINE]);

impl Line {
    pub(super) const ZERO: Self = Self([0.0; LINE]);

    /// The numbers of all lines.
    pub(super) fn flatten(lines: &[Self]) -> &[f32] {
        const { assert!(size_of::<Self>() == LINE * size_of::<f32>(), "a line is its numbers") };
        // SAFETY: a line is its numbers one after the other and nothing else.
        unsafe { std::slice::from_raw_parts(lines.as_ptr().cast(), lines.len() * LINE) }
    }

    /// The numbers of all lines.
    pub(super) fn flatten_mut(lines: &mut [Self]) -> &mut [f32] {
        // SAFETY: as above, and any number may stand in a line.
        unsafe { std::slice::from_raw_parts_mut(lines.as_mut_ptr().cast(), lines.len() * LINE) }
    }
}

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
        out: &mut [Line; N],
    );

    /// `sums[column] = sums[column] * factors[column] + sum over t of weights[column][t] * values[t]`,
    /// in the order of `t`. `sums` is `(N, lines of a value)`.
    fn add_values<const N: usize>(
        self,
        factors: &[f32; N],
        weights: &[Line; N],
        pair: Pair<Block<'_, Self>>,
        sums: &mut [Line],
    );

    /// The largest number of a line.
    fn largest(self, line: &[f32; LINE]) -> f32;
}

/// The keys and values of one block, and of the one after it.
#[derive(Clone, Copy)]
pub(super) struct Pair<B> {
    pub(super) block: B,
    /// What is needed next should be fetched line by line while a product runs, this block's values or
    /// the next block's keys: on its own, the memory's latency would be longer than the arithmetic.
    #[cfg_attr(not(target_arch = "x86_64"), expect(dead_code, reason = "only vectors need it"))]
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
#[repr(C, align(64))]
pub(super) struct RunningSoftmax {
    /// Sums of the weights by place in the line, relative to `largest`.
    sums: [f32; LINE / 2],
    /// The largest score.
    largest: f32,
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

    /// Turns a line of scores into weights. `correction` is what the change of the largest score
    /// makes of earlier sums.
    ///
    /// For a line without visible scores the weights are zero and the correction is one.
    #[inline(always)]
    fn absorb(&mut self, line: &mut [f32; LINE], correction: f32) {
        for score in line.iter_mut() {
            *score = math::exp(*score - self.largest);
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
    pub(super) sums: &'a mut [Line], // (columns, lines of a value)
    pub(super) softmax: &'a mut [RunningSoftmax],
    /// Where some column does not see all of the block: for each column, one bit per token that it
    /// sees.
    pub(super) visible: Option<V>,
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
    let width = view.softmax.len();
    assert!(width <= P::MAX_COLUMNS, "{width} columns in a tile of {}", P::MAX_COLUMNS);
    with_width!(width, N => absorb::<P, N>(products, view));
}

#[inline(always)]
fn absorb<P: Products, const N: usize>(
    products: P,
    view: TileView<'_, '_, P, impl Fn(usize) -> u32>,
) {
    let TileView { queries, pair, softcap, sums, softmax, visible } = view;
    let softmax = &mut softmax.as_chunks_mut::<N>().0[0];
    let mut lines = [Line::ZERO; N];
    products.scores::<N>(queries.as_chunks().0, pair, &mut lines);
    if let Some(cap) = softcap {
        lines.iter_mut().for_each(|line| cap_scores(&mut line.0, cap));
    }
    if let Some(visible) = visible {
        for (i, line) in lines.iter_mut().enumerate() {
            mask_scores(&mut line.0, visible(i));
        }
    }
    // The maxima of all columns first, so that the exponentials of their changes are one vector's
    // work and no column waits for another.
    let mut corrections = [0.0_f32; N];
    for ((correction, softmax), line) in corrections.iter_mut().zip(&mut *softmax).zip(&lines) {
        let largest = larger(softmax.largest, products.largest(&line.0));
        *correction = softmax.largest - largest;
        softmax.largest = largest;
    }
    for correction in &mut corrections {
        *correction = math::exp(*correction);
    }
    for ((softmax, line), correction) in softmax.iter_mut().zip(&mut lines).zip(corrections) {
        softmax.absorb(&mut line.0, correction);
    }
    products.add_values::<N>(&corrections, &lines, pair, sums);
}
