//! `/v1/completions`: request, reply and stream chunk.

use serde::{Serialize, Serializer};
use serde_json::Value;
use utoipa::ToSchema;

use crate::{
    MAX_PROMPTS, MAX_TOP_LOGPROBS,
    cache_control::{CacheControl, take_cache_control},
    error::RequestError,
    fields::{Fields, out_of_range, wrong_type},
    json,
    neutral::Place,
    sampling::{Sampling, StreamOptions, take_stream},
    usage::{Timings, Usage},
};

/// Body of `POST /v1/completions`.
#[derive(Clone, Debug, PartialEq, Serialize, ToSchema)]
pub struct CompletionRequest {
    /// A name from `GET /v1/models`; absent means the server's model.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub model: Option<String>,
    /// What to continue.
    pub prompt: Prompt,
    /// How tokens are chosen and when the reply ends.
    #[serde(flatten)]
    pub sampling: Sampling,
    /// Tokens to generate at most, for each choice. Default 16, as with OpenAI.
    #[schema(minimum = 1)]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_tokens: Option<u32>,
    /// Report the log probability of each token and this many of the likeliest.
    #[schema(minimum = 0, maximum = 20)]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub logprobs: Option<u8>,
    /// Put the prompt before the text. Default false; not together with `logprobs`.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub echo: bool,
    /// Send the reply piece by piece as server-sent events. Default false.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub stream: bool,
    /// Options of the stream.
    #[serde(skip_serializing_if = "is_default")]
    pub stream_options: StreamOptions,
    /// What the response cache may do, as in the header `X-Brisk-Cache-Control`.
    #[schema(value_type = Option<String>)]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cache_control: Option<CacheControl>,
}

/// What to continue: text or token ids, one prompt or up to 64.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
#[serde(untagged)]
pub enum Prompt {
    /// One text.
    Text(String),
    /// Several texts.
    Texts(Vec<String>),
    /// One list of token ids.
    Tokens(Vec<u32>),
    /// Several lists of token ids.
    TokenLists(Vec<Vec<u32>>),
}

fn is_default(options: &StreamOptions) -> bool {
    *options == StreamOptions::default()
}

impl CompletionRequest {
    /// Reads and checks a body.
    pub fn read(body: &[u8]) -> Result<Self, RequestError> {
        let mut fields = Fields::of_body(json::parse_object(body)?, Place::Completion);
        let model = fields.string("model")?;
        let prompt = read_prompt(fields.require("prompt")?)?;
        let sampling = Sampling::take(&mut fields)?;
        let max_tokens = fields.integer("max_tokens", 1..=u64::from(u32::MAX))?.map(|n| n as u32);
        let logprobs = fields.integer("logprobs", 0..=MAX_TOP_LOGPROBS)?.map(|n| n as u8);
        let echo = fields.bool("echo")?.unwrap_or(false);
        if echo && logprobs.is_some() {
            return Err(RequestError::Unsupported {
                param: "logprobs".into(),
                reason: "log probabilities of the prompt (`echo: true`) are not available".into(),
            });
        }
        let (stream, stream_options) = take_stream(&mut fields)?;
        let cache_control = take_cache_control(&mut fields)?;
        fields.finish()?;
        Ok(Self {
            model,
            prompt,
            sampling,
            max_tokens,
            logprobs,
            echo,
            stream,
            stream_options,
            cache_control,
        })
    }
}

/// An array's first element decides what kind of array it is.
fn read_prompt(value: Value) -> Result<Prompt, RequestError> {
    match value {
        Value::String(text) => Ok(Prompt::Text(some_text("prompt", text)?)),
        Value::Array(values) => match values.first() {
            None => Err(empty("prompt")),
            Some(Value::Number(_)) => Ok(Prompt::Tokens(read_tokens("prompt", &values)?)),
            Some(Value::String(_)) => read_each(values, read_text).map(Prompt::Texts),
            Some(Value::Array(_)) => read_each(values, |param, value| match value {
                Value::Array(tokens) => read_tokens(param, &tokens),
                other => Err(wrong_type(param, "an array of token ids", &other)),
            })
            .map(Prompt::TokenLists),
            Some(other) => Err(wrong_type("prompt[0]", "a string, a token id or an array", other)),
        },
        other => Err(wrong_type("prompt", "a string or an array", &other)),
    }
}

