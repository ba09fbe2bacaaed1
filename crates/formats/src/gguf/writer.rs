//! Writes GGUF files, version 3.

use std::{borrow::Cow, collections::HashSet, io, io::Write};

use super::{
    MAGIC, MAX_DIMS, MAX_KEY_BYTES, MAX_NAME_BYTES, check_alignment,
    header::alignment,
    metadata::Metadata,
    tensor::TensorType,
    value::{Array, Value},
};
use crate::Error;

/// The version written.
const VERSION: u32 = 3;

/// Collects keys and tensors and writes them as one file.
///
/// It holds itself to the reader's rules, so what it writes can be read back.
#[derive(Debug, Default)]
pub struct GgufWriter<'a> {
    metadata: Metadata,
    tensors: Vec<Tensor<'a>>,
    names: HashSet<String>,
}

#[derive(Debug)]
struct Tensor<'a> {
    name: String,
    shape: Vec<usize>,
    tensor_type: TensorType,
    data: Cow<'a, [u8]>,
}

impl<'a> GgufWriter<'a> {
    /// A file with no keys and no tensors.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a key. `general.alignment` (a `u32`) also sets the alignment of the data.
    pub fn add_metadata(&mut self, key: &str, value: Value) -> Result<(), Error> {
        check_name("key", key, MAX_KEY_BYTES)?;
        if key == super::ALIGNMENT_KEY
            && let Some(Ok(value)) = value.as_integer().map(u64::try_from)
        {
            check_alignment(value)?;
        }
        if self.metadata.insert(key, value) {
            Ok(())
        } else {
            Err(Error::DuplicateKey { key: key.to_owned(), offset: 0 })
        }
    }

    /// Adds a tensor with its data in the file's own layout.
    ///
    /// `shape` is in ggml's order: `shape[0]` is the length of a row.
    pub fn add_tensor(
        &mut self,
        name: &str,
        shape: &[usize],
        tensor_type: TensorType,
        data: impl Into<Cow<'a, [u8]>>,
    ) -> Result<(), Error> {
        let data = data.into();
        check_name("tensor name", name, MAX_NAME_BYTES)?;
        let num_dims = u32::try_from(shape.len()).unwrap_or(u32::MAX);
        if !(1..=MAX_DIMS).contains(&num_dims) {
            return Err(Error::NumDims { name: name.to_owned(), offset: 0, num_dims });
        }
        let shape_error = |problem| Error::Shape {
            name: name.to_owned(),
            offset: 0,
            shape: shape.iter().map(|&it| it as u64).collect(),
            problem,
        };
        if shape.contains(&0) {
            return Err(shape_error("a dimension is 0"));
        }
        if !shape[0].is_multiple_of(tensor_type.block_len()) {
            return Err(Error::RowNotBlocks {
                name: name.to_owned(),
                cols: shape[0] as u64,
                tensor_type: tensor_type.name(),
                block_len: tensor_type.block_len(),
            });
        }
        let needed = tensor_type
            .row_bytes(shape[0])
            .and_then(|row| shape[1..].iter().try_fold(row, |n, &it| n.checked_mul(it)))
            .ok_or_else(|| shape_error("the tensor's size overflows"))?;
        if data.len() != needed {
            let (needed, given) = (needed as u64, data.len() as u64);
            return Err(Error::DataLength { name: name.to_owned(), needed, given });
        }
        if !self.names.insert(name.to_owned()) {
            return Err(Error::DuplicateTensor { name: name.to_owned(), offset: 0 });
        }
        self.tensors.push(Tensor {
            name: name.to_owned(),
            shape: shape.to_vec(),
            tensor_type,
            data,
        });
        Ok(())
    }

