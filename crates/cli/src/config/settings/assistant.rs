//! What the assistant endpoints do where a request does not say, and what the server keeps.

use super::{DAY_MS, DefaultValue, Group, KIB, Kind, MIB, SECOND_MS, Setting};

pub(crate) const DEFAULT_MAX_NEW_TOKENS: Setting = Setting {
    name: "default_max_new_tokens",
    aliases: &[],
    env_aliases: &["DEFAULT_MAX_NEW_TOKENS"],
    kind: Kind::Number { min: 1, max: 1 << 28 },
    default: DefaultValue::Is("256"),
    group: Group::Assistant,
    doc: "Longest reply in tokens where an assistant request names no max_tokens. From three quarters of it on, a reply ends with its sentence.",
};

pub(crate) const ASSISTANT_TEMPERATURE: Setting = Setting {
    name: "assistant_temperature",
    aliases: &[],
    env_aliases: &[],
    kind: Kind::Fraction { min: 0.0, max: 2.0 },
    default: DefaultValue::Is("0.8"),
    group: Group::Assistant,
    doc: "Softmax temperature of the assistant endpoints where a request names none.",
};

pub(crate) const ASSISTANT_TOP_P: Setting = Setting {
    name: "assistant_top_p",
    aliases: &[],
    env_aliases: &[],
    kind: Kind::Fraction { min: 0.001, max: 1.0 },
    default: DefaultValue::Is("0.9"),
    group: Group::Assistant,
    doc: "Probability of the tokens that the assistant endpoints choose among.",
};

pub(crate) const ASSISTANT_TOP_K: Setting = Setting {
    name: "assistant_top_k",
    aliases: &[],
    env_aliases: &[],
    kind: Kind::Number { min: 0, max: 1 << 31 },
    default: DefaultValue::Is("50"),
    group: Group::Assistant,
    doc: "Number of the likeliest tokens that the assistant endpoints choose among; 0 is all.",
};

pub(crate) const ASSISTANT_REPETITION_PENALTY: Setting = Setting {
    name: "assistant_repetition_penalty",
    aliases: &[],
    env_aliases: &[],
    kind: Kind::Fraction { min: 0.001, max: 10.0 },
    default: DefaultValue::Is("1.1"),
    group: Group::Assistant,
    doc: "Penalty of the assistant endpoints on tokens that were there before; 1 is none.",
};

pub(crate) const ASSISTANT_NO_REPEAT_NGRAM_SIZE: Setting = Setting {
    name: "assistant_no_repeat_ngram_size",
    aliases: &[],
    env_aliases: &[],
    kind: Kind::Number { min: 0, max: 1024 },
    default: DefaultValue::Is("3"),
    group: Group::Assistant,
    doc: "Runs of this many tokens do not come twice on the assistant endpoints; 0 lets them.",
};

pub(crate) const GREEDY_BELOW: Setting = Setting {
    name: "greedy_below",
    aliases: &[],
    env_aliases: &[],
    kind: Kind::Fraction { min: 0.0, max: 2.0 },
    default: DefaultValue::Is("0.3"),
    group: Group::Assistant,
    doc: "On the assistant endpoints a temperature below this takes the likeliest token.",
};

pub(crate) const SPEED_MODE_CONTEXT: Setting = Setting {
    name: "speed_mode_context",
    aliases: &[],
    env_aliases: &[],
    kind: Kind::Number { min: 16, max: 1 << 28 },
    default: DefaultValue::Is("1024"),
    group: Group::Assistant,
    doc: "Prompt tokens of a conversation at most in speed_mode.",
};

pub(crate) const RESPONSE_CACHE: Setting = Setting {
    name: "response_cache",
    aliases: &[],
    env_aliases: &[],
    kind: Kind::Choice(&["on", "off"]),
    default: DefaultValue::Is("on"),
    group: Group::Kept,
    doc: "Whether replies are kept and given again. The assistant endpoints use all of them, the OpenAI ones those that are greedy or seeded.",
};

