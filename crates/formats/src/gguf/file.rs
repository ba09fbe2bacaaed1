//! An open GGUF model: its metadata and tensors, over one file, several shards, or bytes.

use std::{borrow::Cow, collections::HashMap, fmt, fs::File, io, ops::Deref, path::Path};

use memmap2::Mmap;

use super::{
    header::{Header, read_header},
    metadata::Metadata,
    shards,
    tensor::TensorInfo,
};
use crate::{
    Error,
    mapped::{map, open_regular},
};

/// A GGUF model, open for reading.
pub struct GgufFile {
    version: u32,
    alignment: u64,
    metadata: Metadata,
    tensors: Vec<TensorInfo>,
    index: HashMap<String, usize>,
    shards: Vec<Source>,
}

/// Where the bytes of one shard are.
pub(super) enum Source {
    Mapped { file: File, map: Mmap },
    Bytes(Cow<'static, [u8]>),
}

impl Source {
    fn bytes(&self) -> &[u8] {
        match self {
            Self::Mapped { map, .. } => map,
            Self::Bytes(bytes) => bytes,
        }
    }
}

/// Opens and maps one file and reads its header.
pub(super) fn open_one(path: &Path) -> Result<(Header, Source), Error> {
    let (file, num_bytes) = open_regular(path)?;
    let open_error = |source| Error::Open { path: path.to_owned(), source };
    let source = match usize::try_from(num_bytes) {
        // An empty file cannot be mapped; the header's error says what is missing.
        Ok(0) => Source::Bytes(Cow::Borrowed(&[])),
        Ok(len) => Source::Mapped { map: map(&file, 0, len).map_err(open_error)?, file },
        Err(_) => return Err(open_error(io::ErrorKind::FileTooLarge.into())),
    };
    Ok((read_header(source.bytes())?, source))
}

impl GgufFile {
    /// Opens a file and maps it into memory; of a split model, any one of its shards.
    ///
    /// Only headers are read. While the model is open, nobody may truncate or overwrite the file in
    /// place (the process would end with SIGBUS); replace it by renaming a new file over it.
    pub fn open(path: &Path) -> Result<Self, Error> {
        let (header, source) = open_one(path)?;
        let set = match shards::num_shards(&header.metadata)? {
            1 => shards::Set { header, sources: vec![source] },
            num_shards => {
                drop(source);
                shards::open_all(path, num_shards)?
            }
        };
        Ok(Self::new(set))
    }

    /// Reads a model that is in memory already, such as one built into the program.
    pub fn from_bytes(bytes: Cow<'static, [u8]>) -> Result<Self, Error> {
        let header = read_header(&bytes)?;
        match shards::num_shards(&header.metadata)? {
            1 => Ok(Self::new(shards::Set { header, sources: vec![Source::Bytes(bytes)] })),
            num_shards => Err(Error::ShardBytes { num_shards }),
        }
    }

    fn new(set: shards::Set) -> Self {
        let Header { version, metadata, alignment, tensors } = set.header;
        let index = tensors.iter().enumerate().map(|(i, it)| (it.name.clone(), i)).collect();
        Self { version, alignment, metadata, tensors, index, shards: set.sources }
    }

    /// The file's version: 2 or 3.
    pub fn version(&self) -> u32 {
        self.version
    }

    /// The alignment of tensor data, in bytes.
    pub fn alignment(&self) -> u64 {
        self.alignment
    }

    /// Bytes of the file, or of all shards.
    pub fn num_bytes(&self) -> u64 {
        self.shards.iter().map(|it| it.bytes().len() as u64).sum()
    }

    /// Files that the model is made of.
    pub fn num_shards(&self) -> usize {
        self.shards.len()
    }

    /// Keys and values; of a split model, those of its first shard.
    pub fn metadata(&self) -> &Metadata {
        &self.metadata
    }

    /// Every tensor, in the file's order.
    pub fn tensors(&self) -> &[TensorInfo] {
        &self.tensors
    }

    /// The tensor of this name.
    pub fn tensor(&self, name: &str) -> Option<&TensorInfo> {
        self.index.get(name).map(|&i| &self.tensors[i])
    }

    /// The data of one of this file's tensors.
    ///
    /// # Panics
    ///
    /// If `tensor` belongs to another file and lies outside this one.
    pub fn data(&self, tensor: &TensorInfo) -> &[u8] {
        &self.shards[tensor.shard].bytes()[tensor.offset..tensor.offset + tensor.num_bytes]
    }

    /// The data of one of this file's tensors, in a map of its own.
    ///
    /// Its pages leave this process's resident memory when the value is dropped. So a loader that
    /// repacks one tensor after the other never holds the model twice, as it would after reading
    /// all of it through [`Self::data`].
    ///
    /// # Panics
    ///
    /// If `tensor` belongs to another file and lies outside this one.
    pub fn map_data(&self, tensor: &TensorInfo) -> io::Result<TensorBytes<'_>> {
        let bytes = match &self.shards[tensor.shard] {
            Source::Mapped { file, map: whole } => {
                assert!(
                    tensor.offset + tensor.num_bytes <= whole.len(),
                    "the tensor lies outside this file"
                );
                Pages::Mapped(map(file, tensor.offset as u64, tensor.num_bytes)?)
            }
            Source::Bytes(_) => Pages::Borrowed(self.data(tensor)),
        };
        Ok(TensorBytes(bytes))
    }
}

impl fmt::Debug for GgufFile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("GgufFile")
            .field("version", &self.version)
            .field("num_keys", &self.metadata.len())
            .field("num_tensors", &self.tensors.len())
            .field("num_shards", &self.shards.len())
            .field("num_bytes", &self.num_bytes())
            .finish_non_exhaustive()
    }
}

/// A tensor's data for a while: [`GgufFile::map_data`].
#[derive(Debug)]
pub struct TensorBytes<'a>(Pages<'a>);

#[derive(Debug)]
enum Pages<'a> {
    Mapped(Mmap),
    Borrowed(&'a [u8]),
}

impl Deref for TensorBytes<'_> {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        match &self.0 {
            Pages::Mapped(map) => map,
            Pages::Borrowed(bytes) => bytes,
        }
    }
}
