//! One file per command.

pub(crate) mod bench;
pub(crate) mod chat;
pub(crate) mod config;
pub(crate) mod inspect;
pub(crate) mod logits;
mod reply;
pub(crate) mod run;
pub(crate) mod serve;
pub(crate) mod tokenize;

use std::{
    fs,
    io::{self, Read},
    path::Path,
};

use anyhow::{Context, Result, bail};

pub(crate) use reply::DEFAULT_MAX_TOKENS;

use crate::args::TextFrom;

/// The longest text that a command reads. The longest context is far shorter.
const MAX_TEXT_BYTES: u64 = 256 << 20;

/// The text of an argument or of a file.
fn read_text(from: &TextFrom) -> Result<String> {
    match from {
        TextFrom::Argument(text) => Ok(text.clone()),
        TextFrom::File(path) => read_file(path),
    }
}

fn read_file(path: &Path) -> Result<String> {
    let shown = path.display();
    let metadata = fs::metadata(path).with_context(|| format!("reading {shown}"))?;
    if metadata.is_dir() {
        bail!("reading {shown}: it is a folder");
    }
    let file = fs::File::open(path).with_context(|| format!("reading {shown}"))?;
    read_bounded(file).with_context(|| format!("reading {shown}"))
}

/// Reads UTF-8 until the end, if that comes soon enough.
fn read_bounded(source: impl Read) -> Result<String> {
    let mut text = String::new();
    source.take(MAX_TEXT_BYTES + 1).read_to_string(&mut text).map_err(|error| {
        if error.kind() == io::ErrorKind::InvalidData {
            anyhow::anyhow!("the text is not UTF-8")
        } else {
            error.into()
        }
    })?;
    if text.len() as u64 > MAX_TEXT_BYTES {
        bail!("the text has more than {MAX_TEXT_BYTES} bytes");
    }
    Ok(text)
}
