//! Turns text into token ids and back, and chat messages into prompts.
//!
//! A [`Tokenizer`] is built from a [`Vocabulary`], the plain data that a GGUF file carries, or from a
//! Hugging Face `tokenizer.json`. A [`ChatTemplate`] renders messages into a [`RenderedPrompt`], in
//! which only the template's own text can hold control tokens: whatever a user writes is encoded as
//! ordinary text.

mod alphabet;
mod build;
mod charsmap;
mod chat;
mod config;
mod encode;
mod error;
mod families;
mod hash;
mod huggingface;
mod markup;
mod merge;
mod pairs;
mod pieces;
mod split;
mod stream;
mod text;
mod tokenizer;
mod unigram;
mod vocabulary;

pub use chat::{
    ChatMessage, ChatTemplate, LocalTime, RenderedPrompt, TemplateTokens, TemplateTrial,
};
pub use config::TokenizerConfig;
pub use error::{Error, TemplateError};
pub use stream::StreamDecoder;
pub use tokenizer::{Specials, Tokenizer};
pub use vocabulary::Vocabulary;

/// The number of a token in its vocabulary.
pub type TokenId = u32;
