//! Reads the places where settings stand: environment, `.env`, `brisk.toml`.

use std::{collections::BTreeMap, ops::Range};

use toml::de::{DeTable, DeValue};

use super::{
    ConfigError,
    raw::{Given, Origin},
    settings::{self, Kind, Setting},
};

/// The file that is read where no other is named.
pub(crate) const DEFAULT_FILE: &str = "brisk.toml";
/// Names the file in the environment.
pub(crate) const FILE_VARIABLE: &str = "BRISK_CONFIG";
/// The longest configuration file or `.env`. Real ones have a few hundred bytes.
pub(crate) const MAX_FILE_BYTES: u64 = 1 << 20;

/// The texts that settings are read from. Whoever fills it does the input; from here on there is
/// none.
#[derive(Clone, Debug, Default)]
pub(crate) struct Sources {
    /// Setting names and what the flags said.
    pub(crate) flags: Vec<(&'static str, Vec<String>)>,
    /// The process environment.
    pub(crate) environment: BTreeMap<String, String>,
    /// The text of `.env`.
    pub(crate) dot_env: Option<String>,
    /// The configuration file's path and text.
    pub(crate) file: Option<(String, String)>,
}

/// A line of `.env`: name, value, line number.
pub(crate) type DotEnvLine = (String, String, usize);

impl Sources {
    /// What the process environment says about `setting`.
    pub(super) fn in_environment(&self, setting: &Setting) -> Option<Given> {
        variables(setting).into_iter().find_map(|name| {
            let value = self.environment.get(&name).filter(|it| !is_service_link(it))?;
            Some(Given { texts: texts(setting, value), origin: Origin::Environment(name) })
        })
    }

