//! The program's configuration: every source joined, every value checked, before anything starts.

mod dot_env;
mod names;
mod raw;
pub(crate) mod settings;
mod sources;
mod text;
mod values;

use std::{
    collections::{BTreeMap, BTreeSet},
    env,
    ffi::OsString,
    fs, io,
    net::{IpAddr, Ipv4Addr, SocketAddr},
    path::{Path, PathBuf},
    time::Duration,
};

use brisk_kernels::{CpuLevel, KvType};
use brisk_server::AssistantDefaults;
use thiserror::Error;

use crate::output::shortened;

pub(crate) use raw::{Origin, RawConfig};
pub(crate) use sources::Sources;
pub(crate) use values::show_bytes;

use names::Name;
use sources::{DEFAULT_FILE, FILE_VARIABLE, MAX_FILE_BYTES};

/// Why the program does not start. Always the caller's move.
#[derive(Debug, Error, PartialEq, Eq)]
pub(crate) enum ConfigError {
    #[error("{path}, line {line}: unknown key \"{}\"{}", shown(.key), did_you_mean(.suggestion.as_deref()))]
    UnknownKey { key: String, path: String, line: usize, suggestion: Option<String> },
    #[error("{path}, line {line}: {message}")]
    Syntax { path: String, line: usize, message: String },
    #[error("{name} is {found} ({origin}), it must be {expected}")]
    WrongType { name: &'static str, found: &'static str, expected: &'static str, origin: Origin },
    #[error("{name} is {value} ({origin}), it must be {expected}")]
    BadValue { name: &'static str, value: String, expected: String, origin: Origin },
    #[error("the environment variable \"{}\" sets nothing: its name must be {meant}", shown(.name))]
    Disfigured { name: String, meant: String },
    #[error("{name} is set twice ({origin})")]
    Twice { name: &'static str, origin: Origin },
    #[error(
        "host {host} can be reached from other machines and no API key is set: add --api-key KEY \
         (or BRISK_API_KEYS), or serve on 127.0.0.1"
    )]
    OpenToAll { host: IpAddr },
    #[error(
        "cors_origins is * and no API key is set, so that every web page that is open in a browser \
         could ask: add --api-key KEY, or name the origins"
    )]
    OpenToAllPages,
    #[error("{path} has {num_bytes} bytes, a configuration file has at most {max_bytes}")]
    TooLong { path: String, num_bytes: u64, max_bytes: u64 },
    #[error("cannot read {path}: {message}")]
    Unreadable { path: String, message: String },
}

/// The beginning of a name, with everything escaped that could be taken for something else.
fn shown(name: &str) -> String {
    shortened(&name.escape_default().to_string())
}

fn did_you_mean(suggestion: Option<&str>) -> String {
    suggestion.map(|it| format!(", did you mean \"{it}\"?")).unwrap_or_default()
}

/// Checked settings; not `Debug`, as it holds keys. `None` means that the default depends on the model or the machine.
#[derive(Clone)]
pub(crate) struct Config {
    pub(crate) model: Option<PathBuf>,
    pub(crate) model_name: Option<String>,
    pub(crate) threads: Option<usize>,
    pub(crate) cpu: Option<CpuLevel>,
    pub(crate) max_model_len: Option<usize>,
    pub(crate) max_num_batched_tokens: usize,
    pub(crate) max_num_seqs: usize,
    pub(crate) max_queued_requests: usize,
    pub(crate) max_step_time: Duration,
    pub(crate) kv_cache_bytes: Option<u64>,
    pub(crate) kv_cache_type: KvType,
    pub(crate) chat_template: Option<String>,
    pub(crate) address: SocketAddr,
    pub(crate) api_keys: Vec<String>,
    pub(crate) max_body_bytes: usize,
    pub(crate) allowed_hosts: Vec<String>,
    pub(crate) cors_origins: Vec<String>,
    pub(crate) max_connections: usize,
    pub(crate) header_timeout: Duration,
    pub(crate) body_timeout: Duration,
    pub(crate) write_timeout: Duration,
    pub(crate) idle_timeout: Duration,
    pub(crate) shutdown_grace: Duration,
    pub(crate) assistant: AssistantDefaults,
    pub(crate) response_cache: bool,
    pub(crate) cache_max_bytes: u64,
    pub(crate) cache_max_entries: u64,
    pub(crate) cache_ttl: Duration,
    pub(crate) cache_replay_speed: Option<u64>,
    pub(crate) cache_file: Option<PathBuf>,
    pub(crate) cache_file_max_bytes: u64,
    pub(crate) cache_redis_url: Option<String>,
    pub(crate) cache_secret: Option<String>,
    pub(crate) conversations_file: Option<PathBuf>,
    pub(crate) conversation_max_messages: usize,
    pub(crate) log_level: String,
    pub(crate) log_json: bool,
}

