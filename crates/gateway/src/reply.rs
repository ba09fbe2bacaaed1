//! A reply on its way: text as it is generated, then counts and times.

use std::{
    collections::VecDeque,
    task::{Context, Poll},
    time::Instant,
};

use brisk_engine::{EngineHandle, Event, FinishReason, Summary, TokenEvent, TokenStream};

use crate::error::GatewayError;

/// One step of a reply.
#[derive(Clone, Debug, PartialEq)]
pub enum ReplyEvent {
    /// A token came; its text may be empty while a character or a stop text is incomplete.
    Delta(Delta),
    /// A choice ended.
    Finished {
        /// Which choice.
        choice: usize,
        /// Text that was held back until now.
        text: String,
        /// Why it ended.
        reason: FinishReason,
    },
    /// Everything ended well; the last event.
    Done(ReplySummary),
}

/// A token's text.
#[derive(Clone, Debug, PartialEq)]
pub struct Delta {
    /// Which choice: prompt number times choices per prompt, plus the choice.
    pub choice: usize,
    /// Text to append.
    pub text: String,
    /// False only for a prompt that is repeated at the beginning (`echo`).
    pub is_generated: bool,
    /// Log probabilities, if asked for; never for an end-of-text token, which shows no text.
    pub logprobs: Option<TokenLogprobs>,
}

/// A token with its log probability and the likeliest others.
#[derive(Clone, Debug, PartialEq)]
pub struct TokenLogprobs {
    /// The chosen token.
    pub token: LikelyToken,
    /// The likeliest tokens, best first.
    pub top: Vec<LikelyToken>,
}

/// A token as text and bytes, and how likely it was.
#[derive(Clone, Debug, PartialEq)]
pub struct LikelyToken {
    /// Text for people.
    pub text: String,
    /// The bytes that it adds to the reply.
    pub bytes: Vec<u8>,
    /// Natural log probability under the model.
    pub logprob: f32,
}

/// Counts and times of a whole reply.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct ReplySummary {
    /// Tokens in all prompts.
    pub num_prompt_tokens: usize,
    /// Prompt tokens that the prefix cache already held.
    pub num_cached_tokens: usize,
    /// Tokens generated.
    pub num_completion_tokens: usize,
    /// Times.
    pub timings: ReplyTimings,
}

/// Milliseconds by phase. Prompts of one request run side by side: the longest counts.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct ReplyTimings {
    /// Template and tokenizer.
    pub tokenize_ms: f64,
    /// From the queue's entrance to the first step.
    pub queue_ms: f64,
    /// From the first step to the first token.
    pub prefill_ms: f64,
    /// From the first token to the last.
    pub decode_ms: f64,
    /// From the request's arrival in the gateway to its first token.
    pub time_to_first_token_ms: f64,
}

/// A reply on its way. Dropping it cancels what is not generated yet.
#[derive(Debug)]
pub struct Reply {
    engine: EngineHandle,
    sources: Vec<Source>,
    /// Where the next round of polling begins, so that no prompt starves the others.
    next_source: usize,
    ready: VecDeque<ReplyEvent>,
    summary: ReplySummary,
    started: Instant,
    has_first_token: bool,
    num_choices: usize,
    ended: bool,
}

/// One prompt's generation.
#[derive(Debug)]
pub(crate) struct Source {
    pub(crate) stream: TokenStream,
    pub(crate) echo: Option<String>,
}

impl Reply {
    pub(crate) fn new(
        engine: EngineHandle,
        mut sources: Vec<Source>,
        num_choices: usize,
        started: Instant,
        tokenize_ms: f64,
    ) -> Self {
        let mut ready = VecDeque::new();
        for (i, source) in sources.iter_mut().enumerate() {
            let Some(text) = source.echo.take() else { continue };
            ready.extend((0..num_choices).map(|choice| {
                ReplyEvent::Delta(Delta {
                    choice: i * num_choices + choice,
                    text: text.clone(),
                    is_generated: false,
                    logprobs: None,
                })
            }));
        }
        let timings = ReplyTimings { tokenize_ms, ..ReplyTimings::default() };
        Self {
            engine,
            sources,
            next_source: 0,
            ready,
            summary: ReplySummary { timings, ..ReplySummary::default() },
            started,
            has_first_token: false,
            num_choices,
            ended: false,
        }
    }

