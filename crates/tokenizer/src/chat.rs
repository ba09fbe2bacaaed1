//! Renders messages into prompts with a model's own chat template.
//!
//! A template comes with a model file, so it is bounded in everything: source, nesting, steps, the
//! bytes it makes and reads, and output.

mod budget;
mod builtin;
mod date;
mod engine;
#[cfg(test)]
mod expressions;
mod fault;
mod library;
mod prompt;
mod python;
mod run;
mod syntax;
mod trial;

pub use date::LocalTime;
pub use prompt::RenderedPrompt;
pub use trial::TemplateTrial;

use crate::error::shortened;
use crate::{TemplateError, Tokenizer};
use engine::Engine;
use prompt::Hidden;
use serde::Serialize;
use std::sync::Arc;

/// One message of a conversation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ChatMessage {
    /// `system`, `developer`, `user`, `assistant`, `tool` or `function`.
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
    source: Arc<str>,
    engine: Arc<Engine>,
    tokens: TemplateTokens,
}

impl ChatTemplate {
    /// Compiles a template in the Jinja dialect of Hugging Face's `chat_template`.
    ///
    /// `strftime_now` writes the local date, also where a template asks whether it is defined and has a
    /// fixed date for when it is not: the real one is what models are told elsewhere. Names that nothing
    /// will know when it is rendered are refused here, with their line.
    pub fn new(source: &str, tokens: TemplateTokens) -> Result<ChatTemplate, TemplateError> {
        let engine = Arc::new(Engine::compile(source)?);
        Ok(ChatTemplate { source: source.into(), engine, tokens })
    }

    /// A template we ship: `llama-3`, `chatml`, `gemma`, `phi-3`, `mistral`, `zephyr`, `llama-2` or `plain`.
    #[must_use]
    pub fn builtin(name: &str, tokens: TemplateTokens) -> Option<ChatTemplate> {
        ChatTemplate::new(ChatTemplate::builtin_source(name)?, tokens).ok()
    }

    /// The text of a template we ship.
    #[must_use]
    pub fn builtin_source(name: &str) -> Option<&'static str> {
        builtin::source(name)
    }

    /// The names [`ChatTemplate::builtin`] knows.
    pub fn builtin_names() -> impl Iterator<Item = &'static str> {
        builtin::TEMPLATES.iter().map(|(name, _)| *name)
    }

    /// The template for a file that carries none: by the control tokens it has, then by its
    /// `general.architecture`.
    #[must_use]
    pub fn guess(architecture: &str, tokenizer: &Tokenizer) -> ChatTemplate {
        let source = builtin::guess(architecture, tokenizer);
        let tokens = TemplateTokens::of(tokenizer);
        let engine = Arc::new(Engine::compile(source).unwrap_or_default());
        ChatTemplate { source: source.into(), engine, tokens }
    }

    /// The template's text.
    #[must_use]
    pub fn source(&self) -> &str {
        &self.source
    }

    /// What the template's dates say at `now`: prompts of the same messages are the same as long as this
    /// is. Empty without a date; `None` for a template that writes the time of day, or a date by a
    /// format that only rendering finds.
    #[must_use]
    pub fn dates_at(&self, now: &LocalTime) -> Option<String> {
        let formats = self.engine.needs().date_formats.as_ref()?;
        let dates = formats.iter().map(|format| date::strftime(format, now).ok());
        Some(dates.collect::<Option<Vec<_>>>()?.join("\0"))
    }

    /// Writes `messages` as a prompt; `add_generation_prompt` opens the assistant's turn at its end.
    ///
    /// The names of control tokens inside messages are hidden from the template behind one private-use
    /// character each, and written back as text afterwards; so only the template makes control tokens.
    /// An assistant's own markers (`<think>`) stay what they are, for the templates that cut them out.
    pub fn render(
        &self,
        messages: &[ChatMessage],
        tokenizer: &Tokenizer,
        add_generation_prompt: bool,
    ) -> Result<RenderedPrompt, TemplateError> {
        self.render_at(messages, tokenizer, add_generation_prompt, LocalTime::now())
    }

    /// Writes a prompt as [`ChatTemplate::render`] does, with the dates of another moment.
    pub fn render_at(
        &self,
        messages: &[ChatMessage],
        tokenizer: &Tokenizer,
        add_generation_prompt: bool,
        now: LocalTime,
    ) -> Result<RenderedPrompt, TemplateError> {
        self.render_with(messages, tokenizer, Options { add_generation_prompt, now, tools: None })
    }

    fn render_with(
        &self,
        messages: &[ChatMessage],
        tokenizer: &Tokenizer,
        options: Options<'_>,
    ) -> Result<RenderedPrompt, TemplateError> {
        let Options { add_generation_prompt, now, tools } = options;
        const ROLES: [&str; 6] = ["system", "developer", "user", "assistant", "tool", "function"];
        if let Some(message) = messages.iter().find(|message| !ROLES.contains(&&*message.role)) {
            return Err(TemplateError::UnknownRole { role: shortened(&message.role) });
        }
        let texts = messages.iter().map(|message| message.content.as_str());
        let mut hidden = Hidden::new(texts.chain([&*self.source]), tokenizer);
        let messages = messages
            .iter()
            .map(|ChatMessage { role, content }| {
                let content = hidden.hide(content, role == "assistant")?;
                Ok(Message { role, content })
            })
            .collect::<Result<Vec<_>, TemplateError>>()?;
        let context = Context {
            messages,
            add_generation_prompt,
            bos_token: &self.tokens.bos,
            eos_token: &self.tokens.eos,
            tools,
            documents: (),
        };
        let text = self.engine.render(&context, now)?;
        Ok(hidden.show(&text))
    }
}

/// What a prompt depends on beside its messages.
#[derive(Clone, Copy)]
struct Options<'a> {
    add_generation_prompt: bool,
    now: LocalTime,
    tools: Option<&'a serde_json::Value>,
}

// What a template can read; the names are Hugging Face's.
#[derive(Serialize)]
struct Context<'a> {
    messages: Vec<Message<'a>>,
    add_generation_prompt: bool,
    bos_token: &'a str,
    eos_token: &'a str,
    tools: Option<&'a serde_json::Value>,
    documents: (),
}

#[derive(Serialize)]
struct Message<'a> {
    role: &'a str,
    content: String,
}
