//! Finds where sentences end in text that is still being written, in many languages and in Markdown.
//!
//! What counts as a whole sentence:
//! - A terminator (`.`, `!`, `?`, `…`, `。`, `؟`, `।` and their like) with the closing quotation marks,
//!   brackets and emphasis after it. A `.` needs white space or the text's end after it, and ends
//!   nothing in an abbreviation, an initial, a decimal, a German ordinal or a list's number. Before a
//!   lower-case word it ends nothing either, so that an abbreviation nobody listed does no harm.
//! - A citation after it (`so.[1]`, `so.¹`, `so. [2](https://a.b)`) belongs to the sentence.
//! - A paragraph before a blank line, a list's item before the next one, a table's row before the next
//!   one, a closed code fence; but no heading, and no line that announces something (`:`).
//! - Nothing within a quotation, a bracket, inline code or an open code fence.
//!
//! Where a character more would decide, [`ends_sentence`] says no: `3.` may become `3.14`. Thai and
//! other scripts without a full stop have paragraphs and lists only.

mod characters;
mod citations;
mod lines;
#[cfg(test)]
mod tests;
mod words;

use characters::{Stop, closes, is_cjk, is_quotation_mark, opens_word};
use citations::{Citation, Progress, is_raised};
use lines::{Fence, FenceState, Kind, Line, Prior, Run, is_marker};
use words::{Word, WordKind};

/// Whether the text ends with a whole sentence, nothing being known of what may follow. White space
/// after the sentence does not matter. Takes time linear in the text's length.
pub fn ends_sentence(text: &str) -> bool {
    SentenceTracker::of(text).ends_sentence()
}

/// The byte after the last whole sentence, for cutting off what follows it; `None` if there is no
/// whole sentence, or nothing sensible to cut: when the text breaks off in a code fence and the
/// sentences before it are the smaller half. Takes time linear in the text's length.
pub fn last_sentence_end(text: &str) -> Option<usize> {
    SentenceTracker::of(text).last_sentence_end()
}

/// [`ends_sentence`] and [`last_sentence_end`] for text that comes in pieces. It holds no more than a
/// few words of the text; how the text is cut into pieces never matters.
#[derive(Clone, Debug)]
pub struct SentenceTracker {
    num_bytes: usize,
    /// After the last character that is no white space.
    content_end: usize,
    /// After the last sentence that is certain; 0 if there is none.
    certain_end: usize,
    /// A terminator and what has followed it so far.
    candidate: Option<Candidate>,
    /// The mark that would close the open quotation.
    quote: Option<char>,
    num_open_brackets: usize,
    /// Fence or code marks that may still grow.
    run: Option<Run>,
    /// Marks that would close the open inline code.
    inline_code: Option<usize>,
    fence: Option<Fence>,
    line: Line,
    prior: Option<Prior>,
    word: Word,
    previous_word: Word,
    previous: char,
}

/// A terminator that may end a sentence.
#[derive(Clone, Copy, Debug)]
struct Candidate {
    /// After the terminators and all that closes.
    end: usize,
    stop: Stop,
    /// Bytes of the word before the terminator.
    word_len: usize,
    follows_digit: bool,
    is_closed: bool,
    is_quoted: bool,
    /// The word before it, once white space has come after it.
    word: Option<WordKind>,
    /// White space is what came last.
    is_spaced: bool,
    /// What may become a citation, or go on as one.
    citation: Option<Citation>,
}

impl Default for SentenceTracker {
    fn default() -> Self {
        Self {
            num_bytes: 0,
            content_end: 0,
            certain_end: 0,
            candidate: None,
            quote: None,
            num_open_brackets: 0,
            run: None,
            inline_code: None,
            fence: None,
            line: Line::default(),
            prior: None,
            word: Word::default(),
            previous_word: Word::default(),
            previous: '\n',
        }
    }
}

