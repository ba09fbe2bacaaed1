//! Reads a file's header: metadata and what it says about each tensor, all of it checked.

use std::collections::HashSet;

use super::{
    ALIGNMENT_KEY, DEFAULT_ALIGNMENT, MAGIC, MAX_DIMS, MAX_KEY_BYTES, MAX_NAME_BYTES,
    check_alignment,
    cursor::Cursor,
    metadata::Metadata,
    tensor::{TensorInfo, TensorType},
    value::{Value, read_value},
};
use crate::Error;

/// Everything before the tensor data of one file.
#[derive(Debug)]
pub(super) struct Header {
    pub(super) version: u32,
    pub(super) metadata: Metadata,
    pub(super) alignment: u64,
    /// In the file's order; every one lies inside the file and none overlaps another.
    pub(super) tensors: Vec<TensorInfo>,
}

/// The smallest key: length, one byte, type, one byte of value.
const MIN_KEY_BYTES: u64 = 8 + 1 + 4 + 1;
/// The smallest tensor: length, one byte, number of dimensions, one dimension, type, offset.
const MIN_TENSOR_BYTES: u64 = 8 + 1 + 4 + 8 + 4 + 8;

pub(super) fn read_header(bytes: &[u8]) -> Result<Header, Error> {
    let mut cursor = Cursor::new(bytes);
    let version = read_version(&mut cursor)?;
    let num_tensors = cursor.count(&"tensor count", MIN_TENSOR_BYTES)?;
    let num_keys = cursor.count(&"key count", MIN_KEY_BYTES)?;

    let mut metadata = Metadata::default();
    for i in 0..num_keys {
        let offset = cursor.offset();
        let key = cursor.name(&format_args!("key {i}"), MAX_KEY_BYTES)?;
        let value = read_value(&mut cursor, key)?;
        if !metadata.insert(key, value) {
            return Err(Error::DuplicateKey { key: key.to_owned(), offset });
        }
    }
    let alignment = alignment(&metadata)?;

    let mut names = HashSet::with_capacity(num_tensors);
    let mut claims = Vec::with_capacity(num_tensors);
    for i in 0..num_tensors {
        let offset = cursor.offset();
        let claim = read_claim(&mut cursor, i)?;
        if !names.insert(claim.name) {
            return Err(Error::DuplicateTensor { name: claim.name.to_owned(), offset });
        }
        claims.push(claim);
    }
    // The header ends inside the file, so adding less than an alignment cannot overflow.
    let data_start = cursor.offset().next_multiple_of(alignment);
    let file_bytes = bytes.len() as u64;
    let tensors = claims
        .into_iter()
        .map(|claim| claim.place(data_start, alignment, file_bytes))
        .collect::<Result<Vec<_>, _>>()?;
    check_disjoint(&tensors)?;
    Ok(Header { version, metadata, alignment, tensors })
}

/// The alignment that a file's metadata asks for; as in ggml it is a u32 and nothing else.
pub(super) fn alignment(metadata: &Metadata) -> Result<u64, Error> {
    match metadata.get(ALIGNMENT_KEY) {
        None => Ok(DEFAULT_ALIGNMENT),
        Some(Value::U32(value)) => check_alignment(u64::from(*value)),
        Some(other) => Err(Error::WrongType {
            key: ALIGNMENT_KEY.to_owned(),
            wanted: "a u32",
            found: other.describe(),
        }),
    }
}

fn read_version(cursor: &mut Cursor<'_>) -> Result<u32, Error> {
    let mut peek = cursor.clone();
    let magic = peek.take(&"magic", peek.remaining().min(4))?;
    if magic == b"FUGG" {
        return Err(Error::BigEndian);
    }
    // A file that ends inside the magic is truncated; anything else is not GGUF.
    if !MAGIC.starts_with(magic) {
        return Err(Error::BadMagic { found: magic.to_vec() });
    }
    cursor.array::<4>(&"magic")?;
    match cursor.u32(&"version")? {
        version @ (2 | 3) => Ok(version),
        version if matches!(version.swap_bytes(), 1..=3) => Err(Error::BigEndian),
        version => Err(Error::Version { version }),
    }
}

