//! The table of settings: name, flag, environment variable, default and meaning of each.
//!
//! Everything that knows about settings reads this table: the flags, `--help`, `brisk config`, the
//! reference page, the checks and the "did you mean" of an unknown key.

mod assistant;

pub(crate) use assistant::{
    ASSISTANT_NO_REPEAT_NGRAM_SIZE, ASSISTANT_REPETITION_PENALTY, ASSISTANT_TEMPERATURE,
    ASSISTANT_TOP_K, ASSISTANT_TOP_P, CACHE_FILE, CACHE_FILE_MAX_BYTES, CACHE_MAX_BYTES,
    CACHE_MAX_ENTRIES, CACHE_REDIS_URL, CACHE_REPLAY_SPEED, CACHE_SECRET, CACHE_TTL,
    CONVERSATION_MAX_MESSAGES, CONVERSATIONS_FILE, DEFAULT_MAX_NEW_TOKENS, GREEDY_BELOW,
    RESPONSE_CACHE, SPEED_MODE_CONTEXT,
};

/// One thing that a user may set.
#[derive(Debug)]
pub(crate) struct Setting {
    /// Key in `brisk.toml`; the flag and the variable follow from it.
    pub(crate) name: &'static str,
    /// Other keys for it, which also work as flags.
    pub(crate) aliases: &'static [&'static str],
    /// Environment variables that people's `.env` files already have for it.
    pub(crate) env_aliases: &'static [&'static str],
    /// What a value looks like.
    pub(crate) kind: Kind,
    /// The value where nobody sets one.
    pub(crate) default: DefaultValue,
    /// Which commands take it as a flag.
    pub(crate) group: Group,
    /// What it does, in one or two sentences.
    pub(crate) doc: &'static str,
}

/// What a value looks like, and how much of it is allowed.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Kind {
    /// Any text.
    Text,
    /// A file.
    Path,
    /// A file, or a name that stands for one.
    PathOrName,
    /// Several of these, separated by commas in the environment.
    List(Items),
    /// A whole number.
    Number { min: u64, max: u64 },
    /// A number that may have a fraction.
    Fraction { min: f64, max: f64 },
    /// A number of bytes, such as `8 MiB`.
    Bytes { min: u64, max: u64 },
    /// A time, such as `30s`; a plain number is seconds.
    Duration { min_ms: u64, max_ms: u64 },
    /// A text of 16 visible characters at least that is never shown.
    Secret,
    /// Where a Redis server is; the password in it is never shown.
    RedisUrl,
    /// One of these words.
    Choice(&'static [&'static str]),
}

/// What a list is made of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Items {
    /// API keys, which are never shown.
    Key,
    /// Host names.
    Host,
    /// Origins of web pages.
    Origin,
}

/// The value where nobody sets one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum DefaultValue {
    /// This value.
    Is(&'static str),
    /// Nothing; the words say what happens instead.
    None(&'static str),
}

/// Which commands take a setting as a flag.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Group {
    /// Every command that opens a model.
    Model,
    /// Every command that computes with a model.
    Compute,
    /// Commands that generate: `serve`, `chat`, `run`.
    Engine,
    /// `serve` alone.
    Server,
    /// `serve`: what the assistant endpoints do where a request does not say.
    Assistant,
    /// `serve`: replies and conversations that are kept.
    Kept,
    /// Every command.
    Log,
}

/// Stands for what is not shown.
const HIDDEN: &str = "********";
const KIB: u64 = 1 << 10;
const MIB: u64 = 1 << 20;
const SECOND_MS: u64 = 1000;
const DAY_MS: u64 = 24 * 3600 * SECOND_MS;

pub(crate) const MODEL: Setting = Setting {
    name: "model",
    aliases: &[],
    env_aliases: &[],
    kind: Kind::Path,
    default: DefaultValue::None("the demonstration model that is built in"),
    group: Group::Model,
    doc: "Model to load: a GGUF file. Of a split model, any one of its files.",
};

pub(crate) const MODEL_NAME: Setting = Setting {
    name: "model_name",
    aliases: &["alias"],
    env_aliases: &[],
    kind: Kind::Text,
    default: DefaultValue::None("the file's name without .gguf"),
    group: Group::Server,
    doc: "Name under which clients ask for the model.",
};

pub(crate) const THREADS: Setting = Setting {
    name: "threads",
    aliases: &[],
    env_aliases: &[],
    kind: Kind::Number { min: 1, max: 1024 },
    default: DefaultValue::None("the physical cores that this process may use"),
    group: Group::Compute,
    doc: "Threads that compute.",
};

