//! Reads the text of one value: numbers, bytes, times, words.

use std::time::Duration;

use super::settings::{Items, Kind};

/// Fewer are guessed.
const MIN_SECRET_CHARS: usize = 16;

/// A value whose kind was checked.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Value {
    Text(String),
    List(Vec<String>),
    Number(u64),
    Fraction(f64),
    Duration(Duration),
}

/// Reads `texts` (several for a list, one otherwise) as a `kind`, or says what it must be.
pub(crate) fn read(kind: Kind, texts: &[String]) -> Result<Value, String> {
    let text = texts.last().map(|it| it.trim()).unwrap_or_default();
    let within = |value: Option<u64>, min, max| value.filter(|it| (min..=max).contains(it));
    match kind {
        Kind::Text | Kind::Path | Kind::PathOrName => {
            // What was not UTF-8 has become U+FFFD.
            let is_broken = |it: char| it.is_control() || it == char::REPLACEMENT_CHARACTER;
            let is_hidden = |it: char| !is_visible(it);
            let is_padded = text.starts_with(is_hidden) || text.ends_with(is_hidden);
            if text.is_empty() || text.contains(is_broken) || is_padded || is_in_quotes(text) {
                return Err(
                    "a text that is not empty, without quotation marks around it".to_owned()
                );
            }
            Ok(Value::Text(text.to_owned()))
        }
        Kind::List(items) => {
            // An empty API key must never mean "no key needed".
            let is_mixed = texts.len() > 1 && texts.iter().any(|it| it == "*");
            if texts.is_empty() || is_mixed || !texts.iter().all(|it| items.is_good(it)) {
                return Err(items.expected().to_owned());
            }
            Ok(Value::List(texts.to_vec()))
        }
        Kind::Number { min, max } => within(text.parse().ok(), min, max)
            .map(Value::Number)
            .ok_or_else(|| format!("a whole number from {min} to {max}")),
        Kind::Fraction { min, max } => {
            let value = text.parse().ok().filter(|it| (min..=max).contains(it));
            value.map(Value::Fraction).ok_or_else(|| format!("a number from {min} to {max}"))
        }
        Kind::Secret => {
            // Instances must agree on it to the byte, so nothing of it may be invisible.
            let text = texts.last().map(String::as_str).unwrap_or_default();
            let is_good = text.chars().count() >= MIN_SECRET_CHARS
                && text.trim() == text
                && text.chars().all(is_visible)
                && !is_in_quotes(text)
                && !is_expansion(text);
            let words = format!("a text of {MIN_SECRET_CHARS} visible characters at least");
            if is_good { Ok(Value::Text(text.to_owned())) } else { Err(words) }
        }
        Kind::RedisUrl => match text.strip_prefix("redis://") {
            Some(rest) if Items::Key.is_good(rest) => Ok(Value::Text(text.to_owned())),
            _ => Err("redis://[user:password@]host[:port][/database]".to_owned()),
        },
        Kind::Bytes { min, max } => {
            within(bytes(text), min, max).map(Value::Number).ok_or_else(|| {
                let (min, max) = (show_bytes(min), show_bytes(max));
                format!("a number of bytes from {min} to {max}, such as \"8 MiB\"")
            })
        }
        Kind::Duration { min_ms, max_ms } => within(millis(text), min_ms, max_ms)
            .map(|it| Value::Duration(Duration::from_millis(it)))
            .ok_or_else(|| {
                let (min, max) = (show_millis(min_ms), show_millis(max_ms));
                format!("a time from {min} to {max}, such as \"30s\" or \"10m\"")
            }),
        Kind::Choice(words) => match words.iter().find(|it| **it == text) {
            Some(word) => Ok(Value::Text((*word).to_owned())),
            None => Err(format!("one of {}", words.join(", "))),
        },
    }
}

impl Items {
    fn is_good(self, text: &str) -> bool {
        match self {
            Self::Key => {
                let is_graphic = text.bytes().all(|it| it.is_ascii_graphic());
                !text.is_empty() && is_graphic && !is_in_quotes(text) && !is_expansion(text)
            }
            Self::Host => brisk_server::is_host_name(text),
            Self::Origin => text == "*" || brisk_server::is_origin(text),
        }
    }

