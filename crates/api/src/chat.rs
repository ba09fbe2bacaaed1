//! `/v1/chat/completions`: request, reply and stream chunk.

use serde::Serialize;
use serde_json::Value;
use utoipa::ToSchema;

use crate::{
    MAX_MESSAGES, MAX_TOP_LOGPROBS,
    cache_control::{CacheControl, take_cache_control},
    error::{RequestError, clip},
    fields::{Fields, wrong_type},
    json,
    neutral::Place,
    sampling::{Sampling, StreamOptions, agreeing, take_stream},
    usage::{Timings, Usage},
};

/// Body of `POST /v1/chat/completions`.
#[derive(Clone, Debug, PartialEq, Serialize, ToSchema)]
pub struct ChatCompletionRequest {
    /// A name from `GET /v1/models`; absent means the server's model.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub model: Option<String>,
    /// The conversation, oldest first.
    #[schema(min_items = 1, max_items = 4096)]
    pub messages: Vec<ChatMessage>,
    /// How tokens are chosen and when the reply ends.
    #[serde(flatten)]
    pub sampling: Sampling,
    /// Tokens to generate at most; `max_completion_tokens` is the same under OpenAI's newer name.
    /// Absent means as many as the context holds.
    #[schema(minimum = 1)]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_tokens: Option<u32>,
    /// The newer name of `max_tokens`; if both are given they must agree.
    #[schema(minimum = 1)]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_completion_tokens: Option<u32>,
    /// Report the log probability of each token. Default false.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub logprobs: bool,
    /// How many of the likeliest tokens to report beside each; needs `logprobs: true`.
    #[schema(minimum = 0, maximum = 20)]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub top_logprobs: Option<u8>,
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

/// One message of a conversation.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
pub struct ChatMessage {
    /// Who speaks.
    pub role: Role,
    /// What is said: a string, or an array of `{"type": "text", "text": "..."}` parts, which are
    /// joined by line breaks. It may be empty, but for the last message; an assistant's may also be
    /// null or absent.
    pub content: String,
}

/// Who speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    /// Instructions from whoever runs the assistant.
    System,
    /// OpenAI's newer name of `system`.
    Developer,
    /// The person.
    User,
    /// The model.
    Assistant,
}

fn is_default(options: &StreamOptions) -> bool {
    *options == StreamOptions::default()
}

impl ChatCompletionRequest {
    /// Reads and checks a body.
    pub fn read(body: &[u8]) -> Result<Self, RequestError> {
        let mut fields = Fields::of_body(json::parse_object(body)?, Place::Chat);
        let model = fields.string("model")?;
        let messages = take_messages(&mut fields)?;
        let sampling = Sampling::take(&mut fields)?;
        let max_tokens = fields.integer("max_tokens", 1..=u64::from(u32::MAX))?.map(|n| n as u32);
        let max_completion_tokens =
            fields.integer("max_completion_tokens", 1..=u64::from(u32::MAX))?.map(|n| n as u32);
        let names = (("max_completion_tokens", max_completion_tokens), ("max_tokens", max_tokens));
        agreeing(names.0, names.1)?;
        let logprobs = fields.bool("logprobs")?.unwrap_or(false);
        let top_logprobs = fields.integer("top_logprobs", 0..=MAX_TOP_LOGPROBS)?.map(|n| n as u8);
        if top_logprobs.is_some() && !logprobs {
            return Err(RequestError::Unsupported {
                param: "top_logprobs".into(),
                reason: "it needs `logprobs: true`".into(),
            });
        }
        let (stream, stream_options) = take_stream(&mut fields)?;
        let cache_control = take_cache_control(&mut fields)?;
        fields.finish()?;
        Ok(Self {
            model,
            messages,
            sampling,
            max_tokens,
            max_completion_tokens,
            logprobs,
            top_logprobs,
            stream,
            stream_options,
            cache_control,
        })
    }
}

