//! Encodes text to token ids and decodes them.

use crate::{Error, RenderedPrompt, StreamDecoder, TokenId, Vocabulary};

/// What control tokens written in a text mean.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Specials {
    /// Nothing: they are text like any other. For everything a user wrote.
    AsText,
    /// The tokens themselves. For text that the operator or a template wrote.
    Parse,
}

/// What Hugging Face's `tokenizer_config.json` adds to `tokenizer.json`.
#[derive(Clone, Debug, Default)]
pub struct TokenizerConfig {
    /// Text of the token that begins a sequence.
    pub bos_token: Option<String>,
    /// Text of the token that ends one.
    pub eos_token: Option<String>,
    /// Whether prompts begin with `bos_token`.
    pub add_bos_token: Option<bool>,
    /// The chat template's source.
    pub chat_template: Option<String>,
}

impl TokenizerConfig {
    /// Reads `tokenizer_config.json`.
    pub fn from_json(_json: &[u8]) -> Result<TokenizerConfig, Error> {
        Ok(TokenizerConfig::default())
    }
}

/// Text to token ids and back, by one model's rules.
#[derive(Clone, Debug)]
pub struct Tokenizer {
    vocabulary: Vocabulary,
    end_of_generation: Vec<TokenId>,
}

impl Tokenizer {
    /// Builds the tokenizer a GGUF file describes.
    pub fn new(vocabulary: Vocabulary) -> Result<Tokenizer, Error> {
        if vocabulary.tokens.is_empty() {
            return Err(Error::NoTokens);
        }
        let end_of_generation = vocabulary.eos.into_iter().collect();
        Ok(Tokenizer { vocabulary, end_of_generation })
    }

    /// Builds the tokenizer a Hugging Face `tokenizer.json` describes.
    pub fn from_json(_json: &[u8]) -> Result<Tokenizer, Error> {
        Err(Error::NoTokens)
    }

    /// Completes a tokenizer read by [`Tokenizer::from_json`] with what `tokenizer_config.json` says.
    pub fn configured(self, _config: &TokenizerConfig) -> Result<Tokenizer, Error> {
        Ok(self)
    }

    /// Token ids of `text`. Adds neither BOS nor EOS.
    #[must_use]
    pub fn encode(&self, text: &str, _specials: Specials) -> Vec<TokenId> {
        let by_text = |c: char| self.vocabulary.tokens.iter().position(|t| t.starts_with(c));
        text.chars().filter_map(by_text).filter_map(|id| u32::try_from(id).ok()).collect()
    }

    /// Token ids of a rendered prompt, BOS included if the model wants one.
    #[must_use]
    pub fn encode_prompt(&self, prompt: &RenderedPrompt) -> Vec<TokenId> {
        self.encode(&prompt.text(), Specials::AsText)
    }

    /// The text of `ids`; control tokens have none.
    #[must_use]
    pub fn decode(&self, ids: &[TokenId]) -> String {
        let mut decoder = self.decoder();
        let mut text: String = ids.iter().map(|&id| decoder.push(self, id)).collect();
        text.push_str(&decoder.finish());
        text
    }

    /// A decoder for one reply.
    #[must_use]
    pub fn decoder(&self) -> StreamDecoder {
        StreamDecoder::default()
    }

    /// The token that begins a sequence.
    #[must_use]
    pub fn bos(&self) -> Option<TokenId> {
        self.vocabulary.bos
    }

    /// The token that ends a sequence.
    #[must_use]
    pub fn eos(&self) -> Option<TokenId> {
        self.vocabulary.eos
    }

    /// Whether prompts begin with [`Tokenizer::bos`].
    #[must_use]
    pub fn add_bos(&self) -> bool {
        self.vocabulary.add_bos.unwrap_or(false)
    }

    /// Every token after which the model has said all it wants to.
    #[must_use]
    pub fn end_of_generation(&self) -> &[TokenId] {
        &self.end_of_generation
    }

    /// Number of tokens; every id is below it.
    #[must_use]
    pub fn vocab_size(&self) -> usize {
        self.vocabulary.tokens.len()
    }

    /// The bytes a token adds to the text; none for a control token or an id outside the vocabulary.
    #[must_use]
    pub fn token_bytes(&self, id: TokenId) -> &[u8] {
        self.vocabulary.tokens.get(id as usize).map_or(&[], |token| token.as_bytes())
    }

    /// A token's text to show to people: a control token's name, bytes that are no character as U+FFFD.
    #[must_use]
    pub fn token_text(&self, id: TokenId) -> String {
        String::from_utf8_lossy(self.token_bytes(id)).into_owned()
    }

    /// Whether `id` steers the model rather than saying something (BOS, end of turn, roles).
    #[must_use]
    pub fn is_control(&self, id: TokenId) -> bool {
        self.vocabulary.token_types.get(id as usize) == Some(&3)
    }

    /// The id of the token whose text is exactly `text`, control tokens included.
    #[must_use]
    pub fn token_id(&self, text: &str) -> Option<TokenId> {
        let id = self.vocabulary.tokens.iter().position(|token| token == text)?;
        TokenId::try_from(id).ok()
    }
}