    fn expected(self) -> &'static str {
        match self {
            Self::Key => {
                "words of visible ASCII characters, none of them empty, in quotation marks or like ${...}"
            }
            Self::Host => "host names, without a scheme or a path",
            Self::Origin => {
                "origins as browsers send them (scheme://host, or scheme://host:port where the port \
                 is not the usual one), or * alone"
            }
        }
    }
}

/// Whether a quotation mark begins or ends the text: one that a file's reader should have taken off.
fn is_in_quotes(text: &str) -> bool {
    const QUOTES: &str = "\"'`´“”„‟‘’‚‛«»‹›＂＇";
    text.starts_with(|it| QUOTES.contains(it)) || text.ends_with(|it| QUOTES.contains(it))
}

/// Whether a shell would have put something else here: as a secret, it is one that all can guess.
fn is_expansion(text: &str) -> bool {
    text.contains("${") || text.contains("$(")
}

/// Whether people see the character: no control, no blank but the usual one, nothing of zero width.
fn is_visible(it: char) -> bool {
    let is_blank = it.is_whitespace() && it != ' ';
    let is_hidden = matches!(
        it,
        '\u{ad}' | '\u{34f}' | '\u{61c}' | '\u{180e}' | '\u{200b}'..='\u{200f}'
            | '\u{202a}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}' | '\u{fff9}'..='\u{fffd}'
    );
    !it.is_control() && !is_blank && !is_hidden
}

/// A number and a unit: `8388608`, `8MiB`, `8 M`, `1.5 GB`. K, M, G and T are powers of 1024, as
/// are KiB to TiB; KB to TB are powers of 1000.
fn bytes(text: &str) -> Option<u64> {
    let (number, unit) = split_unit(text);
    let factor: u64 = match unit.to_ascii_lowercase().as_str() {
        "" | "b" => 1,
        "k" | "kib" => 1 << 10,
        "m" | "mib" => 1 << 20,
        "g" | "gib" => 1 << 30,
        "t" | "tib" => 1 << 40,
        "kb" => 1_000,
        "mb" => 1_000_000,
        "gb" => 1_000_000_000,
        "tb" => 1_000_000_000_000,
        _ => return None,
    };
    scaled(number, factor)
}

/// A number and a unit: `30`, `30s`, `1.5 m`, `250ms`.
fn millis(text: &str) -> Option<u64> {
    let (number, unit) = split_unit(text);
    let factor = match unit {
        "ms" => 1,
        "" | "s" => 1_000,
        "m" | "min" => 60_000,
        "h" => 3_600_000,
        _ => return None,
    };
    scaled(number, factor)
}

fn split_unit(text: &str) -> (&str, &str) {
    let end = text.find(|it: char| !it.is_ascii_digit() && it != '.').unwrap_or(text.len());
    (&text[..end], text[end..].trim())
}

fn scaled(number: &str, factor: u64) -> Option<u64> {
    if let Ok(whole) = number.parse::<u64>() {
        return whole.checked_mul(factor);
    }
    let value = number.parse::<f64>().ok()? * factor as f64;
    (value.is_finite() && (0.0..9e15).contains(&value)).then_some(value.round() as u64)
}

/// Bytes for people: `512 B`, `8 MiB`, `1.2 GiB`.
pub(crate) fn show_bytes(bytes: u64) -> String {
    let units = ["KiB", "MiB", "GiB", "TiB", "PiB"];
    if bytes < 1024 {
        return format!("{bytes} B");
    }
    let mut value = bytes as f64;
    let mut unit = "B";
    for next in units {
        if value < 1023.95 {
            break;
        }
        value /= 1024.0;
        unit = next;
    }
    let text = format!("{value:.1}");
    format!("{} {unit}", text.strip_suffix(".0").unwrap_or(&text))
}

