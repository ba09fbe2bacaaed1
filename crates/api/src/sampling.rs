//! The parameters that both endpoints share: how tokens are chosen and when a reply ends.

use std::collections::BTreeMap;

use serde::Serialize;
use serde_json::Value;
use utoipa::ToSchema;

use crate::{
    MAX_CHOICES, MAX_LOGIT_BIASES, MAX_REPETITION, MAX_STOP_BYTES, MAX_STOPS,
    error::{RequestError, clip},
    fields::{Fields, out_of_range, wrong_type},
    neutral::Place,
};

/// Bias per token id.
pub type LogitBias = BTreeMap<u32, f32>;

/// How tokens are chosen and when a reply ends; an absent field leaves the choice to the server.
#[derive(Clone, Debug, Default, PartialEq, Serialize, ToSchema)]
pub struct Sampling {
    /// Softmax temperature; 0 is greedy. Default 1.
    #[schema(minimum = 0, maximum = 2)]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub temperature: Option<f32>,
    /// Keep the smallest set of tokens whose probability reaches this. Default 1, which keeps all.
    #[schema(exclusive_minimum = 0, maximum = 1)]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub top_p: Option<f32>,
    /// Keep this many of the likeliest tokens; 0 and -1 keep all.
    #[schema(minimum = 0)]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub top_k: Option<u32>,
    /// Drop tokens less likely than this times the likeliest. Default 0.
    #[schema(minimum = 0, maximum = 1)]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub min_p: Option<f32>,
    /// Locally typical sampling: keep this probability mass. Default 1, which is off.
    #[schema(exclusive_minimum = 0, maximum = 1)]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub typical_p: Option<f32>,
    /// Divides the positive and multiplies the negative logits of tokens already seen; also
    /// accepted as `repeat_penalty`. Default 1, which is off.
    #[schema(exclusive_minimum = 0, maximum = 10)]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub repetition_penalty: Option<f32>,
    /// Subtracted once from the logit of every token generated so far. Default 0.
    #[schema(minimum = -2, maximum = 2)]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub presence_penalty: Option<f32>,
    /// Subtracted for each occurrence from the logit of every token generated so far. Default 0.
    #[schema(minimum = -2, maximum = 2)]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub frequency_penalty: Option<f32>,
    /// Never repeat a run of this many tokens, the prompt's included; 0 is off.
    #[schema(minimum = 0, maximum = 1024)]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub no_repeat_ngram_size: Option<u32>,
    /// Token id to bias, -100 to 100, added to its logit; at most 1024 entries.
    #[schema(value_type = Option<BTreeMap<String, f32>>)]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub logit_bias: Option<LogitBias>,
    /// The same seed, prompt and parameters give the same reply. Any 64-bit integer but -1, which
    /// draws one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub seed: Option<i64>,
    /// A text, or up to 8 texts of at most 256 bytes, that end the reply and are not part of it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub stop: Option<Stop>,
    /// End a reply that repeats itself, with the finish reason `repetition`. Default: never.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub repetition_detection: Option<RepetitionDetection>,
    /// How many replies to generate. Default 1.
    #[schema(minimum = 1, maximum = 8)]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub n: Option<u32>,
    /// Go on after an end-of-text token, for benchmarks. Default false.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ignore_eos: Option<bool>,
}

/// `stop`: one text or several.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
#[serde(untagged)]
pub enum Stop {
    /// One text.
    One(String),
    /// Up to 8 texts.
    Many(Vec<String>),
}

impl Stop {
    /// The texts as a list.
    pub fn into_vec(self) -> Vec<String> {
        match self {
            Self::One(text) => vec![text],
            Self::Many(texts) => texts,
        }
    }
}

