//! GGUF, the file format of the llama.cpp family: versions 2 and 3 in, version 3 out.
//!
//! Layout (all little-endian): `"GGUF"`, version u32, tensor count u64, key count u64; then each
//! key as (string, type u32, value); then each tensor as (name, number of dimensions u32,
//! dimensions u64 each, type u32, offset u64); then zeros up to a multiple of `general.alignment`;
//! then the data, to which the tensors' offsets are relative. A string is a u64 length and UTF-8.

mod cursor;
mod file;
mod header;
mod metadata;
mod shards;
mod tensor;
mod value;
mod writer;

pub use file::{GgufFile, TensorBytes};
pub use metadata::Metadata;
pub use tensor::{TensorInfo, TensorType};
pub use value::{Array, Value, ValueType};
pub use writer::GgufWriter;

/// The first bytes of every GGUF file.
const MAGIC: &[u8; 4] = b"GGUF";
/// Where a file names another alignment than [`DEFAULT_ALIGNMENT`].
const ALIGNMENT_KEY: &str = "general.alignment";
/// The alignment of a file that names none, in bytes.
const DEFAULT_ALIGNMENT: u64 = 32;
/// The largest alignment accepted. Real files have 32; a page of the largest kind is 64 KiB.
const MAX_ALIGNMENT: u64 = 1 << 16;
/// The longest metadata key, in bytes (GGUF specification).
const MAX_KEY_BYTES: u64 = (1 << 16) - 1;
/// The longest tensor name, in bytes (GGUF specification).
const MAX_NAME_BYTES: u64 = 64;
/// The most dimensions a tensor has (ggml's own limit).
const MAX_DIMS: u32 = 4;

/// `value` if it can be an alignment: a power of two (GGUF asks for multiples of 8).
fn check_alignment(value: u64) -> Result<u64, crate::Error> {
    if value.is_power_of_two() && (8..=MAX_ALIGNMENT).contains(&value) {
        Ok(value)
    } else {
        Err(crate::Error::Alignment { value, max: MAX_ALIGNMENT })
    }
}
