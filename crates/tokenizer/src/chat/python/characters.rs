//! What Python knows of characters.

use crate::chat::prompt::PRIVATE_USE;
use regex_automata::meta::Regex;
use std::sync::LazyLock;

macro_rules! class {
    ($name:ident, $pattern:literal) => {
        fn $name(character: char) -> bool {
            static CLASS: LazyLock<Option<Regex>> = LazyLock::new(|| Regex::new($pattern).ok());
            let mut bytes = [0; 4];
            let text = character.encode_utf8(&mut bytes).as_bytes();
            CLASS.as_ref().is_some_and(|class| class.is_match(text))
        }
    };
}

class!(is_letter, r"^\p{L}$");
class!(is_decimal_class, r"^\p{Nd}$");
class!(is_number_class, r"^\p{N}$");
class!(is_hidden_class, r"^[\p{C}\p{Z}]$");
class!(is_title_class, r"^\p{Lt}$");
class!(is_identifier_start_class, r"^[_\p{XID_Start}]$");
class!(is_word_class, r"^[\p{L}\p{N}_]$");
class!(is_identifier_part_class, r"^[_\p{XID_Continue}\p{L}\p{N}]$");

/// Bytes that looking up the class of each character of `text` counts for.
pub(crate) fn class_cost(text: &str) -> u64 {
    if text.is_ascii() { text.len() as u64 } else { 8 * text.len() as u64 }
}

/// `str.isspace`, which is also the `\s` of its regular expressions.
pub(crate) fn is_space(c: char) -> bool {
    c.is_whitespace() || ('\u{1c}'..='\u{1f}').contains(&c)
}

/// Where `str.splitlines` cuts.
pub(crate) fn is_line_end(c: char) -> bool {
    matches!(
        c,
        '\n' | '\r' | '\u{b}' | '\u{c}' | '\u{1c}'..='\u{1e}' | '\u{85}' | '\u{2028}' | '\u{2029}'
    )
}

pub(crate) fn is_alpha(c: char) -> bool {
    if c.is_ascii() { c.is_ascii_alphabetic() } else { is_letter(c) }
}

pub(crate) fn is_decimal(c: char) -> bool {
    if c.is_ascii() { c.is_ascii_digit() } else { is_decimal_class(c) }
}

/// Decimals and what is written as single digits: superscripts, circled digits and their like.
pub(crate) fn is_digit(c: char) -> bool {
    is_decimal(c)
        || matches!(u32::from(c),
            0xb2 | 0xb3 | 0xb9 | 0x1369..=0x1371 | 0x19da | 0x2070 | 0x2074..=0x2079
            | 0x2080..=0x2089 | 0x2460..=0x2468 | 0x2474..=0x247c | 0x2488..=0x2490 | 0x24ea
            | 0x24f5..=0x24fd | 0x24ff | 0x2776..=0x277e | 0x2780..=0x2788 | 0x278a..=0x2792
            | 0x10a40..=0x10a43 | 0x10e60..=0x10e68 | 0x11052..=0x1105a | 0x1f100..=0x1f10a)
}

/// Digits, other numbers, and ideographs that are numbers.
pub(crate) fn is_numeric(c: char) -> bool {
    const IDEOGRAPHS: &str = "㐅㒃㠪㭍一七万三九二五亖亿什仟仨伍佰億兆兩八六十千卄卅卌叁参參叄四壱壹幺廾廿弌弍弎弐拾捌柒漆玖百肆萬貮貳贰阡陆陌陸零";
    if c.is_ascii() { c.is_ascii_digit() } else { is_number_class(c) || IDEOGRAPHS.contains(c) }
}

pub(crate) fn is_alphanumeric(c: char) -> bool {
    is_alpha(c) || is_numeric(c) || is_digit(c)
}

/// `\w`.
pub(crate) fn is_word(c: char) -> bool {
    if c.is_ascii() { c.is_ascii_alphanumeric() || c == '_' } else { is_word_class(c) }
}

/// Whether `repr` shows it as it is. The characters that hide control tokens do not count as unknown:
/// what they stand for is a text.
pub(crate) fn is_printable(c: char) -> bool {
    if c.is_ascii() {
        !c.is_ascii_control()
    } else {
        PRIVATE_USE.contains(&c) || !is_hidden_class(c)
    }
}

pub(crate) fn is_title(c: char) -> bool {
    !c.is_ascii() && is_title_class(c)
}

/// Whether letters after it are not the first of a word.
pub(crate) fn is_cased(c: char) -> bool {
    c.is_lowercase() || c.is_uppercase() || is_title(c)
}

pub(crate) fn is_identifier_part(c: char) -> bool {
    if c.is_ascii() { c.is_ascii_alphanumeric() || c == '_' } else { is_identifier_part_class(c) }
}

pub(crate) fn is_identifier(text: &str) -> bool {
    let mut characters = text.chars();
    characters.next().is_some_and(is_identifier_start_class) && characters.all(is_identifier_part)
}

/// The form of `c` that begins a word.
pub(crate) fn push_title(c: char, out: &mut String) {
    let special = match c {
        'ß' => "Ss",
        'ŉ' => "ʼN",
        'ǰ' => "J̌",
        'Ǆ' | 'ǅ' | 'ǆ' => "ǅ",
        'Ǉ' | 'ǈ' | 'ǉ' => "ǈ",
        'Ǌ' | 'ǋ' | 'ǌ' => "ǋ",
        'Ǳ' | 'ǲ' | 'ǳ' => "ǲ",
        'ﬀ' => "Ff",
        'ﬁ' => "Fi",
        'ﬂ' => "Fl",
        'ﬃ' => "Ffi",
        'ﬄ' => "Ffl",
        'ﬅ' | 'ﬆ' => "St",
        'ա'..='ֆ' | '\u{10d0}'..='\u{10ff}' => {
            // Georgian has no title case; Armenian has.
            if c >= '\u{10d0}' {
                out.push(c);
            } else {
                out.extend(c.to_uppercase());
            }
            return;
        }
        'և' => "Եւ",
        _ => {
            out.extend(c.to_uppercase());
            return;
        }
    };
    out.push_str(special);
}

/// The lower case of the character at `at`, which for a sigma depends on the word.
pub(crate) fn push_lower(text: &str, at: usize, c: char, out: &mut String) {
    if c != 'Σ' {
        out.extend(c.to_lowercase());
        return;
    }
    let ignored = |c: &char| matches!(c, '\'' | '.' | ':' | '^' | '`' | '\u{ad}' | '’' | '·');
    let before = text[..at].chars().rev().find(|c| !ignored(c)).is_some_and(is_cased);
    let after = text[at + c.len_utf8()..].chars().find(|c| !ignored(c)).is_some_and(is_cased);
    out.push(if before && !after { 'ς' } else { 'σ' });
}
