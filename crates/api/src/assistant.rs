//! The assistant endpoints `/api/query`, `/api/query/stream` and `/api/chat`: requests, replies, events.

use serde::Serialize;
use serde_json::Value;
use utoipa::ToSchema;

use crate::{
    cache_control::{CacheControl, take_cache_control},
    error::{ErrorBody, RequestError},
    fields::Fields,
    json,
    neutral::Place,
    sampling::{
        RepetitionDetection, Stop, take_repetition_detection, take_repetition_penalty, take_seed,
        take_stop,
    },
    usage::{Timings, Usage},
};

/// Body of `POST /api/query` and `POST /api/query/stream`.
#[derive(Clone, Debug, PartialEq, Serialize, ToSchema)]
pub struct QueryRequest {
    /// The question.
    pub query: String,
    /// Everything else.
    #[serde(flatten)]
    pub options: AssistantOptions,
}

/// Body of `POST /api/chat`.
#[derive(Clone, Debug, PartialEq, Serialize, ToSchema)]
pub struct ChatTurnRequest {
    /// The newest message; the server has the earlier ones.
    pub message: String,
    /// Whose conversation it continues: 1 to 256 bytes without control characters. A new one begins
    /// with its first message.
    pub user_id: String,
    /// Send the reply piece by piece as server-sent events. Default true.
    pub stream: bool,
    /// Everything else.
    #[serde(flatten)]
    pub options: AssistantOptions,
}

/// What the assistant endpoints share. An absent field leaves the choice to the server's settings; a
/// field that is there counts, also beside `speed_mode`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, ToSchema)]
pub struct AssistantOptions {
    /// A name from `GET /v1/models`; absent means the server's model.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub model: Option<String>,
    /// Instructions in front of the conversation. They are not kept.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub system: Option<String>,
    /// Change the defaults to the cheapest: greedy, no penalties, no blocked repetitions, and on
    /// `/api/chat` a short context. Default false.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub speed_mode: bool,
    /// Tokens of the reply at most. Default 256, fewer where the context leaves fewer.
    #[schema(minimum = 1)]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_tokens: Option<u32>,
    /// The reply ends with the first whole sentence after this many tokens; at most `max_tokens`, and
    /// equal to it means never early. Default three quarters of it.
    #[schema(minimum = 1)]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub soft_max_tokens: Option<u32>,
    /// Softmax temperature. Below the server's `greedy_below` (0.3) the likeliest token is taken.
    /// Default 0.8.
    #[schema(minimum = 0, maximum = 2)]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub temperature: Option<f32>,
    /// Keep the smallest set of tokens whose probability reaches this. Default 0.9.
    #[schema(exclusive_minimum = 0, maximum = 1)]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub top_p: Option<f32>,
    /// Keep this many of the likeliest tokens; 0 and -1 keep all. Default 50.
    #[schema(minimum = 0)]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub top_k: Option<u32>,
    /// Drop tokens less likely than this times the likeliest. Default 0.
    #[schema(minimum = 0, maximum = 1)]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub min_p: Option<f32>,
    /// Divides the positive and multiplies the negative logits of tokens already seen; also
    /// accepted as `repeat_penalty`. Default 1.1; 1 is off.
    #[schema(exclusive_minimum = 0, maximum = 10)]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub repetition_penalty: Option<f32>,
    /// Never repeat a run of this many tokens; 0 is off. Default 3.
    #[schema(minimum = 0, maximum = 1024)]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub no_repeat_ngram_size: Option<u32>,
    /// The same seed, conversation and parameters give the same reply. Any 64-bit integer but -1,
    /// which draws one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub seed: Option<i64>,
    /// A text, or up to 8 texts of at most 256 bytes, that end the reply and are not part of it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub stop: Option<Stop>,
    /// End a reply that repeats itself, with the finish reason `repetition`. Default: a pattern of 8
    /// to 64 tokens that has come 8 times. `{"max_pattern_size": 0}` is off.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub repetition_detection: Option<RepetitionDetection>,
    /// What the response cache may do, as in the header `X-Brisk-Cache-Control`.
    #[schema(value_type = Option<String>)]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cache_control: Option<CacheControl>,
}

impl QueryRequest {
    /// Reads and checks a body of `/api/query`.
    pub fn read(body: &[u8]) -> Result<Self, RequestError> {
        Self::read_at(body, Place::Query)
    }

    /// Reads and checks a body of `/api/query/stream`.
    pub fn read_streamed(body: &[u8]) -> Result<Self, RequestError> {
        Self::read_at(body, Place::QueryStream)
    }

    fn read_at(body: &[u8], place: Place) -> Result<Self, RequestError> {
        let mut fields = Fields::of_body(json::parse_object(body)?, place);
        refuse_messages(&mut fields, "`/api/query` takes one question as `query`")?;
        let query = take_text(&mut fields, "query")?;
        let options = AssistantOptions::take(&mut fields)?;
        fields.finish()?;
        Ok(Self { query, options })
    }
}

