//! Tells which variables are ours, which are meant to be ours, and which are somebody else's.
//!
//! A setting that is silently not there may be the API key. So a name that a person or an editor has
//! disfigured is found by what it looks like, not by its bytes.

use std::{cmp::Reverse, sync::LazyLock};

use unicode_normalization::UnicodeNormalization;
use unicode_security::confusable_detection::skeleton;

use super::{
    settings::{self, Setting},
    sources::FILE_VARIABLE,
};

/// What a name is to us.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Name {
    /// A variable that sets something, written as it must be.
    Ours,
    /// Meant to be ours; the variable that was meant, where that is known.
    MeantForUs(Option<String>),
    /// Another program's.
    Foreign,
}

/// What the text is that stands where a name should.
pub(super) fn read(text: &str) -> Name {
    if is_ours(text) {
        return Name::Ours;
    }
    let shape = Shape::of(text);
    let is_branded = shape.letters.contains(&*PREFIX);
    let candidates = || VARIABLES.iter().filter(|it| it.has_prefix() == is_branded);
    let meant = candidates().find(|it| shape.words.contains(&it.shape.line));
    // Without its prefix it must be a word: other programs have names like LLAMA_ARG_CTX_SIZE.
    let shows = |it: &&Variable| match it.has_prefix() {
        true => shape.letters.contains(&it.shape.letters),
        false => shape.letters == it.shape.letters,
    };
    let meant = meant.or_else(|| candidates().find(shows)).map(|it| it.name.clone());
    if meant.is_some() || shape.has_prefix_inside() {
        return Name::MeantForUs(meant.or_else(|| suggest_variable(text)));
    }
    Name::Foreign
}

/// The variable with our prefix that `text` is but for its case, its quotes, and what cannot be seen.
pub(super) fn disfigured(text: &str) -> Option<String> {
    let shape = Shape::of(text);
    let found = VARIABLES.iter().find(|it| it.has_prefix() && shape.letters == it.shape.letters);
    found.filter(|_| !is_ours(text)).map(|it| it.name.clone())
}

/// Whether `text` would be a name of ours if something stood before it that ended a statement.
pub(super) fn begins_ours(text: &str) -> bool {
    let letters = Shape::of(text).letters;
    let is_whole = || VARIABLES.iter().any(|it| letters == it.shape.letters);
    read(text) != Name::Foreign && (letters.starts_with(&*PREFIX) || is_whole())
}

/// Whether `text` could be the name of a variable, and so can be shown: it holds no value.
pub(super) fn is_identifier(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|it| it.is_ascii_alphanumeric() || it == b'_')
}

fn is_ours(text: &str) -> bool {
    VARIABLES.iter().any(|it| it.name == text)
}

/// The variables that set `setting`, the proper one first.
pub(super) fn variables_of(setting: &Setting) -> Vec<String> {
    [setting.env()].into_iter().chain(setting.env_aliases()).collect()
}

/// The variable that is close enough to `wrong` to have been meant.
fn suggest_variable(wrong: &str) -> Option<String> {
    let wrong = wrong.trim().to_ascii_uppercase();
    suggest(&wrong, VARIABLES.iter().map(|it| it.name.clone()))
}

/// The name that is close enough to `wrong` to have been meant.
pub(super) fn suggest(wrong: &str, names: impl Iterator<Item = String>) -> Option<String> {
    let scored = names.map(|it| (strsim::jaro_winkler(wrong, &it), it));
    scored.filter(|it| it.0 > 0.8).max_by(|a, b| a.0.total_cmp(&b.0)).map(|it| it.1)
}

/// How a text looks: without case, marks, blanks and whatever cannot be seen, and each letter as
/// the one of its look-alikes that stands for all of them.
struct Shape {
    /// Its letters, digits, `_` and `-`.
    line: String,
    /// Its letters and digits.
    letters: String,
    /// The words that other characters separate, `_` being part of a word.
    words: Vec<String>,
}

