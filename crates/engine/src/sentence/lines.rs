//! The lines of a Markdown text: which are items, rows, headings and fences.

/// Bytes of a line's first word that are looked at.
const MAX_HEAD_BYTES: usize = 16;

/// A line that is still being written.
#[derive(Clone, Debug, Default)]
pub(super) struct Line {
    pub(super) kind: Kind,
    /// Anything but white space and the marks of block quotations.
    pub(super) has_content: bool,
    /// The first word is still being written.
    pub(super) is_in_head: bool,
    /// The first word, or its beginning.
    pub(super) head: String,
    has_letters: bool,
    /// The last character that is no emphasis.
    last: char,
    /// Stars behind it.
    num_stars: usize,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Kind {
    #[default]
    Text,
    Item,
    Heading,
    /// A table's row and its number; 0 is the head, 1 the line below it.
    Row(usize),
}

/// The line before, if it is no blank one.
#[derive(Clone, Debug)]
pub(super) struct Prior {
    pub(super) end: usize,
    pub(super) kind: Kind,
    pub(super) is_in_list: bool,
    /// It is whole if the paragraph, item or row ends with it.
    pub(super) is_whole: bool,
}

impl Line {
    /// Takes a character that is no white space.
    pub(super) fn take(&mut self, c: char) {
        if !self.has_content {
            self.has_content = true;
            self.is_in_head = true;
        }
        if self.is_in_head && self.head.len() < MAX_HEAD_BYTES {
            self.head.push(c);
        }
        self.has_letters |= c.is_alphanumeric();
        match c {
            '*' => self.num_stars += 1,
            '_' | '~' | '`' => {}
            _ => (self.last, self.num_stars) = (c, 0),
        }
    }

    /// White space has come; true if it has ended the first word.
    pub(super) fn end_head(&mut self) -> bool {
        let ended = std::mem::take(&mut self.is_in_head);
        if ended && self.kind == Kind::Text {
            if is_marker(&self.head) {
                self.kind = Kind::Item;
            } else if self.head.len() <= 6 && self.head.bytes().all(|it| it == b'#') {
                self.kind = Kind::Heading;
            }
        }
        ended
    }

    /// The line has ended; its text ended at `end`.
    pub(super) fn into_prior(self, end: usize, prior: Option<&Prior>) -> Prior {
        let announces = matches!(
            self.last,
            ':' | '：' | ',' | '，' | '、' | '،' | ';' | '；' | '(' | '[' | '-' | '–' | '—'
        );
        let is_bold = self.head.starts_with("**") && self.num_stars >= 2;
        let is_in_list = match self.kind {
            Kind::Item => true,
            Kind::Text => prior.is_some_and(|it| it.is_in_list),
            Kind::Heading | Kind::Row(_) => false,
        };
        let is_whole = match self.kind {
            Kind::Text => self.has_letters && !announces && !is_bold,
            Kind::Item => self.has_letters && !announces,
            Kind::Heading => false,
            Kind::Row(row) => self.has_letters && row > 1,
        };
        Prior { end, kind: self.kind, is_in_list, is_whole }
    }
}

/// Whether a line's first word begins a list's item: `-`, `3.`, `**3.**`, `b)`, `iv.`.
pub(super) fn is_marker(head: &str) -> bool {
    if matches!(head, "-" | "*" | "+" | "•" | "–" | "—" | "·" | "◦" | "▪" | "‣") {
        return true;
    }
    let head = head.trim_matches(['*', '_']);
    let Some(number) = head.strip_suffix(['.', ')']) else { return false };
    let is_letter =
        number.len() == 1 && head.ends_with(')') && number.as_bytes()[0].is_ascii_alphabetic();
    let is_number = number.chars().all(char::is_numeric) && number.chars().count() <= 9;
    let is_roman = number.len() <= 5
        && (number.bytes().all(|it| b"ivx".contains(&it))
            || number.bytes().all(|it| b"IVX".contains(&it)));
    !number.is_empty() && (is_letter || is_number || is_roman)
}

/// Backticks or tildes in a row.
#[derive(Clone, Debug)]
pub(super) struct Run {
    pub(super) mark: char,
    pub(super) len: usize,
    pub(super) starts_line: bool,
}

impl Run {
    pub(super) fn opens_fence(&self) -> bool {
        self.starts_line && self.len >= 3
    }
}

/// A block of code that has begun.
#[derive(Clone, Debug)]
pub(super) struct Fence {
    pub(super) mark: char,
    pub(super) len: usize,
    pub(super) state: FenceState,
}

#[derive(Clone, Debug)]
pub(super) enum FenceState {
    /// In the line that opens it.
    Info,
    /// In a line that may close it: so many marks, which end at that byte.
    Closing { run: usize, end: usize, has_space: bool },
    /// In any other line.
    Code,
}

impl Fence {
    const NEW_LINE: FenceState = FenceState::Closing { run: 0, end: 0, has_space: false };

    /// Where it is closed, if the text ends here.
    pub(super) fn closed_at(&self) -> Option<usize> {
        match self.state {
            FenceState::Closing { run, end, .. } if run >= self.len => Some(end),
            FenceState::Closing { .. } | FenceState::Info | FenceState::Code => None,
        }
    }

    /// Whether `c` shows that the opening line is inline code: there, backticks end it.
    pub(super) fn is_inline_after_all(&self, c: char) -> bool {
        matches!(self.state, FenceState::Info) && self.mark == '`' && c == '`'
    }

    /// Takes a character that ends at byte `at`; where the fence was closed, if it is now.
    pub(super) fn take(&mut self, c: char, at: usize) -> Option<usize> {
        if c == '\n' {
            let closed_at = self.closed_at();
            self.state = Self::NEW_LINE;
            return closed_at;
        }
        if let FenceState::Closing { run, end, has_space } = &mut self.state {
            if c == self.mark && !*has_space {
                (*run, *end) = (*run + 1, at);
            } else if c.is_whitespace() {
                *has_space = *run > 0;
            } else if c != '>' || *run > 0 {
                // A block quotation's mark may stand before it.
                self.state = FenceState::Code;
            }
        }
        None
    }
}