impl Config {
    /// Checks every value on its own. Rules that join several stand in [`Self::check_exposure`].
    pub(crate) fn check(raw: &RawConfig) -> Result<Self, ConfigError> {
        use settings as s;
        let count = |setting| Ok(raw.size(setting)?.unwrap_or_default());
        let small = |setting| {
            Ok(raw.number(setting)?.and_then(|it| u32::try_from(it).ok()).unwrap_or_default())
        };
        let port = raw.number(&s::PORT)?.and_then(|it| u16::try_from(it).ok()).unwrap_or_default();
        Ok(Self {
            model: raw.text(&s::MODEL)?.map(PathBuf::from),
            model_name: raw.text(&s::MODEL_NAME)?,
            threads: raw.size(&s::THREADS)?,
            // "auto" is no level, and every other word of the choice is one.
            cpu: raw.text(&s::CPU)?.and_then(|it| it.parse().ok()),
            max_model_len: raw.size(&s::MAX_MODEL_LEN)?,
            max_num_batched_tokens: count(&s::MAX_NUM_BATCHED_TOKENS)?,
            max_num_seqs: count(&s::MAX_NUM_SEQS)?,
            max_queued_requests: count(&s::MAX_QUEUED_REQUESTS)?,
            max_step_time: raw.duration(&s::MAX_STEP_TIME)?,
            kv_cache_bytes: raw.number(&s::KV_CACHE_BYTES)?,
            // Every word of the choice is a type.
            kv_cache_type: raw
                .text(&s::KV_CACHE_TYPE)?
                .and_then(|it| it.parse().ok())
                .unwrap_or_default(),
            chat_template: raw.text(&s::CHAT_TEMPLATE)?,
            address: SocketAddr::new(host(raw)?, port),
            api_keys: raw.list(&s::API_KEYS)?,
            max_body_bytes: count(&s::MAX_BODY_BYTES)?,
            allowed_hosts: raw.list(&s::ALLOWED_HOSTS)?,
            cors_origins: raw.list(&s::CORS_ORIGINS)?,
            max_connections: count(&s::MAX_CONNECTIONS)?,
            header_timeout: raw.duration(&s::HEADER_TIMEOUT)?,
            body_timeout: raw.duration(&s::BODY_TIMEOUT)?,
            write_timeout: raw.duration(&s::WRITE_TIMEOUT)?,
            idle_timeout: raw.duration(&s::IDLE_TIMEOUT)?,
            shutdown_grace: raw.duration(&s::SHUTDOWN_GRACE)?,
            assistant: AssistantDefaults {
                max_new_tokens: count(&s::DEFAULT_MAX_NEW_TOKENS)?,
                temperature: raw.fraction(&s::ASSISTANT_TEMPERATURE)?,
                top_p: raw.fraction(&s::ASSISTANT_TOP_P)?,
                top_k: small(&s::ASSISTANT_TOP_K)?,
                repetition_penalty: raw.fraction(&s::ASSISTANT_REPETITION_PENALTY)?,
                no_repeat_ngram_size: small(&s::ASSISTANT_NO_REPEAT_NGRAM_SIZE)?,
                greedy_below: raw.fraction(&s::GREEDY_BELOW)?,
                speed_mode_context: count(&s::SPEED_MODE_CONTEXT)?,
            },
            response_cache: raw.text(&s::RESPONSE_CACHE)?.as_deref() == Some("on"),
            cache_max_bytes: raw.number(&s::CACHE_MAX_BYTES)?.unwrap_or_default(),
            cache_max_entries: raw.number(&s::CACHE_MAX_ENTRIES)?.unwrap_or_default(),
            cache_ttl: raw.duration(&s::CACHE_TTL)?,
            cache_replay_speed: raw.number(&s::CACHE_REPLAY_SPEED)?,
            cache_file: raw.text(&s::CACHE_FILE)?.map(PathBuf::from),
            cache_file_max_bytes: raw.number(&s::CACHE_FILE_MAX_BYTES)?.unwrap_or_default(),
            cache_redis_url: raw.text(&s::CACHE_REDIS_URL)?,
            cache_secret: raw.text(&s::CACHE_SECRET)?,
            conversations_file: raw.text(&s::CONVERSATIONS_FILE)?.map(PathBuf::from),
            conversation_max_messages: count(&s::CONVERSATION_MAX_MESSAGES)?,
            log_level: raw.text(&s::LOG_LEVEL)?.unwrap_or_default(),
            log_json: raw.text(&s::LOG_FORMAT)?.as_deref() == Some("json"),
        })
    }