fn read_each<T>(
    values: Vec<Value>,
    read: impl Fn(&str, Value) -> Result<T, RequestError>,
) -> Result<Vec<T>, RequestError> {
    if values.len() > MAX_PROMPTS {
        return Err(RequestError::OutOfRange {
            param: "prompt".into(),
            value: format!("an array of {}", values.len()),
            expected: format!("at most {MAX_PROMPTS} prompts"),
        });
    }
    let named = values.into_iter().enumerate();
    named.map(|(i, value)| read(&format!("prompt[{i}]"), value)).collect()
}

fn read_text(param: &str, value: Value) -> Result<String, RequestError> {
    match value {
        Value::String(text) => some_text(param, text),
        other => Err(wrong_type(param, "a string", &other)),
    }
}

fn some_text(param: &str, text: String) -> Result<String, RequestError> {
    if text.is_empty() { Err(empty(param)) } else { Ok(text) }
}

fn read_tokens(param: &str, values: &[Value]) -> Result<Vec<u32>, RequestError> {
    if values.is_empty() {
        return Err(empty(param));
    }
    let token = |(i, value): (usize, &Value)| match value {
        Value::Number(number) if !number.is_f64() => {
            let token = number.as_u64().and_then(|token| u32::try_from(token).ok());
            token.ok_or_else(|| out_of_range(format!("{param}[{i}]"), value, "a token id".into()))
        }
        other => Err(wrong_type(&format!("{param}[{i}]"), "a token id", other)),
    };
    values.iter().enumerate().map(token).collect()
}

fn empty(param: &str) -> RequestError {
    RequestError::OutOfRange {
        param: param.to_owned(),
        value: "empty".into(),
        expected: "some text or token ids".into(),
    }
}

/// Reply of `POST /v1/completions`, and each event of a streamed one.
#[derive(Clone, Debug, PartialEq, Serialize, ToSchema)]
pub struct Completion {
    /// Names this reply; the same on every event.
    pub id: String,
    /// Always `text_completion`.
    pub object: &'static str,
    /// Seconds since 1970.
    pub created: u64,
    /// The model that answered.
    pub model: String,
    /// The server's version.
    pub system_fingerprint: &'static str,
    /// The continuations, or one continuation's next piece; with several prompts, the `n` choices
    /// of the first prompt come first.
    pub choices: Vec<CompletionChoice>,
    /// Tokens. In a stream with `include_usage`: null on every event but the last; absent without.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<Usage>)]
    pub usage: Option<Option<Usage>>,
    /// Milliseconds by phase; in a stream, on the last event.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub timings: Option<Timings>,
}

/// One continuation, or its next piece.
#[derive(Clone, Debug, PartialEq, Serialize, ToSchema)]
pub struct CompletionChoice {
    /// The text, or what is new of it.
    pub text: String,
    /// Prompt number times `n`, plus which of its choices.
    pub index: usize,
    /// Log probabilities, if asked for.
    pub logprobs: Option<CompletionLogprobs>,
    /// Why it ended: `stop`, `length` or `repetition`; null while it goes on.
    pub finish_reason: Option<&'static str>,
}

/// Tokens as text with their log probabilities: a JSON object in this order.
#[derive(Clone, Debug, Default, PartialEq, ToSchema)]
#[schema(value_type = std::collections::BTreeMap<String, f32>)]
pub struct TopLogprobs(Vec<(String, f32)>);

impl TopLogprobs {
    /// Appends a token that is no likelier than those before it. Of several tokens with one text the
    /// first, the likeliest, stays.
    pub fn push(&mut self, text: String, logprob: f32) {
        if self.0.iter().all(|(other, _)| *other != text) {
            self.0.push((text, logprob));
        }
    }
}

impl Serialize for TopLogprobs {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(self.0.iter().map(|(text, logprob)| (text, logprob)))
    }
}

/// Log probabilities of a continuation; the lists run in parallel, one entry for each token.
#[derive(Clone, Debug, Default, PartialEq, Serialize, ToSchema)]
pub struct CompletionLogprobs {
    /// The tokens as text.
    pub tokens: Vec<String>,
    /// Their log probabilities.
    pub token_logprobs: Vec<f32>,
    /// The likeliest tokens at each place, best first, and the chosen one if it is not among them.
    pub top_logprobs: Vec<TopLogprobs>,
    /// Where each token begins, in characters from the start of the text.
    pub text_offset: Vec<usize>,
}
