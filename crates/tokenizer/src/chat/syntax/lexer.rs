//! Cuts a template's source into text and the words of its tags, with Jinja's white-space control.

use crate::TemplateError;
use crate::chat::python::characters::{is_identifier_part, is_space};

#[derive(Clone, Debug, PartialEq)]
pub(super) enum Word {
    Data(String),
    PrintBegin,
    PrintEnd,
    BlockBegin,
    BlockEnd,
    Name(String),
    Text(String),
    Int(i128),
    Float(f64),
    Operator(&'static str),
    End,
}

#[derive(Clone, Debug)]
pub(super) struct Token {
    pub(super) word: Word,
    pub(super) line: u32,
}

/// The longest first.
const OPERATORS: [&str; 26] = [
    "//", "**", "==", "!=", ">=", "<=", "+", "-", "/", "*", "%", "~", "[", "]", "(", ")", "{", "}",
    ">", "<", "=", ".", ":", "|", ",", ";",
];

/// The words of `source`.
pub(super) fn tokens(source: &str) -> Result<Vec<Token>, TemplateError> {
    let mut source = source.replace("\r\n", "\n").replace('\r', "\n");
    if source.ends_with('\n') {
        source.pop();
    }
    let mut lexer = Lexer {
        source: &source,
        at: 0,
        line: 1,
        counted: 0,
        starts_line: true,
        tokens: Vec::new(),
    };
    lexer.run()?;
    lexer.push(Word::End);
    Ok(lexer.tokens)
}

struct Lexer<'s> {
    source: &'s str,
    at: usize,
    line: u32,
    /// Up to where `line` counts.
    counted: usize,
    /// Whether what was taken last ended a line.
    starts_line: bool,
    tokens: Vec<Token>,
}

impl<'s> Lexer<'s> {
    fn run(&mut self) -> Result<(), TemplateError> {
        while self.at < self.source.len() {
            let rest = self.rest();
            let Some((at, opening)) = next_opening(rest) else {
                self.push(Word::Data(rest.to_owned()));
                return Ok(());
            };
            let after = &rest[at + 2..];
            let sign = after.chars().next().filter(|c| matches!(c, '-' | '+'));
            let raw = if opening == "{%" { raw_len(&rest[at..]) } else { None };
            self.data(&rest[..at], sign, opening != "{{");
            self.advance(at);
            if let Some(len) = raw {
                self.advance(len);
                self.raw()?;
                continue;
            }
            self.advance(2 + sign.map_or(0, char::len_utf8));
            match opening {
                "{#" => self.comment()?,
                "{{" => {
                    self.push(Word::PrintBegin);
                    self.tag(false)?;
                }
                _ => {
                    self.push(Word::BlockBegin);
                    self.tag(true)?;
                }
            }
        }
        Ok(())
    }