fn take_messages(fields: &mut Fields) -> Result<Vec<ChatMessage>, RequestError> {
    let values = match fields.require("messages")? {
        Value::Array(values) if (1..=MAX_MESSAGES).contains(&values.len()) => values,
        Value::Array(values) => {
            return Err(RequestError::OutOfRange {
                param: "messages".into(),
                value: format!("an array of {}", values.len()),
                expected: format!("an array of 1 to {MAX_MESSAGES}"),
            });
        }
        other => return Err(wrong_type("messages", "an array", &other)),
    };
    let named = values.into_iter().enumerate();
    let messages: Vec<_> = named
        .map(|(i, value)| read_message(&format!("messages[{i}]"), value))
        .collect::<Result<_, _>>()?;
    // A history is taken as it was, empty turns included. What is to be answered must say something;
    // a reply may be empty, and clients send it back to have it continued.
    match messages.last() {
        Some(last) if last.content.is_empty() && last.role != Role::Assistant => {
            Err(RequestError::OutOfRange {
                param: format!("messages[{}].content", messages.len() - 1),
                value: "empty".into(),
                expected: "some text".into(),
            })
        }
        _ => Ok(messages),
    }
}

fn read_message(param: &str, value: Value) -> Result<ChatMessage, RequestError> {
    let mut fields = Fields::of_value(param, value, Place::Message)?;
    let role = read_role(format!("{param}.role"), &fields.require("role")?)?;
    let content = match fields.take("content") {
        // A reply without text: OpenAI's has a null there, and some clients leave it out.
        None if role == Role::Assistant => String::new(),
        None => return Err(RequestError::Missing { param: fields.name_of("content") }),
        Some(Value::String(text)) => text,
        Some(Value::Array(parts)) => read_parts(&format!("{param}.content"), parts)?,
        Some(other) => {
            let expected = "a string or an array of text parts";
            return Err(wrong_type(&format!("{param}.content"), expected, &other));
        }
    };
    fields.finish()?;
    Ok(ChatMessage { role, content })
}

fn read_role(param: String, value: &Value) -> Result<Role, RequestError> {
    let Some(role) = value.as_str() else { return Err(wrong_type(&param, "a string", value)) };
    match role {
        "system" => Ok(Role::System),
        "developer" => Ok(Role::Developer),
        "user" => Ok(Role::User),
        "assistant" => Ok(Role::Assistant),
        "tool" | "function" => Err(RequestError::Unsupported {
            param,
            reason: "tool calls are not available, so there is no tool to answer".into(),
        }),
        other => Err(RequestError::OutOfRange {
            param,
            value: format!("`{}`", clip(other)),
            expected: "`system`, `developer`, `user` or `assistant`".into(),
        }),
    }
}

fn read_parts(param: &str, parts: Vec<Value>) -> Result<String, RequestError> {
    let mut texts = Vec::with_capacity(parts.len());
    for (i, part) in parts.into_iter().enumerate() {
        let mut fields = Fields::of_value(&format!("{param}[{i}]"), part, Place::Part)?;
        match fields.require("type")? {
            Value::String(kind) if kind == "text" => {}
            Value::String(kind) => {
                return Err(RequestError::Unsupported {
                    param: fields.name_of("type"),
                    reason: format!("`{}` parts cannot be read, only `text` parts", clip(&kind)),
                });
            }
            other => return Err(wrong_type(&fields.name_of("type"), "a string", &other)),
        }
        let name = fields.name_of("text");
        texts.push(fields.string("text")?.ok_or(RequestError::Missing { param: name })?);
        fields.finish()?;
    }
    Ok(texts.join("\n"))
}