impl SentenceTracker {
    fn of(text: &str) -> Self {
        let mut tracker = Self::default();
        tracker.push(text);
        tracker
    }

    /// Takes the next piece of the text.
    pub fn push(&mut self, text: &str) {
        for c in text.chars() {
            self.num_bytes += c.len_utf8();
            if self.fence.is_some() {
                self.take_code(c);
            } else {
                self.take_prose(c);
            }
            self.previous = c;
        }
    }

    /// Bytes of the text so far.
    pub fn num_bytes(&self) -> usize {
        self.num_bytes
    }

    /// Like [`ends_sentence`], of the text so far.
    pub fn ends_sentence(&self) -> bool {
        self.content_end > 0 && self.end_as_it_stands() == self.content_end
    }

    /// Like [`last_sentence_end`], of the text so far.
    pub fn last_sentence_end(&self) -> Option<usize> {
        let end = self.end_as_it_stands();
        let is_open = match (&self.fence, &self.run) {
            (Some(fence), _) => fence.closed_at().is_none(),
            (None, Some(run)) => run.opens_fence(),
            (None, None) => false,
        };
        let loses_too_much = is_open && self.num_bytes - end > end;
        (end > 0 && !loses_too_much).then_some(end)
    }

    /// The byte after the last sentence that stays whole whatever follows.
    pub fn certain_end(&self) -> Option<usize> {
        (self.certain_end > 0).then_some(self.certain_end)
    }

    /// After the last sentence, if nothing follows; 0 if there is none.
    fn end_as_it_stands(&self) -> usize {
        let closed_at = self.fence.as_ref().and_then(Fence::closed_at);
        let candidate = self.candidate.filter(|it| self.stands(it) && !self.is_enclosed());
        closed_at.or(candidate.map(|it| it.end)).unwrap_or(self.certain_end)
    }

    /// Whether a candidate ends a sentence if nothing follows.
    fn stands(&self, candidate: &Candidate) -> bool {
        let is_complete = candidate.is_spaced || candidate.is_closed;
        let word = candidate.word.unwrap_or_else(|| self.word_before(candidate));
        match (candidate.stop, word) {
            (Stop::Dots(2), _) => false,
            (Stop::Mark | Stop::Dots(1), WordKind::Link) => is_complete,
            (Stop::Dots(1), WordKind::Number) => is_complete,
            (Stop::Dots(1), word) => word == WordKind::Plain,
            (Stop::Strong | Stop::Mark | Stop::Dots(_), _) => true,
        }
    }

    /// Whether a candidate that white space follows ends a sentence before `next`.
    fn ends_before(candidate: &Candidate, word: WordKind, next: char) -> bool {
        // "Stop!" he said.
        let goes_on = next.is_lowercase();
        match (candidate.stop, word) {
            (Stop::Strong, _) => true,
            (Stop::Dots(2), _) => false,
            (Stop::Mark, _) => !goes_on || !candidate.is_quoted,
            (Stop::Dots(3..), _) => !goes_on,
            (Stop::Dots(_), _) => match word {
                WordKind::NeverLast => false,
                WordKind::BeforeNumber => !goes_on && !next.is_numeric(),
                WordKind::Plain | WordKind::MayBeLast | WordKind::Link | WordKind::Number => {
                    !goes_on
                }
            },
        }
    }

    fn word_before(&self, candidate: &Candidate) -> WordKind {
        if self.line.is_in_head && is_marker(&self.line.head) {
            return WordKind::NeverLast;
        }
        self.word.kind(candidate.word_len, candidate.follows_digit, &self.previous_word)
    }

    fn is_enclosed(&self) -> bool {
        self.quote.is_some() || self.num_open_brackets > 0 || self.inline_code.is_some()
    }

    fn accept(&mut self, end: usize) {
        if !self.is_enclosed() {
            self.certain_end = self.certain_end.max(end);
        }
    }

