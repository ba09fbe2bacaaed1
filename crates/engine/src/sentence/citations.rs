//! The marks that cite a source and belong to the sentence before them: `[1]`, `[^2]`, `【3†source】`, `⁴`.

/// A longer label is no citation.
const MAX_LABEL_CHARS: usize = 40;
/// A longer address is none that anybody can read; it only has to end.
const MAX_TARGET_CHARS: usize = 2048;

const SUP: &str = "<sup>";
const END_SUP: &str = "</sup>";

/// A citation that is being written.
#[derive(Clone, Copy, Debug)]
pub(super) struct Citation {
    place: Place,
    num_chars: usize,
    has_digit: bool,
    needs_digit: bool,
}

#[derive(Clone, Copy, Debug)]
enum Place {
    /// In a label that this closes, within so many brackets: `[[1]]`.
    Label { close: char, depth: usize },
    /// After a label, where `(` begins a link's address.
    AfterLabel,
    /// In an address, within so many brackets.
    Target { depth: usize },
    /// After so many characters of `<sup>`.
    Sup(usize),
    /// In its text.
    InSup,
    /// After so many characters of `</sup>`.
    EndSup(usize),
}

/// What a character makes of a citation.
#[derive(Clone, Copy, Debug)]
pub(super) enum Progress {
    /// It needs more.
    Open(Citation),
    /// It is whole, and may go on as a link does.
    Whole(Option<Citation>),
    /// It is something else, and has left so many brackets open.
    Broken { num_open: usize },
}

impl Citation {
    /// What `c` begins right after a sentence, or after a blank, if `is_spaced`: there, brackets hold much
    /// else.
    pub(super) fn begin(c: char, is_spaced: bool) -> Option<Progress> {
        let label = |close, needs_digit| {
            let place = Place::Label { close, depth: 1 };
            Progress::Open(Self { place, num_chars: 0, has_digit: false, needs_digit })
        };
        let sup = Self { place: Place::Sup(1), num_chars: 0, has_digit: false, needs_digit: true };
        match c {
            '[' => Some(label(']', is_spaced)),
            '【' => Some(label('】', is_spaced)),
            '［' => Some(label('］', true)),
            '(' if !is_spaced => Some(label(')', true)),
            '（' if !is_spaced => Some(label('）', true)),
            '<' => Some(Progress::Open(sup)),
            _ if is_raised(c) => Some(Progress::Whole(None)),
            _ => None,
        }
    }

    /// Takes the next character; `None` if the citation was whole and `c` is not part of it.
    pub(super) fn take(mut self, c: char) -> Option<Progress> {
        self.num_chars += 1;
        self.has_digit |= c.is_numeric();
        let next = match self.place {
            Place::Label { close, depth } => match c {
                '[' if depth == 1 && self.num_chars == 1 => Place::Label { close, depth: 2 },
                _ if c == close && depth == 2 => Place::Label { close, depth: 1 },
                _ if c == close => return Some(self.whole_label(close)),
                _ if is_in_label(c) && self.num_chars <= MAX_LABEL_CHARS => self.place,
                _ => return Some(self.broken()),
            },
            Place::AfterLabel if c == '(' => Place::Target { depth: 1 },
            Place::AfterLabel => return None,
            Place::Target { depth } => match c {
                ')' if depth == 1 => return Some(Progress::Whole(None)),
                ')' => Place::Target { depth: depth - 1 },
                '(' => Place::Target { depth: depth + 1 },
                '\n' | '`' => return Some(self.broken()),
                _ if self.num_chars > MAX_TARGET_CHARS => return Some(self.broken()),
                _ => self.place,
            },
            Place::Sup(len) if SUP[len..].starts_with(c) => {
                if len + 1 == SUP.len() {
                    Place::InSup
                } else {
                    Place::Sup(len + 1)
                }
            }
            Place::EndSup(len) if END_SUP[len..].starts_with(c) => {
                if len + 1 == END_SUP.len() {
                    return Some(self.whole_or_broken(None));
                }
                Place::EndSup(len + 1)
            }
            Place::InSup if c == '<' => Place::EndSup(1),
            Place::InSup if is_in_label(c) || matches!(c, '[' | ']') => self.place,
            Place::Sup(_) | Place::InSup | Place::EndSup(_) => return Some(self.broken()),
        };
        if self.num_chars > MAX_LABEL_CHARS && !matches!(next, Place::Target { .. }) {
            return Some(self.broken());
        }
        Some(Progress::Open(Self { place: next, ..self }))
    }

    fn whole_label(self, close: char) -> Progress {
        let link = Self { place: Place::AfterLabel, num_chars: 0, ..self };
        self.whole_or_broken((close == ']').then_some(link))
    }

    fn whole_or_broken(self, more: Option<Self>) -> Progress {
        if self.num_chars == 1 || (self.needs_digit && !self.has_digit) {
            return Progress::Broken { num_open: 0 };
        }
        Progress::Whole(more)
    }

    fn broken(self) -> Progress {
        let num_open = match self.place {
            Place::Label { depth, .. } | Place::Target { depth } => depth,
            Place::AfterLabel | Place::Sup(_) | Place::InSup | Place::EndSup(_) => 0,
        };
        Progress::Broken { num_open }
    }
}

/// Raised figures, and the daggers that do their work.
pub(super) fn is_raised(c: char) -> bool {
    matches!(c, '¹' | '²' | '³' | '⁰' | '⁴'..='⁹' | '⁽' | '⁾' | '†' | '‡')
}

fn is_in_label(c: char) -> bool {
    c.is_alphanumeric()
        || matches!(c, ' ' | ',' | ';' | ':' | '.' | '-' | '–' | '^' | '#' | '*' | '†' | '&' | '、')
}
