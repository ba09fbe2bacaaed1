//! Takes some columns through the blocks that they see, tile by tile.

#![allow(clippy::inline_always, reason = "a body takes on the features of its caller")]

use std::{cell::Cell, ops::Range};

use super::{
    ColumnWork, Emit,
    tile::{Lines, Products, RunningSoftmax, TileView, absorb_block},
};
use crate::{BLOCK_SIZE, kv_store::LINE};

/// Columns that go through a block together.
struct Tile {
    columns: Range<usize>,
    blocks: Range<usize>,
}

/// What the columns of an item are and have found so far, kept between items to be allocated once.
#[derive(Default)]
struct Scratch {
    queries: Vec<f32>,            // per tile (head_dim, columns), scaled
    sums: Vec<[f32; LINE]>,       // (columns, lines of a value): weighted sums of values
    softmax: Vec<RunningSoftmax>, // (columns)
}

thread_local! {
    static SCRATCH: Cell<Scratch> = Cell::default();
}

/// Computes all columns of `work` and emits each.
#[inline(always)]
pub(super) fn attend<P: Products>(products: P, work: &ColumnWork<'_>, emit: Emit<'_>) {
    // Taken out and put back, as a closure would be compiled without the caller's features.
    let mut scratch = SCRATCH.take();
    let tiles = begin::<P>(work, &mut scratch);
    absorb_blocks(products, work, &tiles, &mut scratch);
    finish(work, &mut scratch, emit);
    SCRATCH.set(scratch);
}

/// Cuts the columns into tiles of about equal width and lays out their queries.
#[inline(always)]
fn begin<P: Products>(work: &ColumnWork<'_>, scratch: &mut Scratch) -> Vec<Tile> {
    let Range { start, end } = work.columns;
    let num_columns = end - start;
    let num_tiles = num_columns.div_ceil(P::MAX_COLUMNS);
    let head_dim = work.heads.head_dim;
    let lines_per_value = head_dim.div_ceil(LINE);

    scratch.queries.clear();
    scratch.queries.resize(num_columns * head_dim, 0.0);
    scratch.sums.clear();
    scratch.sums.resize(num_columns * lines_per_value, [0.0; LINE]);
    scratch.softmax.clear();
    scratch.softmax.resize(num_columns, RunningSoftmax::default());

    let tile_end = |tile: usize| start + num_columns * tile / num_tiles;
    let mut queries = scratch.queries.as_mut_slice();
    let mut tiles = Vec::with_capacity(num_tiles);
    for index in 0..num_tiles {
        let columns = tile_end(index)..tile_end(index + 1);
        let width = columns.len();
        let (tile_queries, rest) = queries.split_at_mut(width * head_dim);
        queries = rest;
        for (i, column) in columns.clone().enumerate() {
            let query = &work.q[work.place(column)];
            for (scaled, q) in tile_queries[i..].iter_mut().step_by(width).zip(query) {
                *scaled = q * work.spec.scale;
            }
        }
        tiles.push(Tile { blocks: work.visible_blocks(columns.clone()), columns });
    }
    tiles
}

/// The blocks stand outside, so that one is read from memory once for all tiles.
#[inline(always)]
fn absorb_blocks<P: Products>(
    products: P,
    work: &ColumnWork<'_>,
    tiles: &[Tile],
    scratch: &mut Scratch,
) {
    let head_dim = work.heads.head_dim;
    let lines_per_value = head_dim.div_ceil(LINE);
    let blocks = work.visible_blocks(work.columns.clone());
    let block_table = &work.sequence.block_table[..blocks.end];
    for block in blocks {
        let stored = |index: usize| {
            work.store.keys_and_values(work.layer, block_table[index] as usize, work.kv_head)
        };
        let (keys, values) = stored(block);
        let (next_keys, next_values) = stored((block + 1).min(block_table.len() - 1));
        let keys = Lines { lines: keys, next: next_keys };
        let values = Lines { lines: values, next: next_values };
        let first_position = block * BLOCK_SIZE;
        for tile in tiles.iter().filter(|tile| tile.blocks.contains(&block)) {
            let local =
                tile.columns.start - work.columns.start..tile.columns.end - work.columns.start;
            absorb_block(
                products,
                TileView {
                    queries: &scratch.queries[local.start * head_dim..local.end * head_dim],
                    keys,
                    values,
                    softcap: work.spec.softcap,
                    sums: &mut scratch.sums
                        [local.start * lines_per_value..local.end * lines_per_value],
                    softmax: &mut scratch.softmax[local],
                    visible: |column| {
                        visible_bits(work.visible(tile.columns.start + column), first_position)
                    },
                },
            );
        }
    }
}

/// One bit for each token of the block at `first_position` that is in `visible`.
fn visible_bits(visible: Range<usize>, first_position: usize) -> u32 {
    let below = |end: usize| {
        let num_bits = end.saturating_sub(first_position);
        if num_bits >= BLOCK_SIZE { u32::MAX } else { (1 << num_bits) - 1 }
    };
    below(visible.end) & !below(visible.start)
}

#[inline(always)]
fn finish(work: &ColumnWork<'_>, scratch: &mut Scratch, emit: Emit<'_>) {
    let head_dim = work.heads.head_dim;
    let columns = work.columns.clone();
    let sums = scratch.sums.chunks_exact_mut(head_dim.div_ceil(LINE));
    for ((column, softmax), sums) in columns.zip(&scratch.softmax).zip(sums) {
        let factor = 1.0 / softmax.total();
        let result = &mut sums.as_flattened_mut()[..head_dim];
        for value in result.iter_mut() {
            // A block outside the view may have turned -0 into 0: adding 0 does so always.
            *value = *value * factor + 0.0;
        }
        emit(column, result);
    }
}
