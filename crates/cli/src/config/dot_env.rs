//! Reads `.env`: our settings in it, past whatever other programs keep there.
//!
//! The programs that read such files differ. Here a line of ours means what all of them make of it,
//! or it is refused; a line of others ends where theirs would, and is nobody's concern otherwise.

use super::{
    ConfigError,
    names::{self, Name},
};

/// The file that is read from the working folder.
pub(crate) const PATH: &str = ".env";
const BLANKS: [char; 2] = [' ', '\t'];

/// A setting of ours.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Entry {
    pub(crate) name: String,
    pub(crate) value: String,
    pub(crate) line: usize,
}

/// Finds our settings in the text of a `.env`.
pub(super) fn read(text: &str) -> Result<Vec<Entry>, ConfigError> {
    // A carriage return alone ends a line too, as in python-dotenv.
    let text = text.replace("\r\n", "\n").replace('\r', "\n");
    let mut entries = Vec::new();
    let mut rest = text.as_str();
    let mut line = 1;
    while !rest.is_empty() {
        let statement = Statement::at(rest);
        match names::read(statement.name) {
            Name::Ours => {
                let value = statement.value.ok_or("a line is NAME=VALUE").and_then(value);
                let value = value.map_err(|message| refused(line, statement.name, message))?;
                entries.push(Entry { name: statement.name.to_owned(), value, line });
            }
            Name::MeantForUs(meant) => return Err(statement.misread(line, meant)),
            Name::Foreign => {
                let num_lines = statement.foreign_lines(rest, line)?;
                for _ in 1..num_lines {
                    rest = after_line(rest);
                }
                line += num_lines - 1;
            }
        }
        rest = after_line(rest);
        line += 1;
    }
    Ok(entries)
}

/// A line as NAME=VALUE: the name may be a comment's, then it is empty; the value may be missing.
#[derive(Clone, Copy)]
struct Statement<'a> {
    name: &'a str,
    value: Option<&'a str>,
}

impl<'a> Statement<'a> {
    /// The statement that begins where `text` does.
    fn at(text: &'a str) -> Self {
        let line = text.split('\n').next().unwrap_or_default().trim_start_matches(BLANKS);
        if line.starts_with('#') {
            return Self { name: "", value: None };
        }
        let exported = line.strip_prefix("export").filter(|it| it.starts_with(BLANKS));
        let line = exported.unwrap_or(line);
        let (name, value) =
            line.split_once('=').map_or((line, None), |(name, value)| (name, Some(value)));
        Self { name: name.trim_matches(BLANKS), value }
    }

    /// Why the line is not the setting that it was meant to be. What stands before a `=` may be a
    /// secret too, so only a proper name is repeated.
    fn misread(self, line: usize, meant: Option<String>) -> ConfigError {
        if self.value.is_some() && names::is_identifier(self.name) {
            let (key, path) = (self.name.to_owned(), PATH.to_owned());
            return ConfigError::UnknownKey { key, path, line, suggestion: meant };
        }
        let is_proper = |it: char| it.is_ascii_alphanumeric() || it == '_' || BLANKS.contains(&it);
        let odd = self.name.chars().find(|it| !is_proper(*it));
        let odd = odd.map(|it| format!(", and holds U+{:04X}", u32::from(it))).unwrap_or_default();
        let meant = meant.as_deref().unwrap_or("a setting");
        let message = format!("this looks like {meant}{odd}: a line is NAME=VALUE");
        ConfigError::Syntax { path: PATH.to_owned(), line, message }
    }

