//! The parameters that are accepted only while they ask for nothing.
//!
//! A client that sends `"tools": []` or `"store": false` asks for exactly what it gets without the
//! field, so refusing it would help nobody. The same field with another value is refused by name.
//! The few texts that label a request (`user`, `metadata`, ...) change no reply anywhere.

use serde_json::Value;

/// A parameter with the values that ask for nothing. Null always does.
#[derive(Clone, Copy, Debug)]
pub struct Neutral {
    /// The parameter.
    pub name: &'static str,
    /// The accepted values, in words.
    pub accepted: &'static str,
    /// Whether a value is one of them.
    pub asks_for_nothing: fn(&Value) -> bool,
}

/// Bytes of a label (`user`, `safety_identifier`, `prompt_cache_key`, a value of `metadata`) at most.
const MAX_LABEL_BYTES: usize = 512;
/// Entries of `metadata` at most, as with OpenAI.
const MAX_METADATA: usize = 16;

/// Of `/v1/chat/completions`.
pub const CHAT_NEUTRAL: &[Neutral] = &[
    LABELS[0],
    LABELS[1],
    LABELS[2],
    LABELS[3],
    LABELS[4],
    LABELS[5],
    neutral("adapter", "null", |_| false),
    neutral("add_generation_prompt", "true", |v| *v == true),
    neutral("audio", "null", |_| false),
    neutral("best_of", "1", |v| *v == 1),
    neutral("cache_prompt", "false", |v| *v == false),
    neutral("cache_salt", "null", |_| false),
    neutral("chat_template", "null (the model's own template is used)", |_| false),
    neutral("chat_template_kwargs", "null or {}", is_empty_object),
    neutral("continue_final_message", "false", |v| *v == false),
    neutral("dry_allowed_length", "null", |_| false),
    neutral("dry_base", "null", |_| false),
    neutral("dry_multiplier", "null", |_| false),
    neutral("dry_penalty_last_n", "null", |_| false),
    neutral("dynatemp_exponent", "null", |_| false),
    neutral("dynatemp_range", "null", |_| false),
    neutral("early_stopping", "false", |v| *v == false),
    neutral("echo", "false", |v| *v == false),
    neutral("function_call", "\"none\" or \"auto\"", |v| *v == "none" || *v == "auto"),
    neutral("functions", "[]", is_empty_array),
    neutral("grammar", "null", |_| false),
    neutral("guided_json", "null", |_| false),
    neutral("id_slot", "null", |_| false),
    neutral("include_stop_str_in_output", "false", |v| *v == false),
    neutral("json_schema", "null", |_| false),
    neutral("length_penalty", "1", |v| v.as_f64() == Some(1.0)),
    neutral("lora", "null", |_| false),
    neutral("min_keep", "null", |_| false),
    neutral("min_tokens", "0", |v| *v == 0),
    neutral("mirostat", "null", |_| false),
    neutral("mirostat_eta", "null", |_| false),
    neutral("mirostat_tau", "null", |_| false),
    neutral("modalities", "[\"text\"]", |v| *v == serde_json::json!(["text"])),
    neutral("n_predict", "null", |_| false),
    neutral("n_probs", "null", |_| false),
    neutral("num_beams", "1", |v| *v == 1),
    neutral("parallel_tool_calls", "true or false", Value::is_boolean),
    neutral("prediction", "null", |_| false),
    neutral("prompt_cache_options", "null", |_| false),
    neutral("prompt_cache_retention", "null", |_| false),
    neutral("reasoning_effort", "\"none\"", |v| *v == "none"),
    neutral("repeat_last_n", "null", |_| false),
    neutral("response_format", "{\"type\": \"text\"}", |v| {
        *v == serde_json::json!({"type": "text"})
    }),
    neutral("return_progress", "false", |v| *v == false),
    neutral("samplers", "null", |_| false),
    neutral("skip_special_tokens", "true", |v| *v == true),
    neutral("spaces_between_special_tokens", "null", |_| false),
    neutral("stop_token_ids", "[]", is_empty_array),
    neutral("structured_outputs", "null", |_| false),
    neutral("timings_per_token", "false", |v| *v == false),
    neutral("tool_choice", "\"none\" or \"auto\"", |v| *v == "none" || *v == "auto"),
    neutral("tools", "[]", is_empty_array),
    neutral("top_n_sigma", "null", |_| false),
    neutral("use_beam_search", "false", |v| *v == false),
    neutral("verbosity", "\"medium\"", |v| *v == "medium"),
    neutral("web_search_options", "null", |_| false),
    neutral("xtc_probability", "null", |_| false),
    neutral("xtc_threshold", "null", |_| false),
];

