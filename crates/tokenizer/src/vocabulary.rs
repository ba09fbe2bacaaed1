//! The data a tokenizer is made of, as a GGUF file states it.

use crate::TokenId;

/// The data a tokenizer is made of, in the words of GGUF's `tokenizer.ggml.*` keys.
///
/// `Vocabulary::default()` is empty; fill what the file has and leave the rest.
#[derive(Clone, Debug, Default)]
pub struct Vocabulary {
    /// `tokenizer.ggml.model`: `gpt2` (byte-level BPE), `llama` (SentencePiece BPE) or `t5` (Unigram).
    pub model: String,
    /// `tokenizer.ggml.pre`: the name of the rule that cuts text into words before BPE.
    pub pre: Option<String>,
    /// `tokenizer.ggml.tokens`: the piece of every token; the index is its id.
    pub tokens: Vec<String>,
    /// `tokenizer.ggml.scores`: one per token, or empty.
    pub scores: Vec<f32>,
    /// `tokenizer.ggml.token_type`: one per token, or empty. 1 normal, 2 unknown, 3 control,
    /// 4 user-defined, 5 unused, 6 byte.
    pub token_types: Vec<i32>,
    /// `tokenizer.ggml.merges`: pairs of pieces joined by a space, best first.
    pub merges: Vec<String>,
    /// `tokenizer.ggml.bos_token_id`.
    pub bos: Option<TokenId>,
    /// `tokenizer.ggml.eos_token_id`.
    pub eos: Option<TokenId>,
    /// `tokenizer.ggml.eot_token_id`: ends a turn.
    pub eot: Option<TokenId>,
    /// `tokenizer.ggml.eom_token_id`: ends a message that calls a tool.
    pub eom: Option<TokenId>,
    /// `tokenizer.ggml.unknown_token_id`.
    pub unk: Option<TokenId>,
    /// `tokenizer.ggml.padding_token_id`.
    pub pad: Option<TokenId>,
    /// `tokenizer.ggml.add_bos_token`; unstated, the family decides.
    pub add_bos: Option<bool>,
    /// `tokenizer.ggml.add_eos_token`.
    pub add_eos: Option<bool>,
    /// `tokenizer.ggml.add_space_prefix`; unstated, SentencePiece vocabularies add one.
    pub add_space_prefix: Option<bool>,
    /// `tokenizer.ggml.remove_extra_whitespaces` (Unigram).
    pub remove_extra_whitespaces: Option<bool>,
    /// `tokenizer.ggml.precompiled_charsmap` (Unigram's normalizer), or empty.
    pub precompiled_charsmap: Vec<u8>,
}
