//! Turns messages and texts into token ids, off the async threads and never too many at once.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

use brisk_engine::{EngineHandle, SubmitError};
use brisk_tokenizer::{ChatMessage, LocalTime, Specials, TemplateError, TokenId};
use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore},
    task::spawn_blocking,
};

use crate::{
    error::GatewayError,
    request::{Message, Prompt},
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

/// The few places at the tokenizer, and who waits for one.
#[derive(Debug)]
pub(crate) struct Workplaces {
    permits: Arc<Semaphore>,
    num_waiting: AtomicUsize,
}

impl Workplaces {
    pub(crate) fn new(num_places: usize) -> Self {
        Self {
            permits: Arc::new(Semaphore::new(num_places.max(1))),
            num_waiting: AtomicUsize::new(0),
        }
    }

    /// A free place, at once or after waiting with fewer than `max_waiting` others.
    async fn take(&self, max_waiting: usize) -> Result<OwnedSemaphorePermit, GatewayError> {
        if let Ok(permit) = Arc::clone(&self.permits).try_acquire_owned() {
            return Ok(permit);
        }
        let num_waiting = self.num_waiting.fetch_add(1, Ordering::SeqCst);
        // Also a caller that goes away waits no more.
        let _waits = Waits(&self.num_waiting);
        if num_waiting >= max_waiting {
            return Err(
                SubmitError::QueueFull { num_waiting, max_queued_requests: max_waiting }.into()
            );
        }
        let permit = Arc::clone(&self.permits).acquire_owned().await;
        Ok(permit.expect("the semaphore is never closed"))
    }
}

/// One who waits; dropping it ends the wait.
struct Waits<'a>(&'a AtomicUsize);

impl Drop for Waits<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::SeqCst);
    }
}

/// Runs `work` on a blocking thread once one of `places` is free; as many may wait for that as for
/// the engine. A caller that goes away leaves running work its place, so no more than there are
/// places ever run.
pub(crate) async fn on_worker<T: Send + 'static>(
    places: &Workplaces,
    max_waiting: usize,
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T, GatewayError> {
    let permit = places.take(max_waiting).await?;
    let task = spawn_blocking(move || {
        let result = work();
        drop(permit);
        result
    });
    task.await.map_err(|error| GatewayError::Panicked { reason: error.to_string() })
}

/// Renders a conversation with the model's chat template and tokenizes it.
pub(crate) async fn chat_prompt(
    places: &Workplaces,
    engine: &EngineHandle,
    messages: Arc<Vec<Message>>,
    now: LocalTime,
) -> Result<Prepared, GatewayError> {
    let (engine, max_waiting) = (engine.clone(), engine.config().max_queued_requests);
    on_worker(places, max_waiting, move || {
        let messages: Vec<_> = Arc::unwrap_or_clone(messages)
            .into_iter()
            .map(|message| ChatMessage::new(message.role.name(), message.content))
            .collect();
        let tokenizer = engine.tokenizer();
        let rendered = engine.chat_template().render_at(&messages, tokenizer, true, now);
        let rendered = rendered.map_err(|error| template_error(&error))?;
        Ok(Prepared { tokens: tokenizer.encode_prompt(&rendered), echo: None })
    })
    .await?
}

/// Tokenizes raw prompts. `max_prompt_tokens` bounds several of them together; one alone is the
/// engine's to judge.
pub(crate) async fn raw_prompts(
    places: &Workplaces,
    engine: &EngineHandle,
    prompts: Arc<Vec<Prompt>>,
    echo: bool,
    max_prompt_tokens: usize,
) -> Result<Vec<Prepared>, GatewayError> {
    let (engine, max_waiting) = (engine.clone(), engine.config().max_queued_requests);
    on_worker(places, max_waiting, move || {
        let mut prepared = Vec::with_capacity(prompts.len());
        let mut num_prompt_tokens = 0;
        for prompt in Arc::unwrap_or_clone(prompts) {
            let next = raw_prompt(&engine, prompt, echo);
            num_prompt_tokens += next.tokens.len();
            prepared.push(next);
        }
        if prepared.len() > 1 && num_prompt_tokens > max_prompt_tokens {
            return Err(GatewayError::PromptsTooLong { num_prompt_tokens, max_prompt_tokens });
        }
        Ok(prepared)
    })
    .await?
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
    use std::time::Duration;

    use tokio::time::timeout;

    use super::*;

    #[tokio::test]
    async fn only_so_many_wait_for_a_place() {
        let places = Workplaces::new(1);
        let held = places.take(2).await.unwrap();
        let mut first = Box::pin(places.take(2));
        let mut second = Box::pin(places.take(2));
        for waiter in [&mut first, &mut second] {
            assert!(timeout(Duration::ZERO, waiter).await.is_err());
        }
        let full = SubmitError::QueueFull { num_waiting: 2, max_queued_requests: 2 };
        assert_eq!(places.take(2).await.unwrap_err(), full.into());
        drop(first);
        let mut third = Box::pin(places.take(2));
        assert!(timeout(Duration::ZERO, &mut third).await.is_err());
        drop(held);
        drop(second.await.unwrap());
        drop(third.await.unwrap());
        assert_eq!(places.num_waiting.load(Ordering::SeqCst), 0);
    }

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
