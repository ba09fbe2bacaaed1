//! Reads the places where settings stand: environment and `brisk.toml`; `.env` has a reader of its own.

use std::{collections::BTreeMap, ops::Range};

use toml::de::{DeTable, DeValue};

use super::{
    ConfigError, dot_env,
    names::{self, Name},
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
    /// Our settings in `.env`.
    pub(crate) dot_env: Vec<dot_env::Entry>,
    /// The configuration file's path and text.
    pub(crate) file: Option<(String, String)>,
}

impl Sources {
    /// What the process environment says about `setting`.
    pub(super) fn in_environment(&self, setting: &Setting) -> Option<Given> {
        names::variables_of(setting).into_iter().find_map(|name| {
            let value = self.environment.get(&name).filter(|it| !is_service_link(it))?;
            Some(Given { texts: texts(setting, value), origin: Origin::Environment(name) })
        })
    }

    /// What `.env` says about `setting`.
    pub(super) fn in_dot_env(&self, setting: &Setting) -> Option<Given> {
        names::variables_of(setting).into_iter().find_map(|wanted| {
            // As in a shell, the last line counts.
            let entry = self.dot_env.iter().rev().find(|it| it.name == wanted)?;
            let origin = Origin::DotEnv { name: wanted, line: entry.line };
            Some(Given { texts: texts(setting, &entry.value), origin })
        })
    }

    /// Variables that look like ours and mean nothing, with what may have been meant.
    ///
    /// One that is ours but for its case, quotes or what cannot be seen is refused: nobody but the
    /// operator makes such a name.
    pub(super) fn strange_variables(&self) -> Result<Vec<String>, ConfigError> {
        let mut strange = Vec::new();
        for (name, value) in &self.environment {
            if let Some(meant) = names::disfigured(name) {
                return Err(ConfigError::Disfigured { name: name.clone(), meant });
            }
            // The conformance folder belongs to the tests; the rest are Kubernetes service links.
            let is_known = name == "BRISK_CONFORMANCE_DIR"
                || name.starts_with("BRISK_SERVICE_")
                || name.starts_with("BRISK_PORT_");
            if is_known || !name.to_uppercase().starts_with("BRISK_") {
                continue;
            }
            match names::read(name) {
                Name::Ours if is_service_link(value) => strange.push(name.clone()),
                Name::MeantForUs(Some(meant)) => {
                    strange.push(format!("{name} (did you mean {meant}?)"));
                }
                Name::MeantForUs(None) => strange.push(name.clone()),
                Name::Ours | Name::Foreign => {}
            }
        }
        Ok(strange)
    }
}

/// What Kubernetes puts into `BRISK_PORT` beside a service called `brisk`.
fn is_service_link(value: &str) -> bool {
    value.starts_with("tcp://") || value.starts_with("udp://")
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
                suggestion: names::suggest(key, names),
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
        (Kind::List(_), DeValue::Array(items)) => items
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
        Kind::List(_) => "an array of strings",
        Kind::Number { .. } => "an integer",
        Kind::Fraction { .. } => "a number",
        Kind::Bytes { .. } => "an integer or a string such as \"8 MiB\"",
        Kind::Duration { .. } => "an integer (seconds) or a string such as \"30s\"",
    }
}

/// A variable's value, which is several where its setting is a list. Blanks may stand beside a comma;
/// at the ends, where only quotes can have kept them, they belong to the text.
fn texts(setting: &Setting, value: &str) -> Vec<String> {
    let Kind::List(_) = setting.kind else { return vec![value.to_owned()] };
    let mut texts: Vec<&str> = value.split(',').collect();
    let last = texts.len() - 1;
    for (at, text) in texts.iter_mut().enumerate() {
        *text = if at > 0 { text.trim_start_matches(' ') } else { text };
        *text = if at < last { text.trim_end_matches(' ') } else { text };
    }
    texts.into_iter().map(str::to_owned).collect()
}
