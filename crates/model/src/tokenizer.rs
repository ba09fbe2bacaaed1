//! The tokenizer and the chat template that a GGUF file carries.

use brisk_formats::{Array, GgufFile, Value};
use brisk_tokenizer::{ChatTemplate, TemplateTokens, Tokenizer, Vocabulary};

use crate::error::LoadError;

/// Reads the tokenizer and the chat template of `file`; a file without a template gets the one
/// that its control tokens suggest.
///
/// # Errors
/// Names the key at fault, or the number of tokens where the embedding has another.
pub fn load_tokenizer(file: &GgufFile) -> Result<(Tokenizer, ChatTemplate), LoadError> {
    let vocabulary = vocabulary(file)?;
    if let Some(embedding) = file.tensor("token_embd.weight") {
        let (num_tokens, num_rows) = (vocabulary.tokens.len(), embedding.rows());
        if num_tokens != num_rows {
            return Err(LoadError::VocabularyMismatch { num_tokens, num_rows });
        }
    }
    let piece = |id: Option<u32>| {
        id.and_then(|id| vocabulary.tokens.get(id as usize)).cloned().unwrap_or_default()
    };
    let template_tokens = TemplateTokens { bos: piece(vocabulary.bos), eos: piece(vocabulary.eos) };
    let tokenizer = Tokenizer::new(vocabulary)?;
    let template = match file.metadata().str("tokenizer.chat_template")? {
        Some(source) => ChatTemplate::new(source, template_tokens)?,
        None => {
            let architecture = file.metadata().str("general.architecture")?.unwrap_or_default();
            ChatTemplate::guess(architecture, &tokenizer)
        }
    };
    Ok((tokenizer, template))
}

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
