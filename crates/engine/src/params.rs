//! What a caller may ask of one generation, checked once at the door.

use std::{fmt, ops::RangeInclusive, time::Duration};

use brisk_tokenizer::TokenId;

use crate::{error::SubmitError, queue::ClientId};

/// Temperatures below this are greedy (vLLM's bound): dividing by them would overflow.
pub(crate) const GREEDY_TEMPERATURE: f32 = 1e-5;
/// Most stop texts of one request.
pub(crate) const MAX_STOP_TEXTS: usize = 8;
/// Longest stop text.
pub(crate) const MAX_STOP_BYTES: usize = 256;
/// Most logit biases of one request.
pub(crate) const MAX_LOGIT_BIASES: usize = 1024;
/// Most choices of one request.
pub(crate) const MAX_CHOICES: usize = 8;
/// Longest pattern, and most times it may have to come, of `repetition_detection`.
pub(crate) const MAX_REPETITION: u32 = 1024;
/// Most `top_logprobs` of one token.
pub(crate) const MAX_TOP_LOGPROBS: u8 = 20;

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
    /// Completion tokens after which a choice ends with its next whole sentence, with
    /// [`FinishReason::Stop`]; at most `max_tokens`. `None` never looks for sentences.
    pub soft_max_tokens: Option<usize>,
    /// Ends a choice that repeats itself, with [`FinishReason::Repetition`]; `None` never looks.
    pub repetition_detection: Option<RepetitionDetection>,
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
            soft_max_tokens: None,
            repetition_detection: None,
            top_logprobs: None,
            ignore_eos: false,
        }
    }
}

impl SamplingParams {
    /// Whether the likeliest token is taken and no chance plays.
    pub fn is_greedy(&self) -> bool {
        self.temperature < GREEDY_TEMPERATURE
    }

    /// Checks every range; the engine trusts what has passed here.
    ///
    /// # Errors
    ///
    /// [`SubmitError::InvalidParam`] names the first parameter that is out of range.
    pub fn check(&self, vocab_size: usize) -> Result<(), SubmitError> {
        within("temperature", self.temperature, 0.0..=2.0, "from 0 to 2")?;
        above_zero("top_p", self.top_p, 1.0, "above 0 and at most 1")?;
        within("min_p", self.min_p, 0.0..=1.0, "from 0 to 1")?;
        above_zero("typical_p", self.typical_p, 1.0, "above 0 and at most 1")?;
        above_zero("repetition_penalty", self.repetition_penalty, 10.0, "above 0 and at most 10")?;
        within("presence_penalty", self.presence_penalty, -2.0..=2.0, "from -2 to 2")?;
        within("frequency_penalty", self.frequency_penalty, -2.0..=2.0, "from -2 to 2")?;
        if self.max_tokens == Some(0) {
            return Err(invalid("max_tokens", 0, "at least 1"));
        }
        match self.soft_max_tokens {
            Some(0) => return Err(invalid("soft_max_tokens", 0, "at least 1")),
            Some(soft) if self.max_tokens.is_some_and(|max| soft > max) => {
                return Err(invalid("soft_max_tokens", soft, "at most max_tokens"));
            }
            Some(_) | None => {}
        }
        if let Some(k) = self.top_logprobs.filter(|&k| k > MAX_TOP_LOGPROBS) {
            return Err(invalid("top_logprobs", k, "at most 20"));
        }
        self.repetition_detection.map_or(Ok(()), RepetitionDetection::check)?;
        self.check_stop()?;
        self.check_logit_bias(vocab_size)
    }

    fn check_stop(&self) -> Result<(), SubmitError> {
        if self.stop.len() > MAX_STOP_TEXTS {
            let given = format!("{} texts", self.stop.len());
            return Err(invalid("stop", given, "at most 8 texts"));
        }
        match self.stop.iter().find(|text| text.is_empty() || text.len() > MAX_STOP_BYTES) {
            Some(text) => {
                let given = format!("a text of {} bytes", text.len());
                Err(invalid("stop", given, "texts of 1 to 256 bytes"))
            }
            None => Ok(()),
        }
    }

