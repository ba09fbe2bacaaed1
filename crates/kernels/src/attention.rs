//! Attention of new tokens over the keys and values of their sequences (Vaswani et al. 2017), block
//! by block with a running softmax (Milakov and Gimelshein 2018), as in Flash Attention.
//!
//! The idea, for one key-value head of one sequence:
//!
//! ```text
//! columns = the queries of all tokens and of all heads that share the key-value head
//! for each block of 32 keys that a column can see:
//!     scores = keys x columns                    one converted line of keys serves 12 columns
//!     weights = exp(scores - running maximum)    masked places get exactly zero
//!     sums += weights;  outputs = outputs * exp(old maximum - new) + weights x values
//! out = outputs / sums
//! ```
//!
//! 1. Token and head are the same thing to a column, so that decoding with grouped heads and
//!    reading a long prompt run the same code.
//! 2. A block outside a column's view changes nothing: its weights are zero, the maximum stays, the
//!    correction is `exp(0) = 1`, and stored values are finite. So a column may be processed with
//!    any others, and the bits of its result are the same; blocks that no column sees are skipped.
//! 3. Work is handed out as (sequence, key-value head, some columns), the longest first.

mod columns;
mod plain;
mod tile;
#[cfg(target_arch = "x86_64")]
mod x86;

use std::ops::Range;

use crate::{
    BLOCK_SIZE, Compute, KvStore,
    cpu::{Cpu, CpuLevel},
    pool::SharedSlice,
};

/// What a layer's attention looks like.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct AttentionSpec {
    /// How many query heads there are: a multiple of the store's key-value heads.
    pub num_heads: usize,
    /// What scores are multiplied by, mostly `1 / sqrt(head_dim)`.
    pub scale: f32,
    /// Where given, scores become `cap * tanh(score / cap)` after scaling, as in Gemma 2.
    pub softcap: Option<f32>,
    /// How many of the newest keys a query sees, itself included; all where `None`.
    pub window: Option<u32>,
}

/// The new tokens of one sequence.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AttentionSequence<'a> {
    /// How many new tokens there are. Their keys and values have been written to the store.
    pub num_tokens: usize,
    /// The position of the first: how many tokens come before it.
    pub start: usize,
    /// The blocks that hold the sequence's tokens in order, at least `start + num_tokens` of them.
    pub block_table: &'a [u32],
}

/// Writes to `out` what each query of `q` finds in its sequence up to and including its own place.
///
/// `q` and `out` are `(total new tokens, num_heads, head_dim)`, the sequences one after the other.
/// The key at position `p` is visible to the query at `q` if `p <= q` and, with a window,
/// `q - p < window`.
pub fn attention(
    compute: &Compute,
    store: &KvStore,
    layer: usize,
    spec: &AttentionSpec,
    sequences: &[AttentionSequence<'_>],
    q: &[f32],
    out: &mut [f32],
) {
    let heads = check(store, layer, spec, sequences, q, out);
    let items = plan(&heads, sequences, compute.pool.num_threads());
    let out = SharedSlice::new(out);
    compute.pool.run(items.len(), |index| {
        let item = &items[index];
        let sequence = &sequences[item.sequence];
        let work = ColumnWork {
            store,
            layer,
            spec,
            heads,
            sequence,
            kv_head: item.kv_head,
            columns: item.columns.clone(),
            q: &q[item.first_token * heads.token_len()..]
                [..sequence.num_tokens * heads.token_len()],
        };
        attend(compute.cpu, &work, &mut |column: usize, result: &[f32]| {
            let start = item.first_token * heads.token_len() + work.place(column).start;
            // SAFETY: a place belongs to one column of one key-value head of one sequence, and the
            // plan puts that into one item only, whose results are written one after the other.
            unsafe { out.slice_mut(start..start + result.len()) }.copy_from_slice(result);
        });
    });
}

/// Takes what a column found, by its number.
type Emit<'a> = &'a mut dyn FnMut(usize, &[f32]);

fn attend(cpu: Cpu, work: &ColumnWork<'_>, emit: Emit<'_>) {
    match cpu.level() {
        #[cfg(target_arch = "x86_64")]
        // SAFETY: a `Cpu` of this level exists only where its features were detected.
        CpuLevel::Avx512 => unsafe { x86::attend_avx512(work, emit) },
        #[cfg(target_arch = "x86_64")]
        // SAFETY: a `Cpu` of this level exists only where its features were detected.
        CpuLevel::Avx2 => unsafe { x86::attend_avx2(work, emit) },
        CpuLevel::Neon => columns::attend(plain::Plain, work, emit),
        #[allow(clippy::match_wildcard_for_single_variants, reason = "differs by architecture")]
        _ => plain::attend(work, emit),
    }
}

/// How heads share keys and values.
#[derive(Debug, Clone, Copy)]
struct Heads {
    num_heads: usize,
    num_kv_heads: usize,
    head_dim: usize,
}

impl Heads {
    /// How many query heads share one key-value head.
    fn group_len(&self) -> usize {
        self.num_heads / self.num_kv_heads
    }

    fn token_len(&self) -> usize {
        self.num_heads * self.head_dim
    }
}

/// Some columns of one key-value head of one sequence.
///
/// Columns count through the new tokens, and for each through the heads of the group.
struct ColumnWork<'a> {
    store: &'a KvStore,
    layer: usize,
    spec: &'a AttentionSpec,
    heads: Heads,
    sequence: &'a AttentionSequence<'a>,
    kv_head: usize,
    columns: Range<usize>,
    q: &'a [f32], // (num_tokens, num_heads, head_dim)
}

