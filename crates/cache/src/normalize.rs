//! Gives the spellings of a question one form, and leaves alone what spelling can change.

mod words;

use unicode_normalization::{UnicodeNormalization, char::is_combining_mark, is_nfc, is_nfd};
use unicode_security::MixedScript;

/// Longer texts are hardly ever asked twice in another spelling, and their form would take its time.
const MAX_BYTES: usize = 2048;

/// A word of fewer letters may be an abbreviation, whose full stop makes it another word: `fig.`,
/// `Wash.`, `trans.`; scripts without case have shorter ones, and few.
const MIN_LETTERS_BEFORE_DOT: usize = 6;
const MIN_UNCASED_LETTERS_BEFORE_DOT: usize = 4;

/// Marks of code, paths, addresses and formulas, where a blank can be the whole point, and colons, after
/// which often stands the text that a request is about.
const CODE_MARKS: &[char] = &[
    '`', '~', '\\', '/', '@', '#', '$', '%', '^', '&', '*', '_', '=', '+', '<', '>', '|', '{', '}',
    '[', ']', ':', '：', '﹕', '︓', '∶', '꞉',
];

/// Quotation marks. An apostrophe inside a word is none.
const QUOTES: &[char] =
    &['"', '“', '”', '„', '‟', '«', '»', '‹', '›', '「', '」', '『', '』', '〝', '〞', '〟'];
const APOSTROPHES: &[char] = &['\'', '‘', '’', '‚', '‛'];

/// The form under which spellings of one question meet. It keeps every character but these:
/// blanks at the ends and a doubled one between words, the capital of a first word that is no name in
/// any case (`What`), composed or decomposed letters, a curved apostrophe, and of the end mark all but its
/// kind. No mark and a full stop are one kind, a question and an exclamation are two others, in any
/// script. So `What is  Rust?` and `what is Rust？` are one question.
///
/// `None` when the text may be about its own spelling, or holds something whose spelling matters: code,
/// digits, quoted words, a colon, more than one line, several scripts, a doubled end mark or one after a
/// blank or a single letter; when it is long; or when nothing would be left. Such a text is kept under
/// its exact bytes only.
pub fn normalize(text: &str) -> Option<String> {
    let text = text.trim();
    if text.len() > MAX_BYTES || !is_plain(text) {
        return None;
    }
    let (body, end) = split_end(text)?;
    let mut form = single_blanks(&composed(without_opening_mark(body, end)?)?)?;
    if form.contains('’') {
        form = form.replace('’', "'");
    }
    if words::speaks_of_text(&form) {
        return None;
    }
    if let Some(first) = words::lowered_opener(&form) {
        form.replace_range(..first.len(), &first);
    }
    form.extend(end.shown());
    Some(form)
}

/// What a text's last character makes of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    /// A full stop, or nothing.
    Statement,
    Question,
    Exclamation,
}

impl End {
    fn shown(self) -> Option<char> {
        match self {
            Self::Statement => None,
            Self::Question => Some('?'),
            Self::Exclamation => Some('!'),
        }
    }
}

/// The text without its end mark; `None` where the mark may be part of what is asked. Marks that are not
/// listed, such as an ellipsis, stay in the text.
fn split_end(text: &str) -> Option<(&str, End)> {
    let last = text.chars().next_back()?;
    let end = match last {
        '.' | '．' | '。' | '｡' | '۔' | '।' | '։' | '።' | '။' | '។' => End::Statement,
        '?' | '？' | '﹖' | '؟' | '፧' => End::Question,
        '!' | '！' | '﹗' => End::Exclamation,
        ';' | '\u{37e}' if text.chars().any(is_greek) => End::Question,
        _ => return Some((text, End::Statement)),
    };
    let body = &text[..text.len() - last.len_utf8()];
    let last_word = body.chars().rev().take_while(|&c| c.is_alphabetic() || is_combining_mark(c));
    let num_letters = last_word.filter(|c| c.is_alphabetic()).count();
    let min_letters = match last {
        '.' | '．' if body.ends_with(|c: char| c.is_lowercase() || c.is_uppercase()) => {
            MIN_LETTERS_BEFORE_DOT
        }
        '.' | '．' => MIN_UNCASED_LETTERS_BEFORE_DOT,
        _ => 2,
    };
    (num_letters >= min_letters).then_some((body, end))
}

fn is_greek(c: char) -> bool {
    matches!(c, '\u{370}'..='\u{3ff}' | '\u{1f00}'..='\u{1fff}') && c.is_alphabetic()
}

/// In Spanish and its neighbours many leave out the mark that opens a question or an exclamation.
fn without_opening_mark(body: &str, end: End) -> Option<&str> {
    let opening = match end {
        End::Statement => return Some(body),
        End::Question => '¿',
        End::Exclamation => '¡',
    };
    let Some(rest) = body.strip_prefix(opening) else { return Some(body) };
    rest.starts_with(char::is_alphabetic).then_some(rest)
}

/// The text in composed letters. `None` if it mixes both ways to write them, or has letters that
/// composing would replace by others, such as the sign for ohm: it may be about the difference.
fn composed(text: &str) -> Option<String> {
    if is_nfc(text) { Some(text.to_owned()) } else { is_nfd(text).then(|| text.nfc().collect()) }
}

/// The text with one blank between its words. `None` where more than two in a row, or two beside a
/// single letter, may be a gap that means something.
fn single_blanks(text: &str) -> Option<String> {
    let words: Vec<&str> = text.split(char::is_whitespace).collect();
    let is_word = |at: usize| {
        let letters = words.get(at).map(|word| word.chars().filter(|c| c.is_alphabetic()));
        letters.is_some_and(|letters| letters.count() >= 2)
    };
    let mut form = String::with_capacity(text.len() + 1);
    for (at, word) in words.iter().enumerate() {
        if !word.is_empty() {
            if !form.is_empty() {
                form.push(' ');
            }
            form.push_str(word);
        } else if at == 0 || !is_word(at - 1) || !is_word(at + 1) {
            return None;
        }
    }
    Some(form)
}

fn is_plain(text: &str) -> bool {
    let mut before = ' ';
    let mut rest = text.chars().peekable();
    let mut apostrophe = None;
    while let Some(c) = rest.next() {
        let after = rest.peek().copied().unwrap_or(' ');
        let inside_word = before.is_alphabetic() && after.is_alphabetic();
        // A dot within a word makes an address, a file name or an abbreviation.
        let joins_words =
            matches!(c, '.' | '．') && !before.is_whitespace() && after.is_alphabetic();
        // Two kinds in one text may be what it is about.
        let is_other_apostrophe =
            APOSTROPHES.contains(&c) && apostrophe.replace(c).is_some_and(|other| other != c);
        if c.is_numeric()
            || CODE_MARKS.contains(&c)
            || QUOTES.contains(&c)
            || (APOSTROPHES.contains(&c) && !inside_word)
            || is_other_apostrophe
            // Line ends and tabs too, and a blank that is drawn as a line.
            || c.is_control()
            || matches!(c, '\u{2028}' | '\u{2029}' | '\u{1680}')
            || joins_words
        {
            return false;
        }
        before = c;
    }
    text.is_ascii() || text.is_single_script()
}