impl ChatTurnRequest {
    /// Reads and checks a body.
    pub fn read(body: &[u8]) -> Result<Self, RequestError> {
        let mut fields = Fields::of_body(json::parse_object(body)?, Place::Turn);
        refuse_messages(
            &mut fields,
            "`/api/chat` keeps the conversation itself and takes its newest `message` with a `user_id`",
        )?;
        let message = take_text(&mut fields, "message")?;
        let user_id = take_text(&mut fields, "user_id")?;
        let stream = fields.bool("stream")?.unwrap_or(true);
        let options = AssistantOptions::take(&mut fields)?;
        fields.finish()?;
        Ok(Self { message, user_id, stream, options })
    }
}

impl AssistantOptions {
    fn take(fields: &mut Fields) -> Result<Self, RequestError> {
        let count = |fields: &mut Fields, name: &str| {
            let count = fields.integer(name, 1..=u64::from(u32::MAX))?;
            Ok::<_, RequestError>(count.map(|count| count as u32))
        };
        Ok(Self {
            model: fields.string("model")?,
            // No instructions are the same as empty ones.
            system: fields.string("system")?.filter(|system| !system.is_empty()),
            speed_mode: fields.bool("speed_mode")?.unwrap_or(false),
            max_tokens: count(fields, "max_tokens")?,
            soft_max_tokens: count(fields, "soft_max_tokens")?,
            temperature: fields.number("temperature", 0.0..=2.0, false)?,
            top_p: fields.number("top_p", 0.0..=1.0, true)?,
            top_k: fields.integer("top_k", 0..=u64::from(u32::MAX))?.map(|k| k as u32),
            min_p: fields.number("min_p", 0.0..=1.0, false)?,
            repetition_penalty: take_repetition_penalty(fields)?,
            no_repeat_ngram_size: fields
                .integer("no_repeat_ngram_size", 0..=1024)?
                .map(|n| n as u32),
            seed: take_seed(fields)?,
            stop: take_stop(fields)?,
            repetition_detection: take_repetition_detection(fields)?,
            cache_control: take_cache_control(fields)?,
        })
    }
}

fn take_text(fields: &mut Fields, name: &str) -> Result<String, RequestError> {
    let param = || name.to_owned();
    let text = fields.string(name)?.ok_or_else(|| RequestError::Missing { param: param() })?;
    if text.is_empty() {
        return Err(RequestError::OutOfRange {
            param: param(),
            value: "empty".into(),
            expected: "some text".into(),
        });
    }
    Ok(text)
}

/// Clients of OpenAI and Ollama send whole conversations; they are told where those go.
fn refuse_messages(fields: &mut Fields, takes: &str) -> Result<(), RequestError> {
    let messages: Option<Value> = fields.take("messages");
    match messages {
        None => Ok(()),
        Some(_) => Err(RequestError::Unsupported {
            param: "messages".into(),
            reason: format!("{takes}; send a whole conversation to `/v1/chat/completions`"),
        }),
    }
}

/// Reply of `POST /api/query`.
#[derive(Clone, Debug, PartialEq, Serialize, ToSchema)]
pub struct AssistantReply {
    /// The text.
    pub response: String,
    /// Everything else.
    #[serde(flatten)]
    pub end: ReplyEnd,
}

/// What stands beside a whole reply, and in the last event of a streamed one.
#[derive(Clone, Debug, PartialEq, Serialize, ToSchema)]
pub struct ReplyEnd {
    /// Whether the reply was kept from an earlier request.
    pub cached: bool,
    /// What the response cache did: `hit`, `hit-normalized`, `miss`, `bypass`, `coalesced`.
    pub cache: &'static str,
    /// The model that answered.
    pub model: String,
    /// Why it ended: `stop`, `length` or `repetition`.
    pub finish_reason: &'static str,
    /// Milliseconds by phase.
    pub timings: Timings,
    /// Tokens; of a kept reply, those of its generation.
    pub usage: Usage,
    /// On `/api/chat`: what the model did not see of the conversation.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub history: Option<History>,
    /// On `/api/chat`: whether the turn is part of the conversation now. False where the disk is full, or
    /// where the conversation was deleted meanwhile: the next turn does not know this one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub kept: Option<bool>,
}

/// What the model did not see of a conversation, because the context had no room for it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, ToSchema)]
pub struct History {
    /// Messages that were left out, the oldest ones.
    pub messages_left_out: usize,
    /// Their tokens.
    pub tokens_left_out: usize,
}

/// The events of a streamed reply: pieces, and then its end or an error.
#[derive(Clone, Debug, PartialEq, Serialize, ToSchema)]
#[serde(untagged)]
pub enum StreamEvent {
    /// A piece.
    Token(TokenEvent),
    /// The end.
    Done(Box<DoneEvent>),
    /// What broke the reply off.
    Error(ErrorBody),
}

/// One piece of a streamed reply.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
pub struct TokenEvent {
    /// Text to append.
    pub token: String,
}

/// The last event of a streamed reply.
#[derive(Clone, Debug, PartialEq, Serialize, ToSchema)]
pub struct DoneEvent {
    /// Always true.
    pub done: bool,
    /// Everything else.
    #[serde(flatten)]
    pub end: ReplyEnd,
}