impl ColumnWork<'_> {
    /// Where a column's query stands in `q`, and its result in the same place of the output.
    fn place(&self, column: usize) -> Range<usize> {
        let group_len = self.heads.group_len();
        let head = self.kv_head * group_len + column % group_len;
        let start = (column / group_len * self.heads.num_heads + head) * self.heads.head_dim;
        start..start + self.heads.head_dim
    }

    /// The positions of the keys that a column sees.
    fn visible(&self, column: usize) -> Range<usize> {
        let end = self.sequence.start + column / self.heads.group_len() + 1;
        let start = self.spec.window.map_or(0, |window| end.saturating_sub(window as usize));
        start..end
    }

    /// The blocks, counted in the sequence, in which some of `columns` see something.
    fn visible_blocks(&self, columns: Range<usize>) -> Range<usize> {
        let (start, end) = (self.visible(columns.start).start, self.visible(columns.end - 1).end);
        start / BLOCK_SIZE..end.div_ceil(BLOCK_SIZE)
    }
}

/// One thing for a thread to do.
#[derive(Debug)]
struct Item {
    sequence: usize,
    first_token: usize,
    kv_head: usize,
    columns: Range<usize>,
    /// How many pairs of a column and a block it has, by which items are ordered.
    cost: usize,
}

/// How many numbers the columns of one item may have: queries and outputs stay in the L2 cache.
const MAX_ITEM_VALUES: usize = 6144;

/// Cuts the columns of all sequences and key-value heads into items, the longest first.
fn plan(heads: &Heads, sequences: &[AttentionSequence<'_>], num_threads: usize) -> Vec<Item> {
    let num_columns: Vec<usize> =
        sequences.iter().map(|sequence| sequence.num_tokens * heads.group_len()).collect();
    let num_items = |columns_per_item: usize| {
        let per_head: usize = num_columns.iter().map(|n| n.div_ceil(columns_per_item)).sum();
        per_head * heads.num_kv_heads
    };
    // Columns that stay together share the reading of keys and values, so they are separated only
    // as far as it takes to give every thread something to do.
    let widest = num_columns.iter().copied().max().unwrap_or(0);
    let mut columns_per_item = (MAX_ITEM_VALUES / heads.head_dim).min(widest).max(1);
    while columns_per_item > 1 && num_items(columns_per_item) < num_threads {
        columns_per_item = columns_per_item.div_ceil(2);
    }

    let mut items = Vec::with_capacity(num_items(columns_per_item));
    let mut first_token = 0;
    for (index, (sequence, &num_columns)) in sequences.iter().zip(&num_columns).enumerate() {
        for start in (0..num_columns).step_by(columns_per_item) {
            let columns = start..(start + columns_per_item).min(num_columns);
            let last_position = sequence.start + (columns.end - 1) / heads.group_len();
            let cost = columns.len() * (last_position / BLOCK_SIZE + 1);
            items.extend((0..heads.num_kv_heads).map(|kv_head| Item {
                sequence: index,
                first_token,
                kv_head,
                columns: columns.clone(),
                cost,
            }));
        }
        first_token += sequence.num_tokens;
    }
    items.sort_by_key(|item| std::cmp::Reverse(item.cost));
    items
}

fn check(
    store: &KvStore,
    layer: usize,
    spec: &AttentionSpec,
    sequences: &[AttentionSequence<'_>],
    q: &[f32],
    out: &[f32],
) -> Heads {
    let shape = store.shape();
    let heads = Heads {
        num_heads: spec.num_heads,
        num_kv_heads: shape.num_kv_heads,
        head_dim: shape.head_dim,
    };
    let Heads { num_heads, num_kv_heads, head_dim } = heads;
    assert!(layer < shape.num_layers, "layer {layer} of a store of {}", shape.num_layers);
    assert!(num_heads > 0 && num_kv_heads > 0 && head_dim > 0, "attention has heads of some size");
    assert_eq!(num_heads % num_kv_heads, 0, "every key-value head must serve as many query heads");
    assert!(spec.softcap.is_none_or(|cap| cap > 0.0), "a cap must be positive");
    assert_ne!(spec.window, Some(0), "a query sees at least itself");
    let num_tokens: usize = sequences.iter().map(|sequence| sequence.num_tokens).sum();
    assert_eq!(q.len(), num_tokens * heads.token_len(), "every new token must bring its queries");
    assert_eq!(out.len(), q.len(), "the output must be as long as the queries");
    for AttentionSequence { num_tokens, start, block_table } in sequences {
        let num_blocks = (start + num_tokens).div_ceil(BLOCK_SIZE);
        assert!(
            block_table.len() >= num_blocks,
            "{start} + {num_tokens} tokens need {num_blocks} blocks, the table has {}",
            block_table.len()
        );
        for &block in &block_table[..num_blocks] {
            assert!(
                (block as usize) < shape.num_blocks,
                "block {block} of a store of {}",
                shape.num_blocks
            );
        }
    }
    heads
}

#[cfg(test)]
mod tests;
