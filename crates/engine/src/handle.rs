//! How everyone else talks to the engine: a handle takes requests, a stream gives events.

use std::{
    sync::{
        Arc,
        mpsc::{SyncSender, TrySendError},
    },
    task::{Context, Poll, ready},
    thread::Thread,
    time::Duration,
};

use brisk_tokenizer::{ChatTemplate, Tokenizer};
use tokio::sync::mpsc;

use crate::{
    clock::Clock,
    config::{EngineConfig, ModelInfo},
    error::SubmitError,
    event::Event,
    params::{GenerationRequest, MAX_CHOICES, invalid},
    queue::{ClientId, QueueRefusal},
    shared::{QueueTicket, Shared},
    stats::EngineStats,
};

/// A way to an engine; cheap to clone. When the last one is dropped, the engine finishes what it
/// has taken and ends.
#[derive(Clone, Debug)]
pub struct EngineHandle {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    inbox: SyncSender<Submission>,
    shared: Arc<Shared>,
    facts: Facts,
    /// Dropped after `inbox`, so that the engine wakes up to a closed one.
    thread: WakeOnDrop,
}

/// What a handle knows of its engine without asking it.
#[derive(Debug)]
pub(crate) struct Facts {
    pub(crate) tokenizer: Arc<Tokenizer>,
    pub(crate) template: ChatTemplate,
    pub(crate) model: ModelInfo,
    pub(crate) config: EngineConfig,
    pub(crate) clock: Arc<dyn Clock>,
}

/// A request that has passed every check, on its way in.
#[derive(Debug)]
pub(crate) struct Submission {
    pub(crate) request: GenerationRequest,
    /// Completion tokens of each choice: what was asked for, or what the context leaves.
    pub(crate) max_tokens: usize,
    pub(crate) events: mpsc::Sender<Event>,
    /// Its place in the queue, given back with its first step.
    pub(crate) ticket: QueueTicket,
    pub(crate) submitted_at: Duration,
}

impl EngineHandle {
    pub(crate) fn new(
        inbox: SyncSender<Submission>,
        shared: Arc<Shared>,
        thread: Thread,
        facts: Facts,
    ) -> Self {
        Self { inner: Arc::new(Inner { inbox, shared, facts, thread: WakeOnDrop(thread) }) }
    }

    /// Queues a request. Never blocks; dropping the stream cancels the request within one step.
    ///
    /// # Errors
    ///
    /// Says at once when the request can never run, or when the queue is full.
    pub fn submit(&self, request: GenerationRequest) -> Result<TokenStream, SubmitError> {
        let Inner { inbox, shared, facts, thread } = &*self.inner;
        if !shared.is_accepting() {
            return Err(SubmitError::ShuttingDown);
        }
        let max_tokens = check_request(&request, &facts.model)?;
        let num_tokens = request.prompt.len() * request.num_choices;
        let ticket = shared.enqueue(request.client, num_tokens)?;
        let (events, receiver) = mpsc::channel(facts.config.max_buffered_events.max(1));
        let submitted_at = facts.clock.now();
        inbox.try_send(Submission { request, max_tokens, events, ticket, submitted_at }).map_err(
            |error| match error {
                // The inbox has as many places as there are tickets.
                TrySendError::Full(_) => unreachable!("a ticket is a place in the inbox"),
                TrySendError::Disconnected(_) => SubmitError::ShuttingDown,
            },
        )?;
        let engine = WakeOnDrop(thread.0.clone());
        engine.0.unpark();
        Ok(TokenStream { events: receiver, shared: Arc::clone(shared), engine, ended: false })
    }

    /// Whether a request of this client would find a place in the queue now, before any work goes
    /// into its prompt.
    ///
    /// # Errors
    ///
    /// As [`EngineHandle::submit`] would say.
    pub fn check_queue(&self, client: ClientId) -> Result<(), SubmitError> {
        let shared = &self.inner.shared;
        if shared.is_accepting() {
            shared.check_queue(client)
        } else {
            Err(SubmitError::ShuttingDown)
        }
    }

    /// A refusal of a queue before this one, with the time after which it may be worth to try again.
    pub fn refuse(&self, client: ClientId, refusal: QueueRefusal) -> SubmitError {
        self.inner.shared.refuse(client, refusal)
    }

    /// The engine's figures now.
    pub fn stats(&self) -> EngineStats {
        self.inner.shared.stats()
    }

    /// The model behind the engine.
    pub fn model(&self) -> &ModelInfo {
        &self.inner.facts.model
    }

    /// The model's tokenizer.
    pub fn tokenizer(&self) -> &Tokenizer {
        &self.inner.facts.tokenizer
    }