    fn rest(&self) -> &'s str {
        &self.source[self.at..]
    }

    fn advance(&mut self, num_bytes: usize) {
        if num_bytes > 0 {
            self.at += num_bytes;
            self.starts_line = self.source.as_bytes()[self.at - 1] == b'\n';
        }
    }

    fn line(&mut self) -> u32 {
        let passed = &self.source.as_bytes()[self.counted..self.at];
        self.line += passed.iter().filter(|&&byte| byte == b'\n').count() as u32;
        self.counted = self.at;
        self.line
    }

    fn push(&mut self, word: Word) {
        let line = self.line();
        self.tokens.push(Token { word, line });
    }

    fn fail<T>(&mut self, message: impl Into<String>) -> Result<T, TemplateError> {
        Err(TemplateError::Invalid { line: self.line() as usize, message: message.into() })
    }

    /// Text before a tag: `-` takes the white space from its end, and a tag alone on its line takes
    /// what is before it.
    fn data(&mut self, text: &str, sign: Option<char>, strips_line: bool) {
        let text = match sign {
            Some('-') => text.trim_end_matches(is_space),
            None if strips_line => {
                let line_start = text.rfind('\n').map_or(0, |at| at + 1);
                let is_line = line_start > 0 || self.starts_line;
                if is_line && text[line_start..].chars().all(is_space) {
                    &text[..line_start]
                } else {
                    text
                }
            }
            _ => text,
        };
        if !text.is_empty() {
            self.push(Word::Data(text.to_owned()));
        }
    }

    /// Bytes of the end of a tag that `rest` begins with.
    fn end_len(rest: &str, end: &str, trims: bool) -> Option<usize> {
        if let Some(after) = rest.strip_prefix('-').and_then(|rest| rest.strip_prefix(end)) {
            return Some(rest.len() - after.trim_start_matches(is_space).len());
        }
        if trims && rest.strip_prefix('+').is_some_and(|rest| rest.starts_with(end)) {
            return Some(1 + end.len());
        }
        let after = rest.strip_prefix(end)?;
        Some(end.len() + usize::from(trims && after.starts_with('\n')))
    }

    fn comment(&mut self) -> Result<(), TemplateError> {
        let rest = self.rest();
        let Some(at) = rest.find("#}") else {
            return self.fail("unexpected end of input in a comment");
        };
        // A sign before the end belongs to it.
        let start = at - usize::from(rest[..at].ends_with(['-', '+']));
        let len = Self::end_len(&rest[start..], "#}", true).unwrap_or(2);
        self.advance(start + len);
        Ok(())
    }

    fn raw(&mut self) -> Result<(), TemplateError> {
        let rest = self.rest();
        for (at, _) in rest.match_indices("{%") {
            let tag = &rest[at + 2..];
            let sign = tag.chars().next().filter(|c| matches!(c, '-' | '+'));
            let word = tag[sign.map_or(0, char::len_utf8)..].trim_start_matches(is_space);
            let Some(after) = word.strip_prefix("endraw") else { continue };
            let after = after.trim_start_matches(is_space);
            let Some(len) = Self::end_len(after, "%}", true) else { continue };
            self.data(&rest[..at], sign, true);
            self.advance(rest.len() - after.len() + len);
            return Ok(());
        }
        self.fail("unexpected end of input in a raw block")
    }

    /// The words of a tag up to its end, which is none inside brackets.
    fn tag(&mut self, is_block: bool) -> Result<(), TemplateError> {
        let end = if is_block { "%}" } else { "}}" };
        let mut open = Vec::new();
        loop {
            let rest = self.rest();
            if open.is_empty()
                && let Some(len) = Self::end_len(rest, end, is_block)
            {
                self.push(if is_block { Word::BlockEnd } else { Word::PrintEnd });
                self.advance(len);
                return Ok(());
            }
            let Some(first) = rest.chars().next() else {
                return self.fail("unexpected end of input in a tag");
            };
            if is_space(first) {
                self.advance(rest.len() - rest.trim_start_matches(is_space).len());
            } else if first.is_ascii_digit() {
                self.number()?;
            } else if is_identifier_part(first) {
                self.name()?;
            } else if matches!(first, '"' | '\'') {
                self.text(first)?;
            } else if let Some(operator) =
                OPERATORS.into_iter().find(|operator| rest.starts_with(operator))
            {
                match operator {
                    "(" => open.push(")"),
                    "[" => open.push("]"),
                    "{" => open.push("}"),
                    ")" | "]" | "}" if open.pop() != Some(operator) => {
                        return self.fail(format!("unexpected '{operator}'"));
                    }
                    _ => {}
                }
                self.push(Word::Operator(operator));
                self.advance(operator.len());
            } else {
                return self.fail(format!("unexpected character {first:?}"));
            }
        }
    }

    fn name(&mut self) -> Result<(), TemplateError> {
        let rest = self.rest();
        let len = rest.find(|c| !is_identifier_part(c)).unwrap_or(rest.len());
        if len > super::statements::MAX_NAME_BYTES {
            return self.fail(format!(
                "a name has {len} bytes, at most {} are taken",
                super::statements::MAX_NAME_BYTES
            ));
        }
        self.push(Word::Name(rest[..len].to_owned()));
        self.advance(len);
        Ok(())
    }

    fn number(&mut self) -> Result<(), TemplateError> {
        let rest = self.rest();
        // `x.0.1` reads two entries.
        let after_dot = self.at > 0 && self.source.as_bytes()[self.at - 1] == b'.';
        if let Some(len) = float_len(rest).filter(|_| !after_dot) {
            let number = rest[..len].replace('_', "").parse().unwrap_or(f64::INFINITY);
            self.push(Word::Float(number));
            self.advance(len);
            return Ok(());
        }
        let (digits, radix) = match rest.as_bytes().get(..2) {
            Some(b"0x" | b"0X") => (&rest[2..], 16),
            Some(b"0o" | b"0O") => (&rest[2..], 8),
            Some(b"0b" | b"0B") => (&rest[2..], 2),
            _ => (rest, 10),
        };
        let prefix_len = rest.len() - digits.len();
        let mut len = digits_len(digits, radix, prefix_len > 0);
        if prefix_len == 0 && digits.starts_with('0') {
            // Zeros alone; `01` is two words.
            len = digits[..len].find(|c| c != '0' && c != '_').unwrap_or(len);
        }
        let (prefix_len, len, radix) = if len == 0 { (0, 1, 10) } else { (prefix_len, len, radix) };
        let number = rest[prefix_len..prefix_len + len].replace('_', "");
        let Ok(number) = i128::from_str_radix(&number, radix) else {
            return self.fail("an integer needs more than 127 bits");
        };
        self.push(Word::Int(number));
        self.advance(prefix_len + len);
        Ok(())
    }

    fn text(&mut self, quote: char) -> Result<(), TemplateError> {
        let rest = self.rest();
        let mut escaped = false;
        let end = rest.char_indices().skip(1).find(|&(_, c)| {
            let is_end = c == quote && !escaped;
            escaped = c == '\\' && !escaped;
            is_end
        });
        let Some((end, _)) = end else {
            return self.fail("unexpected end of input in a string");
        };
        match unescaped(&rest[1..end]) {
            Ok(text) => self.push(Word::Text(text)),
            Err(message) => return self.fail(message),
        }
        self.advance(end + 1);
        Ok(())
    }
}

