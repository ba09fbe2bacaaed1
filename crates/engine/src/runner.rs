//! What the engine asks of a model: batch in, logits out.

/// Logits that a chunk asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogitsWanted {
    /// None: the prefill goes on in a later step.
    None,
    /// Those after the chunk's last token.
    Last,
    /// Those after every token of the chunk (to check drafted tokens).
    All,
}

/// A run of consecutive tokens of one sequence, to be computed in this step.
#[derive(Clone, Copy, Debug)]
pub struct SequenceChunk<'a> {
    /// The tokens, never empty.
    pub tokens: &'a [u32],
    /// Position of the first of them; what stands before is already in the KV cache.
    pub start: usize,
    /// Blocks of the sequence's keys and values, in order of position. They reach at least to the
    /// chunk's last token.
    pub block_table: &'a [u32],
    /// Which logits to give.
    pub logits: LogitsWanted,
}

/// A model, or a device that runs one. It owns the KV memory; the engine knows block ids alone.
///
/// The result for one sequence must not depend on its batch mates, on the blocks it was given, or
/// on how its tokens were cut into chunks: the engine promises equal text whoever else runs.
pub trait ModelRunner {
    /// Computes the chunks, stores their keys and values, and appends the wanted rows of
    /// `vocab_size` logits to `logits`, in the order of `batch`.
    fn forward(&mut self, batch: &[SequenceChunk<'_>], logits: &mut Vec<f32>);
    /// Positions that the model knows.
    fn max_model_len(&self) -> usize;
    /// Length of a row of logits.
    fn vocab_size(&self) -> usize;
    /// KV blocks there are.
    fn num_blocks(&self) -> usize;
    /// Tokens of one block.
    fn block_size(&self) -> usize;
}
