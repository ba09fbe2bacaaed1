//! The tokenizer and the chat templates that a GGUF file carries.

use brisk_formats::{Array, GgufFile, Value};
use brisk_tokenizer::{ChatTemplate, TemplateTokens, Tokenizer, Vocabulary};

use crate::error::LoadError;

/// Reads the tokenizer of `file`.
///
/// # Errors
/// Names the key at fault, or the number of tokens where the embedding has another.
pub fn load_tokenizer(file: &GgufFile) -> Result<Tokenizer, LoadError> {
    let vocabulary = vocabulary(file)?;
    if let Some(embedding) = file.tensor("token_embd.weight") {
        let (num_tokens, num_rows) = (vocabulary.tokens.len(), embedding.rows());
        if num_tokens != num_rows {
            return Err(LoadError::VocabularyMismatch { num_tokens, num_rows });
        }
    }
    Ok(Tokenizer::new(vocabulary)?)
}

/// Reads the chat template of `file`, or takes `source` in its place; a file without a template gets
/// the one that its control tokens suggest.
///
/// # Errors
/// A template that does not compile.
pub fn load_template(
    file: &GgufFile,
    tokenizer: &Tokenizer,
    source: Option<&str>,
) -> Result<ChatTemplate, LoadError> {
    let metadata = file.metadata();
    let of_file = match source {
        Some(_) => None,
        None => metadata.str(TEMPLATE)?,
    };
    let Some(source) = source.or(of_file) else {
        let architecture = metadata.str("general.architecture")?.unwrap_or_default();
        return Ok(ChatTemplate::guess(architecture, tokenizer));
    };
    let tokens = metadata.require_strings("tokenizer.ggml.tokens")?;
    let piece =
        |id: Option<u32>| id.and_then(|id| tokens.get(id as usize)).cloned().unwrap_or_default();
    let tokens = TemplateTokens { bos: piece(tokenizer.bos()), eos: piece(tokenizer.eos()) };
    Ok(ChatTemplate::new(source, tokens)?)
}

/// The templates that `file` has beside its own, by name: `tool_use`, `rag`.
pub fn named_templates(file: &GgufFile) -> impl Iterator<Item = (&str, &str)> {
    file.metadata().iter().filter_map(|(key, value)| match value {
        Value::String(source) => {
            Some((key.strip_prefix(TEMPLATE)?.strip_prefix('.')?, source.as_str()))
        }
        _ => None,
    })
}

const TEMPLATE: &str = "tokenizer.chat_template";

fn vocabulary(file: &GgufFile) -> Result<Vocabulary, LoadError> {
    let metadata = file.metadata();
    let id = |name: &str| metadata.u32(&format!("tokenizer.ggml.{name}_token_id"));
    Ok(Vocabulary {
        model: metadata.require_str("tokenizer.ggml.model")?.to_owned(),
        pre: metadata.str("tokenizer.ggml.pre")?.map(str::to_owned),
        tokens: metadata.require_strings("tokenizer.ggml.tokens")?.to_vec(),
        scores: metadata.f32s("tokenizer.ggml.scores")?.unwrap_or_default().to_vec(),
        token_types: metadata.i32s("tokenizer.ggml.token_type")?.unwrap_or_default().to_vec(),
        merges: metadata.strings("tokenizer.ggml.merges")?.unwrap_or_default().to_vec(),
        bos: id("bos")?,
        eos: id("eos")?,
        eot: id("eot")?,
        eom: id("eom")?,
        unk: id("unknown")?,
        pad: id("padding")?,
        add_bos: metadata.bool("tokenizer.ggml.add_bos_token")?,
        add_eos: metadata.bool("tokenizer.ggml.add_eos_token")?,
        add_space_prefix: metadata.bool("tokenizer.ggml.add_space_prefix")?,
        remove_extra_whitespaces: metadata.bool("tokenizer.ggml.remove_extra_whitespaces")?,
        precompiled_charsmap: match metadata.get("tokenizer.ggml.precompiled_charsmap") {
            Some(Value::Array(Array::U8(bytes))) => bytes.clone(),
            _ => Vec::new(),
        },
    })
}
