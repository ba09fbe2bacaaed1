//! Decodes tokens one at a time into whole characters.

use crate::{TokenId, Tokenizer};

/// Decodes tokens one at a time; never gives out half a character.
///
/// The parts joined are what [`Tokenizer::decode`] makes of the same tokens: a SentencePiece model's
/// space before the first word is left out, and each longest broken part of a character is one U+FFFD.
#[derive(Clone, Debug)]
pub struct StreamDecoder {
    // The begun character: at most three bytes between calls.
    pending: Vec<u8>,
    strips_next_space: bool,
}

impl StreamDecoder {
    pub(crate) fn new(strips_first_space: bool) -> StreamDecoder {
        StreamDecoder { pending: Vec::new(), strips_next_space: strips_first_space }
    }

    /// Takes the next token and returns the characters that are complete now.
    #[must_use]
    pub fn push(&mut self, tokenizer: &Tokenizer, id: TokenId) -> String {
        let mut bytes = tokenizer.token_bytes(id);
        if let (true, Some(first)) = (self.strips_next_space, bytes.first()) {
            self.strips_next_space = false;
            if *first == b' ' {
                bytes = &bytes[1..];
            }
        }
        self.pending.extend_from_slice(bytes);
        let mut text = String::new();
        let mut num_taken = 0;
        for chunk in self.pending.utf8_chunks() {
            text.push_str(chunk.valid());
            num_taken += chunk.valid().len();
            let broken = chunk.invalid();
            // The end of what came may be the beginning of a character.
            let at_end = num_taken + broken.len() == self.pending.len();
            if at_end && std::str::from_utf8(broken).is_err_and(|e| e.error_len().is_none()) {
                break;
            }
            if !broken.is_empty() {
                text.push(char::REPLACEMENT_CHARACTER);
                num_taken += broken.len();
            }
        }
        self.pending.drain(..num_taken);
        text
    }

    /// Ends the text: what is left of a character that never became whole is one U+FFFD.
    #[must_use]
    pub fn finish(&mut self) -> String {
        let text = String::from_utf8_lossy(&self.pending).into_owned();
        self.pending.clear();
        text
    }
}
