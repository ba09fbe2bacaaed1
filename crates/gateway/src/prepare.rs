//! Turns messages and texts into token ids, off the async threads and never too many at once.

use std::sync::Arc;

use brisk_engine::{ClientId, EngineHandle};
use brisk_tokenizer::{ChatMessage, LocalTime, Specials, TemplateError, TokenId};
use tokio::task::spawn_blocking;

use crate::{
    error::GatewayError,
    request::{Message, Prompt},
    workplaces::Workplaces,
};

/// Characters of a template's words that are passed on.
const MAX_REFUSAL_CHARS: usize = 200;

/// A prompt as the engine takes it.
#[derive(Debug)]
pub(crate) struct Prepared {
    pub(crate) tokens: Vec<TokenId>,
    /// The prompt as text, if it is to be repeated.
    pub(crate) echo: Option<String>,
}

/// Who wants prompts prepared, where, and for which engine.
#[derive(Clone, Debug)]
pub(crate) struct Workshop {
    pub(crate) places: Arc<Workplaces>,
    pub(crate) engine: EngineHandle,
    pub(crate) client: ClientId,
}

impl Workshop {
    /// Runs `work` on a blocking thread once one of the places is free; as many may wait for that as
    /// for the engine, and clients take turns. A caller that goes away leaves running work its place,
    /// so no more than there are places ever run.
    pub(crate) async fn run<T: Send + 'static>(
        &self,
        work: impl FnOnce(&EngineHandle) -> T + Send + 'static,
    ) -> Result<T, GatewayError> {
        let place = self.places.take(self.client).await;
        let place = place.map_err(|refusal| self.engine.refuse(self.client, refusal))?;
        let engine = self.engine.clone();
        let task = spawn_blocking(move || {
            let result = work(&engine);
            drop(place);
            result
        });
        task.await.map_err(|error| GatewayError::Panicked { reason: error.to_string() })
    }
}

/// Renders a conversation with the model's chat template and tokenizes it.
pub(crate) async fn chat_prompt(
    workshop: &Workshop,
    messages: Arc<Vec<Message>>,
    now: LocalTime,
) -> Result<Prepared, GatewayError> {
    let work = move |engine: &EngineHandle| {
        let messages: Vec<_> = Arc::unwrap_or_clone(messages)
            .into_iter()
            .map(|message| ChatMessage::new(message.role.name(), message.content))
            .collect();
        let tokenizer = engine.tokenizer();
        let rendered = engine.chat_template().render_at(&messages, tokenizer, true, now);
        let rendered = rendered.map_err(|error| template_error(&error))?;
        Ok(Prepared { tokens: tokenizer.encode_prompt(&rendered), echo: None })
    };
    workshop.run(work).await?
}

/// Tokenizes raw prompts. `max_prompt_tokens` bounds several of them together; one alone is the
/// engine's to judge.
pub(crate) async fn raw_prompts(
    workshop: &Workshop,
    prompts: Arc<Vec<Prompt>>,
    echo: bool,
    max_prompt_tokens: usize,
) -> Result<Vec<Prepared>, GatewayError> {
    let work = move |engine: &EngineHandle| {
        let mut prepared = Vec::with_capacity(prompts.len());
        let mut num_prompt_tokens = 0;
        for prompt in Arc::unwrap_or_clone(prompts) {
            let next = raw_prompt(engine, prompt, echo);
            num_prompt_tokens += next.tokens.len();
            prepared.push(next);
        }
        if prepared.len() > 1 && num_prompt_tokens > max_prompt_tokens {
            return Err(GatewayError::PromptsTooLong { num_prompt_tokens, max_prompt_tokens });
        }
        Ok(prepared)
    };
    workshop.run(work).await?
}

fn raw_prompt(engine: &EngineHandle, prompt: Prompt, echo: bool) -> Prepared {
    let tokenizer = engine.tokenizer();
    match prompt {
        Prompt::Tokens(tokens) => {
            let known =
                || tokens.iter().copied().filter(|&id| (id as usize) < tokenizer.vocab_size());
            let echo = echo.then(|| tokenizer.decode(&known().collect::<Vec<_>>()));
            Prepared { tokens, echo }
        }
        Prompt::Text(text) => {
            let tokens = tokenizer.encode(&text, Specials::Parse);
            let bos = tokenizer.bos().filter(|_| tokenizer.add_bos());
            let tokens = with_bos(tokens, bos);
            Prepared { tokens, echo: echo.then_some(text) }
        }
    }
}

/// A prompt that begins with `bos`. Text that brings its own gets no second one, and an empty text
/// stays empty, for the engine to refuse.
fn with_bos(mut tokens: Vec<TokenId>, bos: Option<TokenId>) -> Vec<TokenId> {
    if let (Some(bos), Some(&first)) = (bos, tokens.first())
        && first != bos
    {
        tokens.insert(0, bos);
    }
    tokens
}

/// Whose move it is: the template is the operator's, what it was given is the caller's.
fn template_error(error: &TemplateError) -> GatewayError {
    let message: String = error.to_string().chars().take(MAX_REFUSAL_CHARS).collect();
    match error {
        TemplateError::Refused { .. }
        | TemplateError::UnknownRole { .. }
        | TemplateError::OutOfSteps { .. }
        | TemplateError::OutOfBytes { .. }
        | TemplateError::OutputTooLong { .. }
        | TemplateError::NoPlaceholderLeft => GatewayError::TemplateRefused { message },
        TemplateError::Invalid { .. }
        | TemplateError::SourceTooLong { .. }
        | TemplateError::TooDeep { .. } => GatewayError::TemplateFailed { message },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_prompt_has_one_bos() {
        for (tokens, bos, expected) in [
            (&[5, 6][..], Some(1), &[1, 5, 6][..]),
            (&[1, 5], Some(1), &[1, 5]),
            (&[5, 1], Some(1), &[1, 5, 1]),
            (&[5], None, &[5]),
            (&[], Some(1), &[]),
        ] {
            assert_eq!(with_bos(tokens.to_vec(), bos), expected);
        }
    }
}
