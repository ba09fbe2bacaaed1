//! Attention of new tokens over the keys and values of their sequences (Vaswani et al. 2017), block
//! by block with a running softmax (Milakov and Gimelshein 2018), as in Flash Attention, and with
//! the keys cut into spans, as in Flash Decoding.
//!
//! The idea, for one key-value head of one sequence:
//!
//! ```text
//! columns = the queries of all tokens and of all heads that share the key-value head
//! for each span of 256 keys that a column can see:
//!     for each block of 32 keys of the span:
//!         scores = keys x columns                  one converted line of keys serves 12 columns
//!         weights = exp(scores - running maximum)  masked places get exactly zero
//!         sums += weights;  outputs = outputs * exp(old maximum - new) + weights x values
//!     merge the span's maximum, sums and outputs with those of the spans before it
//! out = outputs / sums
//! ```
//!
//! 1. Token and head are the same thing to a column, so that decoding with grouped heads and
//!    reading a long prompt run the same code.
//! 2. A block outside a column's view changes nothing: its weights are zero, the maximum stays, the
//!    correction is `exp(0) = 1`, and stored values are finite. So a column may be processed with
//!    any others, and the bits of its result are the same; blocks that no column sees are skipped.
//!    The same holds for spans.
//! 3. Work is handed out as (sequence, key-value head, some columns), the longest first. Where that
//!    leaves threads idle, the spans of such an item go to several of them, and what they found is
//!    merged afterwards. Spans lie at fixed positions and are merged in their order whoever
//!    computed them, so that the bits do not tell how the work was shared.

mod columns;
mod formats;
mod plain;
mod plan;
mod tile;
#[cfg(target_arch = "x86_64")]
mod x86;
#[cfg(target_arch = "x86_64")]
mod x86_q8_0;

use std::{cell::Cell, ops::Range};

use crate::{
    BLOCK_SIZE, Compute, KvStore, KvType,
    cpu::{Cpu, CpuLevel},
    pool::SharedSlice,
};
use columns::Findings;
use plan::{Item, Plan, SPAN};
use tile::{Line, Softmax};

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
    let num_threads = match compute.cpu.level() {
        // The definition knows no spans.
        CpuLevel::Reference => 1,
        _ => compute.pool.num_threads(),
    };
    let plan = Plan::new(&heads, spec, sequences, num_threads);
    let work = |item: &Item| {
        let sequence = &sequences[item.sequence];
        let tokens = item.first_token * heads.token_len()..;
        ColumnWork {
            store,
            layer,
            spec,
            heads,
            sequence,
            kv_head: item.kv_head,
            columns: item.columns.clone(),
            view: View::new(&heads, spec, sequence),
            q: &q[tokens][..sequence.num_tokens * heads.token_len()],
        }
    };
    let out = SharedSlice::new(out);
    let write_result = |item: &Item, work: &ColumnWork<'_>, column: usize, result: &[f32]| {
        let start = item.first_token * heads.token_len() + work.place(column).start;
        // SAFETY: a place belongs to one column of one key-value head of one sequence, and the
        // plan puts that into one item only, whose results are written one after the other.
        unsafe { out.slice_mut(start..start + result.len()) }.copy_from_slice(result);
    };

    let mut parts = PARTS.take();
    // Every part that is read below has been written: columns are merged over the spans they see.
    parts.resize(plan.num_parts, heads.head_dim);
    let lines_per_value = heads.head_dim.div_ceil(BLOCK_SIZE);
    let (softmax, sums) = (SharedSlice::new(&mut parts.softmax), SharedSlice::new(&mut parts.sums));
    compute.pool.run_longest_first(plan.tasks.len(), |index| {
        let task = &plan.tasks[index];
        let item = &plan.items[task.item];
        let work = work(item);
        let mut emit_result = |column, result: &[f32]| write_result(item, &work, column, result);
        let mut emit_part = |column: usize, span: usize, part: Part<'_>| {
            let slot = item.part(column, span);
            let lines = slot * lines_per_value..(slot + 1) * lines_per_value;
            // SAFETY: a part belongs to one column and span of one item, and each span of an item
            // is in one task only.
            unsafe { softmax.slice_mut(slot..slot + 1) }.copy_from_slice(&[*part.softmax]);
            // SAFETY: as above.
            unsafe { sums.slice_mut(lines) }.copy_from_slice(part.sums);
        };
        let emit = match &task.spans {
            None => Emit::Results(&mut emit_result),
            Some(spans) => Emit::Parts(spans.clone(), &mut emit_part),
        };
        attend(compute.cpu, &work, emit);
    });
    compute.pool.run(plan.num_split_items, |index| {
        let item = &plan.items[index];
        let work = work(item);
        columns::merge_parts(compute.cpu, &work, item, &parts, &mut |column, result| {
            write_result(item, &work, column, result);
        });
    });
    PARTS.set(parts);
}

