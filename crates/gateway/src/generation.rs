//! A reply as the engine generates it: text token by token, then counts and times.

use std::{
    collections::VecDeque,
    task::{Context, Poll},
    time::Instant,
};

use brisk_engine::{EngineHandle, Event, FinishedEvent, Summary, TokenEvent, TokenStream};

use crate::{
    cleaning::Cleaner,
    error::GatewayError,
    event::{Delta, LikelyToken, ReplyEvent, ReplySummary, ReplyTimings, TokenLogprobs},
};

/// A reply on its way out of the engine. Dropping it cancels what is not generated yet.
#[derive(Debug)]
pub(crate) struct Generation {
    engine: EngineHandle,
    sources: Vec<Source>,
    /// Where the next round of polling begins, so that no prompt starves the others.
    next_source: usize,
    ready: VecDeque<ReplyEvent>,
    summary: ReplySummary,
    num_prompt_tokens: usize,
    started: Instant,
    has_first_token: bool,
    num_choices: usize,
    /// One for each choice, if the reply is cleaned.
    cleaning: Vec<Cleaning>,
    ended: bool,
}

#[derive(Debug)]
struct Cleaning {
    /// Taken when the choice ends.
    cleaner: Option<Cleaner>,
    num_tokens: usize,
}

/// One prompt's generation.
#[derive(Debug)]
pub(crate) struct Source {
    pub(crate) stream: TokenStream,
    pub(crate) num_prompt_tokens: usize,
    pub(crate) echo: Option<String>,
}

impl Generation {
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
        let num_prompt_tokens = sources.iter().map(|source| source.num_prompt_tokens).sum();
        Self {
            engine,
            sources,
            next_source: 0,
            ready,
            summary: ReplySummary { timings, is_counted: true, ..ReplySummary::default() },
            num_prompt_tokens,
            started,
            has_first_token: false,
            num_choices,
            cleaning: Vec::new(),
            ended: false,
        }
    }

    /// Tokens of all prompts.
    pub(crate) fn num_prompt_tokens(&self) -> usize {
        self.num_prompt_tokens
    }

    /// Passes the text of each choice through one of `cleaners`.
    pub(crate) fn clean(&mut self, cleaners: Vec<Cleaner>) {
        let cleaning = |cleaner| Cleaning { cleaner: Some(cleaner), num_tokens: 0 };
        self.cleaning = cleaners.into_iter().map(cleaning).collect();
    }

    /// The next event; `None` after [`ReplyEvent::Done`] or an error.
    pub(crate) async fn next(&mut self) -> Option<Result<ReplyEvent, GatewayError>> {
        std::future::poll_fn(|context| self.poll_next(context)).await
    }

    /// [`Generation::next`] for code that writes its own futures.
    pub(crate) fn poll_next(
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
                let text = match self.cleaning.get_mut(choice) {
                    Some(Cleaning { cleaner: Some(cleaner), num_tokens }) => {
                        *num_tokens += 1;
                        cleaner.push(&token.text, *num_tokens)
                    }
                    _ => token.text,
                };
                let delta = Delta { choice, text, is_generated: true, logprobs };
                Some(Ok(ReplyEvent::Delta(delta)))
            }
            Event::Finished(FinishedEvent { choice, mut text, reason }) => {
                let choice = first_choice + choice;
                if let Some(Cleaning { cleaner, num_tokens }) = self.cleaning.get_mut(choice)
                    && let Some(mut cleaner) = cleaner.take()
                {
                    text = cleaner.push(&text, *num_tokens);
                    text += &cleaner.finish(reason);
                }
                Some(Ok(ReplyEvent::Finished { choice, text, reason }))
            }
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
