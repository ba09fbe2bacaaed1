//! What a model will occupy, added up before anything is allocated.

use brisk_formats::GgufFile;
use brisk_kernels::KvShape;

use crate::{BLOCK_SIZE, LoadError, LoadOptions, ModelConfig};

/// Bytes by consumer, and the sizes that follow from the options.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MemoryPlan {
    /// Packed weights: the same bytes as in the file.
    pub weight_bytes: u64,
    /// Keys and values.
    pub kv_cache_bytes: u64,
    /// Context to serve.
    pub max_model_len: usize,
    /// Blocks of the KV cache.
    pub num_kv_blocks: usize,
}

impl MemoryPlan {
    /// Plans `config` under `options`.
    ///
    /// # Errors
    /// [`LoadError::OutOfMemory`] with the sum when it is more than the options allow.
    pub fn new(
        file: &GgufFile,
        config: &ModelConfig,
        options: &LoadOptions,
    ) -> Result<Self, LoadError> {
        let max_model_len =
            options.max_model_len.unwrap_or(config.context_length).clamp(1, config.context_length);
        // One context must fit whatever the cache's size, or long prompts could never run.
        let num_tokens = options.num_kv_cache_tokens.unwrap_or(max_model_len).max(max_model_len);
        let num_kv_blocks = num_tokens.div_ceil(BLOCK_SIZE) + 1;
        let weight_bytes = file.tensors().iter().map(|tensor| tensor.num_bytes() as u64).sum();
        // f16 keys and values: 2 bytes each, 2 of them.
        let kv_cache_bytes = [config.num_layers, num_kv_blocks, BLOCK_SIZE, config.kv_size(), 4]
            .into_iter()
            .try_fold(1_u64, |product, factor| product.checked_mul(factor as u64))
            .unwrap_or(u64::MAX);
        let plan = Self { weight_bytes, kv_cache_bytes, max_model_len, num_kv_blocks };
        match options.available_bytes {
            Some(available_bytes) if plan.num_bytes() > available_bytes => {
                Err(LoadError::OutOfMemory {
                    needed_bytes: plan.num_bytes(),
                    weight_bytes,
                    kv_cache_bytes,
                    available_bytes,
                })
            }
            _ => Ok(plan),
        }
    }

    /// Everything together.
    pub fn num_bytes(&self) -> u64 {
        self.weight_bytes.saturating_add(self.kv_cache_bytes)
    }

    pub(crate) fn kv_shape(&self, config: &ModelConfig) -> KvShape {
        KvShape {
            num_layers: config.num_layers,
            num_blocks: self.num_kv_blocks,
            num_kv_heads: config.num_kv_heads,
            head_dim: config.head_dim,
        }
    }
}
