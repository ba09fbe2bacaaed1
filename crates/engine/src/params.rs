//! What a caller may ask of one generation, checked once at the door.

use std::fmt;

use brisk_tokenizer::TokenId;

/// How the next token is chosen, and when generation ends. `Default` is plain temperature-1 sampling.
///
/// Filters apply in this order: `logit_bias`, the three penalties, `no_repeat_ngram_size`,
/// `temperature`, `top_k`, `typical_p`, `top_p`, `min_p`.
#[derive(Clone, Debug, PartialEq)]
pub struct SamplingParams {
    /// Softmax temperature; `0.0` (or anything below `1e-5`) is greedy.
    pub temperature: f32,
    /// Keep the `top_k` likeliest tokens; `0` keeps all.
    pub top_k: u32,
    /// Keep the smallest set of tokens whose probability reaches `top_p`; `1.0` keeps all.
    pub top_p: f32,
    /// Drop tokens less likely than `min_p` times the likeliest; `0.0` drops none.
    pub min_p: f32,
    /// Locally typical sampling (Meister et al. 2022): keep `typical_p` mass; `1.0` is off.
    pub typical_p: f32,
    /// Divides positive and multiplies negative logits of seen tokens (Keskar et al. 2019); `1.0` is off.
    pub repetition_penalty: f32,
    /// Subtracted once from the logit of every token generated so far (OpenAI).
    pub presence_penalty: f32,
    /// Subtracted once per occurrence from the logit of every token generated so far (OpenAI).
    pub frequency_penalty: f32,
    /// Forbid repeating any n-gram of this length (prompt included); `0` is off.
    pub no_repeat_ngram_size: u32,
    /// Added to the logits of these tokens.
    pub logit_bias: Vec<(TokenId, f32)>,
    /// Seed of the random stream; `None` draws one.
    pub seed: Option<u64>,
    /// Texts that end the generation; they are not part of the reply.
    pub stop: Vec<String>,
    /// Completion tokens at most; `None` means as many as the context holds.
    pub max_tokens: Option<usize>,
    /// `Some(k)`: report the chosen token's log probability and those of the `k` likeliest.
    pub top_logprobs: Option<u8>,
    /// Go on after an end-of-generation token (for benchmarks).
    pub ignore_eos: bool,
}

impl Default for SamplingParams {
    fn default() -> Self {
        Self {
            temperature: 1.0,
            top_k: 0,
            top_p: 1.0,
            min_p: 0.0,
            typical_p: 1.0,
            repetition_penalty: 1.0,
            presence_penalty: 0.0,
            frequency_penalty: 0.0,
            no_repeat_ngram_size: 0,
            logit_bias: Vec::new(),
            seed: None,
            stop: Vec::new(),
            max_tokens: None,
            top_logprobs: None,
            ignore_eos: false,
        }
    }
}

/// One prompt and what to do with it.
#[derive(Clone, Debug, PartialEq)]
pub struct GenerationRequest {
    /// The prompt's token ids, BOS included if the model wants one. Never empty.
    pub prompt: Vec<TokenId>,
    /// Sampling and stopping.
    pub params: SamplingParams,
    /// How many independent choices to generate (at least 1); choice `i` uses `seed + i`.
    pub num_choices: usize,
}

/// Why a choice ended. `Display` gives the wire name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FinishReason {
    /// An end-of-generation token or a stop text.
    Stop,
    /// `max_tokens` or the context's end.
    Length,
}

impl fmt::Display for FinishReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Stop => "stop",
            Self::Length => "length",
        })
    }
}
