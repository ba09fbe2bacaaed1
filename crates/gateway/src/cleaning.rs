//! Cleans a reply while it streams: template tags at its end, white space around it, and a last
//! sentence that was cut off.
//!
//! What has gone out is never taken back, and how the text was cut into pieces never matters: text is
//! held back while it may still have to go. So a streamed reply and a plain one are the same text.

mod tags;
#[cfg(test)]
mod tests;

use brisk_engine::{FinishReason, SentenceTracker};
use tags::TagTrimmer;

/// Cleans the text of one choice.
#[derive(Debug)]
pub(crate) struct Cleaner {
    tags: TagTrimmer,
    sentences: SentenceTracker,
    hold_from: usize,
    /// Clean text that has not gone out.
    held: String,
    /// Bytes of clean text that have gone out.
    num_sent: usize,
}

impl Cleaner {
    /// From `hold_from` completion tokens on, text waits until its sentence is whole, so that it can
    /// be dropped if `max_tokens` cuts it off. `usize::MAX` never waits and never drops.
    pub(crate) fn new(hold_from: usize) -> Self {
        Self {
            tags: TagTrimmer::default(),
            sentences: SentenceTracker::default(),
            hold_from,
            held: String::new(),
            num_sent: 0,
        }
    }

    /// Takes the next piece of text, which ends with completion token number `num_tokens`; returns
    /// what may go out now.
    pub(crate) fn push(&mut self, text: &str, num_tokens: usize) -> String {
        let text = self.tags.push(text);
        self.take(&text);
        if num_tokens < self.hold_from {
            return self.send_to(usize::MAX);
        }
        self.send_to(self.sentences.certain_end().unwrap_or(0))
    }

    /// The text has ended; returns what still goes out. If the model did not end it itself, that ends
    /// with the last whole sentence, unless part of a later one has gone out or there is none.
    pub(crate) fn finish(mut self, reason: FinishReason) -> String {
        let text = self.tags.finish();
        self.take(&text);
        let end = match reason {
            FinishReason::Stop => None,
            FinishReason::Length | FinishReason::Repetition => self.sentences.last_sentence_end(),
        };
        self.send_to(end.filter(|&end| end >= self.num_sent).unwrap_or(usize::MAX))
    }

    fn take(&mut self, text: &str) {
        self.sentences.push(text);
        self.held.push_str(text);
    }

    /// Sends the clean text as far as byte `end`.
    fn send_to(&mut self, end: usize) -> String {
        let len = end.saturating_sub(self.num_sent).min(self.held.len());
        if len == 0 {
            return String::new();
        }
        self.num_sent += len;
        let rest = self.held.split_off(len);
        std::mem::replace(&mut self.held, rest)
    }
}