    /// Variables that begin with `BRISK_` and mean nothing, with what may have been meant.
    pub(super) fn strange_variables(&self) -> Vec<String> {
        // The conformance folder belongs to the tests; the rest are Kubernetes service links.
        let is_ours = |name: &str| {
            name == FILE_VARIABLE
                || name == "BRISK_CONFORMANCE_DIR"
                || name.starts_with("BRISK_SERVICE_")
                || name.starts_with("BRISK_PORT_")
        };
        self.environment
            .iter()
            .filter(|(name, _)| name.starts_with("BRISK_") && !is_ours(name))
            .filter(|(name, value)| find_variable(name).is_none() || is_service_link(value))
            .map(|(name, _)| match suggest(name, all_variables()) {
                Some(meant) if meant != *name => format!("{name} (did you mean {meant}?)"),
                _ => name.clone(),
            })
            .collect()
    }
}

/// What Kubernetes puts into `BRISK_PORT` beside a service called `brisk`.
fn is_service_link(value: &str) -> bool {
    value.starts_with("tcp://") || value.starts_with("udp://")
}

/// What `.env` says about `setting`.
pub(super) fn from_dot_env(lines: &[DotEnvLine], setting: &Setting) -> Option<Given> {
    variables(setting).into_iter().find_map(|wanted| {
        // As in a shell, the last line counts.
        let (name, value, line) = lines.iter().rev().find(|it| it.0 == wanted)?;
        let origin = Origin::DotEnv { name: name.clone(), line: *line };
        Some(Given { texts: texts(setting, value), origin })
    })
}

/// Reads the lines `NAME=VALUE` of `.env`.
///
/// `export` before a name, quotes around a value, and comments are allowed. Names that are not
/// ours belong to somebody else; names that begin with `BRISK_` must be ours.
pub(super) fn read_dot_env(text: &str) -> Result<Vec<DotEnvLine>, ConfigError> {
    let mut lines = Vec::new();
    for (line, content) in (1..).zip(text.lines()) {
        let content = content.trim();
        let content = content.strip_prefix("export ").map_or(content, str::trim_start);
        if content.is_empty() || content.starts_with('#') {
            continue;
        }
        let Some((name, value)) = content.split_once('=') else {
            return Err(ConfigError::Syntax {
                path: ".env".to_owned(),
                line,
                message: "a line is NAME=VALUE".to_owned(),
            });
        };
        let name = name.trim();
        if name.starts_with("BRISK_") && name != FILE_VARIABLE && find_variable(name).is_none() {
            return Err(ConfigError::UnknownKey {
                key: name.to_owned(),
                path: ".env".to_owned(),
                line,
                suggestion: suggest(name, all_variables()),
            });
        }
        lines.push((name.to_owned(), unquote(value.trim()).to_owned(), line));
    }
    Ok(lines)
}

/// The text between quotes, or everything before a comment.
fn unquote(value: &str) -> &str {
    for quote in ['"', '\''] {
        if let Some(rest) = value.strip_prefix(quote)
            && let Some((inside, _)) = rest.split_once(quote)
        {
            return inside;
        }
    }
    value.split(" #").next().unwrap_or(value).trim_end()
}

/// Reads the keys of a configuration file, by setting name.
pub(super) fn read_toml(path: &str, text: &str) -> Result<Vec<(&'static str, Given)>, ConfigError> {
    let line_of = |span: Range<usize>| {
        text.get(..span.start).map_or(1, |before| before.matches('\n').count() + 1)
    };
    let table = DeTable::parse(text).map_err(|error| ConfigError::Syntax {
        path: path.to_owned(),
        line: error.span().map_or(1, line_of),
        message: error.message().to_owned(),
    })?;
    let mut given: Vec<(&'static str, Given)> = Vec::new();
    for (key, value) in table.get_ref() {
        let line = line_of(key.span());
        let key = key.get_ref();
        let Some(setting) = settings::ALL.into_iter().find(|it| it.is_key(key)) else {
            let names = settings::ALL.iter().map(|it| it.name.to_owned());
            return Err(ConfigError::UnknownKey {
                key: key.to_string(),
                path: path.to_owned(),
                line,
                suggestion: suggest(key, names),
            });
        };
        let origin = Origin::File { path: path.to_owned(), line };
        if given.iter().any(|(name, _)| *name == setting.name) {
            return Err(ConfigError::Twice { name: setting.name, origin });
        }
        let Some(texts) = toml_texts(setting.kind, value.get_ref()) else {
            return Err(ConfigError::WrongType {
                name: setting.name,
                found: value.get_ref().type_str(),
                expected: expected_type(setting.kind),
                origin,
            });
        };
        given.push((setting.name, Given { texts, origin }));
    }
    Ok(given)
}

/// The value's text if its TOML type suits the kind.
fn toml_texts(kind: Kind, value: &DeValue<'_>) -> Option<Vec<String>> {
    match (kind, value) {
        (
            Kind::Number { .. } | Kind::Bytes { .. } | Kind::Duration { .. },
            DeValue::Integer(it),
        ) => Some(vec![i128::from_str_radix(it.as_str(), it.radix()).ok()?.to_string()]),
        (Kind::Fraction { .. }, DeValue::Integer(it)) => Some(vec![it.as_str().to_owned()]),
        (Kind::Fraction { .. }, DeValue::Float(it)) => Some(vec![it.as_str().to_owned()]),
        (Kind::Number { .. } | Kind::Fraction { .. }, _) => None,
        (Kind::List { .. }, DeValue::Array(items)) => items
            .iter()
            .map(|it| match it.get_ref() {
                DeValue::String(text) => Some(text.to_string()),
                _ => None,
            })
            .collect(),
        (_, DeValue::String(text)) => Some(vec![text.to_string()]),
        _ => None,
    }
}

fn expected_type(kind: Kind) -> &'static str {
    match kind {
        Kind::Text
        | Kind::Path
        | Kind::PathOrName
        | Kind::Choice(_)
        | Kind::Secret
        | Kind::RedisUrl => "a string",
        Kind::List { .. } => "an array of strings",
        Kind::Number { .. } => "an integer",
        Kind::Fraction { .. } => "a number",
        Kind::Bytes { .. } => "an integer or a string such as \"8 MiB\"",
        Kind::Duration { .. } => "an integer (seconds) or a string such as \"30s\"",
    }
}

fn texts(setting: &Setting, value: &str) -> Vec<String> {
    match setting.kind {
        Kind::List { .. } => value.split(',').map(|it| it.trim().to_owned()).collect(),
        _ => vec![value.to_owned()],
    }
}

/// The variables that set `setting`, the proper one first.
fn variables(setting: &Setting) -> Vec<String> {
    [setting.env()].into_iter().chain(setting.env_aliases()).collect()
}

fn all_variables() -> impl Iterator<Item = String> {
    settings::ALL.into_iter().flat_map(variables)
}

fn find_variable(name: &str) -> Option<&'static Setting> {
    settings::ALL.into_iter().find(|it| variables(it).iter().any(|it| it == name))
}

/// The name that is close enough to `wrong` to have been meant.
fn suggest(wrong: &str, names: impl Iterator<Item = String>) -> Option<String> {
    let scored = names.map(|it| (strsim::jaro_winkler(wrong, &it), it));
    scored.filter(|it| it.0 > 0.8).max_by(|a, b| a.0.total_cmp(&b.0)).map(|it| it.1)
}
