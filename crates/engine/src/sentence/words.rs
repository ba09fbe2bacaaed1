//! The words after which a full stop ends no sentence.

/// Bytes of a word that are kept.
const MAX_WORD_BYTES: usize = 64;
/// Longer words are no abbreviations.
const MAX_ABBREVIATION_BYTES: usize = 32;

/// What a full stop after a word may mean.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum WordKind {
    /// The sentence's end.
    Plain,
    /// An abbreviation that something always follows: `Dr.`, `z.B.`, `J.`
    NeverLast,
    /// One that stands before a number, or else is a word like any other: `No. 5`.
    BeforeNumber,
    /// One that may also be a sentence's last word: `etc.`
    MayBeLast,
    /// A number, which may go on after the point.
    Number,
    /// An address, which may go on after the point.
    Link,
}

/// The word that is being written, up to its first 64 bytes.
#[derive(Clone, Debug, Default)]
pub(super) struct Word {
    text: String,
    is_longer: bool,
}

impl Word {
    pub(super) fn is_empty(&self) -> bool {
        self.text.is_empty()
    }

    pub(super) fn len(&self) -> usize {
        self.text.len()
    }

    pub(super) fn push(&mut self, c: char) {
        self.is_longer |= self.text.len() + c.len_utf8() > MAX_WORD_BYTES;
        if !self.is_longer {
            self.text.push(c);
        }
    }

    /// What the word's first `len` bytes are before a full stop.
    pub(super) fn kind(&self, len: usize, follows_digit: bool, previous: &Self) -> WordKind {
        let text = &self.text[..len];
        if text.contains("://") || text.starts_with("www.") || text.contains('@') {
            return WordKind::Link;
        }
        if follows_digit {
            let is_day = len <= 2 && text.bytes().all(|it| it.is_ascii_digit());
            let is_ordinal = is_day && BEFORE_ORDINAL.contains(&&*previous.text.to_lowercase());
            return if is_ordinal { WordKind::NeverLast } else { WordKind::Number };
        }
        if len > MAX_ABBREVIATION_BYTES {
            return WordKind::Plain;
        }
        // The last part of `l'art` and `Diplom-Ing`.
        let part = text.rsplit(['\'', '’', '-', '/', '(', '[']).next().unwrap_or(text);
        let is_short = |it: &str| {
            let mut chars = it.chars();
            chars.next().is_some_and(is_cased)
                && chars.next().is_none_or(is_cased)
                && chars.next().is_none()
        };
        let is_initial = part.chars().count() == 1 && part.chars().all(is_cased);
        if is_initial || (part.contains('.') && part.split('.').all(is_short)) {
            return WordKind::NeverLast;
        }
        let lower = part.to_lowercase();
        let found = ABBREVIATIONS.binary_search_by_key(&&*lower, |&(word, _)| word);
        found.map_or(WordKind::Plain, |at| ABBREVIATIONS[at].1)
    }
}

fn is_cased(c: char) -> bool {
    c.is_lowercase() || c.is_uppercase()
}

/// After these, a German number of one or two digits with a point is an ordinal: `am 3. Oktober`.
const BEFORE_ORDINAL: [&str; 16] = [
    "ab", "am", "beim", "bis", "das", "dem", "den", "der", "des", "die", "im", "jeder", "seit",
    "vom", "zum", "zur",
];

use WordKind::{BeforeNumber as N, MayBeLast as L, NeverLast as T};

/// Abbreviations without their full stop, in lower case and sorted: English, German, French, Spanish,
/// Portuguese, Italian, Dutch, Polish, Scandinavian, Russian, Ukrainian.
#[rustfmt::skip]
const ABBREVIATIONS: &[(&str, WordKind)] = &[
    ("abb", N), ("abs", N), ("abschn", N), ("abt", N), ("al", L), ("anm", N), ("approx", T),
    ("apr", N), ("art", N), ("arts", N), ("assn", L), ("atd", L), ("aufl", N), ("aug", N),
    ("av", N), ("avda", N), ("ave", L), ("avv", T), ("bd", N), ("bijv", T), ("blvd", L),
    ("blz", N), ("bros", L), ("bspw", T), ("bzw", T), ("ca", T), ("capt", T), ("cf", T), ("ch", N),
    ("chap", N), ("cmdr", T), ("co", L), ("col", T), ("corp", L), ("dec", N), ("dept", L),
    ("dez", N), ("dhr", T), ("dipl", T), ("dott", T), ("dr", T), ("drs", T), ("ecc", L), ("ed", L),
    ("eds", L), ("eg", T), ("eq", N), ("eqs", N), ("esp", T), ("est", L), ("etc", L), ("evtl", T),
    ("excl", L), ("exkl", T), ("ext", N), ("feb", N), ("fig", N), ("figs", N), ("fr", T),
    ("geb", T), ("gen", T), ("gest", T), ("ggf", T), ("ggfs", T), ("gov", T), ("hon", T),
    ("hr", T), ("hrsg", T), ("ie", T), ("inc", L), ("incl", L), ("ing", T), ("inkl", T),
    ("insp", T), ("inż", T), ("itd", L), ("itp", L), ("jan", N), ("jr", L), ("jul", N), ("jun", N),
    ("jur", T), ("kap", N), ("lt", T), ("ltd", L), ("mag", L), ("mar", N), ("max", L), ("med", L),
    ("messrs", T), ("mevr", T), ("mgr", T), ("min", L), ("mio", L), ("mlle", T), ("mme", T),
    ("mr", T), ("mrd", L), ("mrs", T), ("ms", T), ("mt", T), ("no", N), ("nos", N), ("nov", N),
    ("np", T), ("nr", N), ("nrs", N), ("num", N), ("nº", N), ("núm", N), ("oct", N), ("okt", N),
    ("osv", T), ("pag", N), ("pg", N), ("phil", T), ("poz", N), ("pp", N), ("pres", T),
    ("prof", T), ("pág", N), ("págs", N), ("rd", N), ("rep", T), ("resp", T), ("rev", T),
    ("rozdz", N), ("sec", N), ("sect", N), ("sek", L), ("sen", T), ("sep", N), ("sept", N),
    ("sgt", T), ("sig", L), ("sog", T), ("sr", T), ("sra", T), ("srta", T), ("st", T), ("std", L),
    ("ste", T), ("str", N), ("supt", T), ("tab", N), ("tel", N), ("tsd", L), ("tzw", T), ("ud", T),
    ("uds", T), ("univ", T), ("ust", N), ("usw", L), ("verh", T), ("vgl", T), ("viz", T),
    ("vol", N), ("vols", N), ("vs", T), ("zi", N), ("ziff", N), ("акад", T), ("вул", T), ("гг", L),
    ("ген", T), ("гл", N), ("др", L), ("изд", T), ("им", L), ("коп", L), ("млн", L), ("млрд", L),
    ("мн", T), ("напр", T), ("обл", T), ("пл", L), ("пп", N), ("пр", L), ("просп", T), ("проф", T),
    ("разд", N), ("ред", T), ("рис", N), ("руб", L), ("см", T), ("ст", N), ("стр", N), ("табл", N),
    ("тыс", L), ("ул", T), ("чел", L), ("№", N),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_is_sorted() {
        assert!(ABBREVIATIONS.is_sorted_by(|a, b| a.0 < b.0));
    }
}
