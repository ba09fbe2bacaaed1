//! Takes some columns through the spans that they see, tile by tile, and merges what they find.

#![allow(clippy::inline_always, reason = "a body takes on the features of its caller")]

use std::{cell::Cell, mem, ops::Range};

use super::{
    ColumnWork, Emit, Part,
    formats::{Format, Queries},
    plan::{Item, SPAN},
    tile::{Line, Pair, Products, RunningSoftmax, Softmax, TileView, absorb_block},
};
use crate::{BLOCK_SIZE, kv_store::LINE, level::for_each_level};

const BLOCKS_PER_SPAN: usize = SPAN / BLOCK_SIZE;

/// Columns that go through a block together.
struct Tile {
    columns: Range<usize>,
    blocks: Range<usize>,
    /// The positions that all columns see.
    seen_by_all: Range<usize>,
}

impl Tile {
    fn sees(&self, blocks: &Range<usize>) -> bool {
        self.blocks.start < blocks.end && blocks.start < self.blocks.end
    }
}

/// What some columns have found in some keys.
#[derive(Debug, Default)]
pub(super) struct Findings {
    pub(super) softmax: Vec<Softmax>, // (columns)
    pub(super) sums: Vec<Line>,       // (columns, lines of a value): weighted sums of values
}

impl Findings {
    /// Makes room; what stands there is anything.
    pub(super) fn resize(&mut self, num_columns: usize, head_dim: usize) {
        self.softmax.resize(num_columns, Softmax::default());
        self.sums.resize(num_columns * head_dim.div_ceil(LINE), Line::ZERO);
    }

    /// As of columns that have not begun.
    fn reset(&mut self, num_columns: usize, head_dim: usize) {
        self.resize(num_columns, head_dim);
        self.softmax.fill(Softmax::default());
        Line::flatten_mut(&mut self.sums).fill(0.0);
    }
}

/// What the columns of an item are and have found so far, kept between items to be allocated once.
#[derive(Default)]
struct Scratch {
    queries: Queries,
    /// In the current span.
    running: Vec<RunningSoftmax>, // (columns)
    sums: Vec<Line>, // (columns, lines of a value)
    /// In all spans before it.
    totals: Findings,
}

thread_local! {
    static SCRATCH: Cell<Scratch> = Cell::default();
}

/// Computes all columns of `work` and emits what is asked for.
#[inline(always)]
pub(super) fn attend<P: Products>(products: P, work: &ColumnWork<'_>, emit: Emit<'_>) {
    // Taken out and put back, as a closure would be compiled without the caller's features.
    let mut scratch = SCRATCH.take();
    let mut queries = mem::take(P::Format::queries(&mut scratch.queries));
    let tiles = begin::<P>(work, &mut queries);
    let lines_per_value = work.heads.head_dim.div_ceil(LINE);
    let local = |tile: &Tile| {
        let start = work.columns.start;
        (tile.columns.start - start..tile.columns.end - start).zip(tile.columns.clone())
    };
    match emit {
        Emit::Results(emit) => {
            scratch.totals.reset(work.columns.len(), work.heads.head_dim);
            for span in work.view.spans(&work.columns) {
                let blocks = absorb_span(products, work, &tiles, span, &queries, &mut scratch);
                let Scratch { running, sums, totals, .. } = &mut scratch;
                for (i, _) in tiles.iter().filter(|tile| tile.sees(&blocks)).flat_map(local) {
                    let lines = i * lines_per_value..(i + 1) * lines_per_value;
                    let found = (&running[i].end(), &sums[lines.clone()]);
                    merge(&mut totals.softmax[i], &mut totals.sums[lines], found);
                }
            }
            let Findings { softmax, sums } = &mut scratch.totals;
            let sums = sums.chunks_exact_mut(lines_per_value);
            let mut result = vec![0.0; work.heads.head_dim];
            for ((column, softmax), sums) in work.columns.clone().zip(softmax).zip(sums) {
                finish(softmax, sums, &mut result);
                emit(column, &result);
            }
        }
        Emit::Parts(spans, emit) => {
            for span in spans {
                let blocks = absorb_span(products, work, &tiles, span, &queries, &mut scratch);
                for (i, column) in tiles.iter().filter(|tile| tile.sees(&blocks)).flat_map(local) {
                    let sums = &scratch.sums[i * lines_per_value..(i + 1) * lines_per_value];
                    emit(column, span, Part { softmax: &scratch.running[i].end(), sums });
                }
            }
        }
    }
    *P::Format::queries(&mut scratch.queries) = queries;
    SCRATCH.set(scratch);
}

/// Cuts the columns into tiles of about equal width and lays out their queries.
#[inline(always)]
fn begin<P: Products>(
    work: &ColumnWork<'_>,
    queries: &mut Vec<<P::Format as Format>::Query>,
) -> Vec<Tile> {
    let Range { start, end } = work.columns;
    let num_columns = end - start;
    let num_tiles = num_columns.div_ceil(P::MAX_COLUMNS);
    let num_rows = work.heads.head_dim.div_ceil(P::Format::ROW_LEN);
    queries.clear();
    queries.resize(num_columns * num_rows, Default::default());

    let tile_end = |tile: usize| start + num_columns * tile / num_tiles;
    let mut rest = queries.as_mut_slice();
    let mut tiles = Vec::with_capacity(num_tiles);
    for index in 0..num_tiles {
        let columns = tile_end(index)..tile_end(index + 1);
        let width = columns.len();
        let tile_queries = rest.split_off_mut(..width * num_rows).unwrap_or_default();
        for (i, column) in columns.clone().enumerate() {
            let rows = work.q[work.place(column)].chunks(P::Format::ROW_LEN);
            for (query, row) in tile_queries[i..].iter_mut().step_by(width).zip(rows) {
                *query = P::Format::query(row, work.spec.scale);
            }
        }
        let first = work.view.positions(columns.start);
        let last = work.view.positions(columns.end - 1);
        let seen_by_all = last.start..first.end;
        tiles.push(Tile { blocks: work.view.blocks(&columns), columns, seen_by_all });
    }
    tiles
}