pub(crate) const CPU: Setting = Setting {
    name: "cpu",
    aliases: &[],
    env_aliases: &[],
    kind: Kind::Choice(&["auto", "reference", "neon", "avx2", "avx512"]),
    default: DefaultValue::Is("auto"),
    group: Group::Compute,
    doc: "Instructions to compute with. \"auto\" takes the best that this processor has.",
};

pub(crate) const MAX_MODEL_LEN: Setting = Setting {
    name: "max_model_len",
    aliases: &["ctx_size"],
    env_aliases: &["CTX_SIZE"],
    kind: Kind::Number { min: 16, max: 1 << 28 },
    default: DefaultValue::None("the model's context, at most 8192"),
    group: Group::Compute,
    doc: "Tokens that one conversation may have, prompt and reply together.",
};

pub(crate) const MAX_NUM_SEQS: Setting = Setting {
    name: "max_num_seqs",
    aliases: &[],
    env_aliases: &[],
    kind: Kind::Number { min: 1, max: 1024 },
    default: DefaultValue::Is("8"),
    group: Group::Engine,
    doc: "Sequences that run at once.",
};

pub(crate) const MAX_NUM_BATCHED_TOKENS: Setting = Setting {
    name: "max_num_batched_tokens",
    aliases: &[],
    env_aliases: &["N_BATCH"],
    kind: Kind::Number { min: 16, max: 1 << 16 },
    default: DefaultValue::Is("512"),
    group: Group::Compute,
    doc: "Tokens of one step over all sequences; longer prompts are computed in several steps.",
};

pub(crate) const MAX_QUEUED_REQUESTS: Setting = Setting {
    name: "max_queued_requests",
    aliases: &[],
    env_aliases: &[],
    kind: Kind::Number { min: 1, max: 1 << 16 },
    default: DefaultValue::Is("64"),
    group: Group::Engine,
    doc: "Requests that may wait for their turn; more are answered 503 with Retry-After. Of several \
          API keys, one may hold as many places as are still free, and gets 429 beyond.",
};

pub(crate) const MAX_STEP_TIME: Setting = Setting {
    name: "max_step_time",
    aliases: &[],
    env_aliases: &[],
    kind: Kind::Duration { min_ms: 1, max_ms: 60 * SECOND_MS },
    default: DefaultValue::Is("100ms"),
    group: Group::Engine,
    doc: "Time that a step should take while replies are generated; prompts are read in pieces that \
          fit, of 16 tokens at least. Shorter keeps streams even, longer reads prompts sooner.",
};

pub(crate) const KV_CACHE_BYTES: Setting = Setting {
    name: "kv_cache_bytes",
    aliases: &[],
    env_aliases: &[],
    kind: Kind::Bytes { min: 64 * KIB, max: 1 << 50 },
    default: DefaultValue::None(
        "room for max_num_seqs full contexts, at most half of the memory that is free after loading",
    ),
    group: Group::Engine,
    doc: "Memory for keys and values. It always holds one full context at least.",
};

pub(crate) const KV_CACHE_TYPE: Setting = Setting {
    name: "kv_cache_type",
    aliases: &[],
    env_aliases: &[],
    kind: Kind::Choice(&["f16", "q8_0"]),
    default: DefaultValue::Is("f16"),
    group: Group::Compute,
    doc: "How keys and values are stored. \"q8_0\" takes about half of the memory, is faster at \
          long contexts and changes replies a little.",
};

pub(crate) const CHAT_TEMPLATE: Setting = Setting {
    name: "chat_template",
    aliases: &[],
    env_aliases: &[],
    kind: Kind::PathOrName,
    default: DefaultValue::None("the model's own, or one that fits its control tokens"),
    group: Group::Engine,
    doc: "Chat template in place of the model's own: a file (Jinja, or JSON with the key \
          \"chat_template\"), the name of another one in the model file (such as \"tool_use\"), or one that \
          is built in: llama-3, chatml, gemma, phi-3, mistral, zephyr, llama-2, plain.",
};

pub(crate) const HOST: Setting = Setting {
    name: "host",
    aliases: &[],
    env_aliases: &[],
    kind: Kind::Text,
    default: DefaultValue::Is("127.0.0.1"),
    group: Group::Server,
    doc: "Address to listen on: an IP address or localhost. Any but a loopback address needs an \
          API key.",
};

pub(crate) const PORT: Setting = Setting {
    name: "port",
    aliases: &[],
    env_aliases: &[],
    kind: Kind::Number { min: 0, max: 65535 },
    default: DefaultValue::Is("8080"),
    group: Group::Server,
    doc: "Port to listen on; 0 picks a free one.",
};

pub(crate) const API_KEYS: Setting = Setting {
    name: "api_keys",
    aliases: &["api_key"],
    env_aliases: &[],
    kind: Kind::List(Items::Key),
    default: DefaultValue::None("none: everybody on this machine may ask"),
    group: Group::Server,
    doc: "Keys, one of which a client must send as \"Authorization: Bearer KEY\". May be given \
          more than once.",
};