fn show_millis(ms: u64) -> String {
    match ms {
        _ if ms.is_multiple_of(3_600_000) && ms > 0 => format!("{}h", ms / 3_600_000),
        _ if ms.is_multiple_of(1_000) => format!("{}s", ms / 1_000),
        _ => format!("{ms}ms"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_are_read_with_their_unit() {
        let check = |text: &str, expected| assert_eq!(bytes(text), expected, "{text}");
        check("0", Some(0));
        check("8388608", Some(8 << 20));
        check("8 MiB", Some(8 << 20));
        check("8MB", Some(8_000_000));
        check("1.5 g", Some(3 << 29));
        check("2k", Some(2048));
        check("", None);
        check("-1", None);
        check("8 bananas", None);
        check("1e9", None);
        check("99999999999999999999", None);
        check("99999999999 TiB", None);
        check(".", None);
    }

    #[test]
    fn times_are_read_with_their_unit() {
        let check = |text: &str, expected| assert_eq!(millis(text), expected, "{text}");
        check("30", Some(30_000));
        check("30s", Some(30_000));
        check("250 ms", Some(250));
        check("1.5m", Some(90_000));
        check("24h", Some(86_400_000));
        check("soon", None);
        check("-5s", None);
        check("NaN", None);
    }

    #[test]
    fn bytes_are_shown_for_people() {
        let check = |bytes, expected: &str| assert_eq!(show_bytes(bytes), expected);
        check(0, "0 B");
        check(1023, "1023 B");
        check(1024, "1 KiB");
        check(8 << 20, "8 MiB");
        check((1 << 30) - 1, "1 GiB");
        check(847_249_408, "808 MiB");
        check(1_300_000_000, "1.2 GiB");
    }

    #[test]
    fn a_value_outside_its_range_says_the_range() {
        let check = |kind, text: &str, expected: &str| {
            assert_eq!(read(kind, &[text.to_owned()]), Err(expected.to_owned()), "{text}");
        };
        let part = Kind::Fraction { min: 0.0, max: 2.0 };
        for text in ["2.1", "-0.1", "NaN", "inf", "", "warm"] {
            check(part, text, "a number from 0 to 2");
        }
        for text in [
            "",
            "15 characters!!",
            "line\nand line and line",
            " a blank before it",
            "a line break at the end\n",
            "a zero-width \u{200b} space",
            "a no-break\u{a0}space in it",
            "half a character \u{fffd}!",
            "\"in quotation marks\"",
            "“in quotation marks”",
            "${THE_SECRET_OF_ALL}",
        ] {
            check(Kind::Secret, text, "a text of 16 visible characters at least");
        }
        for text in ["", "\"quoted\"", "quoted'", "«quoted»", "a\tb", "\u{fffd}", "a\u{200b}"] {
            let expected = "a text that is not empty, without quotation marks around it";
            check(Kind::Path, text, expected);
        }
        for text in [
            "",
            "redis://",
            "localhost:6379",
            "http://host",
            "redis://a b",
            "redis://a\"",
            "redis://${R}",
        ] {
            check(Kind::RedisUrl, text, "redis://[user:password@]host[:port][/database]");
        }
        let port = Kind::Number { min: 0, max: 65535 };
        check(port, "70000", "a whole number from 0 to 65535");
        check(port, "-1", "a whole number from 0 to 65535");
        check(port, "http", "a whole number from 0 to 65535");
        check(Kind::Choice(&["a", "b"]), "c", "one of a, b");
        let time = Kind::Duration { min_ms: 1, max_ms: 86_400_000 };
        check(time, "0", "a time from 1ms to 24h, such as \"30s\" or \"10m\"");
        let body = Kind::Bytes { min: 1024, max: 1 << 30 };
        check(body, "3", "a number of bytes from 1 KiB to 1 GiB, such as \"8 MiB\"");
        for key in [
            "",
            " ",
            "a b",
            "schlüssel",
            "line\n",
            " k",
            "k ",
            "k\u{200b}",
            "\"k\"",
            "'k",
            "k`",
            "${K}",
            "$(k)",
        ] {
            check(Kind::List(Items::Key), key, Items::Key.expected());
        }
        for host in ["", "http://a.example", "a.example/", "a b", "x@a.example", "a,b"] {
            check(Kind::List(Items::Host), host, Items::Host.expected());
        }
        for origin in ["", "a.example", "https://a.example/", "null", "https://*.a.example"] {
            check(Kind::List(Items::Origin), origin, Items::Origin.expected());
        }
    }
}