    fn check_logit_bias(&self, vocab_size: usize) -> Result<(), SubmitError> {
        if self.logit_bias.len() > MAX_LOGIT_BIASES {
            let given = format!("{} entries", self.logit_bias.len());
            return Err(invalid("logit_bias", given, "at most 1024 entries"));
        }
        for &(token, bias) in &self.logit_bias {
            if token as usize >= vocab_size {
                let given = format!("token {token} of {vocab_size}");
                return Err(invalid("logit_bias", given, "on tokens of the vocabulary"));
            }
            within("logit_bias", bias, -100.0..=100.0, "from -100 to 100")?;
        }
        Ok(())
    }
}

/// When a choice counts as repeating itself (vLLM's `repetition_detection`): its latest completion
/// tokens are one pattern, `min_count` times in a row.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RepetitionDetection {
    /// Tokens of the longest pattern looked for, 1 to 1024.
    pub max_pattern_size: u32,
    /// Tokens of the shortest, 1 to `max_pattern_size`.
    pub min_pattern_size: u32,
    /// How often the pattern must have come, 2 to 1024.
    pub min_count: u32,
}

impl RepetitionDetection {
    fn check(self) -> Result<(), SubmitError> {
        let Self { max_pattern_size, min_pattern_size, min_count } = self;
        let name = "repetition_detection";
        if !(1..=MAX_REPETITION).contains(&max_pattern_size) {
            let given = format!("patterns of {max_pattern_size} tokens");
            return Err(invalid(name, given, "patterns of 1 to 1024 tokens"));
        }
        if !(1..=max_pattern_size).contains(&min_pattern_size) {
            let given = format!("patterns from {min_pattern_size} to {max_pattern_size} tokens");
            return Err(invalid(name, given, "from 1 on and in order"));
        }
        if !(2..=MAX_REPETITION).contains(&min_count) {
            return Err(invalid(name, format!("{min_count} times"), "2 to 1024 times"));
        }
        Ok(())
    }
}

/// One prompt and what to do with it.
#[derive(Clone, Debug, PartialEq)]
pub struct GenerationRequest {
    /// The prompt's token ids, BOS included if the model wants one. Never empty.
    pub prompt: Vec<TokenId>,
    /// Sampling and stopping.
    pub params: SamplingParams,
    /// How many independent choices to generate (1 to 8); choice `i` uses `seed + i`.
    pub num_choices: usize,
    /// Time from `submit` after which the request ends with `DeadlineExceeded`, wherever it is.
    pub deadline: Option<Duration>,
    /// Who asks: clients take turns.
    pub client: ClientId,
}

impl GenerationRequest {
    /// One choice, no deadline, of the one client there is.
    pub fn new(prompt: Vec<TokenId>, params: SamplingParams) -> Self {
        Self { prompt, params, num_choices: 1, deadline: None, client: ClientId::default() }
    }
}

fn within(
    param: &'static str,
    value: f32,
    range: RangeInclusive<f32>,
    expected: &'static str,
) -> Result<(), SubmitError> {
    // A NaN is in no range.
    if range.contains(&value) { Ok(()) } else { Err(invalid(param, value, expected)) }
}

fn above_zero(
    param: &'static str,
    value: f32,
    max: f32,
    expected: &'static str,
) -> Result<(), SubmitError> {
    if value > 0.0 && value <= max { Ok(()) } else { Err(invalid(param, value, expected)) }
}

pub(crate) fn invalid(
    param: &'static str,
    value: impl fmt::Display,
    expected: &'static str,
) -> SubmitError {
    SubmitError::InvalidParam { param, value: value.to_string(), expected }
}

/// Why a choice ended. `Display` gives the wire name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FinishReason {
    /// An end-of-generation token, a stop text, or a sentence's end past `soft_max_tokens`.
    Stop,
    /// `max_tokens` or the context's end.
    Length,
    /// The text repeated itself, by `repetition_detection`.
    Repetition,
}

