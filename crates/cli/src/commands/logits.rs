//! `brisk logits`: the logits after every token of a sequence, as a safetensors file.

use std::{fs, io::Read, path::Path};

use anyhow::{Context, Result, bail};
use brisk_model::{BLOCK_SIZE, BatchSequence, LogitsWanted, Model};
use safetensors::{Dtype, serialize_to_file, tensor::TensorView};

use super::read_text;
use crate::{
    args::TextFrom,
    config::{Config, show_bytes},
    loading, machine,
};

pub(crate) fn run(config: &Config, tokens: &TextFrom, output: &Path) -> Result<()> {
    check_output(output)?;
    let tokens = read_ids(&read_text(tokens)?)?;
    let opened = loading::open(config)?;
    let compute = loading::compute(config)?;
    let mut model = loading::load(config, &opened, &compute, 1)?;
    let vocab_size = model.config().vocab_size;
    let logits = logits_of(&mut model, &tokens, config.max_num_batched_tokens)?;

    let bytes: Vec<u8> = logits.iter().flat_map(|it| it.to_le_bytes()).collect();
    drop(logits);
    let view = TensorView::new(Dtype::F32, vec![tokens.len(), vocab_size], &bytes)
        .context("one row of logits for each token")?;
    serialize_to_file([("logits", view)], None, output)
        .with_context(|| format!("writing {}", output.display()))?;
    Ok(())
}

/// Refuses to write over anything but an earlier output of this kind. A pipe is never opened: it would
/// wait for its other end.
fn check_output(path: &Path) -> Result<()> {
    let Ok(metadata) = fs::metadata(path) else { return Ok(()) };
    let shown = path.display();
    if !metadata.is_file() {
        bail!("{shown} is there already and is no file: give another --output");
    }
    // The header's length, and its beginning.
    const HEAD: &[u8] = b"{\"logits\":";
    let mut head = Vec::new();
    fs::File::open(path)?.take(8 + HEAD.len() as u64).read_to_end(&mut head)?;
    if !head.is_empty() && head.get(8..) != Some(HEAD) {
        bail!("{shown} is there already and holds no logits: give another --output");
    }
    Ok(())
}

/// Runs `tokens` in steps of at most `max_num_batched_tokens`; (tokens, vocabulary) values.
fn logits_of(model: &mut Model, tokens: &[u32], max_num_batched_tokens: usize) -> Result<Vec<f32>> {
    let (vocab_size, max_model_len) = (model.config().vocab_size, model.plan().max_model_len);
    if tokens.len() > max_model_len {
        bail!(
            "{} tokens were given, the model holds {max_model_len} (see --max-model-len)",
            tokens.len()
        );
    }
    if let Some(token) = tokens.iter().find(|&&it| it as usize >= vocab_size) {
        bail!("token id {token} is outside the vocabulary of {vocab_size}");
    }
    // Twice: as numbers and as the bytes of the file.
    let num_bytes = tokens.len() as u64 * vocab_size as u64 * 8;
    if machine::available_bytes().is_some_and(|it| num_bytes > it) {
        bail!("the logits need {} of memory, give fewer tokens", show_bytes(num_bytes));
    }
    let num_blocks = tokens.len().div_ceil(BLOCK_SIZE);
    let block_table: Vec<u32> = (0..num_blocks).map(|it| it as u32).collect();
    let mut logits = Vec::with_capacity(tokens.len() * vocab_size);
    let mut start = 0;
    for chunk in tokens.chunks(max_num_batched_tokens) {
        let sequence = BatchSequence {
            tokens: chunk,
            start,
            block_table: &block_table,
            logits: LogitsWanted::All,
        };
        model.forward(&[sequence], &mut logits);
        start += chunk.len();
    }
    Ok(logits)
}

/// Ids separated by commas, blanks or line breaks.
fn read_ids(text: &str) -> Result<Vec<u32>> {
    let words = text.split(|it: char| it == ',' || it.is_whitespace()).filter(|it| !it.is_empty());
    let ids = words
        .map(|it| {
            let shown: String = it.chars().take(40).collect();
            it.parse::<u32>().with_context(|| format!("{shown:?} is no token id"))
        })
        .collect::<Result<Vec<u32>>>()?;
    if ids.is_empty() {
        bail!("no token ids were given");
    }
    Ok(ids)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_separated_by_commas_or_blanks() {
        let check = |text: &str, expected: &[u32]| assert_eq!(read_ids(text).unwrap(), expected);
        check("1,2,3", &[1, 2, 3]);
        check(" 1, 2\n3 \n", &[1, 2, 3]);
        for text in ["", " , ", "1,x", "-1", "4294967296"] {
            assert!(read_ids(text).is_err(), "{text:?}");
        }
    }
}
