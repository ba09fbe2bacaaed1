//! What a model will occupy, added up before anything is allocated.

use brisk_formats::{GgufFile, TensorInfo};
use brisk_kernels::{KvShape, KvType};

use crate::{BLOCK_SIZE, LoadError, LoadOptions, ModelConfig};

/// Rows that the kernels interleave.
const TILE_ROWS: usize = 16;

/// Bytes by consumer, and the sizes that follow from the options.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MemoryPlan {
    /// Packed weights: the bytes of the file, rows filled up to tiles of 16.
    pub weight_bytes: u64,
    /// Keys and values.
    pub kv_cache_bytes: u64,
    /// Activations and logits of the largest step.
    pub buffer_bytes: u64,
    /// Context to serve.
    pub max_model_len: usize,
    /// Blocks of the KV cache.
    pub num_kv_blocks: usize,
    /// How the KV cache stores numbers.
    pub kv_cache_type: KvType,
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
        let weight_bytes = file.tensors().iter().map(packed_bytes).fold(0, u64::saturating_add);
        let mut plan = Self {
            weight_bytes,
            kv_cache_bytes: 0,
            buffer_bytes: 0,
            max_model_len,
            num_kv_blocks,
            kv_cache_type: options.kv_cache_type,
        };
        plan.kv_cache_bytes = plan.kv_shape(config).num_bytes() as u64;
        plan.buffer_bytes = buffer_bytes(config, options);
        match options.available_bytes {
            Some(available_bytes) if plan.num_bytes() > available_bytes => {
                Err(LoadError::OutOfMemory {
                    needed_bytes: plan.num_bytes(),
                    weight_bytes,
                    kv_cache_bytes: plan.kv_cache_bytes,
                    buffer_bytes: plan.buffer_bytes,
                    available_bytes,
                })
            }
            _ => Ok(plan),
        }
    }

    /// Everything together.
    pub fn num_bytes(&self) -> u64 {
        self.weight_bytes.saturating_add(self.kv_cache_bytes).saturating_add(self.buffer_bytes)
    }

    pub(crate) fn kv_shape(&self, config: &ModelConfig) -> KvShape {
        config.kv_shape(self.kv_cache_type, self.num_kv_blocks)
    }
}

impl ModelConfig {
    /// Bytes of one token's keys and values over all layers, in a KV cache of this type, rounded up.
    pub fn kv_bytes_per_token(&self, kv_cache_type: KvType) -> u64 {
        let block = self.kv_shape(kv_cache_type, 1);
        block.num_bytes().div_ceil(BLOCK_SIZE).max(1) as u64
    }

    fn kv_shape(&self, kv_type: KvType, num_blocks: usize) -> KvShape {
        KvShape {
            kv_type,
            num_layers: self.num_layers,
            num_blocks,
            num_kv_heads: self.num_kv_heads,
            head_dim: self.head_dim,
        }
    }
}

/// What a tensor takes once its rows lie in tiles.
fn packed_bytes(tensor: &TensorInfo) -> u64 {
    let rows = tensor.rows().max(1);
    let row_bytes = (tensor.num_bytes() / rows) as u64;
    row_bytes.saturating_mul(rows.next_multiple_of(TILE_ROWS) as u64)
}

/// The decoder's scratch memory at its largest, in 32-bit floats; a little more than it uses.
fn buffer_bytes(config: &ModelConfig, options: &LoadOptions) -> u64 {
    let per_token = 4 * config.hidden_size
        + 5 * config.intermediate_size
        + 4 * config.q_size()
        + 4 * config.kv_size();
    let activations = (options.max_num_batched_tokens as u64).saturating_mul(per_token as u64);
    let logits = (options.max_num_logits as u64).saturating_mul(config.vocab_size as u64);
    activations.saturating_add(logits).saturating_mul(size_of::<f32>() as u64)
}
