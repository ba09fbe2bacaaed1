//! Gives the spellings of a question one form, and leaves alone what spelling can change.

use caseless::Caseless;
use unicode_normalization::UnicodeNormalization;
use unicode_security::MixedScript;

/// Longer texts are hardly ever asked twice in another spelling, and their form would take its time.
const MAX_BYTES: usize = 2048;

/// Words that differ in this letter alone, as Maße and Masse, are the same in folded case.
const SHARP_S: [char; 2] = ['ß', 'ẞ'];

/// What ends a sentence, in the forms that remain after NFKC.
const SENTENCE_ENDS: &[char] = &['.', '!', '?', '…', '。', '؟', '۔', '।', '॥', '։', '።', '။', '។'];

/// Marks of code, paths, addresses and formulas, where case or a space can be the whole point.
const CODE_MARKS: &[char] = &[
    '`', '~', '\\', '/', '@', '#', '$', '%', '^', '&', '*', '_', '=', '+', '<', '>', '|', '{', '}',
    '[', ']',
];

/// Quotation marks. An apostrophe inside a word is none.
const QUOTES: &[char] =
    &['"', '“', '”', '„', '‟', '«', '»', '‹', '›', '「', '」', '『', '』', '〝', '〞', '〟'];
const APOSTROPHES: &[char] = &['\'', '‘', '’', '‚', '‛'];

/// The form under which spellings of one question meet: NFKC, full case folding, single spaces, no
/// sentence ends at the end. So `What is  Rust?` and `what is rust` are one question.
///
/// `None` when the text holds something whose spelling matters: code, digits, quoted words,
/// addresses, file names, several scripts; when it is long; or when nothing would be left. Such a text
/// is kept under its exact bytes only.
pub fn normalize(text: &str) -> Option<String> {
    let text = text.trim();
    if text.len() > MAX_BYTES || !is_plain(text) {
        return None;
    }
    let folded = if text.is_ascii() { text.to_ascii_lowercase() } else { fold(text) };
    // Compatibility forms hide digits, quotes and marks from the first look.
    if !text.is_ascii() && !is_plain(&folded) {
        return None;
    }
    let words: Vec<&str> = folded.split_whitespace().collect();
    let question = words.join(" ");
    let question = question.trim_end_matches(|c: char| SENTENCE_ENDS.contains(&c) || c == ' ');
    (!question.is_empty()).then(|| question.to_owned())
}

/// NFKC and full case folding. Folding can undo NFKC, and NFKC can bring capitals back, so each runs
/// on the other's result.
fn fold(text: &str) -> String {
    text.nfkc().default_case_fold().nfkc().default_case_fold().nfkc().collect()
}

fn is_plain(text: &str) -> bool {
    let mut before = ' ';
    let mut rest = text.chars().peekable();
    while let Some(c) = rest.next() {
        let after = rest.peek().copied().unwrap_or(' ');
        let inside_word = before.is_alphabetic() && after.is_alphabetic();
        // A dot or colon within a word makes an address, a file name or an abbreviation.
        let joins_words = matches!(c, '.' | '．' | ':' | '：')
            && !before.is_whitespace()
            && after.is_alphabetic();
        if c.is_numeric()
            || CODE_MARKS.contains(&c)
            || QUOTES.contains(&c)
            || SHARP_S.contains(&c)
            || (APOSTROPHES.contains(&c) && !inside_word)
            || (c.is_control() && !c.is_whitespace())
            || joins_words
        {
            return false;
        }
        before = c;
    }
    // An indented line is code to a reader of Markdown.
    let is_indented =
        text.lines().skip(1).any(|line| line.starts_with("    ") || line.starts_with('\t'));
    !is_indented && (text.is_ascii() || text.is_single_script())
}