    /// The model's chat template.
    pub fn chat_template(&self) -> &ChatTemplate {
        &self.inner.facts.template
    }

    /// The engine's bounds.
    pub fn config(&self) -> &EngineConfig {
        &self.inner.facts.config
    }

    /// Whether the engine's thread runs; false after a panic or a shutdown, for good.
    pub fn is_alive(&self) -> bool {
        self.inner.shared.is_alive()
    }

    /// Whether requests are taken: alive, and no shutdown was asked for.
    pub fn is_accepting(&self) -> bool {
        self.inner.shared.is_accepting()
    }

    /// Takes no more requests and returns at once. What was taken has `grace` to finish; the rest
    /// then ends with [`crate::GenerationError::ShuttingDown`]. A second call may shorten the grace.
    pub fn shutdown(&self, grace: Duration) {
        self.inner.shared.shut_down(grace);
        self.inner.thread.0.unpark();
    }

    /// Returns when the engine's thread has ended, by shutdown or by panic.
    pub async fn stopped(&self) {
        let mut alive = self.inner.shared.watch_alive();
        // An error means that the sender is gone, which it cannot be while `shared` is held.
        let _ = alive.wait_for(|alive| !alive).await;
    }
}

/// Checks a request at the door and returns the completion tokens that each choice may have.
fn check_request(request: &GenerationRequest, model: &ModelInfo) -> Result<usize, SubmitError> {
    let ModelInfo { max_model_len, vocab_size, .. } = *model;
    let num_prompt_tokens = request.prompt.len();
    if num_prompt_tokens == 0 {
        return Err(SubmitError::EmptyPrompt);
    }
    if num_prompt_tokens > max_model_len {
        return Err(SubmitError::PromptTooLong { num_prompt_tokens, max_model_len });
    }
    if let Some(&token) = request.prompt.iter().find(|&&it| it as usize >= vocab_size) {
        return Err(SubmitError::UnknownToken { token, vocab_size });
    }
    if !(1..=MAX_CHOICES).contains(&request.num_choices) {
        return Err(invalid("n", request.num_choices, "from 1 to 8"));
    }
    request.params.check(vocab_size)?;
    // The last token is never computed and needs no place: a prompt that fills the context still
    // gets one.
    let room = (max_model_len - num_prompt_tokens).max(1);
    match request.params.max_tokens {
        Some(max_tokens) if max_tokens > room => {
            Err(SubmitError::CompletionTooLong { num_prompt_tokens, max_tokens, max_model_len })
        }
        Some(max_tokens) => Ok(max_tokens),
        None => Ok(room),
    }
}

/// The events of one request, in order. Dropping it cancels the request within one step.
///
/// It holds at most [`EngineConfig::max_buffered_events`]; while it is full, the request pauses
/// and others run on.
#[derive(Debug)]
pub struct TokenStream {
    events: mpsc::Receiver<Event>,
    shared: Arc<Shared>,
    ended: bool,
    /// Dropped after `events`, so that the engine wakes up to a closed channel.
    engine: WakeOnDrop,
}

impl TokenStream {
    /// The next event; `None` after [`Event::Done`] or [`Event::Failed`], one of which always comes.
    pub async fn next(&mut self) -> Option<Event> {
        std::future::poll_fn(|context| self.poll_next(context)).await
    }

    /// [`TokenStream::next`] for code that writes its own futures.
    pub fn poll_next(&mut self, context: &mut Context<'_>) -> Poll<Option<Event>> {
        if self.ended {
            return Poll::Ready(None);
        }
        let event = ready!(self.events.poll_recv(context));
        Poll::Ready(Some(self.received(event)))
    }

    /// [`TokenStream::next`] for plain threads.
    ///
    /// # Panics
    ///
    /// When called from a task of an async runtime.
    pub fn blocking_next(&mut self) -> Option<Event> {
        if self.ended {
            return None;
        }
        let event = self.events.blocking_recv();
        Some(self.received(event))
    }

    fn received(&mut self, event: Option<Event>) -> Event {
        // The channel closes without a last event only when the engine's thread is gone.
        let event = event.unwrap_or_else(|| Event::Failed(self.shared.why_ended()));
        self.ended = matches!(event, Event::Done(_) | Event::Failed(_));
        // There is room again, for which a paused request may be waiting.
        self.engine.0.unpark();
        event
    }
}

/// Wakes the engine's thread when it is dropped; stands last in a struct, after what it announces.
#[derive(Debug)]
struct WakeOnDrop(Thread);

impl Drop for WakeOnDrop {
    fn drop(&mut self) {
        self.0.unpark();
    }
}
