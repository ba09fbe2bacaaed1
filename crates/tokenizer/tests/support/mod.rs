//! Finds the shared conformance data and reads vocabularies from it.

#![allow(dead_code, unreachable_pub, reason = "each test file uses its part")]

use brisk_formats::GgufFile;
use brisk_tokenizer::{Tokenizer, Vocabulary};
use std::path::{Path, PathBuf};

/// The vocabularies of real model families in the conformance data.
pub const FAMILIES: [&str; 6] =
    ["deepseek-llm", "gpt-2", "llama-bpe", "llama-spm", "phi-3", "qwen2"];

/// A folder of the conformance data; `None`, and a line that says so, without the data.
pub fn conformance(folder: &str) -> Option<PathBuf> {
    #[expect(clippy::disallowed_methods, reason = "how tests reach the conformance data")]
    let root = std::env::var("BRISK_CONFORMANCE_DIR");
    let Ok(root) = root else {
        eprintln!("SKIPPED: {folder} needs BRISK_CONFORMANCE_DIR");
        return None;
    };
    Some(PathBuf::from(root).join(folder))
}

/// The vocabulary of `family`, as its file states it.
pub fn vocabulary(family: &str) -> Option<Vocabulary> {
    let path = conformance("tokenizers")?.join(format!("ggml-vocab-{family}.gguf"));
    Some(vocabulary_of(&path))
}

/// The vocabulary in a GGUF file.
pub fn vocabulary_of(path: &Path) -> Vocabulary {
    let file = GgufFile::open(path).unwrap();
    let metadata = file.metadata();
    let key = |name: &str| format!("tokenizer.ggml.{name}");
    let strings = |name: &str| metadata.strings(&key(name)).unwrap().unwrap_or(&[]).to_vec();
    let id = |name: &str| metadata.u32(&key(name)).unwrap();
    let flag = |name: &str| metadata.bool(&key(name)).unwrap();
    Vocabulary {
        model: metadata.require_str(&key("model")).unwrap().to_owned(),
        pre: metadata.str(&key("pre")).unwrap().map(str::to_owned),
        tokens: strings("tokens"),
        scores: metadata.f32s(&key("scores")).unwrap().unwrap_or_default().into_owned(),
        token_types: metadata.i32s(&key("token_type")).unwrap().unwrap_or_default().into_owned(),
        merges: strings("merges"),
        bos: id("bos_token_id"),
        eos: id("eos_token_id"),
        eot: id("eot_token_id"),
        eom: id("eom_token_id"),
        unk: id("unknown_token_id"),
        pad: id("padding_token_id"),
        add_bos: flag("add_bos_token"),
        add_eos: flag("add_eos_token"),
        add_space_prefix: flag("add_space_prefix"),
        remove_extra_whitespaces: flag("remove_extra_whitespaces"),
        precompiled_charsmap: Vec::new(),
    }
}

/// A byte-level vocabulary of the 256 bytes, in order, and then `controls`.
pub fn tiny(controls: &[&str]) -> Vocabulary {
    let letter = |byte: u32| {
        let shift = match byte {
            0x00..=0x20 => 0x100,
            0x7f..=0xa0 => 0x121 - 0x7f,
            0xad => 0x143 - 0xad,
            _ => 0,
        };
        char::from_u32(byte + shift).unwrap().to_string()
    };
    let mut tokens: Vec<String> = (0..256).map(letter).collect();
    let mut token_types = vec![1; 256];
    tokens.extend(controls.iter().map(ToString::to_string));
    token_types.resize(tokens.len(), 3);
    Vocabulary {
        model: "gpt2".into(),
        pre: Some("llama-bpe".into()),
        tokens,
        token_types,
        ..Vocabulary::default()
    }
}

/// The tokenizer of `family`.
pub fn tokenizer(family: &str) -> Option<Tokenizer> {
    Some(Tokenizer::new(vocabulary(family)?).unwrap_or_else(|error| panic!("{family}: {error}")))
}
