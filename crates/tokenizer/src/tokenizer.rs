//! Encodes text to token ids and decodes them.

use crate::encode::Encoder;
use crate::markup::Markup;
use crate::pairs::Pairs;
use crate::pieces::{Kind, Pieces};
use crate::text::TextRules;
use crate::unigram::Unigram;
use crate::{Error, RenderedPrompt, StreamDecoder, TokenId, TokenizerConfig, Vocabulary};
use std::collections::{HashMap, HashSet};

/// What control tokens written in a text mean.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Specials {
    /// Nothing: they are text like any other. For everything a user wrote.
    AsText,
    /// The tokens themselves. For text that the operator or a template wrote.
    Parse,
}

/// Text to token ids and back, by one model's rules.
#[derive(Clone, Debug)]
pub struct Tokenizer {
    pub(crate) pieces: Pieces,
    pub(crate) model: Model,
    pub(crate) text: TextRules,
    // The token of each single byte: the letters of a byte-level vocabulary, or `<0xHH>`.
    pub(crate) byte_tokens: Box<[TokenId; 256]>,
    pub(crate) markup: Markup,
    // Every token that is not text, by its name.
    pub(crate) names: HashMap<Box<str>, TokenId>,
    pub(crate) strip_after: HashSet<TokenId>,
    pub(crate) bos: Option<TokenId>,
    pub(crate) eos: Option<TokenId>,
    pub(crate) unk: Option<TokenId>,
    pub(crate) add_bos: bool,
    pub(crate) end_of_generation: Vec<TokenId>,
}

/// The rule that makes tokens of a word.
#[derive(Clone, Debug)]
pub(crate) enum Model {
    /// Byte-pair encoding with an ordered list of merges.
    Merges { pairs: Pairs, ignore_merges: bool, byte_level: bool },
    /// Byte-pair encoding in which the better piece is made first (SentencePiece).
    Scores { ranks: Vec<u32> },
    /// The most probable pieces.
    Unigram(Unigram),
}

impl Tokenizer {
    /// Builds the tokenizer a GGUF file describes.
    pub fn new(vocabulary: Vocabulary) -> Result<Tokenizer, Error> {
        crate::build::assemble(vocabulary.into_parts()?)
    }

    /// Builds the tokenizer a Hugging Face `tokenizer.json` describes.
    ///
    /// The file does not name EOS and the chat template; [`Tokenizer::configured`] adds them.
    pub fn from_json(json: &[u8]) -> Result<Tokenizer, Error> {
        crate::build::assemble(crate::huggingface::parts(json)?)
    }

    /// Completes a tokenizer read by [`Tokenizer::from_json`] with what `tokenizer_config.json` says.
    pub fn configured(mut self, config: &TokenizerConfig) -> Result<Tokenizer, Error> {
        let id = |field, token: &String| {
            self.token_id(token).ok_or_else(|| Error::UnknownToken { field, token: token.clone() })
        };
        let bos = config.bos_token.as_ref().map(|token| id("bos_token", token)).transpose()?;
        let eos = config.eos_token.as_ref().map(|token| id("eos_token", token)).transpose()?;
        self.bos = bos.or(self.bos);
        self.eos = eos.or(self.eos);
        for id in bos.into_iter().chain(eos) {
            // `tokenizer.json` may call them user-defined; users may not write them all the same.
            if self.pieces.kind(id).can_be_reserved(&self.token_text(id)) {
                self.pieces.set_kind(id, Kind::Control);
                self.markup = Markup::new(&self.pieces)?;
            }
        }
        self.add_bos = config.add_bos_token.unwrap_or(self.add_bos) && self.bos.is_some();
        if let Some(eos) = eos {
            self.add_end_of_generation(eos);
        }
        Ok(self)
    }

    /// Lets the model end its reply with `id` too, as `generation_config.json` may say.
    pub fn add_end_of_generation(&mut self, id: TokenId) {
        if !self.end_of_generation.contains(&id) && (id as usize) < self.vocab_size() {
            self.end_of_generation.push(id);
            self.end_of_generation.sort_unstable();
        }
    }

    /// Token ids of `text`. Adds neither BOS nor EOS.
    #[must_use]
    pub fn encode(&self, text: &str, specials: Specials) -> Vec<TokenId> {
        let mut encoder = Encoder::new(self);
        match specials {
            Specials::AsText => encoder.text(text),
            Specials::Parse => encoder.markup(text),
        }
        encoder.into_ids()
    }

    /// Token ids of a rendered prompt. BOS comes first if the model wants it and the template did not
    /// write it.
    #[must_use]
    pub fn encode_prompt(&self, prompt: &RenderedPrompt) -> Vec<TokenId> {
        let mut encoder = Encoder::new(self);
        if let Some(bos) = self.bos.filter(|&bos| self.add_bos && !prompt.begins_with(bos)) {
            encoder.leading(bos);
        }
        prompt.write_to(&mut encoder);
        encoder.into_ids()
    }

    /// The text of `ids`; control tokens have none. Bytes that are no character become U+FFFD.
    ///
    /// SentencePiece models that put a space before the first word take it off again here.
    #[must_use]
    pub fn decode(&self, ids: &[TokenId]) -> String {
        let mut decoder = self.decoder();
        let mut text: String = ids.iter().map(|&id| decoder.push(self, id)).collect();
        text.push_str(&decoder.finish());
        text
    }

    /// A decoder for one reply; what it gives out is [`Tokenizer::decode`] of the reply, in parts.
    #[must_use]
    pub fn decoder(&self) -> StreamDecoder {
        StreamDecoder::new(self.text.strips_first_space)
    }

    /// The token that begins a sequence.
    #[must_use]
    pub fn bos(&self) -> Option<TokenId> {
        self.bos
    }

    /// The token that ends a sequence.
    #[must_use]
    pub fn eos(&self) -> Option<TokenId> {
        self.eos
    }

    /// Whether prompts begin with [`Tokenizer::bos`].
    #[must_use]
    pub fn add_bos(&self) -> bool {
        self.add_bos
    }

    /// Every token after which the model has said all it wants to, in ascending order.
    #[must_use]
    pub fn end_of_generation(&self) -> &[TokenId] {
        &self.end_of_generation
    }

    /// Number of tokens; every id is below it.
    #[must_use]
    pub fn vocab_size(&self) -> usize {
        self.pieces.len()
    }

    /// The bytes a token adds to the text; none for a control token or an id outside the vocabulary.
    #[must_use]
    pub fn token_bytes(&self, id: TokenId) -> &[u8] {
        if self.is_control(id) { &[] } else { self.pieces.get(id) }
    }

    /// A token to show to people: a control token's name, or text with U+FFFD for broken characters.
    #[must_use]
    pub fn token_text(&self, id: TokenId) -> String {
        String::from_utf8_lossy(self.pieces.get(id)).into_owned()
    }

    /// Whether `id` steers the model rather than saying something (BOS, end of turn, roles).
    #[must_use]
    pub fn is_control(&self, id: TokenId) -> bool {
        self.pieces.kind(id) == Kind::Control
    }

    /// The id of the token whose name or text is exactly `text`, control tokens included.
    #[must_use]
    pub fn token_id(&self, text: &str) -> Option<TokenId> {
        self.names.get(text).copied().or_else(|| self.pieces.find(text.as_bytes()))
    }
}