/// `repetition_detection`, as in vLLM: the latest tokens of a reply are one pattern, over and over.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, ToSchema)]
pub struct RepetitionDetection {
    /// Tokens of the longest pattern looked for; 0 is off. Default 0.
    #[schema(minimum = 0, maximum = 1024)]
    pub max_pattern_size: u32,
    /// Tokens of the shortest, at most `max_pattern_size`; 0 is the same as 1. Default 0.
    #[schema(minimum = 0, maximum = 1024)]
    pub min_pattern_size: u32,
    /// How often the pattern must have come in a row; required unless it is off.
    #[schema(minimum = 2, maximum = 1024)]
    pub min_count: u32,
}

/// `stream_options`; refused without `stream: true`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, ToSchema)]
pub struct StreamOptions {
    /// Send one more chunk at the end, with the usage and no choices. Default false.
    pub include_usage: bool,
}

impl Sampling {
    pub(crate) fn take(fields: &mut Fields) -> Result<Self, RequestError> {
        Ok(Self {
            temperature: fields.number("temperature", 0.0..=2.0, false)?,
            top_p: fields.number("top_p", 0.0..=1.0, true)?,
            top_k: fields.integer("top_k", 0..=u64::from(u32::MAX))?.map(|k| k as u32),
            min_p: fields.number("min_p", 0.0..=1.0, false)?,
            typical_p: fields.number("typical_p", 0.0..=1.0, true)?,
            repetition_penalty: take_repetition_penalty(fields)?,
            presence_penalty: fields.number("presence_penalty", -2.0..=2.0, false)?,
            frequency_penalty: fields.number("frequency_penalty", -2.0..=2.0, false)?,
            no_repeat_ngram_size: fields
                .integer("no_repeat_ngram_size", 0..=1024)?
                .map(|n| n as u32),
            logit_bias: take_logit_bias(fields)?,
            seed: take_seed(fields)?,
            stop: take_stop(fields)?,
            repetition_detection: take_repetition_detection(fields)?,
            n: fields.integer("n", 1..=MAX_CHOICES)?.map(|n| n as u32),
            ignore_eos: fields.bool("ignore_eos")?,
        })
    }
}

/// Takes `stream` and `stream_options`, which belong together.
pub(crate) fn take_stream(fields: &mut Fields) -> Result<(bool, StreamOptions), RequestError> {
    let stream = fields.bool("stream")?.unwrap_or(false);
    let Some(value) = fields.take("stream_options") else {
        return Ok((stream, StreamOptions::default()));
    };
    let mut options = Fields::of_value("stream_options", value, Place::StreamOptions)?;
    if !stream {
        return Err(RequestError::Unsupported {
            param: "stream_options".into(),
            reason: "it needs `stream: true`".into(),
        });
    }
    let include_usage = options.bool("include_usage")?.unwrap_or(false);
    options.finish()?;
    Ok((stream, StreamOptions { include_usage }))
}

/// Two names of one value are taken if they agree.
pub(crate) fn agreeing<T: PartialEq + Copy + Into<f64>>(
    (name, value): (&str, Option<T>),
    (alias, other): (&str, Option<T>),
) -> Result<Option<T>, RequestError> {
    match (value, other) {
        (Some(value), Some(other)) if value != other => Err(RequestError::OutOfRange {
            param: alias.to_owned(),
            value: other.into().to_string(),
            expected: format!("the same as `{name}`"),
        }),
        (value, other) => Ok(value.or(other)),
    }
}

pub(crate) fn take_repetition_penalty(fields: &mut Fields) -> Result<Option<f32>, RequestError> {
    let value = fields.number("repetition_penalty", 0.0..=10.0, true)?;
    let alias = fields.number("repeat_penalty", 0.0..=10.0, true)?;
    agreeing(("repetition_penalty", value), ("repeat_penalty", alias))
}

/// Any 64-bit integer; the upper half of the unsigned ones wraps, so each keeps a stream of its own.
pub(crate) fn take_seed(fields: &mut Fields) -> Result<Option<i64>, RequestError> {
    let Some(value) = fields.take("seed") else { return Ok(None) };
    match &value {
        Value::Number(number) if !number.is_f64() => {
            Ok(number.as_i64().or_else(|| number.as_u64().map(u64::cast_signed)))
        }
        other => Err(wrong_type("seed", "a 64-bit integer", other)),
    }
}

