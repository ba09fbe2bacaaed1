//! Shares out the columns of all sequences and key-value heads, and their spans where that leaves
//! threads idle.

use std::{cmp::Reverse, ops::Range};

use super::{AttentionSequence, AttentionSpec, Heads, View};

/// How many keys a span has, a multiple of the block: reading them takes a few microseconds, so
/// that handing a span out costs little, and a context of 2,048 gives work to eight threads. Part
/// of the definition of a result's bits, so never a matter of the machine or the batch.
pub(super) const SPAN: usize = 256;

/// How many numbers the columns of one item may have: queries and outputs stay in the L2 cache.
const MAX_ITEM_VALUES: usize = 6144;

/// Columns that are kept together, as one reading of keys and values serves them all.
const MIN_ITEM_COLUMNS: usize = 12;

/// Reading keys and values takes about as long as the arithmetic of this many columns.
const READING_COST: usize = 3;

/// Tasks per thread, so that a slow thread holds up the others for a quarter of the time at most.
const TASKS_PER_THREAD: usize = 4;

/// Some columns of one key-value head of one sequence.
#[derive(Debug)]
pub(super) struct Item {
    pub(super) sequence: usize,
    /// Where the sequence's tokens begin among all new tokens.
    pub(super) first_token: usize,
    pub(super) kv_head: usize,
    pub(super) columns: Range<usize>,
    /// The spans that some of the columns see.
    spans: Range<usize>,
    /// Of a split item, the number of its first part.
    first_part: usize,
}

impl Item {
    /// The number of the part that belongs to a column and a span of a split item.
    pub(super) fn part(&self, column: usize, span: usize) -> usize {
        let span = span - self.spans.start;
        self.first_part + span * self.columns.len() + column - self.columns.start
    }
}

/// One thing for a thread to do.
#[derive(Debug)]
pub(super) struct Task {
    pub(super) item: usize,
    /// Of a split item, the spans that this task computes. Else it computes the whole item.
    pub(super) spans: Option<Range<usize>>,
    cost: usize,
}

/// Who computes what.
#[derive(Debug, Default)]
pub(super) struct Plan {
    /// The split ones first.
    pub(super) items: Vec<Item>,
    pub(super) num_split_items: usize,
    /// How many parts the split items have together.
    pub(super) num_parts: usize,
    /// The longest first.
    pub(super) tasks: Vec<Task>,
}