/// Reply of `POST /v1/chat/completions` when it is not streamed.
#[derive(Clone, Debug, PartialEq, Serialize, ToSchema)]
pub struct ChatCompletion {
    /// Names this reply.
    pub id: String,
    /// Always `chat.completion`.
    pub object: &'static str,
    /// Seconds since 1970.
    pub created: u64,
    /// The model that answered.
    pub model: String,
    /// The server's version: the same seed gives the same reply while this stays the same.
    pub system_fingerprint: &'static str,
    /// The replies, by index.
    pub choices: Vec<ChatChoice>,
    /// Tokens.
    pub usage: Usage,
    /// Milliseconds by phase.
    pub timings: Timings,
}

/// One reply.
#[derive(Clone, Debug, PartialEq, Serialize, ToSchema)]
pub struct ChatChoice {
    /// Which of the `n` replies.
    pub index: usize,
    /// The reply's message.
    pub message: ReplyMessage,
    /// Log probabilities, if asked for.
    pub logprobs: Option<ChatLogprobs>,
    /// Why it ended: `stop`, `length` or `repetition`.
    pub finish_reason: &'static str,
}

/// The message of a reply.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
pub struct ReplyMessage {
    /// Always `assistant`.
    pub role: &'static str,
    /// The text.
    pub content: String,
    /// Always null.
    #[schema(value_type = Option<String>)]
    pub refusal: Option<&'static str>,
}

/// Log probabilities of a reply, token by token.
#[derive(Clone, Debug, Default, PartialEq, Serialize, ToSchema)]
pub struct ChatLogprobs {
    /// One entry for each token of the text.
    pub content: Vec<TokenLogprob>,
    /// Always null.
    #[schema(value_type = Option<Vec<TokenLogprob>>)]
    pub refusal: Option<Vec<TokenLogprob>>,
}

/// A token, its log probability, and what else was likely.
#[derive(Clone, Debug, PartialEq, Serialize, ToSchema)]
pub struct TokenLogprob {
    /// The token as text; half a character shows as a replacement character.
    pub token: String,
    /// Natural logarithm of its probability under the model, before any filter.
    pub logprob: f32,
    /// The token's bytes.
    pub bytes: Vec<u8>,
    /// The likeliest tokens, best first.
    pub top_logprobs: Vec<TopLogprob>,
}

/// One of the likeliest tokens.
#[derive(Clone, Debug, PartialEq, Serialize, ToSchema)]
pub struct TopLogprob {
    /// The token as text.
    pub token: String,
    /// Natural logarithm of its probability.
    pub logprob: f32,
    /// The token's bytes.
    pub bytes: Vec<u8>,
}

/// One event of a streamed reply.
#[derive(Clone, Debug, PartialEq, Serialize, ToSchema)]
pub struct ChatCompletionChunk {
    /// Names the reply; the same on every chunk.
    pub id: String,
    /// Always `chat.completion.chunk`.
    pub object: &'static str,
    /// Seconds since 1970; the same on every chunk.
    pub created: u64,
    /// The model that answers.
    pub model: String,
    /// The server's version.
    pub system_fingerprint: &'static str,
    /// One choice's next piece; empty on the chunk that carries the usage.
    pub choices: Vec<ChatChunkChoice>,
    /// With `include_usage`: null on every chunk but the last. Absent otherwise.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<Usage>)]
    pub usage: Option<Option<Usage>>,
    /// Milliseconds by phase, on the last chunk.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub timings: Option<Timings>,
}

/// The next piece of one choice.
#[derive(Clone, Debug, PartialEq, Serialize, ToSchema)]
pub struct ChatChunkChoice {
    /// Which of the `n` replies.
    pub index: usize,
    /// What is new.
    pub delta: Delta,
    /// Log probabilities of the new tokens, if asked for.
    pub logprobs: Option<ChatLogprobs>,
    /// Why the choice ended, on its last piece.
    pub finish_reason: Option<&'static str>,
}

/// What is new in a choice.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, ToSchema)]
pub struct Delta {
    /// `assistant`, on the first piece.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub role: Option<&'static str>,
    /// Text to append.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub content: Option<String>,
}