    /// The answering model's own name.
    pub fn model(&self) -> &str {
        &self.engine.model().name
    }

    /// Choices of all prompts together; every [`Delta::choice`] is below it.
    pub fn num_choices(&self) -> usize {
        self.sources.len() * self.num_choices
    }

    /// The next event; `None` after [`ReplyEvent::Done`] or an error.
    pub async fn next(&mut self) -> Option<Result<ReplyEvent, GatewayError>> {
        std::future::poll_fn(|context| self.poll_next(context)).await
    }

    /// [`Reply::next`] for code that writes its own futures.
    pub fn poll_next(
        &mut self,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<ReplyEvent, GatewayError>>> {
        if let Some(event) = self.ready.pop_front() {
            return Poll::Ready(Some(Ok(event)));
        }
        if self.ended {
            return Poll::Ready(None);
        }
        let mut num_open = 0;
        for offset in 0..self.sources.len() {
            let i = (self.next_source + offset) % self.sources.len();
            // A stream that has ended says `None` at once, again and again.
            loop {
                match self.sources[i].stream.poll_next(context) {
                    Poll::Pending => num_open += 1,
                    Poll::Ready(None) => {}
                    Poll::Ready(Some(event)) => match self.take(i, event) {
                        None => continue,
                        Some(taken) => {
                            self.next_source = i + 1;
                            self.ended = taken.is_err();
                            return Poll::Ready(Some(taken));
                        }
                    },
                }
                break;
            }
        }
        if num_open > 0 {
            return Poll::Pending;
        }
        self.ended = true;
        Poll::Ready(Some(Ok(ReplyEvent::Done(self.summary))))
    }

    /// What an engine event of source `i` means for the reply.
    fn take(&mut self, i: usize, event: Event) -> Option<Result<ReplyEvent, GatewayError>> {
        let first_choice = i * self.num_choices;
        match event {
            Event::Token(token) => {
                if !self.has_first_token {
                    self.has_first_token = true;
                    self.summary.timings.time_to_first_token_ms = ms_since(self.started);
                }
                let logprobs = self.logprobs(&token);
                let choice = first_choice + token.choice;
                let delta = Delta { choice, text: token.text, is_generated: true, logprobs };
                Some(Ok(ReplyEvent::Delta(delta)))
            }
            Event::Finished(finished) => Some(Ok(ReplyEvent::Finished {
                choice: first_choice + finished.choice,
                text: finished.text,
                reason: finished.reason,
            })),
            Event::Done(summary) => {
                self.add(&summary);
                None
            }
            Event::Failed(error) => Some(Err(error.into())),
        }
    }

    fn add(&mut self, one: &Summary) {
        let all = &mut self.summary;
        all.num_prompt_tokens += one.num_prompt_tokens;
        all.num_cached_tokens += one.num_cached_tokens;
        all.num_completion_tokens += one.num_completion_tokens;
        let timings = &mut all.timings;
        timings.queue_ms = timings.queue_ms.max(one.queue_ms);
        timings.prefill_ms = timings.prefill_ms.max(one.prefill_ms);
        timings.decode_ms = timings.decode_ms.max(one.decode_ms);
    }

    fn logprobs(&self, token: &TokenEvent) -> Option<TokenLogprobs> {
        let tokenizer = self.engine.tokenizer();
        let logprobs = token.logprobs.as_ref()?;
        if tokenizer.end_of_generation().contains(&token.token) {
            return None;
        }
        let likely = |id, logprob| LikelyToken {
            text: tokenizer.token_text(id),
            bytes: tokenizer.token_bytes(id).to_vec(),
            logprob,
        };
        Some(TokenLogprobs {
            token: likely(token.token, logprobs.logprob),
            top: logprobs.top.iter().map(|&(id, logprob)| likely(id, logprob)).collect(),
        })
    }
}

pub(crate) fn ms_since(start: Instant) -> f64 {
    start.elapsed().as_secs_f64() * 1e3
}
