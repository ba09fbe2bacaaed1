//! Hashes everything that can change a reply into the key that it is kept under.

use brisk_cache::{Key, KeyHasher, Tenant, normalize};
use brisk_engine::SamplingParams;

use crate::{
    job::{Input, Job},
    request::{Message, Prompt, Role},
};

/// Changes with the meaning of a field below or of a recording.
const SCHEMA_VERSION: u32 = 2;

/// What a key depends on beside the request.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Partition<'a> {
    pub(crate) tenant: Tenant,
    /// The model's bytes, its chat template and the arithmetic that runs it.
    pub(crate) identity: &'a [u8],
    /// The dates that the chat template writes into its prompts now.
    pub(crate) dates: &'a str,
    /// Whether requests that differ in the spelling of the last question may share an entry.
    pub(crate) is_normalized: bool,
}

/// The key of a job. Defaults are filled in by now, so a parameter that is named and one that is
/// left out are the same when they mean the same.
pub(crate) fn key(job: &Job, partition: Partition<'_>) -> Key {
    let Partition { tenant, identity, dates, is_normalized } = partition;
    let mut hasher = KeyHasher::new(tenant, SCHEMA_VERSION);
    hasher.field("identity", identity);
    hasher.field("normalized", &[u8::from(is_normalized)]);
    // A reply without a number of tokens of its own ends with the context.
    hasher.field("max_model_len", &number(job.workshop.engine.model().max_model_len));
    hash_params(&mut hasher, &job.params);
    hasher.field("num_choices", &number(job.num_choices));
    hasher.field("default_max_tokens", &optional(job.default_max_tokens));
    match &job.input {
        Input::Chat { messages, is_cleaned } => {
            hasher.field("chat", &[u8::from(*is_cleaned)]);
            hasher.field("dates", dates.as_bytes());
            hash_messages(&mut hasher, messages, is_normalized);
        }
        Input::Raw { prompts, echo } => {
            hasher.field("raw", &[u8::from(*echo)]);
            hash_prompts(&mut hasher, prompts);
        }
    }
    hasher.finish()
}

fn hash_messages(hasher: &mut KeyHasher, messages: &[Message], is_normalized: bool) {
    hasher.field("num_messages", &number(messages.len()));
    let last = messages.len().saturating_sub(1);
    for (i, Message { role, content }) in messages.iter().enumerate() {
        hasher.field("role", role.name().as_bytes());
        let is_question = is_normalized && i == last && *role == Role::User;
        match is_question.then(|| normalize(content)).flatten() {
            Some(normal) => {
                hasher.normalized_field("content", content.as_bytes(), normal.as_bytes());
            }
            None => hasher.field("content", content.as_bytes()),
        }
    }
}

fn hash_prompts(hasher: &mut KeyHasher, prompts: &[Prompt]) {
    hasher.field("num_prompts", &number(prompts.len()));
    for prompt in prompts {
        match prompt {
            Prompt::Text(text) => hasher.field("text", text.as_bytes()),
            Prompt::Tokens(tokens) => {
                let bytes: Vec<u8> = tokens.iter().flat_map(|token| token.to_le_bytes()).collect();
                hasher.field("tokens", &bytes);
            }
        }
    }
}

/// The pattern names every field: one that is added later cannot be forgotten here.
fn hash_params(hasher: &mut KeyHasher, params: &SamplingParams) {
    let SamplingParams {
        temperature,
        top_k,
        top_p,
        min_p,
        typical_p,
        repetition_penalty,
        presence_penalty,
        frequency_penalty,
        no_repeat_ngram_size,
        logit_bias,
        seed,
        stop,
        max_tokens,
        soft_max_tokens,
        repetition_detection,
        top_logprobs,
        ignore_eos,
    } = params;
    for (name, value) in [
        ("temperature", temperature),
        ("top_p", top_p),
        ("min_p", min_p),
        ("typical_p", typical_p),
        ("repetition_penalty", repetition_penalty),
        ("presence_penalty", presence_penalty),
        ("frequency_penalty", frequency_penalty),
    ] {
        hasher.field(name, &canonical(*value));
    }
    hasher.field("top_k", &top_k.to_le_bytes());
    hasher.field("no_repeat_ngram_size", &no_repeat_ngram_size.to_le_bytes());
    let mut biases = logit_bias.clone();
    biases.sort_unstable_by_key(|(token, _)| *token);
    let biases = biases.iter().flat_map(|(token, bias)| [token.to_le_bytes(), canonical(*bias)]);
    hasher.field("logit_bias", &biases.flatten().collect::<Vec<u8>>());
    hasher.field("seed", &optional(*seed));
    hasher.field("num_stop", &number(stop.len()));
    for text in stop {
        hasher.field("stop", text.as_bytes());
    }
    hasher.field("max_tokens", &optional(*max_tokens));
    hasher.field("soft_max_tokens", &optional(*soft_max_tokens));
    let repetition = repetition_detection.map(|it| {
        [it.max_pattern_size, it.min_pattern_size, it.min_count].map(u32::to_le_bytes).concat()
    });
    hasher.field("repetition_detection", &repetition.unwrap_or_default());
    hasher.field("top_logprobs", &optional(top_logprobs.map(u64::from)));
    hasher.field("ignore_eos", &[u8::from(*ignore_eos)]);
}

/// Bits of a number that is not a NaN; both zeros are one.
fn canonical(value: f32) -> [u8; 4] {
    (value + 0.0).to_bits().to_le_bytes()
}

fn number(value: usize) -> [u8; 8] {
    (value as u64).to_le_bytes()
}

/// Empty where there is none, which no number is.
fn optional<T: TryInto<u64>>(value: Option<T>) -> Vec<u8> {
    let value = value.map(|value| value.try_into().unwrap_or(u64::MAX));
    value.map(|value| value.to_le_bytes().to_vec()).unwrap_or_default()
}
