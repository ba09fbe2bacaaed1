//! The characters that end, close and open sentences.

/// What a terminator, or several in a row, may mean.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stop {
    /// So many full stops; `…` counts as three.
    Dots(usize),
    /// A question or an exclamation, which needs white space after it like a full stop.
    Mark,
    /// A terminator that has no other meaning.
    Strong,
}

impl Stop {
    /// The terminator `c` after the character `previous`.
    pub(super) fn of(c: char, previous: char) -> Option<Self> {
        match c {
            '.' => Some(Self::Dots(1)),
            '…' => Some(Self::Dots(3)),
            '!' | '?' | '‼' | '⁇' | '⁈' | '⁉' | '‽' => Some(Self::Mark),
            // Chinese and Japanese. A full-width point may also stand in a number.
            '。' | '！' | '？' | '｡' => Some(Self::Strong),
            '．' => (!previous.is_numeric()).then_some(Self::Strong),
            // Arabic and Urdu, Devanagari and its neighbours, Burmese, Khmer, Ethiopic, Armenian,
            // Greek, Tibetan, Mongolian.
            '؟' | '۔' | '।' | '॥' | '။' | '។' | '៕' | '።' | '፧' | '։' | '\u{37e}' | '།' | '᠃'
            | '᠉' => Some(Self::Strong),
            _ => None,
        }
    }

    /// Two terminators in a row.
    pub(super) fn and(self, next: Self) -> Self {
        match (self, next) {
            (Self::Dots(a), Self::Dots(b)) => Self::Dots(a + b),
            (Self::Strong, _) | (_, Self::Strong) => Self::Strong,
            (Self::Mark, _) | (_, Self::Mark) => Self::Mark,
        }
    }
}

/// Whether `c` after a terminator belongs to the sentence: closing quotation marks, brackets, emphasis.
pub(super) fn closes(c: char) -> bool {
    is_quotation_mark(c) && !matches!(c, '“' | '«' | '‹')
        || matches!(c, ')' | ']' | '}' | '*' | '_' | '~')
        || matches!(c, '）' | '】' | '》' | '〉' | '］' | '｝')
}

/// Whether `c` can close a quotation.
pub(super) fn is_quotation_mark(c: char) -> bool {
    matches!(c, '"' | '\'' | '”' | '“' | '’' | '»' | '«' | '›' | '‹' | '」' | '』')
}

/// The mark that closes the quotation which `c` opens after `previous`.
pub(super) fn closing_quote(c: char, previous: char) -> Option<char> {
    let may_open = previous.is_whitespace()
        || matches!(previous, '(' | '[' | '{' | '*' | '_' | '-' | '–' | '—' | '/' | ':' | '=');
    match c {
        '“' => Some('”'),
        '„' => Some('“'),
        '「' => Some('」'),
        '『' => Some('』'),
        '"' => may_open.then_some('"'),
        '«' => may_open.then_some('»'),
        '»' => may_open.then_some('«'),
        _ => None,
    }
}

/// Whether `c` at a word's beginning is not part of it.
pub(super) fn opens_word(c: char) -> bool {
    is_quotation_mark(c) || matches!(c, '(' | '[' | '{' | '*' | '_' | '~' | '`' | '„' | '¿' | '¡')
}

/// Whether `c` is written without spaces between sentences: Chinese and Japanese.
pub(super) fn is_cjk(c: char) -> bool {
    matches!(c, '\u{3040}'..='\u{30ff}' | '\u{3400}'..='\u{9fff}' | '\u{20000}'..='\u{3ffff}')
}
