//! Prepares text for the model: normalizes it, adds the space before the first word, cuts words.

use crate::charsmap::Charsmap;
use crate::split::Splitter;
use regex_automata::meta::Regex;
use std::borrow::Cow;
use unicode_normalization::UnicodeNormalization;

/// One step of normalization (the names are Hugging Face's).
#[derive(Clone, Debug)]
pub(crate) enum Normalizer {
    Nfc,
    Nfd,
    Nfkc,
    Nfkd,
    Lowercase,
    Prepend(String),
    Replace {
        from: String,
        to: String,
    },
    ReplacePattern {
        from: Regex,
        to: String,
    },
    Strip {
        left: bool,
        right: bool,
    },
    Charsmap(Charsmap),
    /// Runs of spaces become one, and those at the ends go.
    SqueezeSpaces,
}

impl Normalizer {
    fn apply(&self, text: &str) -> String {
        match self {
            Normalizer::Nfc => text.nfc().collect(),
            Normalizer::Nfd => text.nfd().collect(),
            Normalizer::Nfkc => text.nfkc().collect(),
            Normalizer::Nfkd => text.nfkd().collect(),
            Normalizer::Lowercase => text.to_lowercase(),
            Normalizer::Prepend(prefix) => format!("{prefix}{text}"),
            Normalizer::Replace { from, to } => text.replace(from.as_str(), to),
            Normalizer::ReplacePattern { from, to } => {
                let mut out = String::with_capacity(text.len());
                let mut end = 0;
                for found in from.find_iter(text) {
                    out.push_str(&text[end..found.start()]);
                    out.push_str(to);
                    end = found.end();
                }
                out.push_str(&text[end..]);
                out
            }
            Normalizer::Strip { left, right } => {
                let text = if *left { text.trim_start() } else { text };
                (if *right { text.trim_end() } else { text }).to_owned()
            }
            Normalizer::Charsmap(map) => map.normalize(text),
            Normalizer::SqueezeSpaces => {
                let words = text.split(' ').filter(|word| !word.is_empty());
                words.collect::<Vec<_>>().join(" ")
            }
        }
    }
}

/// Where a space is put before a text that begins with a word.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum SpacePrefix {
    #[default]
    Never,
    /// Before every text, also between two control tokens, even before a space.
    Always,
    /// The same, unless the text begins with a space.
    IfMissing,
    /// Only at the very beginning, unless there is a space.
    FirstIfMissing,
}

/// What happens to text before the model sees it.
#[derive(Clone, Debug, Default)]
pub(crate) struct TextRules {
    pub(crate) normalizers: Vec<Normalizer>,
    pub(crate) space_prefix: SpacePrefix,
    pub(crate) splitter: Splitter,
    /// `▁` in a text is a space.
    pub(crate) marks_spaces: bool,
    /// Words may also be cut before each run of spaces; that changes no id, and is faster.
    pub(crate) cut_at_spaces: bool,
    /// Decoding drops the first space of a text.
    pub(crate) strips_first_space: bool,
}

impl TextRules {
    /// The text that the model sees; `is_first` if nothing stands before it.
    pub(crate) fn prepare<'t>(&self, text: &'t str, is_first: bool) -> Cow<'t, str> {
        let mut text = Cow::Borrowed(text);
        for normalizer in &self.normalizers {
            text = Cow::Owned(normalizer.apply(&text));
        }
        if self.marks_spaces && text.contains('▁') {
            text = Cow::Owned(text.replace('▁', " "));
        }
        let has_space = text.starts_with(' ');
        let adds_space = match self.space_prefix {
            SpacePrefix::Never => false,
            SpacePrefix::Always => true,
            SpacePrefix::IfMissing => !has_space,
            SpacePrefix::FirstIfMissing => is_first && !has_space,
        };
        if adds_space && !text.is_empty() {
            text = Cow::Owned(format!(" {text}"));
        }
        text
    }

    /// Hands each word of a prepared text to `word`, in order.
    pub(crate) fn words<'t>(&self, text: &'t str, mut word: impl FnMut(&'t str)) {
        if !self.cut_at_spaces {
            return self.splitter.split(text, |part| cut_long(part, &mut word));
        }
        self.splitter.split(text, |part| {
            let bytes = part.as_bytes();
            let mut start = 0;
            for at in 1..bytes.len() {
                if bytes[at] == b' ' && bytes[at - 1] != b' ' {
                    cut_long(&part[start..at], &mut word);
                    start = at;
                }
            }
            cut_long(&part[start..], &mut word);
        });
    }
}

// A word needs about 60 bytes of memory per byte while it is encoded, so a longer one is cut. Only
// a word over a mebibyte is written differently than elsewhere, and only at the cut.
const MAX_WORD_BYTES: usize = 1 << 20;

fn cut_long<'t>(mut word: &'t str, give: &mut impl FnMut(&'t str)) {
    while word.len() > MAX_WORD_BYTES {
        let (head, tail) = word.split_at(word.floor_char_boundary(MAX_WORD_BYTES));
        give(head);
        word = tail;
    }
    if !word.is_empty() {
        give(word);
    }
}