impl Plan {
    pub(super) fn new(
        heads: &Heads,
        spec: &AttentionSpec,
        sequences: &[AttentionSequence<'_>],
        num_threads: usize,
    ) -> Self {
        let mut plan = Self::default();
        let max_cost = max_cost(heads, spec, sequences, num_threads);
        let mut whole = Vec::new();
        let mut first_token = 0;
        for (index, sequence) in sequences.iter().enumerate() {
            let num_columns = sequence.num_tokens * heads.group_len();
            let view = View::new(heads, spec, sequence);
            let columns_per_item = columns_per_item(heads, &view, num_columns, max_cost);
            for start in (0..num_columns).step_by(columns_per_item) {
                let columns = start..(start + columns_per_item).min(num_columns);
                let (cost, spans) = (cost(&view, &columns), view.spans(&columns));
                let num_tasks = cost.div_ceil(max_cost).min(spans.len());
                for kv_head in 0..heads.num_kv_heads {
                    let mut item = Item {
                        sequence: index,
                        first_token,
                        kv_head,
                        columns: columns.clone(),
                        spans: spans.clone(),
                        first_part: 0,
                    };
                    if num_tasks > 1 {
                        item.first_part = plan.num_parts;
                        plan.split(item, cost, num_tasks);
                    } else {
                        whole.push((item, cost));
                    }
                }
            }
            first_token += sequence.num_tokens;
        }
        plan.num_split_items = plan.items.len();
        for (item, cost) in whole {
            plan.tasks.push(Task { item: plan.items.len(), spans: None, cost });
            plan.items.push(item);
        }
        plan.tasks.sort_by_key(|task| Reverse(task.cost));
        plan
    }

    /// Adds an item whose spans are shared out among `num_tasks`.
    fn split(&mut self, item: Item, cost: usize, num_tasks: usize) {
        let Range { start, end } = item.spans;
        let num_spans = end - start;
        self.num_parts += num_spans * item.columns.len();
        for task in 0..num_tasks {
            let first = |task: usize| start + num_spans * task / num_tasks;
            self.tasks.push(Task {
                item: self.items.len(),
                spans: Some(first(task)..first(task + 1)),
                cost: cost / num_tasks,
            });
        }
        self.items.push(item);
    }
}

/// What a task may cost so that every thread gets its share.
fn max_cost(
    heads: &Heads,
    spec: &AttentionSpec,
    sequences: &[AttentionSequence<'_>],
    num_threads: usize,
) -> usize {
    if num_threads <= 1 {
        return usize::MAX;
    }
    let costs = sequences.iter().filter(|sequence| sequence.num_tokens > 0).map(|sequence| {
        let num_columns = sequence.num_tokens * heads.group_len();
        cost(&View::new(heads, spec, sequence), &(0..num_columns))
    });
    (costs.sum::<usize>() * heads.num_kv_heads).div_ceil(TASKS_PER_THREAD * num_threads).max(1)
}

/// As many columns as fit, fewer where an item would cost too much.
fn columns_per_item(heads: &Heads, view: &View, num_columns: usize, max_cost: usize) -> usize {
    let mut columns = (MAX_ITEM_VALUES / heads.head_dim).min(num_columns).max(1);
    while columns > MIN_ITEM_COLUMNS && cost(view, &(num_columns - columns..num_columns)) > max_cost
    {
        columns = columns.div_ceil(2).max(MIN_ITEM_COLUMNS);
    }
    columns
}

/// In blocks that a column takes in. The last column stands for all.
fn cost(view: &View, columns: &Range<usize>) -> usize {
    (columns.len() + READING_COST) * view.blocks(&(columns.end - 1..columns.end)).len()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `heads` are query heads and key-value heads of 64 dimensions, `sequences` new tokens and those
    /// before them. Expected are the numbers of items, split items, tasks and parts.
    fn check(
        (num_heads, num_kv_heads): (usize, usize),
        window: Option<u32>,
        sequences: &[(usize, usize)],
        num_threads: usize,
        expected: [usize; 4],
    ) {
        let heads = Heads { num_heads, num_kv_heads, head_dim: 64 };
        let spec = AttentionSpec { num_heads, scale: 1.0, softcap: None, window };
        let sequences: Vec<_> = sequences
            .iter()
            .map(|&(num_tokens, start)| AttentionSequence { num_tokens, start, block_table: &[] })
            .collect();
        let plan = Plan::new(&heads, &spec, &sequences, num_threads);
        let found = [plan.items.len(), plan.num_split_items, plan.tasks.len(), plan.num_parts];
        assert_eq!(found, expected, "{sequences:?} on {num_threads} threads");
        check_complete(&plan, &heads, &sequences);
    }

    /// Every column of every head is in one item, and every span of a split item in one task.
    fn check_complete(plan: &Plan, heads: &Heads, sequences: &[AttentionSequence<'_>]) {
        let mut columns: Vec<Vec<usize>> =
            sequences.iter().map(|it| vec![0; it.num_tokens * heads.num_heads]).collect();
        let mut parts = vec![0; plan.num_parts];
        for (index, item) in plan.items.iter().enumerate() {
            for column in item.columns.clone() {
                columns[item.sequence][column * heads.num_kv_heads + item.kv_head] += 1;
            }
            let tasks: Vec<_> = plan.tasks.iter().filter(|task| task.item == index).collect();
            let is_split = index < plan.num_split_items;
            assert!(is_split || tasks.len() == 1 && tasks[0].spans.is_none());
            for spans in tasks.iter().filter_map(|task| task.spans.clone()) {
                for (span, column) in
                    spans.flat_map(|it| item.columns.clone().map(move |c| (it, c)))
                {
                    parts[item.part(column, span)] += 1;
                }
            }
        }
        assert!(columns.iter().flatten().chain(&parts).all(|count| *count == 1));
        assert!(plan.tasks.is_sorted_by_key(|task| Reverse(task.cost)));
    }

    #[test]
    fn spans_are_shared_out_only_where_threads_would_be_idle() {
        // A model with 8 key-value heads keeps two threads busy, and a short context anybody.
        check((32, 8), None, &[(1, 2047)], 1, [8, 0, 8, 0]);
        check((32, 8), None, &[(1, 2047)], 2, [8, 0, 8, 0]);
        check((4, 1), None, &[(1, 255)], 16, [1, 0, 1, 0]);
        // One key-value head does not.
        check((4, 1), None, &[(1, 2047)], 2, [1, 1, 8, 32]);
        check((4, 1), None, &[(1, 2047)], 16, [1, 1, 8, 32]);
        check((32, 8), None, &[(1, 2047)], 16, [8, 8, 64, 256]);
        // A window leaves three spans to share.
        check((4, 1), Some(512), &[(1, 2047 + 100)], 2, [1, 1, 3, 12]);
        // A long sequence beside short ones.
        check((8, 2), None, &[(1, 100), (1, 8191), (1, 20)], 2, [6, 2, 12, 256]);
    }

    #[test]
    fn a_prompt_is_cut_by_its_columns() {
        check((32, 8), None, &[(512, 0)], 2, [176, 0, 176, 0]);
        check((4, 1), None, &[(20, 0)], 16, [7, 0, 7, 0]);
        check((4, 1), None, &[], 2, [0, 0, 0, 0]);
        check((4, 1), None, &[(0, 70)], 2, [0, 0, 0, 0]);
    }
}
