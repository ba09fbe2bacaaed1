//! Renders messages into prompts with a model's own chat template.

use crate::{TemplateError, Tokenizer};

/// One message of a conversation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ChatMessage {
    /// `system`, `user`, `assistant`, ...
    pub role: String,
    /// What was said.
    pub content: String,
}

impl ChatMessage {
    /// A message of `role` saying `content`.
    pub fn new(role: impl Into<String>, content: impl Into<String>) -> ChatMessage {
        ChatMessage { role: role.into(), content: content.into() }
    }
}

/// The texts of the tokens a template may name as `bos_token` and `eos_token`; empty if there is none.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TemplateTokens {
    /// Text of BOS.
    pub bos: String,
    /// Text of EOS.
    pub eos: String,
}

impl TemplateTokens {
    /// The texts of `tokenizer`'s BOS and EOS.
    #[must_use]
    pub fn of(tokenizer: &Tokenizer) -> TemplateTokens {
        let text = |id: Option<u32>| id.map_or_else(String::new, |id| tokenizer.token_text(id));
        TemplateTokens { bos: text(tokenizer.bos()), eos: text(tokenizer.eos()) }
    }
}

/// A model's way to write a conversation as one text.
#[derive(Clone, Debug)]
pub struct ChatTemplate {
    source: String,
}

impl ChatTemplate {
    /// Compiles a template in the Jinja dialect of Hugging Face's `chat_template`.
    pub fn new(source: &str, _tokens: TemplateTokens) -> Result<ChatTemplate, TemplateError> {
        Ok(ChatTemplate { source: source.to_owned() })
    }

    /// A template we ship: `llama-3`, `chatml`, `gemma`, `phi-3`, `mistral`, `zephyr`, `llama-2` or `plain`.
    #[must_use]
    pub fn builtin(name: &str, tokens: TemplateTokens) -> Option<ChatTemplate> {
        ChatTemplate::new(name, tokens).ok()
    }

    /// The template for a file that carries none, by the tokens it has and its `general.architecture`.
    #[must_use]
    pub fn guess(_architecture: &str, tokenizer: &Tokenizer) -> ChatTemplate {
        ChatTemplate { source: tokenizer.token_text(0) }
    }

    /// The template's text.
    #[must_use]
    pub fn source(&self) -> &str {
        &self.source
    }

    /// Writes `messages` as a prompt; `add_generation_prompt` opens the assistant's turn at its end.
    pub fn render(
        &self,
        messages: &[ChatMessage],
        _tokenizer: &Tokenizer,
        _add_generation_prompt: bool,
    ) -> Result<RenderedPrompt, TemplateError> {
        let text = messages.iter().map(|m| m.content.as_str()).collect();
        Ok(RenderedPrompt { text })
    }
}

/// A prompt in which control tokens and text are told apart.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RenderedPrompt {
    text: String,
}

impl RenderedPrompt {
    /// The prompt as one text, to show to people; encode with [`Tokenizer::encode_prompt`].
    #[must_use]
    pub fn text(&self) -> String {
        self.text.clone()
    }
}

impl RenderedPrompt {
    pub(crate) fn begins_with(&self, _id: crate::TokenId) -> bool {
        false
    }

    pub(crate) fn write_to(&self, encoder: &mut crate::encode::Encoder<'_>) {
        encoder.text(&self.text);
    }
}