    /// Clients that a server tells apart: one for each key, or all as one.
    pub(crate) fn num_clients(&self) -> usize {
        self.api_keys.iter().collect::<BTreeSet<_>>().len().max(1)
    }

    /// Refuses to serve other machines, or every web page, without a key.
    pub(crate) fn check_exposure(&self) -> Result<(), ConfigError> {
        if self.api_keys.is_empty() && self.cors_origins.iter().any(|it| it == "*") {
            return Err(ConfigError::OpenToAllPages);
        }
        let host = self.address.ip();
        if host.to_canonical().is_loopback() || !self.api_keys.is_empty() {
            Ok(())
        } else {
            Err(ConfigError::OpenToAll { host })
        }
    }
}

fn host(raw: &RawConfig) -> Result<IpAddr, ConfigError> {
    let text = raw.text(&settings::HOST)?.unwrap_or_default();
    if text == "localhost" {
        return Ok(Ipv4Addr::LOCALHOST.into());
    }
    let bare = text.strip_prefix('[').and_then(|it| it.strip_suffix(']')).unwrap_or(&text);
    bare.parse().map_err(|_| ConfigError::BadValue {
        name: settings::HOST.name,
        value: format!("{:?}", shortened(&text)),
        expected: "an IP address or localhost".to_owned(),
        origin: raw.get(&settings::HOST).map_or(Origin::Default, |it| it.origin.clone()),
    })
}

/// Reads the environment, `.env` and the configuration file, and joins them with `flags`.
pub(crate) fn load(
    flags: Vec<(&'static str, Vec<String>)>,
    file: Option<PathBuf>,
) -> Result<RawConfig, ConfigError> {
    let environment = environment(env::vars_os())?;
    let dot_env = match read_if_there(Path::new(dot_env::PATH))? {
        Some(bytes) => dot_env::read(&text::lossy(dot_env::PATH, &bytes)?)?,
        None => Vec::new(),
    };
    let in_dot_env = dot_env.iter().rfind(|it| it.name == FILE_VARIABLE).map(|it| &it.value);
    let named = file.or_else(|| environment.get(FILE_VARIABLE).or(in_dot_env).map(PathBuf::from));
    let (path, bytes) = match named {
        Some(path) => (path.display().to_string(), Some(read_file(&path)?)),
        None => (DEFAULT_FILE.to_owned(), read_if_there(Path::new(DEFAULT_FILE))?),
    };
    let file = match bytes {
        Some(bytes) => Some((path.clone(), text::strict(&path, &bytes)?)),
        None => None,
    };
    RawConfig::collect(&Sources { flags, environment, dot_env, file })
}

/// The variables as text. What is not Unicode cannot be ours, so nothing of ours may be that.
fn environment(
    variables: impl Iterator<Item = (OsString, OsString)>,
) -> Result<BTreeMap<String, String>, ConfigError> {
    let mut environment = BTreeMap::new();
    for (name, value) in variables {
        let name = name.to_string_lossy().into_owned();
        match value.into_string() {
            Ok(value) => drop(environment.insert(name, value)),
            Err(_) if names::read(&name) == Name::Ours => {
                let (path, message) = (format!("environment {name}"), "it is not UTF-8".to_owned());
                return Err(ConfigError::Unreadable { path, message });
            }
            Err(_) => {}
        }
    }
    Ok(environment)
}

fn read_if_there(path: &Path) -> Result<Option<Vec<u8>>, ConfigError> {
    match fs::metadata(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        _ => read_file(path).map(Some),
    }
}

fn read_file(path: &Path) -> Result<Vec<u8>, ConfigError> {
    let shown = || path.display().to_string();
    let unreadable = |message: String| ConfigError::Unreadable { path: shown(), message };
    let metadata = fs::metadata(path).map_err(|it| unreadable(it.to_string()))?;
    if !metadata.is_file() {
        return Err(unreadable("it is not a file".to_owned()));
    }
    if metadata.len() > MAX_FILE_BYTES {
        let (num_bytes, max_bytes) = (metadata.len(), MAX_FILE_BYTES);
        return Err(ConfigError::TooLong { path: shown(), num_bytes, max_bytes });
    }
    fs::read(path).map_err(|it| unreadable(it.to_string()))
}

#[cfg(test)]
mod tests;
