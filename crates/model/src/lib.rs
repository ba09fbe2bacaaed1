//! A model: configuration, weights and one generic decoder. A batch of tokens goes in, logits come
//! out.
//!
//! Every family is the same layer with flags: what differs stands in [`ModelConfig`], and
//! nothing after loading asks which family it is. Names of GGUF keys and tensors appear here in
//! `config` and `loader` alone.

#![forbid(unsafe_code)]

mod config;
mod decoder;
mod error;
mod loader;
mod memory;
mod rope;
mod tokenizer;
mod weights;

pub use config::{Activation, Architecture, ModelConfig};
pub use decoder::{BatchSequence, LogitsWanted, Model};
pub use error::LoadError;
pub use loader::LoadOptions;
pub use memory::MemoryPlan;
pub use rope::RopeScaling;
pub use tokenizer::{load_template, load_tokenizer, named_templates};

/// Tokens in one block of the KV cache.
pub const BLOCK_SIZE: usize = brisk_kernels::BLOCK_SIZE;
