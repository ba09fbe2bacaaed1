//! Finds and joins the shards of a split model: `NAME-00001-of-00003.gguf` and its siblings.
//!
//! Where the shards lie follows from the name of the file that was opened, never from what a file
//! says, so a file cannot make the program open anything outside its own folder.

use std::{
    collections::HashSet,
    path::{Path, PathBuf},
};

use super::{
    file::{Source, open_one},
    header::Header,
    metadata::Metadata,
};
use crate::Error;

const COUNT_KEY: &str = "split.count";
const NUMBER_KEY: &str = "split.no";
const NUM_TENSORS_KEY: &str = "split.tensors.count";

/// One model's header, with the tensors of all shards, and the shards.
pub(super) struct Set {
    pub(super) header: Header,
    pub(super) sources: Vec<Source>,
}

/// How many files the model of this header has; at least one.
pub(super) fn num_shards(metadata: &Metadata) -> Result<u64, Error> {
    Ok(metadata.u64(COUNT_KEY)?.unwrap_or(1).max(1))
}

/// Opens the `num_shards` shards among which `path` is one.
pub(super) fn open_all(path: &Path, num_shards: u64) -> Result<Set, Error> {
    let Some((stem, named)) = split_name(path) else {
        return Err(Error::ShardName { path: path.to_owned(), num_shards });
    };
    if named != num_shards {
        return Err(Error::ShardMismatch { key: COUNT_KEY, found: num_shards, wanted: named });
    }

    let mut first: Option<Header> = None;
    let mut sources = Vec::new();
    let mut names = HashSet::new();
    for number in 0..num_shards {
        let path = shard_path(path, stem, number, num_shards);
        let in_shard = |source| Error::Shard { path: path.clone(), source: Box::new(source) };
        let (mut header, source) = open_one(&path).map_err(in_shard)?;
        expect(&header.metadata, COUNT_KEY, num_shards).map_err(in_shard)?;
        expect(&header.metadata, NUMBER_KEY, number).map_err(in_shard)?;
        for tensor in &mut header.tensors {
            tensor.shard = sources.len();
            if !names.insert(tensor.name.clone()) {
                let name = tensor.name.clone();
                return Err(in_shard(Error::DuplicateTensor { name, offset: 0 }));
            }
        }
        sources.push(source);
        match &mut first {
            None => first = Some(header),
            Some(first) => first.tensors.append(&mut header.tensors),
        }
    }
    let header = first.expect("a split model has two shards at least");
    let found = header.tensors.len() as u64;
    match header.metadata.u64(NUM_TENSORS_KEY)? {
        Some(wanted) if wanted != found => Err(Error::ShardTensors { wanted, found, num_shards }),
        _ => Ok(Set { header, sources }),
    }
}

fn expect(metadata: &Metadata, key: &'static str, wanted: u64) -> Result<(), Error> {
    match metadata.u64(key)? {
        Some(found) if found == wanted => Ok(()),
        Some(found) => Err(Error::ShardMismatch { key, found, wanted }),
        None => Err(Error::MissingKey { key: key.to_owned() }),
    }
}

/// The part of the file's name before `-00001-of-00003.gguf`, and the 3.
fn split_name(path: &Path) -> Option<(&str, u64)> {
    let name = path.file_name()?.to_str()?.strip_suffix(".gguf")?;
    let (rest, count) = name.rsplit_once("-of-")?;
    let (stem, number) = rest.rsplit_once('-')?;
    let digits = |text: &str| text.len() == 5 && text.bytes().all(|it| it.is_ascii_digit());
    (digits(number) && digits(count)).then(|| Some((stem, count.parse().ok()?)))?
}

fn shard_path(path: &Path, stem: &str, number: u64, num_shards: u64) -> PathBuf {
    path.with_file_name(format!("{stem}-{:05}-of-{num_shards:05}.gguf", number + 1))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_shard_is_named_by_five_digits_of_five_digits() {
        let check = |name: &str, expected| assert_eq!(split_name(Path::new(name)), expected);
        check("a/m-00001-of-00003.gguf", Some(("m", 3)));
        check("my-model-Q4-00012-of-00012.gguf", Some(("my-model-Q4", 12)));
        check("m.gguf", None);
        check("m-1-of-3.gguf", None);
        check("m-00001-of-00003.bin", None);
        check("m-0000x-of-00003.gguf", None);
    }
}