pub(crate) const CACHE_MAX_BYTES: Setting = Setting {
    name: "cache_max_bytes",
    aliases: &[],
    env_aliases: &[],
    kind: Kind::Bytes { min: 64 * KIB, max: 1 << 40 },
    default: DefaultValue::Is("64 MiB"),
    group: Group::Kept,
    doc: "Memory for kept replies.",
};

pub(crate) const CACHE_MAX_ENTRIES: Setting = Setting {
    name: "cache_max_entries",
    aliases: &[],
    env_aliases: &[],
    kind: Kind::Number { min: 1, max: 1 << 30 },
    default: DefaultValue::Is("10000"),
    group: Group::Kept,
    doc: "Kept replies in memory at most.",
};

pub(crate) const CACHE_TTL: Setting = Setting {
    name: "cache_ttl",
    aliases: &[],
    env_aliases: &[],
    kind: Kind::Duration { min_ms: SECOND_MS, max_ms: 7 * DAY_MS },
    default: DefaultValue::Is("24h"),
    group: Group::Kept,
    doc: "How long a reply is kept, give or take a tenth. A request may ask for less.",
};

pub(crate) const CACHE_REPLAY_SPEED: Setting = Setting {
    name: "cache_replay_speed",
    aliases: &[],
    env_aliases: &[],
    kind: Kind::Number { min: 1, max: 1_000_000 },
    default: DefaultValue::None("as fast as the client reads"),
    group: Group::Kept,
    doc: "Tokens in a second at which a kept reply is streamed, where people like to see it appear.",
};

pub(crate) const CACHE_FILE: Setting = Setting {
    name: "cache_file",
    aliases: &[],
    env_aliases: &[],
    kind: Kind::Path,
    default: DefaultValue::None("none: kept replies end with the process"),
    group: Group::Kept,
    doc: "SQLite file that keeps replies across restarts. They are in it as plain text.",
};

pub(crate) const CACHE_FILE_MAX_BYTES: Setting = Setting {
    name: "cache_file_max_bytes",
    aliases: &[],
    env_aliases: &[],
    kind: Kind::Bytes { min: MIB, max: 1 << 50 },
    default: DefaultValue::Is("1 GiB"),
    group: Group::Kept,
    doc: "Bytes of the replies in cache_file at most.",
};

pub(crate) const CACHE_REDIS_URL: Setting = Setting {
    name: "cache_redis_url",
    aliases: &[],
    env_aliases: &[],
    kind: Kind::RedisUrl,
    default: DefaultValue::None("none: replies are not shared"),
    group: Group::Kept,
    doc: "Redis or Valkey server in which instances share kept replies: redis://[user:password@]host[:port][/database]. Its password is never shown.",
};

pub(crate) const CACHE_SECRET: Setting = Setting {
    name: "cache_secret",
    aliases: &[],
    env_aliases: &[],
    kind: Kind::Secret,
    default: DefaultValue::None("drawn at every start, so that nothing is shared"),
    group: Group::Kept,
    doc: "Instances that share a Redis need the same secret, of 16 characters at least: it makes their replies unforgeable there.",
};

pub(crate) const CONVERSATIONS_FILE: Setting = Setting {
    name: "conversations_file",
    aliases: &[],
    env_aliases: &[],
    kind: Kind::Path,
    default: DefaultValue::None("none: conversations are in memory and end with the process"),
    group: Group::Kept,
    doc: "SQLite file that keeps the conversations of /api/chat across restarts. They are in it as plain text.",
};

pub(crate) const CONVERSATION_MAX_MESSAGES: Setting = Setting {
    name: "conversation_max_messages",
    aliases: &[],
    env_aliases: &[],
    kind: Kind::Number { min: 2, max: 1 << 20 },
    default: DefaultValue::Is("1000"),
    group: Group::Kept,
    doc: "Messages of one conversation at most; the oldest turns go first.",
};