pub(crate) fn take_stop(fields: &mut Fields) -> Result<Option<Stop>, RequestError> {
    match fields.take("stop") {
        None => Ok(None),
        Some(Value::Array(values)) if values.len() > MAX_STOPS => Err(RequestError::OutOfRange {
            param: "stop".into(),
            value: format!("an array of {}", values.len()),
            expected: format!("at most {MAX_STOPS} texts"),
        }),
        Some(Value::Array(values)) => {
            let named = values.into_iter().enumerate();
            let texts = named.map(|(i, value)| stop_text(format!("stop[{i}]"), value));
            Ok(Some(Stop::Many(texts.collect::<Result<_, _>>()?)))
        }
        Some(value @ Value::String(_)) => Ok(Some(Stop::One(stop_text("stop".into(), value)?))),
        Some(other) => Err(wrong_type("stop", "a string or an array of strings", &other)),
    }
}

fn stop_text(param: String, value: Value) -> Result<String, RequestError> {
    match value {
        Value::String(text) if (1..=MAX_STOP_BYTES).contains(&text.len()) => Ok(text),
        Value::String(text) => Err(RequestError::OutOfRange {
            param,
            value: format!("{} bytes long", text.len()),
            expected: format!("between 1 and {MAX_STOP_BYTES} bytes long"),
        }),
        other => Err(wrong_type(&param, "a string", &other)),
    }
}

pub(crate) fn take_repetition_detection(
    fields: &mut Fields,
) -> Result<Option<RepetitionDetection>, RequestError> {
    let Some(value) = fields.take("repetition_detection") else { return Ok(None) };
    let mut fields = Fields::of_value("repetition_detection", value, Place::Other)?;
    let max_pattern_size = fields.integer("max_pattern_size", 0..=MAX_REPETITION)?.unwrap_or(0);
    let min_pattern_size = fields.integer("min_pattern_size", 0..=max_pattern_size)?.unwrap_or(0);
    let is_off = max_pattern_size == 0;
    let fewest = if is_off { 0 } else { 2 };
    let min_count = match fields.integer("min_count", fewest..=MAX_REPETITION)? {
        None if is_off => 0,
        None => return Err(RequestError::Missing { param: fields.name_of("min_count") }),
        Some(count) => count,
    };
    fields.finish()?;
    Ok(Some(RepetitionDetection {
        max_pattern_size: max_pattern_size as u32,
        min_pattern_size: min_pattern_size as u32,
        min_count: min_count as u32,
    }))
}

fn take_logit_bias(fields: &mut Fields) -> Result<Option<LogitBias>, RequestError> {
    let map = match fields.take("logit_bias") {
        None => return Ok(None),
        Some(Value::Object(map)) => map,
        Some(other) => return Err(wrong_type("logit_bias", "an object of numbers", &other)),
    };
    if map.len() > MAX_LOGIT_BIASES {
        return Err(RequestError::OutOfRange {
            param: "logit_bias".into(),
            value: format!("an object of {}", map.len()),
            expected: format!("at most {MAX_LOGIT_BIASES} entries"),
        });
    }
    map.iter().map(|(key, value)| bias(key, value)).collect::<Result<_, _>>().map(Some)
}

fn bias(key: &str, value: &Value) -> Result<(u32, f32), RequestError> {
    let param = || format!("logit_bias.{}", clip(key));
    // "7" and "007" would be two keys for one token.
    let token = key.parse::<u32>().ok().filter(|token| token.to_string() == key);
    let token = token.ok_or_else(|| RequestError::OutOfRange {
        param: param(),
        value: "not a token id".into(),
        expected: "a whole number in plain digits".into(),
    })?;
    match value.as_f64() {
        Some(bias) if (-100.0..=100.0).contains(&bias) => Ok((token, bias as f32 + 0.0)),
        Some(_) => Err(out_of_range(param(), value, "at least -100 and at most 100".into())),
        None => Err(wrong_type(&param(), "a number", value)),
    }
}