/// Of `/v1/completions`.
pub const COMPLETION_NEUTRAL: &[Neutral] = &[
    LABELS[0],
    LABELS[1],
    LABELS[2],
    LABELS[3],
    LABELS[4],
    LABELS[5],
    neutral("adapter", "null", |_| false),
    neutral("best_of", "1", |v| *v == 1),
    neutral("cache_prompt", "false", |v| *v == false),
    neutral("cache_salt", "null", |_| false),
    neutral("dry_allowed_length", "null", |_| false),
    neutral("dry_base", "null", |_| false),
    neutral("dry_multiplier", "null", |_| false),
    neutral("dry_penalty_last_n", "null", |_| false),
    neutral("dynatemp_exponent", "null", |_| false),
    neutral("dynatemp_range", "null", |_| false),
    neutral("early_stopping", "false", |v| *v == false),
    neutral("grammar", "null", |_| false),
    neutral("guided_json", "null", |_| false),
    neutral("id_slot", "null", |_| false),
    neutral("include_stop_str_in_output", "false", |v| *v == false),
    neutral("json_schema", "null", |_| false),
    neutral("length_penalty", "1", |v| v.as_f64() == Some(1.0)),
    neutral("lora", "null", |_| false),
    neutral("min_keep", "null", |_| false),
    neutral("min_tokens", "0", |v| *v == 0),
    neutral("mirostat", "null", |_| false),
    neutral("mirostat_eta", "null", |_| false),
    neutral("mirostat_tau", "null", |_| false),
    neutral("n_predict", "null", |_| false),
    neutral("n_probs", "null", |_| false),
    neutral("num_beams", "1", |v| *v == 1),
    neutral("prompt_cache_options", "null", |_| false),
    neutral("prompt_cache_retention", "null", |_| false),
    neutral("prompt_embeds", "null", |_| false),
    neutral("repeat_last_n", "null", |_| false),
    neutral("response_format", "{\"type\": \"text\"}", |v| {
        *v == serde_json::json!({"type": "text"})
    }),
    neutral("return_progress", "false", |v| *v == false),
    neutral("samplers", "null", |_| false),
    neutral("skip_special_tokens", "true", |v| *v == true),
    neutral("spaces_between_special_tokens", "null", |_| false),
    neutral("stop_token_ids", "[]", is_empty_array),
    neutral("structured_outputs", "null", |_| false),
    neutral("suffix", "null", |_| false),
    neutral("timings_per_token", "false", |v| *v == false),
    neutral("top_n_sigma", "null", |_| false),
    neutral("use_beam_search", "false", |v| *v == false),
    neutral("xtc_probability", "null", |_| false),
    neutral("xtc_threshold", "null", |_| false),
];

/// Of `/api/query`.
pub const QUERY_NEUTRAL: &[Neutral] = &[
    LABELS[0],
    LABELS[5],
    neutral("stream", "false (`/api/query/stream` streams)", |v| *v == false),
];

/// Of `/api/query/stream`.
pub const QUERY_STREAM_NEUTRAL: &[Neutral] = &[
    LABELS[0],
    LABELS[5],
    neutral("stream", "true (`/api/query` answers in one piece)", |v| *v == true),
];

/// Of `/api/chat`.
pub const CHAT_TURN_NEUTRAL: &[Neutral] = &[LABELS[0], LABELS[5]];

/// Of one message. An assistant's message comes back from clients with the empty fields of its reply.
pub(crate) const MESSAGE_NEUTRAL: &[Neutral] = &[
    neutral("annotations", "[]", is_empty_array),
    neutral("audio", "null", |_| false),
    neutral("function_call", "null", |_| false),
    neutral("name", "null", |_| false),
    neutral("reasoning_content", "null", |_| false),
    neutral("refusal", "null", |_| false),
    neutral("tool_call_id", "null", |_| false),
    neutral("tool_calls", "[]", is_empty_array),
];

/// Of one part of a message's content.
pub(crate) const PART_NEUTRAL: &[Neutral] = &[neutral("cache_control", "null", |_| false)];

/// Of `stream_options`.
pub(crate) const STREAM_OPTIONS_NEUTRAL: &[Neutral] =
    &[neutral("include_obfuscation", "false", |v| *v == false)];

/// What labels a request without changing its reply, on every endpoint.
const LABELS: &[Neutral; 6] = &[
    neutral("metadata", "an object of at most 16 strings of at most 512 bytes", is_metadata),
    neutral("prompt_cache_key", "a string of at most 512 bytes", is_label),
    neutral("safety_identifier", "a string of at most 512 bytes", is_label),
    neutral("service_tier", "\"auto\" or \"default\"", |v| *v == "auto" || *v == "default"),
    neutral("store", "false", |v| *v == false),
    neutral("user", "a string of at most 512 bytes", is_label),
];

const fn neutral(
    name: &'static str,
    accepted: &'static str,
    asks_for_nothing: fn(&Value) -> bool,
) -> Neutral {
    Neutral { name, accepted, asks_for_nothing }
}

fn is_empty_array(value: &Value) -> bool {
    value.as_array().is_some_and(Vec::is_empty)
}

fn is_empty_object(value: &Value) -> bool {
    value.as_object().is_some_and(serde_json::Map::is_empty)
}

fn is_label(value: &Value) -> bool {
    value.as_str().is_some_and(|text| text.len() <= MAX_LABEL_BYTES)
}

fn is_metadata(value: &Value) -> bool {
    value.as_object().is_some_and(|map| {
        map.len() <= MAX_METADATA
            && map.iter().all(|(key, value)| key.len() <= MAX_LABEL_BYTES && is_label(value))
    })
}
