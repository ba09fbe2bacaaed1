//! `brisk config`: every setting, its value and where it came from.

use std::io::{self, Write};

use anyhow::Result;

use crate::{
    config::{
        Config, RawConfig,
        settings::{self, DefaultValue, Kind, Setting},
    },
    output::printable,
};

pub(crate) fn run(raw: &RawConfig, markdown: bool) -> Result<()> {
    let mut out = io::stdout().lock();
    if markdown {
        out.write_all(reference().as_bytes())?;
        return Ok(());
    }
    // What cannot start is an error here too, so that this command checks a configuration.
    Config::check(raw)?.check_exposure()?;
    let rows: Vec<[String; 3]> = settings::ALL.into_iter().map(|it| row(raw, it)).collect();
    let width = |column: usize| rows.iter().map(|it| it[column].chars().count()).max();
    let (first, second) = (width(0).unwrap_or_default(), width(1).unwrap_or_default().min(48));
    for [name, value, origin] in rows {
        writeln!(out, "{name:first$}  {value:second$}  {origin}")?;
    }
    Ok(())
}

fn row(raw: &RawConfig, setting: &Setting) -> [String; 3] {
    let (value, origin) = match (raw.get(setting), setting.default) {
        (Some(given), _) => (setting.kind.shown(&given.texts), given.origin.to_string()),
        (None, DefaultValue::Is(text)) => (text.to_owned(), "default".to_owned()),
        (None, DefaultValue::None(words)) => (format!("({words})"), "default".to_owned()),
    };
    [setting.name.to_owned(), printable(&value), printable(&origin)]
}

/// The reference page, generated so that it is never behind the code.
fn reference() -> String {
    let mut page = include_str!("config_head.md").to_owned();
    for setting in settings::ALL {
        let mut keys = vec![setting.name];
        keys.extend(setting.aliases);
        let flags: Vec<String> =
            [setting.flag()].into_iter().chain(setting.flag_aliases()).collect();
        let variables: Vec<String> =
            [setting.env()].into_iter().chain(setting.env_aliases()).collect();
        let code = |items: Vec<String>, before: &str| {
            items.iter().map(|it| format!("`{before}{it}`")).collect::<Vec<_>>().join(", ")
        };
        let default = match setting.default {
            DefaultValue::Is(text) => format!("`{text}`"),
            DefaultValue::None(words) => words.to_owned(),
        };
        page += &format!(
            "\n## {}\n\n{}\n\n\
             | | |\n| --- | --- |\n\
             | flag | {} |\n| variable | {} |\n| key | {} |\n| value | {} |\n| default | {default} |\n",
            setting.name,
            setting.doc,
            code(flags, "--"),
            code(variables, ""),
            code(keys.into_iter().map(str::to_owned).collect(), ""),
            value_words(setting.kind),
        );
    }
    page
}

fn value_words(kind: Kind) -> String {
    match kind {
        Kind::Text => "text".to_owned(),
        Kind::Path => "a file".to_owned(),
        Kind::PathOrName => "a file or a name".to_owned(),
        Kind::List(_) => {
            "words; an array in `brisk.toml`, separated by commas in a variable".to_owned()
        }
        Kind::Number { min, max } => format!("a whole number from {min} to {max}"),
        Kind::Fraction { min, max } => format!("a number from {min} to {max}"),
        Kind::Secret => "a text of 16 visible characters at least, never shown".to_owned(),
        Kind::RedisUrl => {
            "`redis://[user:password@]host[:port][/database]`, shown without its password"
                .to_owned()
        }
        Kind::Bytes { .. } => "a number of bytes, such as `8388608` or `8 MiB`".to_owned(),
        Kind::Duration { .. } => {
            "a time, such as `500ms`, `30s`, `10m`; plain numbers are seconds".to_owned()
        }
        Kind::Choice(words) => {
            words.iter().map(|it| format!("`{it}`")).collect::<Vec<_>>().join(", ")
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Sources;

    #[test]
    fn keys_are_counted_and_not_shown() {
        let flags = vec![("api_keys", vec!["secret-1".to_owned(), "secret-2".to_owned()])];
        let raw = RawConfig::collect(&Sources { flags, ..Sources::default() }).unwrap();
        let row = row(&raw, &settings::API_KEYS);
        assert_eq!(row, ["api_keys", "********, ********", "flag --api-key"]);
    }

    #[test]
    fn passwords_and_secrets_are_not_shown() {
        for (name, given, expected) in [
            ("cache_secret", "a secret of some length", "********"),
            ("cache_redis_url", "redis://u:p@ss@host:1/2", "redis://********@host:1/2"),
            ("cache_redis_url", "redis://host:1", "redis://host:1"),
        ] {
            let flags = vec![(name, vec![given.to_owned()])];
            let raw = RawConfig::collect(&Sources { flags, ..Sources::default() }).unwrap();
            let setting = settings::ALL.into_iter().find(|it| it.name == name).unwrap();
            assert_eq!(row(&raw, setting)[1], expected);
        }
    }

    #[test]
    fn the_reference_names_every_setting() {
        let page = reference();
        for setting in settings::ALL {
            assert!(page.contains(&format!("\n## {}\n", setting.name)));
            assert!(page.contains(&format!("`{}`", setting.env())));
        }
    }
}
