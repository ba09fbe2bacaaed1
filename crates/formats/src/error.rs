//! What can be wrong with a model file, with the field and the byte offset.

use std::{io, path::PathBuf};

use thiserror::Error;

/// A model file that cannot be read, or a model that cannot be written.
///
/// Offsets count bytes from the start of the file.
#[derive(Debug, Error)]
pub enum Error {
    /// The file cannot be opened or mapped.
    #[error("cannot open {}: {source}", path.display())]
    Open {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The path names something that is not a regular file.
    #[error("{} is {kind}, not a file", path.display())]
    NotAFile {
        /// The path.
        path: PathBuf,
        /// What it is.
        kind: &'static str,
    },
    /// The file does not begin as a GGUF file does.
    #[error("the file begins with \"{}\", a GGUF file begins with \"GGUF\"", found.escape_ascii())]
    BadMagic {
        /// The first bytes, four at most.
        found: Vec<u8>,
    },
    /// The file was written for a big-endian machine.
    #[error("the file is byte-swapped (big-endian GGUF), only little-endian files are read")]
    BigEndian,
    /// The GGUF version is one that is not read.
    #[error("version at byte 4 is {version}, versions 2 and 3 are read")]
    Version {
        /// The version in the file.
        version: u32,
    },
    /// The file ends inside a field.
    #[error("{field} at byte {offset} needs {needed} bytes, the file has {available} left")]
    Truncated {
        /// The field.
        field: String,
        /// Where it begins.
        offset: u64,
        /// Bytes it claims.
        needed: u64,
        /// Bytes that are there.
        available: u64,
    },
    /// A count is larger than the file could hold.
    #[error("{field} at byte {offset} is {count}, the rest of the file holds at most {max}")]
    Count {
        /// The field.
        field: String,
        /// Where it stands.
        offset: u64,
        /// The claim.
        count: u64,
        /// What the remaining bytes could hold.
        max: u64,
    },
    /// A text is not UTF-8.
    #[error("{field} at byte {offset} is not UTF-8")]
    NotUtf8 {
        /// The field.
        field: String,
        /// Where the text begins.
        offset: u64,
    },
    /// A key or a tensor name is empty or too long.
    #[error("{field} at byte {offset} has {length} bytes, 1 to {max} are allowed")]
    NameLength {
        /// The field.
        field: String,
        /// Where the name begins.
        offset: u64,
        /// Its length in bytes.
        length: u64,
        /// The longest one allowed.
        max: u64,
    },
    /// A metadata key appears twice.
    #[error("key {key:?} at byte {offset} appears twice")]
    DuplicateKey {
        /// The key.
        key: String,
        /// Where it appears the second time.
        offset: u64,
    },
    /// A value's type id is not one of GGUF's.
    #[error("value type of {key:?} at byte {offset} is {id}, GGUF knows 0 to 12")]
    ValueType {
        /// The key.
        key: String,
        /// Where the type id stands.
        offset: u64,
        /// The id.
        id: u32,
    },
    /// An array holds arrays.
    #[error("{key:?} at byte {offset} is an array of arrays, which no model needs")]
    NestedArray {
        /// The key.
        key: String,
        /// Where the element type stands.
        offset: u64,
    },
    /// A truth value is neither 0 nor 1.
    #[error("{field} at byte {offset} is {value}, a truth value is 0 or 1")]
    NotABool {
        /// The field.
        field: String,
        /// Where it stands.
        offset: u64,
        /// The byte.
        value: u8,
    },
    /// `general.alignment` is not a usable power of two.
    #[error("general.alignment is {value}, it must be a power of two from 8 to {max}")]
    Alignment {
        /// The claim.
        value: u64,
        /// The largest one accepted.
        max: u64,
    },
    /// A required metadata key is missing.
    #[error("the file has no key {key:?}")]
    MissingKey {
        /// The key.
        key: String,
    },
    /// A metadata value has another type than its key asks for.
    #[error("{key:?} is {found}, it must be {wanted}")]
    WrongType {
        /// The key.
        key: String,
        /// What its meaning asks for.
        wanted: &'static str,
        /// What the file holds.
        found: String,
    },
    /// A metadata number does not fit.
    #[error("{key:?} is {value}, it must be {wanted}")]
    OutOfRange {
        /// The key.
        key: String,
        /// The number in the file.
        value: String,
        /// The range.
        wanted: &'static str,
    },
    /// A tensor name appears twice.
    #[error("tensor {name:?} at byte {offset} appears twice")]
    DuplicateTensor {
        /// The tensor.
        name: String,
        /// Where it appears the second time; 0 when the first one is in another shard.
        offset: u64,
    },
    /// A tensor has no dimensions, or too many.
    #[error(
        "number of dimensions of tensor {name:?} at byte {offset} is {num_dims}, 1 to 4 are allowed"
    )]
    NumDims {
        /// The tensor.
        name: String,
        /// Where the count stands.
        offset: u64,
        /// The count.
        num_dims: u32,
    },
    /// A dimension is zero, or the tensor's size overflows.
    #[error("shape of tensor {name:?} at byte {offset} is {shape:?}: {problem}")]
    Shape {
        /// The tensor.
        name: String,
        /// Where the dimensions stand.
        offset: u64,
        /// The dimensions.
        shape: Vec<u64>,
        /// What is wrong.
        problem: &'static str,
    },
    /// A row does not end at a block's end.
    #[error(
        "tensor {name:?} has rows of {cols}, {tensor_type} packs {block_len} values to a block"
    )]
    RowNotBlocks {
        /// The tensor.
        name: String,
        /// Values in a row.
        cols: u64,
        /// The type's name.
        tensor_type: &'static str,
        /// Values in a block.
        block_len: usize,
    },
    /// A tensor type that exists but is not read here.
    #[error("type of tensor {name:?} at byte {offset} is {tensor_type}, which is not supported")]
    UnsupportedTensorType {
        /// The tensor.
        name: String,
        /// Where the type id stands.
        offset: u64,
        /// The type's name.
        tensor_type: &'static str,
    },
    /// A tensor type that does not exist.
    #[error("type of tensor {name:?} at byte {offset} is {id}, which is unknown")]
    UnknownTensorType {
        /// The tensor.
        name: String,
        /// Where the type id stands.
        offset: u64,
        /// The id.
        id: u32,
    },
    /// A tensor's data does not begin at a multiple of the alignment.
    #[error(
        "data of tensor {name:?} begins {data_offset} bytes into the data, no multiple of {alignment}"
    )]
    Misaligned {
        /// The tensor.
        name: String,
        /// Its offset within the data section.
        data_offset: u64,
        /// The file's alignment.
        alignment: u64,
    },
    /// Two tensors share bytes.
    #[error(
        "data of tensor {name:?} at byte {offset} overlaps tensor {other:?}, which ends at byte {other_end}"
    )]
    Overlap {
        /// The later tensor.
        name: String,
        /// Where its data begins.
        offset: u64,
        /// The earlier tensor.
        other: String,
        /// Where the earlier one's data ends.
        other_end: u64,
    },
    /// A tensor's data reaches beyond the end of the file.
    #[error(
        "data of tensor {name:?} at byte {offset} has {num_bytes} bytes, the file ends at byte {file_bytes}"
    )]
    PastEnd {
        /// The tensor.
        name: String,
        /// Where its data begins.
        offset: u64,
        /// How long it is.
        num_bytes: u64,
        /// The file's length.
        file_bytes: u64,
    },
    /// One shard of a split model is broken.
    #[error("shard {}: {source}", path.display())]
    Shard {
        /// The shard.
        path: PathBuf,
        /// What is wrong with it.
        source: Box<Error>,
    },
    /// A split model's file is not named as its shards are.
    #[error("{} says it is one of {num_shards} shards, its name must end in \"-00001-of-{num_shards:05}.gguf\"", path.display())]
    ShardName {
        /// The file.
        path: PathBuf,
        /// Shards that the file speaks of.
        num_shards: u64,
    },
    /// A shard says another place or number than its name does.
    #[error("{key:?} is {found}, the file's name says {wanted}")]
    ShardMismatch {
        /// `split.no` or `split.count`.
        key: &'static str,
        /// What the file says.
        found: u64,
        /// What the name says.
        wanted: u64,
    },
    /// The shards together do not hold as many tensors as they should.
    #[error("split.tensors.count is {wanted}, the {num_shards} shards hold {found} tensors")]
    ShardTensors {
        /// What the first shard says.
        wanted: u64,
        /// What was found.
        found: u64,
        /// How many shards there are.
        num_shards: u64,
    },
    /// A split model was given as bytes, so its other shards cannot be found.
    #[error("the bytes are one of {num_shards} shards, a split model is opened by path")]
    ShardBytes {
        /// Shards that the bytes speak of.
        num_shards: u64,
    },
    /// The data given for a tensor has another length than its shape and type ask for.
    #[error("tensor {name:?} needs {needed} bytes of data, {given} were given")]
    DataLength {
        /// The tensor.
        name: String,
        /// What shape and type ask for.
        needed: u64,
        /// What was given.
        given: u64,
    },
    /// Writing failed.
    #[error("cannot write: {0}")]
    Write(#[from] io::Error),
}