pub(crate) const MAX_BODY_BYTES: Setting = Setting {
    name: "max_body_bytes",
    aliases: &[],
    env_aliases: &[],
    kind: Kind::Bytes { min: KIB, max: 1024 * MIB },
    default: DefaultValue::Is("8 MiB"),
    group: Group::Server,
    doc: "Longest request body; a longer one is answered 413.",
};

pub(crate) const ALLOWED_HOSTS: Setting = Setting {
    name: "allowed_hosts",
    aliases: &[],
    env_aliases: &[],
    kind: Kind::List(Items::Host),
    default: DefaultValue::None("localhost and loopback addresses"),
    group: Group::Server,
    doc: "Further names under which a server on a loopback address may be asked, such as that of \
          a proxy in front of it. Keeps web pages of other names out. May be given more than once.",
};

pub(crate) const CORS_ORIGINS: Setting = Setting {
    name: "cors_origins",
    aliases: &[],
    env_aliases: &[],
    kind: Kind::List(Items::Origin),
    default: DefaultValue::None("none: browsers keep pages of other origins out"),
    group: Group::Server,
    doc: "Web pages that may ask from another origin, such as \"https://chat.example\". \"*\" lets \
          every page ask and needs an API key. May be given more than once.",
};

pub(crate) const MAX_CONNECTIONS: Setting = Setting {
    name: "max_connections",
    aliases: &[],
    env_aliases: &[],
    kind: Kind::Number { min: 1, max: 1 << 20 },
    default: DefaultValue::Is("1024"),
    group: Group::Server,
    doc: "Connections at once. When all are taken, a new one gets the place of one that keeps the \
          server waiting, first of all one that has sent no request; where every client waits for the \
          server, the new one waits too. The limit of open files may allow fewer.",
};

pub(crate) const HEADER_TIMEOUT: Setting = Setting {
    name: "header_timeout",
    aliases: &[],
    env_aliases: &[],
    kind: Kind::Duration { min_ms: 1, max_ms: DAY_MS },
    default: DefaultValue::Is("10s"),
    group: Group::Server,
    doc: "Time in which a request's head must be whole.",
};

pub(crate) const BODY_TIMEOUT: Setting = Setting {
    name: "body_timeout",
    aliases: &[],
    env_aliases: &[],
    kind: Kind::Duration { min_ms: 1, max_ms: DAY_MS },
    default: DefaultValue::Is("30s"),
    group: Group::Server,
    doc: "Time in which a request's body must be whole.",
};

pub(crate) const WRITE_TIMEOUT: Setting = Setting {
    name: "write_timeout",
    aliases: &[],
    env_aliases: &[],
    kind: Kind::Duration { min_ms: 1, max_ms: DAY_MS },
    default: DefaultValue::Is("30s"),
    group: Group::Server,
    doc: "Time in which a client must make room, by reading, for more of what waits for it. What lies in \
          its own system counts as read.",
};

pub(crate) const IDLE_TIMEOUT: Setting = Setting {
    name: "idle_timeout",
    aliases: &[],
    env_aliases: &[],
    kind: Kind::Duration { min_ms: 1, max_ms: DAY_MS },
    default: DefaultValue::Is("75s"),
    group: Group::Server,
    doc: "Time that a connection may rest between two requests.",
};

pub(crate) const SHUTDOWN_GRACE: Setting = Setting {
    name: "shutdown_grace",
    aliases: &[],
    env_aliases: &[],
    kind: Kind::Duration { min_ms: 0, max_ms: DAY_MS },
    default: DefaultValue::Is("30s"),
    group: Group::Server,
    doc: "Time that running replies get to finish after SIGTERM or Ctrl-C.",
};

pub(crate) const LOG_LEVEL: Setting = Setting {
    name: "log_level",
    aliases: &[],
    env_aliases: &[],
    kind: Kind::Choice(&["error", "warn", "info", "debug", "trace", "off"]),
    default: DefaultValue::Is("info"),
    group: Group::Log,
    doc: "Least important log lines to write. They go to stderr.",
};

pub(crate) const LOG_FORMAT: Setting = Setting {
    name: "log_format",
    aliases: &[],
    env_aliases: &[],
    kind: Kind::Choice(&["text", "json"]),
    default: DefaultValue::Is("text"),
    group: Group::Log,
    doc: "Log lines for people, or one JSON object per line.",
};