impl Shape {
    fn of(text: &str) -> Self {
        let text: String = text.nfkc().collect();
        // Twice, because capitals have other look-alikes than small letters.
        let text = skeleton(&text).collect::<String>().to_lowercase();
        let text: String = skeleton(&text).map(|it| if it == 'i' { 'l' } else { it }).collect();
        let is_word = |it: char| it.is_alphanumeric() || it == '_';
        let words = text.split(|it| !is_word(it)).filter(|it| !it.is_empty());
        Self {
            line: text.chars().filter(|it| is_word(*it) || *it == '-').collect(),
            letters: text.chars().filter(|it| it.is_alphanumeric()).collect(),
            words: words.map(str::to_owned).collect(),
        }
    }

    /// Whether `BRISK_` is in it, or `BRISK-`.
    fn has_prefix_inside(&self) -> bool {
        let mut ends = self.line.match_indices(&*PREFIX).map(|(start, it)| start + it.len());
        ends.any(|end| self.line[end..].starts_with(['_', '-']))
    }
}

/// A variable that sets something.
struct Variable {
    name: String,
    shape: Shape,
}

impl Variable {
    fn has_prefix(&self) -> bool {
        self.name.starts_with("BRISK_")
    }
}

static PREFIX: LazyLock<String> = LazyLock::new(|| Shape::of("BRISK").letters);

/// All of them, longer names before those that they contain.
static VARIABLES: LazyLock<Vec<Variable>> = LazyLock::new(|| {
    let settings = settings::ALL.into_iter().flat_map(variables_of);
    let names = settings.chain([FILE_VARIABLE.to_owned()]);
    let mut all: Vec<_> = names.map(|name| Variable { shape: Shape::of(&name), name }).collect();
    all.sort_by_key(|it| Reverse(it.name.len()));
    all
});

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_known_by_what_it_looks_like() {
        let meant = |it: &str| Name::MeantForUs(Some(it.to_owned()));
        for (text, expected) in [
            ("BRISK_API_KEY", Name::Ours),
            ("CTX_SIZE", Name::Ours),
            ("BRISK_CONFIG", Name::Ours),
            ("BRISK_API_KEY secret", meant("BRISK_API_KEY")),
            ("brisk_api_key", meant("BRISK_API_KEY")),
            ("Brisk_Model", meant("BRISK_MODEL")),
            ("BRISK-API-KEY", meant("BRISK_API_KEY")),
            ("BRISK API KEYS", meant("BRISK_API_KEYS")),
            ("BRISKAPIKEY", meant("BRISK_API_KEY")),
            ("\u{feff}BRISK_API_KEY", meant("BRISK_API_KEY")),
            ("ï»¿BRISK_API_KEY", meant("BRISK_API_KEY")),
            ("BRISK_\u{200b}API_KEY", meant("BRISK_API_KEY")),
            ("BRISK_API_KEY\u{a0}", meant("BRISK_API_KEY")),
            ("ВRІЅК_АРІ_КЕY", meant("BRISK_API_KEY")),
            ("ＢＲＩＳＫ＿ＡＰＩ＿ＫＥＹ", meant("BRISK_API_KEY")),
            ("BR1SK_AP1_KEY", meant("BRISK_API_KEY")),
            ("B\u{fffd}RISK_PORT", meant("BRISK_PORT")),
            ("\"BRISK_API_KEY\"", meant("BRISK_API_KEY")),
            ("$env:BRISK_API_KEY", meant("BRISK_API_KEY")),
            ("set -x BRISK_PORT", meant("BRISK_PORT")),
            ("BRISK_PROT", meant("BRISK_PORT")),
            ("BRISK_QQQQ_ZZZZ", meant("BRISK_QQQQ_ZZZZ")),
            ("set CTX_SIZE", meant("CTX_SIZE")),
            ("ctx_size", meant("CTX_SIZE")),
            ("C\u{200d}TX_SIZE", meant("CTX_SIZE")),
            ("LLAMA_ARG_CTX_SIZE", Name::Foreign),
            ("MY_N_BATCH", Name::Foreign),
            ("BRISKET_PRICE", Name::Foreign),
            ("BRISK", Name::Foreign),
            ("PATH", Name::Foreign),
            ("", Name::Foreign),
        ] {
            match (read(text), expected) {
                // Ours, though nobody can say which.
                (Name::MeantForUs(_), Name::MeantForUs(Some(it))) if it == text => {}
                (found, expected) => assert_eq!(found, expected, "{text:?}"),
            }
        }
    }
}
