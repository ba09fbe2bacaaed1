//! Why a model could not be loaded, with the key, tensor or number at fault.

use thiserror::Error;

/// A file that cannot become a model. Always the file's (or its owner's) move.
#[derive(Debug, Error)]
pub enum LoadError {
    /// The container itself is broken, or a key is missing or of the wrong type.
    #[error(transparent)]
    Format(#[from] brisk_formats::Error),
    /// The kernels refuse a tensor or the memory for it.
    #[error("{what}: {source}")]
    Kernel {
        /// The tensor or buffer.
        what: String,
        /// The refusal.
        source: brisk_kernels::Error,
    },
    /// The tokenizer in the file is broken.
    #[error("the file's tokenizer: {0}")]
    Tokenizer(#[from] brisk_tokenizer::Error),
    /// The chat template is broken, in the file or in its place.
    #[error(transparent)]
    Template(#[from] brisk_tokenizer::TemplateError),
    /// An architecture that this version has no decoder for.
    #[error("architecture \"{name}\" is not supported (supported: {supported})")]
    UnsupportedArchitecture {
        /// `general.architecture`.
        name: String,
        /// What is supported.
        supported: &'static str,
    },
    /// A metadata value is outside what a model can have.
    #[error("{key} is {value}, it must be {expected}")]
    BadValue {
        /// The metadata key.
        key: String,
        /// What the file says.
        value: String,
        /// What it may say.
        expected: String,
    },
    /// The file's data could not be read, though its header could.
    #[error("reading tensor \"{name}\": {source}")]
    Unreadable {
        /// Its GGUF name.
        name: String,
        /// What the operating system said.
        source: std::io::Error,
    },
    /// A tensor that the architecture needs is not in the file.
    #[error("tensor \"{name}\" is missing")]
    MissingTensor {
        /// Its GGUF name.
        name: String,
    },
    /// A tensor that the decoder would ignore, so the replies would be wrong.
    #[error("tensor \"{name}\" has no place in a {architecture} decoder")]
    UnexpectedTensor {
        /// Its GGUF name.
        name: String,
        /// The family that was loaded.
        architecture: crate::Architecture,
    },
    /// A tensor has another shape than the configuration implies.
    #[error("tensor \"{name}\" has shape {found:?}, the configuration implies {expected:?}")]
    TensorShape {
        /// Its GGUF name.
        name: String,
        /// Shape in the file, row length first.
        found: Vec<usize>,
        /// Shape wanted, row length first.
        expected: Vec<usize>,
    },
    /// The vocabulary and the embedding disagree.
    #[error("the tokenizer has {num_tokens} tokens, the embedding {num_rows} rows")]
    VocabularyMismatch {
        /// Tokens in the tokenizer.
        num_tokens: usize,
        /// Rows in `token_embd.weight`.
        num_rows: usize,
    },
    /// Weights and caches do not fit in memory: refused before anything is allocated.
    #[error(
        "the model needs {needed_bytes} bytes (weights {weight_bytes}, KV cache {kv_cache_bytes}, \
         buffers {buffer_bytes}), {available_bytes} are available: choose a smaller file or a \
         smaller context"
    )]
    OutOfMemory {
        /// Everything together.
        needed_bytes: u64,
        /// Packed weights.
        weight_bytes: u64,
        /// KV cache.
        kv_cache_bytes: u64,
        /// Activations and logits.
        buffer_bytes: u64,
        /// What the caller said is available.
        available_bytes: u64,
    },
}