    fn take_prose(&mut self, c: char) {
        if let Some(run) = self.run.as_mut().filter(|run| run.mark == c) {
            run.len += 1;
            self.content_end = self.num_bytes;
            return;
        }
        if let Some(run) = self.run.take() {
            self.end_run(&run);
            if self.fence.is_some() {
                return self.take_code(c);
            }
        }
        // The mark of a block quotation is no part of its text.
        if c == '>' && !self.line.has_content {
            return;
        }
        let is_absorbed = self.judge(c);
        if c.is_whitespace() {
            self.end_head();
            if !self.word.is_empty() {
                self.previous_word = std::mem::take(&mut self.word);
            }
            if c == '\n' {
                self.end_line();
            }
            return;
        }
        let starts_line = !self.line.has_content;
        if starts_line && c == '|' {
            self.start_row();
        }
        self.content_end = self.num_bytes;
        self.line.take(c);
        if c == '`' || (c == '~' && starts_line) {
            self.run = Some(Run { mark: c, len: 1, starts_line });
        } else if !is_absorbed && self.inline_code.is_none() {
            self.enclose(c);
            self.begin_candidate(c);
        }
        if !(self.word.is_empty() && opens_word(c)) {
            self.word.push(c);
        }
    }

    fn begin_candidate(&mut self, c: char) {
        let is_prose = matches!(self.line.kind, Kind::Text | Kind::Item);
        let Some(stop) = Stop::of(c, self.previous).filter(|_| is_prose) else { return };
        self.candidate = Some(Candidate {
            end: self.num_bytes,
            stop,
            word_len: self.word.len(),
            follows_digit: self.previous.is_numeric(),
            is_closed: false,
            is_quoted: false,
            word: None,
            is_spaced: false,
            citation: None,
        });
    }

    /// What the next character says of the candidate; true if the character belongs to it.
    fn judge(&mut self, c: char) -> bool {
        let Some(mut candidate) = self.candidate.take() else { return false };
        if let Some(progress) = candidate.citation.take().and_then(|it| it.take(c)) {
            return self.cite(candidate, progress);
        }
        // A quotation may close after a space: « Halte. »
        let closes_quote = self.quote == Some(c);
        if candidate.is_spaced && !closes_quote {
            if c.is_whitespace() {
                self.candidate = Some(candidate);
                return false;
            }
            if candidate.word.is_some_and(|word| !Self::ends_before(&candidate, word, c)) {
                return false;
            }
            self.accept(candidate.end);
            // On a line of its own it opens a list of sources.
            let citation = Citation::begin(c, true).filter(|_| self.line.has_content);
            return citation.is_some_and(|progress| {
                candidate.is_spaced = false;
                self.cite(candidate, progress)
            });
        }
        if let Some(stop) = Stop::of(c, self.previous) {
            if candidate.is_closed {
                // `"Stop!".`
                return false;
            }
            candidate.stop = candidate.stop.and(stop);
            candidate.end = self.num_bytes;
            self.candidate = Some(candidate);
            return true;
        }
        if closes(c) || closes_quote {
            self.enclose(c);
            candidate.is_spaced = false;
            candidate.end = self.num_bytes;
            candidate.is_closed = true;
            candidate.is_quoted |= is_quotation_mark(c);
            self.candidate = Some(candidate);
            return true;
        }
        let is_certain =
            candidate.stop == Stop::Strong || (candidate.stop == Stop::Mark && is_cjk(c));
        if is_certain {
            self.accept(candidate.end);
        }
        if let Some(progress) = Citation::begin(c, false) {
            // A label may have blanks, after which the word is another one.
            candidate.word = candidate.word.or_else(|| Some(self.word_before(&candidate)));
            return self.cite(candidate, progress);
        }
        // `so.¹,²`
        if is_raised(self.previous) && matches!(c, ',' | '-' | '–') {
            self.candidate = Some(candidate);
            return true;
        }
        if is_certain {
            return false;
        }
        if c.is_whitespace() {
            candidate.word = candidate.word.or_else(|| Some(self.word_before(&candidate)));
            candidate.is_spaced = true;
            self.candidate = Some(candidate);
        }
        // Else it is a point within a number, a name or an address.
        false
    }

