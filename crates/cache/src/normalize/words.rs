//! Knows the words that open a sentence, and the words by which a text speaks of its own spelling.

use std::{collections::HashSet, sync::LazyLock};

use unicode_normalization::char::is_combining_mark;

/// Words of a list, in lower case. A line of it is a language and its words; `#` begins a comment.
struct Lexicon {
    words: HashSet<&'static str>,
    /// What a word begins with; in scripts without case, which join words, what it contains.
    stems: HashSet<&'static str>,
    /// What stems begin with, so that most places of a long text cost one look.
    firsts: HashSet<char>,
    max_stem_chars: usize,
}

static OPENERS: LazyLock<Lexicon> = LazyLock::new(|| Lexicon::new(include_str!("openers.txt")));
static ABOUT_TEXT: LazyLock<Lexicon> =
    LazyLock::new(|| Lexicon::new(include_str!("about_text.txt")));

impl Lexicon {
    fn new(list: &'static str) -> Self {
        let lines = list.lines().filter(|line| !line.starts_with('#'));
        let entries = lines.flat_map(|line| line.split_whitespace().skip(1));
        let (mut words, mut stems) = (HashSet::new(), HashSet::<&str>::new());
        for entry in entries {
            match entry.strip_suffix('*') {
                Some(stem) => stems.insert(stem),
                None if is_uncased(entry) => stems.insert(entry),
                None => words.insert(entry),
            };
        }
        let max_stem_chars = stems.iter().map(|stem| stem.chars().count()).max().unwrap_or(0);
        let firsts = stems.iter().filter_map(|stem| stem.chars().next()).collect();
        Self { words, stems, firsts, max_stem_chars }
    }

    fn contains(&self, word: &str) -> bool {
        if self.words.contains(word) {
            return true;
        }
        let num_starts = if is_uncased(word) { word.len() } else { 1 };
        let starts = word.char_indices().take(num_starts);
        let hopeful = starts.filter(|(_, c)| self.firsts.contains(c));
        hopeful.map(|(at, _)| &word[at..]).any(|rest| {
            let ends = rest.char_indices().map(|(at, c)| at + c.len_utf8());
            ends.take(self.max_stem_chars).any(|end| self.stems.contains(&rest[..end]))
        })
    }
}

fn is_uncased(word: &str) -> bool {
    word.chars().any(|c| c.is_alphabetic() && !c.is_lowercase())
}

/// Whether a text in composed letters may be about letters, marks or words, or asks to write, repeat or
/// translate something: then its own may count. A guess, and one that only costs a hit.
pub(super) fn speaks_of_text(text: &str) -> bool {
    let lower = text.to_lowercase();
    let is_inside = |c: char| c.is_alphabetic() || is_combining_mark(c);
    lower.split(|c| !is_inside(c)).any(|word| !word.is_empty() && ABOUT_TEXT.contains(word))
}

/// The text's first word in lower case, if it is spelled like `What` and has no other meaning with a
/// capital.
pub(super) fn lowered_opener(text: &str) -> Option<String> {
    let first = text.chars().next().filter(|c| c.is_uppercase())?;
    let lower = first.to_lowercase().collect::<String>() + &text[first.len_utf8()..];
    let mut words = lower.split([' ', ',']);
    let (word, next) = (words.next()?, words.next().unwrap_or(""));
    let is_opener = [word, word.split('\'').next()?, &format!("{word}_{next}")]
        .iter()
        .any(|opener| OPENERS.words.contains(opener));
    // The length stays, so that the word can be put in the old one's place.
    (is_opener && lower.len() == text.len()).then(|| word.to_owned())
}