/// Lets all columns take in the blocks of one span, and returns those that some of them see. What
/// they find is in `scratch` for the columns of tiles that see one of these.
///
/// The blocks stand outside, so that one is read from memory once for all tiles.
#[inline(always)]
fn absorb_span<P: Products>(
    products: P,
    work: &ColumnWork<'_>,
    tiles: &[Tile],
    span: usize,
    queries: &[<P::Format as Format>::Query],
    scratch: &mut Scratch,
) -> Range<usize> {
    let num_columns = work.columns.len();
    let lines_per_value = work.heads.head_dim.div_ceil(LINE);
    let num_rows = work.heads.head_dim.div_ceil(P::Format::ROW_LEN);
    let Scratch { running, sums, .. } = scratch;
    running.clear();
    running.resize(num_columns, RunningSoftmax::default());
    sums.resize(num_columns * lines_per_value, Line::ZERO);
    Line::flatten_mut(sums).fill(0.0);

    let visible = work.view.blocks(&work.columns);
    let first = span * BLOCKS_PER_SPAN;
    let blocks = visible.start.max(first)..visible.end.min(first + BLOCKS_PER_SPAN);
    let block_table = &work.sequence.block_table[..visible.end];
    let stored = |index: usize| {
        P::Format::block(work.store, work.layer, block_table[index] as usize, work.kv_head)
    };
    for block in blocks.clone() {
        let next = (block + 1).min(block_table.len() - 1);
        let pair = Pair { block: stored(block), next: stored(next) };
        let first_position = block * BLOCK_SIZE;
        for tile in tiles.iter().filter(|tile| tile.blocks.contains(&block)) {
            let local =
                tile.columns.start - work.columns.start..tile.columns.end - work.columns.start;
            let is_seen_by_all = tile.seen_by_all.start <= first_position
                && first_position + BLOCK_SIZE <= tile.seen_by_all.end;
            let visible = |column| {
                visible_bits(work.view.positions(tile.columns.start + column), first_position)
            };
            let view = TileView {
                queries: &queries[local.start * num_rows..local.end * num_rows],
                pair,
                softcap: work.spec.softcap,
                sums: &mut sums[local.start * lines_per_value..local.end * lines_per_value],
                softmax: &mut running[local],
                visible: (!is_seen_by_all).then_some(visible),
            };
            absorb_block(products, view);
        }
    }
    blocks
}

/// One bit for each token of the block at `first_position` that is in `visible`.
fn visible_bits(visible: Range<usize>, first_position: usize) -> u32 {
    let below = |end: usize| {
        let num_bits = end.saturating_sub(first_position);
        if num_bits >= BLOCK_SIZE { u32::MAX } else { (1 << num_bits) - 1 }
    };
    below(visible.end) & !below(visible.start)
}

/// Adds what a column found in one span to what it found in those before.
///
/// A span in which it saw nothing, with a maximum of `f32::MIN` and sums of zero, changes nothing.
#[inline(always)]
fn merge(softmax: &mut Softmax, sums: &mut [Line], (span_softmax, span_sums): (&Softmax, &[Line])) {
    let (before, span) = softmax.merge(span_softmax);
    for (sum, add) in Line::flatten_mut(sums).iter_mut().zip(Line::flatten(span_sums)) {
        *sum = add.mul_add(span, *sum * before);
    }
}

/// Turns a column's sums into its result.
#[inline(always)]
fn finish(softmax: &Softmax, sums: &[Line], result: &mut [f32]) {
    let factor = 1.0 / softmax.total;
    for (result, sum) in result.iter_mut().zip(Line::flatten(sums)) {
        // A block outside the view may have turned -0 into 0: adding 0 does so always.
        *result = sum * factor + 0.0;
    }
}

for_each_level! {
    /// Merges the parts of a split item in the order of their spans and emits the results.
    pub(super) fn merge_parts(
        work: &ColumnWork<'_>,
        item: &Item,
        parts: &Findings,
        emit: &mut dyn FnMut(usize, &[f32]),
    );
    body = merge_parts_plain;
    reference = merge_parts_plain;
}

#[inline(always)]
fn merge_parts_plain(
    work: &ColumnWork<'_>,
    item: &Item,
    parts: &Findings,
    emit: &mut dyn FnMut(usize, &[f32]),
) {
    let lines_per_value = work.heads.head_dim.div_ceil(LINE);
    let mut scratch = SCRATCH.take();
    let mut result = vec![0.0; work.heads.head_dim];
    for column in work.columns.clone() {
        scratch.totals.reset(1, work.heads.head_dim);
        let Findings { softmax, sums } = &mut scratch.totals;
        for span in work.view.spans(&(column..column + 1)) {
            let part = item.part(column, span);
            let lines = part * lines_per_value..(part + 1) * lines_per_value;
            merge(&mut softmax[0], sums, (&parts.softmax[part], &parts.sums[lines]));
        }
        finish(&softmax[0], sums, &mut result);
        emit(column, &result);
    }
    SCRATCH.set(scratch);
}