fn next_opening(text: &str) -> Option<(usize, &'static str)> {
    text.match_indices('{').find_map(|(at, _)| {
        let opening = match text.as_bytes().get(at + 1)? {
            b'{' => "{{",
            b'%' => "{%",
            b'#' => "{#",
            _ => return None,
        };
        Some((at, opening))
    })
}

/// Bytes of the `raw` tag that `tag` begins with.
fn raw_len(tag: &str) -> Option<usize> {
    let rest = tag.strip_prefix("{%")?;
    let rest = rest.strip_prefix(['-', '+']).unwrap_or(rest).trim_start_matches(is_space);
    let rest = rest.strip_prefix("raw")?.trim_start_matches(is_space);
    let rest = match rest.strip_prefix("-%}") {
        Some(rest) => rest.trim_start_matches(is_space),
        None => rest.strip_prefix("%}")?,
    };
    Some(tag.len() - rest.len())
}

/// Bytes of the digits that `text` begins with, with single underscores between them.
fn digits_len(text: &str, radix: u32, may_begin_with_underscore: bool) -> usize {
    let bytes = text.as_bytes();
    let is_digit = |at: usize| bytes.get(at).is_some_and(|&byte| char::from(byte).is_digit(radix));
    let mut len = 0;
    loop {
        if is_digit(len) {
            len += 1;
        } else if bytes.get(len) == Some(&b'_')
            && is_digit(len + 1)
            && (len > 0 || may_begin_with_underscore)
        {
            len += 2;
        } else {
            return len;
        }
    }
}

fn float_len(text: &str) -> Option<usize> {
    let whole = digits_len(text, 10, false);
    let fraction = match text[whole..].strip_prefix('.') {
        Some(rest) => match digits_len(rest, 10, false) {
            0 => 0,
            len => len + 1,
        },
        None => 0,
    };
    let rest = &text[whole + fraction..];
    let exponent = rest.strip_prefix(['e', 'E']).map_or(0, |rest| {
        let digits = rest.strip_prefix(['-', '+']).unwrap_or(rest);
        match digits_len(digits, 10, false) {
            0 => 0,
            len => 1 + rest.len() - digits.len() + len,
        }
    });
    (whole > 0 && fraction + exponent > 0).then_some(whole + fraction + exponent)
}

/// Python's escapes; one it does not know stays as it is.
fn unescaped(text: &str) -> Result<String, String> {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find('\\') {
        out.push_str(&rest[..at]);
        let escape = &rest[at + 1..];
        let Some(letter) = escape.chars().next() else { return Err("\\ at end of string".into()) };
        let mut len = letter.len_utf8();
        let code = |digits: &str, radix: u32| -> Result<char, String> {
            let code = u32::from_str_radix(digits, radix).ok().and_then(char::from_u32);
            code.ok_or_else(|| format!("\\{letter}{digits} is no character"))
        };
        let single = match letter {
            '\n' => None,
            '\\' | '\'' | '"' => Some(letter),
            'a' => Some('\u{7}'),
            'b' => Some('\u{8}'),
            'f' => Some('\u{c}'),
            'n' => Some('\n'),
            'r' => Some('\r'),
            't' => Some('\t'),
            'v' => Some('\u{b}'),
            '0'..='7' => {
                len = escape.bytes().take(3).take_while(|b| (b'0'..=b'7').contains(b)).count();
                Some(code(&escape[..len], 8)?)
            }
            'x' | 'u' | 'U' => {
                let num_digits = match letter {
                    'x' => 2,
                    'u' => 4,
                    _ => 8,
                };
                let digits = escape.get(1..=num_digits).unwrap_or_default();
                if digits.is_empty() || !digits.bytes().all(|byte| byte.is_ascii_hexdigit()) {
                    return Err(format!("truncated \\{letter} escape"));
                }
                len = 1 + num_digits;
                Some(code(digits, 16)?)
            }
            'N' => return Err("\\N{...} names a character, which is not supported".into()),
            other => {
                out.push('\\');
                Some(other)
            }
        };
        out.extend(single);
        rest = &escape[len..];
    }
    out.push_str(rest);
    Ok(out)
}
