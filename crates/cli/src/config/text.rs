//! Turns the bytes of a settings file into text, whatever editor has saved them.

use super::ConfigError;

/// What editors of Windows put before a text.
const BYTE_ORDER_MARK: &[u8] = "\u{feff}".as_bytes();

/// The text of a file in which every byte is ours.
pub(super) fn strict(path: &str, bytes: &[u8]) -> Result<String, ConfigError> {
    let bytes = without_mark(path, bytes)?;
    let text = str::from_utf8(bytes).map_err(|error| {
        let line = 1 + bytes[..error.valid_up_to()].iter().filter(|it| **it == b'\n').count();
        ConfigError::Syntax { path: path.to_owned(), line, message: "it is not UTF-8".to_owned() }
    })?;
    Ok(text.to_owned())
}

/// The text of a file that other programs write to as well: what is not UTF-8 becomes U+FFFD, which
/// nothing of ours may hold.
pub(super) fn lossy(path: &str, bytes: &[u8]) -> Result<String, ConfigError> {
    Ok(String::from_utf8_lossy(without_mark(path, bytes)?).into_owned())
}

fn without_mark<'a>(path: &str, bytes: &'a [u8]) -> Result<&'a [u8], ConfigError> {
    let has_wide_mark = bytes.starts_with(&[0xff, 0xfe]) || bytes.starts_with(&[0xfe, 0xff]);
    if has_wide_mark || bytes.contains(&0) {
        return Err(ConfigError::Unreadable {
            path: path.to_owned(),
            message: "it is UTF-16, as \">\" of PowerShell writes it, or no text: save it as UTF-8"
                .to_owned(),
        });
    }
    Ok(bytes.strip_prefix(BYTE_ORDER_MARK).unwrap_or(bytes))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_byte_order_mark_is_no_text_and_what_is_not_utf8_is_refused_with_its_line() {
        let words =
            |result: Result<String, ConfigError>| result.unwrap_or_else(|it| it.to_string());
        for (bytes, in_toml, in_dot_env) in [
            (&b"a = 1"[..], "a = 1", "a = 1"),
            (b"\xef\xbb\xbfa = 1", "a = 1", "a = 1"),
            (b"a = 1\n# caf\xe9", "f, line 2: it is not UTF-8", "a = 1\n# caf\u{fffd}"),
            (b"\xff\xfea\0", WIDE, WIDE),
            (b"\xfe\xff\0a", WIDE, WIDE),
            (b"a\0=\x001\0", WIDE, WIDE),
            (b"", "", ""),
        ] {
            assert_eq!(words(strict("f", bytes)), in_toml, "{}", bytes.escape_ascii());
            assert_eq!(words(lossy("f", bytes)), in_dot_env, "{}", bytes.escape_ascii());
        }
    }

    const WIDE: &str = "cannot read f: it is UTF-16, as \">\" of PowerShell writes it, or no text: \
                        save it as UTF-8";
}
