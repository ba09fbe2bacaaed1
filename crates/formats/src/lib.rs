//! Model files: bytes to typed views, and writers.
//!
//! A model file comes from a stranger, so nothing in it is believed before it is checked: every
//! count, length and offset is compared with the bytes that are there, with checked arithmetic,
//! before anything is allocated or read from it. A broken file gives an [`Error`] that names the
//! field and the byte offset; it never panics and never yields a wrong tensor.
//!
//! ```
//! use std::borrow::Cow;
//! use brisk_formats::{GgufFile, GgufWriter, TensorType, Value};
//!
//! let mut writer = GgufWriter::new();
//! writer.add_metadata("general.architecture", Value::String("llama".into()))?;
//! let row = [1.0f32, 2.0].map(f32::to_le_bytes).concat();
//! writer.add_tensor("output_norm.weight", &[2], TensorType::F32, row)?;
//! let mut bytes = Vec::new();
//! writer.write_to(&mut bytes)?;
//!
//! let file = GgufFile::from_bytes(Cow::Owned(bytes))?;
//! assert_eq!(file.metadata().str("general.architecture")?, Some("llama"));
//! let norm = file.tensor("output_norm.weight").expect("it was written above");
//! assert_eq!(file.data(norm).len(), 8);
//! # Ok::<(), brisk_formats::Error>(())
//! ```

mod error;
mod gguf;
mod mapped;

pub use error::Error;
pub use gguf::{
    Array, GgufFile, GgufWriter, Metadata, TensorBytes, TensorInfo, TensorType, Value, ValueType,
};