thread_local! {
    /// What the parts of split items found, kept to be allocated once: for each column and span two
    /// numbers and those of a value in whole lines. Split items are no more than a few per thread,
    /// with 12 columns at most.
    static PARTS: Cell<Findings> = Cell::default();
}

/// What one column found in one span.
struct Part<'a> {
    softmax: &'a Softmax,
    sums: &'a [Line],
}

/// What an item's columns are to find, and who takes it.
enum Emit<'a> {
    /// The results of all columns, by their numbers.
    Results(&'a mut dyn FnMut(usize, &[f32])),
    /// What the columns find in each of some spans that they see, by column and span.
    Parts(Range<usize>, &'a mut dyn FnMut(usize, usize, Part<'_>)),
}

fn attend(cpu: Cpu, work: &ColumnWork<'_>, emit: Emit<'_>) {
    match (cpu.level(), work.store.shape().kv_type) {
        #[cfg(target_arch = "x86_64")]
        // SAFETY: a `Cpu` of this level exists only where its features were detected.
        (CpuLevel::Avx512, KvType::F16) => unsafe { x86::attend_avx512(work, emit) },
        #[cfg(target_arch = "x86_64")]
        // SAFETY: a `Cpu` of this level exists only where its features were detected.
        (CpuLevel::Avx2, KvType::F16) => unsafe { x86::attend_avx2(work, emit) },
        #[cfg(target_arch = "x86_64")]
        // SAFETY: a `Cpu` of this level exists only where its features were detected, and so was
        // this one.
        (CpuLevel::Avx512, KvType::Q8_0) if cpu.has_vnni() => unsafe {
            x86_q8_0::attend_vnni(work, emit);
        },
        #[cfg(target_arch = "x86_64")]
        // SAFETY: a `Cpu` of these levels exists only where the features of AVX2 were detected.
        (CpuLevel::Avx512 | CpuLevel::Avx2, KvType::Q8_0) => unsafe {
            x86_q8_0::attend_avx2(work, emit);
        },
        (CpuLevel::Reference, _) => plain::attend(work, emit),
        (_, KvType::F16) => columns::attend(plain::PlainF16, work, emit),
        (_, KvType::Q8_0) => columns::attend(plain::PlainQ8, work, emit),
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
    view: View,
    q: &'a [f32], // (num_tokens, num_heads, head_dim)
}

impl ColumnWork<'_> {
    /// Where a column's query stands in `q`, and its result in the same place of the output.
    fn place(&self, column: usize) -> Range<usize> {
        let group_len = self.view.group_len;
        let head = self.kv_head * group_len + column % group_len;
        let start = (column / group_len * self.heads.num_heads + head) * self.heads.head_dim;
        start..start + self.heads.head_dim
    }
}

/// What the columns of a sequence see of it.
#[derive(Debug, Clone, Copy)]
struct View {
    /// The position of the first column.
    start: usize,
    group_len: usize,
    window: Option<u32>,
}

impl View {
    fn new(heads: &Heads, spec: &AttentionSpec, sequence: &AttentionSequence<'_>) -> Self {
        Self { start: sequence.start, group_len: heads.group_len(), window: spec.window }
    }

    /// The positions of the keys that a column sees.
    fn positions(&self, column: usize) -> Range<usize> {
        let end = self.start + column / self.group_len + 1;
        let start = self.window.map_or(0, |window| end.saturating_sub(window as usize));
        start..end
    }

    /// The blocks, counted in the sequence, in which some of `columns` see something.
    fn blocks(&self, columns: &Range<usize>) -> Range<usize> {
        self.units(columns, BLOCK_SIZE)
    }

    /// The spans in which some of `columns` see something.
    fn spans(&self, columns: &Range<usize>) -> Range<usize> {
        self.units(columns, SPAN)
    }

    fn units(&self, columns: &Range<usize>, unit_len: usize) -> Range<usize> {
        let (first, last) = (self.positions(columns.start), self.positions(columns.end - 1));
        first.start / unit_len..last.end.div_ceil(unit_len)
    }
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