    /// Writes the file: header, then each tensor's data at the next multiple of the alignment.
    pub fn write_to(&self, mut out: impl Write) -> Result<(), Error> {
        let alignment = alignment(&self.metadata)?;
        let mut header = Vec::new();
        header.extend(MAGIC);
        header.extend(VERSION.to_le_bytes());
        header.extend((self.tensors.len() as u64).to_le_bytes());
        header.extend((self.metadata.len() as u64).to_le_bytes());
        for (key, value) in self.metadata.iter() {
            put_string(&mut header, key);
            put_value(&mut header, value);
        }
        let mut data_offset = 0u64;
        for tensor in &self.tensors {
            put_string(&mut header, &tensor.name);
            header.extend((tensor.shape.len() as u32).to_le_bytes());
            for &dim in &tensor.shape {
                header.extend((dim as u64).to_le_bytes());
            }
            header.extend(tensor.tensor_type.id().to_le_bytes());
            header.extend(data_offset.to_le_bytes());
            data_offset = (data_offset + tensor.data.len() as u64).next_multiple_of(alignment);
        }
        out.write_all(&header)?;
        pad(&mut out, header.len() as u64, alignment)?;
        for tensor in &self.tensors {
            out.write_all(&tensor.data)?;
            pad(&mut out, tensor.data.len() as u64, alignment)?;
        }
        out.flush()?;
        Ok(())
    }
}

fn check_name(field: &str, name: &str, max: u64) -> Result<(), Error> {
    let length = name.len() as u64;
    if (1..=max).contains(&length) {
        Ok(())
    } else {
        Err(Error::NameLength { field: field.to_owned(), offset: 0, length, max })
    }
}

fn pad(out: &mut impl Write, written: u64, alignment: u64) -> io::Result<()> {
    for _ in written..written.next_multiple_of(alignment) {
        out.write_all(&[0])?;
    }
    Ok(())
}

fn put_string(out: &mut Vec<u8>, text: &str) {
    out.extend((text.len() as u64).to_le_bytes());
    out.extend(text.as_bytes());
}

fn put_value(out: &mut Vec<u8>, value: &Value) {
    out.extend((value.value_type() as u32).to_le_bytes());
    match value {
        Value::U8(it) => out.push(*it),
        Value::I8(it) => out.extend(it.to_le_bytes()),
        Value::U16(it) => out.extend(it.to_le_bytes()),
        Value::I16(it) => out.extend(it.to_le_bytes()),
        Value::U32(it) => out.extend(it.to_le_bytes()),
        Value::I32(it) => out.extend(it.to_le_bytes()),
        Value::F32(it) => out.extend(it.to_le_bytes()),
        Value::Bool(it) => out.push(u8::from(*it)),
        Value::String(it) => put_string(out, it),
        Value::Array(it) => put_array(out, it),
        Value::U64(it) => out.extend(it.to_le_bytes()),
        Value::I64(it) => out.extend(it.to_le_bytes()),
        Value::F64(it) => out.extend(it.to_le_bytes()),
    }
}

fn put_array(out: &mut Vec<u8>, array: &Array) {
    out.extend((array.element_type() as u32).to_le_bytes());
    out.extend((array.len() as u64).to_le_bytes());
    match array {
        Array::U8(it) => out.extend(it),
        Array::I8(it) => out.extend(it.iter().flat_map(|it| it.to_le_bytes())),
        Array::U16(it) => out.extend(it.iter().flat_map(|it| it.to_le_bytes())),
        Array::I16(it) => out.extend(it.iter().flat_map(|it| it.to_le_bytes())),
        Array::U32(it) => out.extend(it.iter().flat_map(|it| it.to_le_bytes())),
        Array::I32(it) => out.extend(it.iter().flat_map(|it| it.to_le_bytes())),
        Array::F32(it) => out.extend(it.iter().flat_map(|it| it.to_le_bytes())),
        Array::Bool(it) => out.extend(it.iter().map(|&it| u8::from(it))),
        Array::String(it) => it.iter().for_each(|it| put_string(out, it)),
        Array::U64(it) => out.extend(it.iter().flat_map(|it| it.to_le_bytes())),
        Array::I64(it) => out.extend(it.iter().flat_map(|it| it.to_le_bytes())),
        Array::F64(it) => out.extend(it.iter().flat_map(|it| it.to_le_bytes())),
    }
}
