//! A generation that can be begun, again if need be: the request and everything it needs.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use brisk_engine::{GenerationError, GenerationRequest, SamplingParams};
use brisk_tokenizer::LocalTime;

use crate::{
    cleaning::Cleaner,
    error::GatewayError,
    generation::{Generation, Source, ms_since},
    prepare::{Prepared, Workshop, chat_prompt, raw_prompts},
    request::{Message, Prompt},
};

/// Tokens before `soft_max_tokens` from which on a cleaned reply goes out by whole sentences.
const HOLD_BACK_TOKENS: usize = 32;

/// What to generate.
#[derive(Clone, Debug)]
pub(crate) struct Job {
    pub(crate) workshop: Workshop,
    /// The moment that the chat template dates its prompt with.
    pub(crate) now: LocalTime,
    pub(crate) input: Input,
    pub(crate) params: SamplingParams,
    pub(crate) num_choices: usize,
    /// Tokens of a reply where the parameters name no number; fewer where the context leaves fewer.
    pub(crate) default_max_tokens: Option<usize>,
    /// Tokens that several prompts may have together.
    pub(crate) max_prompt_tokens: usize,
    /// The moment at which the engine gives up.
    pub(crate) deadline: Option<Deadline>,
}

/// What a reply continues.
#[derive(Clone, Debug)]
pub(crate) enum Input {
    Chat { messages: Arc<Vec<Message>>, is_cleaned: bool },
    Raw { prompts: Arc<Vec<Prompt>>, echo: bool },
}

/// A time that began to run with the request.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Deadline {
    pub(crate) started: Instant,
    pub(crate) time: Duration,
}

impl Job {
    /// Choices of all prompts together.
    pub(crate) fn num_choices_in_all(&self) -> usize {
        match &self.input {
            Input::Chat { .. } => self.num_choices,
            Input::Raw { prompts, .. } => self.num_choices * prompts.len(),
        }
    }

    /// Prepares the prompts and queues them.
    ///
    /// # Errors
    ///
    /// Everything that is known to be wrong before the first token.
    pub(crate) async fn begin(&self) -> Result<Generation, GatewayError> {
        let started = Instant::now();
        let Workshop { engine, client, .. } = &self.workshop;
        // What the queue would refuse is refused here, before any work goes into its prompt.
        engine.check_queue(*client)?;
        let prompts = match &self.input {
            Input::Chat { messages, .. } => {
                vec![chat_prompt(&self.workshop, Arc::clone(messages), self.now).await?]
            }
            Input::Raw { prompts, echo } => {
                let (prompts, max_tokens) = (Arc::clone(prompts), self.max_prompt_tokens);
                raw_prompts(&self.workshop, prompts, *echo, max_tokens).await?
            }
        };
        let tokenize_ms = ms_since(started);
        let mut sources = Vec::with_capacity(prompts.len());
        for Prepared { tokens, echo } in prompts {
            let deadline = self.deadline.map(Deadline::remaining).transpose()?;
            let mut params = self.params.clone();
            if let (None, Some(default)) = (params.max_tokens, self.default_max_tokens) {
                // A prompt that fills the context still gets one token.
                let room = engine.model().max_model_len.saturating_sub(tokens.len()).max(1);
                let max_tokens = default.min(room);
                params.max_tokens = Some(max_tokens);
                params.soft_max_tokens = params.soft_max_tokens.map(|soft| soft.min(max_tokens));
            }
            let (num_choices, num_prompt_tokens) = (self.num_choices, tokens.len());
            let client = *client;
            let request =
                GenerationRequest { prompt: tokens, params, num_choices, deadline, client };
            // An error drops the sources so far, which cancels them.
            sources.push(Source { stream: engine.submit(request)?, num_prompt_tokens, echo });
        }
        let mut generation =
            Generation::new(engine.clone(), sources, self.num_choices, started, tokenize_ms);
        if let Input::Chat { is_cleaned: true, .. } = self.input {
            let hold_from = self
                .params
                .soft_max_tokens
                .map_or(usize::MAX, |soft| soft.saturating_sub(HOLD_BACK_TOKENS));
            generation.clean((0..self.num_choices).map(|_| Cleaner::new(hold_from)).collect());
        }
        Ok(generation)
    }
}

impl Deadline {
    /// What is left of it.
    fn remaining(self) -> Result<Duration, GatewayError> {
        self.time.checked_sub(self.started.elapsed()).ok_or_else(|| self.passed())
    }

    /// When it passes.
    pub(crate) fn end(self) -> Instant {
        self.started + self.time
    }

    /// The error for when it has passed.
    pub(crate) fn passed(self) -> GatewayError {
        let deadline_ms = u64::try_from(self.time.as_millis()).unwrap_or(u64::MAX);
        GenerationError::DeadlineExceeded { deadline_ms }.into()
    }
}