    /// What a citation after the candidate has become; true if the character belongs to it.
    fn cite(&mut self, mut candidate: Candidate, progress: Progress) -> bool {
        match progress {
            Progress::Open(citation) => candidate.citation = Some(citation),
            Progress::Whole(more) => {
                candidate.citation = more;
                candidate.end = self.num_bytes;
                candidate.is_closed = true;
            }
            Progress::Broken { num_open } => {
                self.num_open_brackets += num_open;
                return false;
            }
        }
        self.candidate = Some(candidate);
        true
    }

    /// Follows quotation marks and brackets.
    fn enclose(&mut self, c: char) {
        match self.quote {
            Some(closing) => {
                if c == closing || (closing == '“' && c == '”') {
                    self.quote = None;
                }
            }
            None => self.quote = characters::closing_quote(c, self.previous),
        }
        match c {
            // `:(` is a face.
            '(' | '[' | '（' | '【' if !matches!(self.previous, ':' | ';') => {
                self.num_open_brackets += 1;
            }
            ')' | ']' | '）' | '】' => {
                self.num_open_brackets = self.num_open_brackets.saturating_sub(1);
            }
            _ => {}
        }
    }

    /// A new paragraph or item: what was open before is not any more.
    fn forget_open(&mut self) {
        self.quote = None;
        self.num_open_brackets = 0;
        self.inline_code = None;
    }

    /// The line's first word is complete and says what kind of line it is.
    fn end_head(&mut self) {
        if !self.line.end_head() || self.line.kind != Kind::Item {
            return;
        }
        self.forget_open();
        if let Some(prior) = self.prior.as_ref().filter(|it| it.is_in_list && it.is_whole) {
            self.certain_end = self.certain_end.max(prior.end);
        }
    }

    fn start_row(&mut self) {
        let Some(Prior { kind: Kind::Row(row), end, is_whole, .. }) = self.prior else {
            self.line.kind = Kind::Row(0);
            return;
        };
        self.line.kind = Kind::Row(row + 1);
        if is_whole {
            self.certain_end = self.certain_end.max(end);
        }
    }

    fn end_line(&mut self) {
        let line = std::mem::take(&mut self.line);
        if line.has_content {
            self.prior = Some(line.into_prior(self.content_end, self.prior.as_ref()));
            return;
        }
        self.candidate = None;
        self.forget_open();
        if let Some(prior) = self.prior.take().filter(|it| it.is_whole) {
            self.certain_end = self.certain_end.max(prior.end);
        }
    }

    /// A run of backticks or tildes is complete.
    fn end_run(&mut self, run: &Run) {
        if run.opens_fence() {
            self.forget_open();
            self.fence = Some(Fence { mark: run.mark, len: run.len, state: FenceState::Info });
        } else if run.mark == '`' {
            match self.inline_code {
                None => self.inline_code = Some(run.len),
                Some(len) if len == run.len => self.inline_code = None,
                Some(_) => {}
            }
        }
    }

    fn take_code(&mut self, c: char) {
        let Some(fence) = &mut self.fence else { return };
        if !c.is_whitespace() {
            self.content_end = self.num_bytes;
        }
        if fence.is_inline_after_all(c) {
            self.inline_code = Some(fence.len);
            self.fence = None;
            self.run = Some(Run { mark: c, len: 1, starts_line: false });
        } else if let Some(end) = fence.take(c, self.num_bytes) {
            self.certain_end = end;
            self.fence = None;
            self.line = Line::default();
            let is_in_list = self.prior.as_ref().is_some_and(|it| it.is_in_list);
            self.prior = Some(Prior { end, kind: Kind::Text, is_in_list, is_whole: true });
        }
    }
}