/// What the header says about a tensor, its data not yet placed.
struct Claim<'a> {
    name: &'a str,
    shape: Vec<usize>,
    tensor_type: TensorType,
    num_bytes: u64,
    /// Relative to the data section.
    data_offset: u64,
}

fn read_claim<'a>(cursor: &mut Cursor<'a>, index: usize) -> Result<Claim<'a>, Error> {
    let name = cursor.name(&format_args!("name of tensor {index}"), MAX_NAME_BYTES)?;
    let owned = || name.to_owned();

    let offset = cursor.offset();
    let num_dims = cursor.u32(&format_args!("number of dimensions of tensor {name:?}"))?;
    if !(1..=MAX_DIMS).contains(&num_dims) {
        return Err(Error::NumDims { name: owned(), offset, num_dims });
    }
    let shape_offset = cursor.offset();
    let dims = (0..num_dims)
        .map(|_| cursor.u64(&format_args!("shape of tensor {name:?}")))
        .collect::<Result<Vec<u64>, _>>()?;

    let offset = cursor.offset();
    let id = cursor.u32(&format_args!("type of tensor {name:?}"))?;
    let tensor_type = TensorType::from_id(id).map_err(|known| match known {
        Some(tensor_type) => Error::UnsupportedTensorType { name: owned(), offset, tensor_type },
        None => Error::UnknownTensorType { name: owned(), offset, id },
    })?;
    let data_offset = cursor.u64(&format_args!("offset of tensor {name:?}"))?;

    let shape_error = |problem| Error::Shape {
        name: owned(),
        offset: shape_offset,
        shape: dims.clone(),
        problem,
    };
    if dims.contains(&0) {
        return Err(shape_error("a dimension is 0"));
    }
    let too_big = || shape_error("the tensor's size overflows");
    let shape = dims
        .iter()
        .map(|&it| usize::try_from(it).map_err(|_| too_big()))
        .collect::<Result<Vec<usize>, _>>()?;
    if !shape[0].is_multiple_of(tensor_type.block_len()) {
        return Err(Error::RowNotBlocks {
            name: owned(),
            cols: dims[0],
            tensor_type: tensor_type.name(),
            block_len: tensor_type.block_len(),
        });
    }
    // Values are counted too: a caller may multiply the dimensions without a thought.
    shape.iter().try_fold(1usize, |n, &it| n.checked_mul(it)).ok_or_else(too_big)?;
    let row_bytes = tensor_type.row_bytes(shape[0]).ok_or_else(too_big)?;
    let num_bytes = shape[1..].iter().try_fold(row_bytes, |n, &it| n.checked_mul(it));
    let num_bytes = num_bytes.ok_or_else(too_big)? as u64;
    Ok(Claim { name, shape, tensor_type, num_bytes, data_offset })
}

impl Claim<'_> {
    fn place(self, data_start: u64, alignment: u64, file_bytes: u64) -> Result<TensorInfo, Error> {
        let name = self.name.to_owned();
        if !self.data_offset.is_multiple_of(alignment) {
            return Err(Error::Misaligned { name, data_offset: self.data_offset, alignment });
        }
        let offset = data_start.saturating_add(self.data_offset);
        let end = offset.saturating_add(self.num_bytes);
        let (Ok(begin), Ok(num_bytes), true) =
            (usize::try_from(offset), usize::try_from(self.num_bytes), end <= file_bytes)
        else {
            return Err(Error::PastEnd { name, offset, num_bytes: self.num_bytes, file_bytes });
        };
        Ok(TensorInfo {
            name,
            shape: self.shape,
            tensor_type: self.tensor_type,
            shard: 0,
            offset: begin,
            num_bytes,
        })
    }
}

fn check_disjoint(tensors: &[TensorInfo]) -> Result<(), Error> {
    let mut by_offset: Vec<&TensorInfo> = tensors.iter().collect();
    by_offset.sort_by_key(|it| it.offset);
    for pair in by_offset.windows(2) {
        // Both ends were checked to lie inside the file, so the sum cannot overflow.
        let end = pair[0].offset + pair[0].num_bytes;
        if end > pair[1].offset {
            return Err(Error::Overlap {
                name: pair[1].name.clone(),
                offset: pair[1].offset as u64,
                other: pair[0].name.clone(),
                other_end: end as u64,
            });
        }
    }
    Ok(())
}