/// Every setting, in the order of the reference page.
pub(crate) const ALL: [&Setting; 45] = [
    &MODEL,
    &MODEL_NAME,
    &THREADS,
    &CPU,
    &MAX_MODEL_LEN,
    &MAX_NUM_BATCHED_TOKENS,
    &MAX_NUM_SEQS,
    &MAX_QUEUED_REQUESTS,
    &MAX_STEP_TIME,
    &KV_CACHE_BYTES,
    &KV_CACHE_TYPE,
    &CHAT_TEMPLATE,
    &HOST,
    &PORT,
    &API_KEYS,
    &MAX_BODY_BYTES,
    &ALLOWED_HOSTS,
    &CORS_ORIGINS,
    &MAX_CONNECTIONS,
    &HEADER_TIMEOUT,
    &BODY_TIMEOUT,
    &WRITE_TIMEOUT,
    &IDLE_TIMEOUT,
    &SHUTDOWN_GRACE,
    &DEFAULT_MAX_NEW_TOKENS,
    &ASSISTANT_TEMPERATURE,
    &ASSISTANT_TOP_P,
    &ASSISTANT_TOP_K,
    &ASSISTANT_REPETITION_PENALTY,
    &ASSISTANT_NO_REPEAT_NGRAM_SIZE,
    &GREEDY_BELOW,
    &SPEED_MODE_CONTEXT,
    &RESPONSE_CACHE,
    &CACHE_MAX_BYTES,
    &CACHE_MAX_ENTRIES,
    &CACHE_TTL,
    &CACHE_REPLAY_SPEED,
    &CACHE_FILE,
    &CACHE_FILE_MAX_BYTES,
    &CACHE_REDIS_URL,
    &CACHE_SECRET,
    &CONVERSATIONS_FILE,
    &CONVERSATION_MAX_MESSAGES,
    &LOG_LEVEL,
    &LOG_FORMAT,
];

impl Setting {
    /// The flag without its dashes, such as `max-model-len`. A list's flag is in the singular.
    pub(crate) fn flag(&self) -> String {
        let name = match self.kind {
            Kind::List(_) => self.name.trim_end_matches('s'),
            _ => self.name,
        };
        name.replace('_', "-")
    }

    /// Further flags without their dashes.
    pub(crate) fn flag_aliases(&self) -> Vec<String> {
        let flag = self.flag();
        let names = self.aliases.iter().chain([&self.name]);
        names.map(|it| it.replace('_', "-")).filter(|it| *it != flag).collect()
    }

    /// The environment variable, such as `BRISK_MAX_MODEL_LEN`.
    pub(crate) fn env(&self) -> String {
        variable(self.name)
    }

    /// Further environment variables.
    pub(crate) fn env_aliases(&self) -> Vec<String> {
        let ours = self.aliases.iter().map(|it| variable(it));
        ours.chain(self.env_aliases.iter().map(|&it| it.to_owned())).collect()
    }

    /// Whether `key` names this setting in `brisk.toml`.
    pub(crate) fn is_key(&self, key: &str) -> bool {
        self.name == key || self.aliases.contains(&key)
    }
}

impl Kind {
    /// What may be shown of values that were given: a secret shows only that it is there, a URL shows
    /// everything but who asks and with which password.
    pub(crate) fn shown(self, texts: &[String]) -> String {
        match self {
            Self::Secret | Self::List(Items::Key) => vec![HIDDEN; texts.len()].join(", "),
            Self::RedisUrl => texts.join(", ").rsplit_once('@').map_or_else(
                || texts.join(", "),
                |(_, server)| format!("redis://{HIDDEN}@{server}"),
            ),
            _ => texts.join(", "),
        }
    }

    /// The value's placeholder in `--help`.
    pub(crate) fn placeholder(self) -> &'static str {
        match self {
            Self::Text => "TEXT",
            Self::Path => "FILE",
            Self::PathOrName => "FILE|NAME",
            Self::List(Items::Key) => "KEY",
            Self::List(Items::Host) => "NAME",
            Self::List(Items::Origin) => "ORIGIN",
            Self::Number { .. } => "N",
            Self::Fraction { .. } => "X",
            Self::Bytes { .. } => "BYTES",
            Self::Duration { .. } => "TIME",
            Self::Secret => "SECRET",
            Self::RedisUrl => "URL",
            Self::Choice(_) => "WORD",
        }
    }
}

fn variable(name: &str) -> String {
    format!("BRISK_{}", name.to_uppercase())
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn every_name_means_one_setting() {
        let mut names = HashSet::new();
        for setting in ALL {
            let flags = setting.flag_aliases().into_iter().chain([setting.flag()]);
            let all = flags.chain(setting.env_aliases()).chain([setting.env()]);
            for name in all {
                assert!(names.insert(name.clone()), "{name} stands twice in the table");
            }
            assert!(setting.doc.ends_with('.'), "{}: a doc is whole sentences", setting.name);
        }
    }
}