impl fmt::Display for FinishReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Stop => "stop",
            Self::Length => "length",
            Self::Repetition => "repetition",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Checks params that differ from the default by `change`; `""` means they pass.
    fn check(change: impl FnOnce(&mut SamplingParams), expected: &str) {
        let mut params = SamplingParams::default();
        change(&mut params);
        let got = params.check(100).map_or_else(|error| error.to_string(), |()| String::new());
        assert_eq!(got, expected);
    }

    #[test]
    fn ranges_are_checked_and_named() {
        check(|_| (), "");
        check(|p| p.temperature = 1e-45, "");
        check(|p| p.temperature = -0.0, "");
        check(|p| p.temperature = 2.01, "temperature is 2.01, it must be from 0 to 2");
        check(|p| p.temperature = -1.0, "temperature is -1, it must be from 0 to 2");
        check(|p| p.temperature = f32::NAN, "temperature is NaN, it must be from 0 to 2");
        check(|p| p.temperature = f32::INFINITY, "temperature is inf, it must be from 0 to 2");
        check(|p| p.top_p = 0.0, "top_p is 0, it must be above 0 and at most 1");
        check(|p| p.top_p = f32::NAN, "top_p is NaN, it must be above 0 and at most 1");
        check(|p| p.min_p = 2.0, "min_p is 2, it must be from 0 to 1");
        check(|p| p.typical_p = 1.5, "typical_p is 1.5, it must be above 0 and at most 1");
        check(
            |p| p.repetition_penalty = 0.0,
            "repetition_penalty is 0, it must be above 0 and at most 10",
        );
        check(
            |p| p.presence_penalty = 1e9,
            "presence_penalty is 1000000000, it must be from -2 to 2",
        );
        check(|p| p.frequency_penalty = -2.5, "frequency_penalty is -2.5, it must be from -2 to 2");
        check(|p| p.max_tokens = Some(0), "max_tokens is 0, it must be at least 1");
        check(|p| p.soft_max_tokens = Some(0), "soft_max_tokens is 0, it must be at least 1");
        check(|p| p.soft_max_tokens = Some(usize::MAX), "");
        check(|p| (p.soft_max_tokens, p.max_tokens) = (Some(9), Some(9)), "");
        check(
            |p| (p.soft_max_tokens, p.max_tokens) = (Some(10), Some(9)),
            "soft_max_tokens is 10, it must be at most max_tokens",
        );
        let repetition = |max_pattern_size, min_pattern_size, min_count| {
            Some(RepetitionDetection { max_pattern_size, min_pattern_size, min_count })
        };
        check(|p| p.repetition_detection = repetition(1, 1, 2), "");
        check(|p| p.repetition_detection = repetition(1024, 1024, 1024), "");
        check(
            |p| p.repetition_detection = repetition(0, 0, 2),
            "repetition_detection is patterns of 0 tokens, it must be patterns of 1 to 1024 tokens",
        );
        check(
            |p| p.repetition_detection = repetition(1025, 1, 2),
            "repetition_detection is patterns of 1025 tokens, it must be patterns of 1 to 1024 tokens",
        );
        check(
            |p| p.repetition_detection = repetition(4, 5, 2),
            "repetition_detection is patterns from 5 to 4 tokens, it must be from 1 on and in order",
        );
        check(
            |p| p.repetition_detection = repetition(4, 0, 2),
            "repetition_detection is patterns from 0 to 4 tokens, it must be from 1 on and in order",
        );
        check(
            |p| p.repetition_detection = repetition(4, 1, 1),
            "repetition_detection is 1 times, it must be 2 to 1024 times",
        );
        check(
            |p| p.repetition_detection = repetition(4, 1, 1025),
            "repetition_detection is 1025 times, it must be 2 to 1024 times",
        );
        check(|p| p.top_logprobs = Some(21), "top_logprobs is 21, it must be at most 20");
        check(|p| p.top_k = u32::MAX, "");
    }

    #[test]
    fn stop_texts_and_biases_are_bounded() {
        check(|p| p.stop = vec!["x".repeat(256); 8], "");
        check(|p| p.stop = vec!["x".into(); 9], "stop is 9 texts, it must be at most 8 texts");
        check(
            |p| p.stop = vec![String::new()],
            "stop is a text of 0 bytes, it must be texts of 1 to 256 bytes",
        );
        check(
            |p| p.stop = vec!["x".repeat(257)],
            "stop is a text of 257 bytes, it must be texts of 1 to 256 bytes",
        );
        check(|p| p.logit_bias = vec![(99, -100.0); 1024], "");
        check(
            |p| p.logit_bias = vec![(99, 0.0); 1025],
            "logit_bias is 1025 entries, it must be at most 1024 entries",
        );
        check(
            |p| p.logit_bias = vec![(100, 0.0)],
            "logit_bias is token 100 of 100, it must be on tokens of the vocabulary",
        );
        check(
            |p| p.logit_bias = vec![(1, f32::NAN)],
            "logit_bias is NaN, it must be from -100 to 100",
        );
    }
}
