//! What the engine asks of a model: batch in, logits out.

use brisk_model::{BLOCK_SIZE, Model};
pub use brisk_model::{BatchSequence as SequenceChunk, LogitsWanted};

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

impl ModelRunner for Model {
    fn forward(&mut self, batch: &[SequenceChunk<'_>], logits: &mut Vec<f32>) {
        Model::forward(self, batch, logits);
    }

    fn max_model_len(&self) -> usize {
        self.plan().max_model_len
    }

    fn vocab_size(&self) -> usize {
        self.config().vocab_size
    }

    fn num_blocks(&self) -> usize {
        self.plan().num_kv_blocks
    }

    fn block_size(&self) -> usize {
        BLOCK_SIZE
    }
}
