//! What was set, where, and which of it counts: flags over environment over `.env` over file.

use std::{fmt, time::Duration};

use super::{
    ConfigError,
    settings::{self, DefaultValue, Items, Kind, Setting},
    sources::{self, Sources},
    values::{self, Value},
};
use crate::output::shortened;

/// Where a value came from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Origin {
    Flag(String),
    Environment(String),
    DotEnv { name: String, line: usize },
    File { path: String, line: usize },
    Default,
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Flag(flag) => write!(f, "flag --{flag}"),
            Self::Environment(name) => write!(f, "environment {name}"),
            Self::DotEnv { name, line } => write!(f, "{name} in .env, line {line}"),
            Self::File { path, line } => write!(f, "{path}, line {line}"),
            Self::Default => f.write_str("default"),
        }
    }
}

/// One value as it was written, several texts for a list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Given {
    pub(crate) texts: Vec<String>,
    pub(crate) origin: Origin,
}

/// Everything that was set, the winner of each setting only.
#[derive(Clone, Debug, Default)]
pub(crate) struct RawConfig {
    given: Vec<(&'static str, Given)>,
    /// Variables that look like ours and are not: worth a warning, not a refusal, since
    /// Kubernetes makes such variables for every service that happens to be called `brisk`.
    pub(crate) strange_variables: Vec<String>,
}

impl RawConfig {
    /// Joins the sources by their rank. Unknown keys of files are refused.
    pub(crate) fn collect(sources: &Sources) -> Result<Self, ConfigError> {
        let file = match &sources.file {
            Some((path, text)) => sources::read_toml(path, text)?,
            None => Vec::new(),
        };
        let mut raw = Self { given: Vec::new(), strange_variables: sources.strange_variables()? };
        for setting in settings::ALL {
            let winner = sources
                .flags
                .iter()
                .find(|(name, _)| *name == setting.name)
                .map(|(_, texts)| Given {
                    texts: texts.clone(),
                    origin: Origin::Flag(setting.flag()),
                })
                .or_else(|| sources.in_environment(setting))
                .or_else(|| sources.in_dot_env(setting))
                .or_else(|| {
                    file.iter().find(|(name, _)| *name == setting.name).map(|it| it.1.clone())
                });
            raw.given.extend(winner.map(|it| (setting.name, it)));
        }
        Ok(raw)
    }

    /// What was set for `setting`, if anything was.
    pub(crate) fn get(&self, setting: &Setting) -> Option<&Given> {
        self.given.iter().find(|(name, _)| *name == setting.name).map(|(_, given)| given)
    }

    /// The checked value, or the default, or nothing where the default is none.
    pub(crate) fn value(&self, setting: &Setting) -> Result<Option<Value>, ConfigError> {
        if let Some(Given { texts, origin }) = self.get(setting) {
            return match values::read(setting.kind, texts) {
                Ok(value) => Ok(Some(value)),
                Err(expected) => Err(ConfigError::BadValue {
                    name: setting.name,
                    // A key that is wrong in one character is still a key.
                    value: match setting.kind {
                        Kind::List(Items::Key) | Kind::Secret | Kind::RedisUrl => {
                            "not usable".to_owned()
                        }
                        _ => format!("{:?}", shortened(&texts.join(","))),
                    },
                    expected,
                    origin: origin.clone(),
                }),
            };
        }
        match setting.default {
            DefaultValue::None(_) => Ok(None),
            DefaultValue::Is(text) => {
                let value = values::read(setting.kind, &[text.to_owned()]);
                Ok(Some(value.expect("every default of the table is a good value")))
            }
        }
    }

    pub(crate) fn number(&self, setting: &Setting) -> Result<Option<u64>, ConfigError> {
        Ok(match self.value(setting)? {
            Some(Value::Number(number)) => Some(number),
            _ => None,
        })
    }

    /// A number with a fraction, where the table has a default for it.
    pub(crate) fn fraction(&self, setting: &Setting) -> Result<f32, ConfigError> {
        Ok(match self.value(setting)? {
            Some(Value::Fraction(fraction)) => fraction as f32,
            _ => 0.0,
        })
    }

    /// A count; the table bounds it far below what any machine can hold.
    pub(crate) fn size(&self, setting: &Setting) -> Result<Option<usize>, ConfigError> {
        Ok(self.number(setting)?.map(|it| usize::try_from(it).unwrap_or(usize::MAX)))
    }

    pub(crate) fn text(&self, setting: &Setting) -> Result<Option<String>, ConfigError> {
        Ok(match self.value(setting)? {
            Some(Value::Text(text)) => Some(text),
            _ => None,
        })
    }

    pub(crate) fn duration(&self, setting: &Setting) -> Result<Duration, ConfigError> {
        Ok(match self.value(setting)? {
            Some(Value::Duration(duration)) => duration,
            _ => Duration::ZERO,
        })
    }

    pub(crate) fn list(&self, setting: &Setting) -> Result<Vec<String>, ConfigError> {
        Ok(match self.value(setting)? {
            Some(Value::List(items)) => items,
            _ => Vec::new(),
        })
    }
}