    /// How many lines of `text` another program's statement takes, where it begins and none of
    /// ours is hidden in it.
    fn foreign_lines(self, text: &str, line: usize) -> Result<usize, ConfigError> {
        let Some(value) = self.value else { return Ok(1) };
        let (_, beyond) = text.split_once('=').unwrap_or_default();
        let mut beyond = beyond.trim_start_matches(BLANKS).chars();
        let quote = beyond.next().filter(|it| ['"', '\'', '`'].contains(it));
        let Some(quote) = quote else { return no_setting_in(value, line).map(|()| 1) };
        let Some((inside, after)) = quoted(beyond.as_str(), quote) else { return Ok(1) };
        let after = after.split('\n').next().unwrap_or_default();
        if !inside.contains('\n') {
            return no_setting_in(after, line).map(|()| 1);
        }
        // A quotation mark that nobody closed meets the next one somewhere; then its line is alone.
        if !is_end(after) {
            return Ok(1);
        }
        for (number, content) in (line..).zip(inside.split('\n')).skip(1) {
            let inner = Statement::at(content);
            if inner.value.is_some() && names::read(inner.name) != Name::Foreign {
                let message = "a setting stands inside the quotes that open on line ";
                return Err(syntax(number, format!("{message}{line}")));
            }
        }
        Ok(1 + inside.matches('\n').count())
    }
}

/// Nothing in another program's line may look like a statement of ours: a shell would run it.
fn no_setting_in(text: &str, line: usize) -> Result<(), ConfigError> {
    let separates = |it: char| it.is_whitespace() || it.is_control() || ";&|(".contains(it);
    let mut words = without_comment(text).split(separates).filter_map(|it| it.split_once('='));
    match words.any(|(name, _)| names::begins_ours(name)) {
        false => Ok(()),
        true => {
            let message = "a setting stands inside another value: give it a line of its own, or \
                           put quotes around that value";
            Err(syntax(line, message.to_owned()))
        }
    }
}

/// What a value of ours says.
fn value(text: &str) -> Result<String, &'static str> {
    let trimmed = text.trim_matches(BLANKS);
    let (inside, after) = match trimmed.chars().next() {
        Some('"') => double_quoted(&trimmed[1..])?,
        Some('\'') => {
            let (inside, after) = quoted(&trimmed[1..], '\'').ok_or(UNCLOSED)?;
            (inside.to_owned(), after)
        }
        _ => return unquoted(without_comment(text).trim_matches(BLANKS)),
    };
    if is_end(after) { Ok(inside) } else { Err("text follows the closing quotation mark") }
}

fn unquoted(text: &str) -> Result<String, &'static str> {
    if text.contains(['"', '\'']) {
        return Err("a quotation mark inside a value needs other ones around the value");
    }
    if text.contains(['$', '`']) || text.ends_with('\\') {
        return Err(NOT_EXPANDED);
    }
    Ok(text.to_owned())
}

const UNCLOSED: &str = "the quotation mark is not closed on its line";
const NOT_EXPANDED: &str =
    "$, ` and a backslash at the end mean something else to a shell: put the value in '...'";

/// The text between double quotes, and what follows them.
fn double_quoted(text: &str) -> Result<(String, &str), &'static str> {
    let mut inside = String::new();
    let mut characters = text.char_indices();
    while let Some((at, character)) = characters.next() {
        match character {
            '"' => return Ok((inside, &text[at + 1..])),
            '$' | '`' => return Err(NOT_EXPANDED),
            '\\' => match characters.next() {
                Some((_, it @ ('"' | '\\'))) => inside.push(it),
                _ => return Err("a backslash in \"...\" stands before \\ or \": use '...'"),
            },
            other => inside.push(other),
        }
    }
    Err(UNCLOSED)
}

/// What stands before the closing quotation mark, and what after it.
fn quoted(text: &str, quote: char) -> Option<(&str, &str)> {
    let mut characters = text.chars();
    while let Some(character) = characters.next() {
        let after = characters.as_str();
        match character {
            it if it == quote => return Some((&text[..text.len() - after.len() - 1], after)),
            // Not in single quotes, as in a shell.
            '\\' if quote != '\'' => drop(characters.next()),
            _ => {}
        }
    }
    None
}

/// Whether what follows a closing quotation mark is nothing, or a comment after a blank.
fn is_end(text: &str) -> bool {
    without_comment(text).trim_matches(BLANKS).is_empty() && !text.starts_with('#')
}

/// What stands before a comment: a `#` that begins the text after a blank, or follows one.
fn without_comment(text: &str) -> &str {
    let comment = text.match_indices('#').find(|(at, _)| text[..*at].ends_with(BLANKS));
    comment.map_or(text, |(at, _)| &text[..at])
}

fn after_line(text: &str) -> &str {
    text.split_once('\n').map_or("", |it| it.1)
}

fn refused(line: usize, name: &str, message: &str) -> ConfigError {
    syntax(line, format!("{name}: {message}"))
}

fn syntax(line: usize, message: String) -> ConfigError {
    ConfigError::Syntax { path: PATH.to_owned(), line, message }
}

#[cfg(test)]
mod tests {
    use crate::config::{Config, ConfigError, RawConfig, Sources, settings, text};

    /// The bytes that a row's text stands for.
    fn unescaped(text: &str) -> Vec<u8> {
        let mut bytes = Vec::new();
        let mut rest = text;
        while let Some((plain, escaped)) = rest.split_once('\\') {
            bytes.extend(plain.as_bytes());
            let number = |digits: &str| u32::from_str_radix(digits, 16).unwrap();
            let length = match escaped.as_bytes()[0] {
                b'x' => {
                    bytes.push(u8::try_from(number(&escaped[1..3])).unwrap());
                    3
                }
                b'u' => {
                    let end = escaped.find('}').unwrap();
                    let character = char::from_u32(number(&escaped[2..end])).unwrap();
                    bytes.extend(character.to_string().as_bytes());
                    end + 1
                }
                letter => {
                    let at = b"nrt\\".iter().position(|it| *it == letter).unwrap();
                    bytes.push(b"\n\r\t\\"[at]);
                    1
                }
            };
            rest = &escaped[length..];
        }
        bytes.extend(rest.as_bytes());
        bytes
    }

    /// Every setting that a `.env` of these bytes sets.
    fn settings_in(bytes: &[u8]) -> Result<String, ConfigError> {
        let dot_env = super::read(&text::lossy(super::PATH, bytes)?)?;
        let raw = RawConfig::collect(&Sources { dot_env, ..Sources::default() })?;
        Config::check(&raw)?;
        let given = settings::ALL.into_iter().filter_map(|it| Some((it.name, raw.get(it)?)));
        let shown = given.map(|(name, it)| format!("{name}={:?}", it.texts.join(",")));
        let shown = shown.collect::<Vec<_>>().join(" ");
        Ok(if shown.is_empty() { "nothing".to_owned() } else { shown })
    }

    #[test]
    fn every_row_is_read_or_refused_as_the_table_says() {
        let (mut num_rows, mut wrong) = (0, Vec::new());
        for row in include_str!("dot_env_cases.txt").lines() {
            let is_refusal = row.contains(" !! ");
            let parts = row.split_once(if is_refusal { " !! " } else { " => " });
            let Some((text, expected)) = parts.filter(|_| !row.starts_with("# Rows")) else {
                assert!(row.is_empty() || row.starts_with('#'), "{row}");
                continue;
            };
            num_rows += 1;
            let result = settings_in(&unescaped(text)).map_err(|it| it.to_string());
            let (is_good, found) = match result {
                Ok(found) => (!is_refusal && found == expected, found),
                Err(found) => {
                    let shows_secret = found.replace("cache_secret", "").contains("secret");
                    (is_refusal && found.contains(expected) && !shows_secret, found)
                }
            };
            if !is_good {
                wrong.push(format!("{text}\n  wanted {expected}\n  found  {found}"));
            }
        }
        assert!(wrong.is_empty(), "{} of {num_rows} rows:\n{}", wrong.len(), wrong.join("\n"));
        assert!(num_rows > 150, "{num_rows} rows");
    }
}
