//! One live request: its choices, its text so far, and the events it owes its reader.

use std::{collections::VecDeque, sync::Arc, time::Duration};

use brisk_tokenizer::{StreamDecoder, TokenId, Tokenizer};
use tokio::sync::mpsc::{self, error::TrySendError};

use crate::{
    error::GenerationError,
    event::{Event, FinishedEvent, Summary, TokenEvent},
    handle::Submission,
    params::{FinishReason, SamplingParams},
    repetition::RepetitionTracker,
    sampler::{ChoiceSampler, Sampled, fresh_seed},
    scheduler::SequenceId,
    sentence::SentenceTracker,
    shared::QueueTicket,
    stop::StopMatcher,
};

/// A request that the engine has taken.
#[derive(Debug)]
pub(crate) struct Generation {
    pub(crate) choices: Vec<Choice>,
    pub(crate) num_prompt_tokens: usize,
    /// Its place in the queue, until its first step.
    ticket: Option<QueueTicket>,
    params: Arc<SamplingParams>,
    max_tokens: usize,
    /// Time from `submitted_at`.
    deadline: Option<Duration>,
    times: Times,
    events: mpsc::Sender<Event>,
    /// Events that the stream had no room for. Nothing is computed while there are any, so they are
    /// no more than one step gives.
    owed: VecDeque<Event>,
    /// `Done` or `Failed` was sent or is owed.
    pub(crate) is_over: bool,
    pub(crate) is_paused: bool,
}

/// One of a request's independent completions.
#[derive(Debug)]
pub(crate) struct Choice {
    pub(crate) sequence: SequenceId,
    /// Prompt and completion.
    pub(crate) tokens: Vec<TokenId>,
    pub(crate) sampler: ChoiceSampler,
    pub(crate) is_finished: bool,
    decoder: StreamDecoder,
    stop: StopMatcher,
    /// Follows the text if the choice may end with a sentence.
    sentences: Option<SentenceTracker>,
    /// Follows the tokens if the choice may end for repeating itself.
    repetition: Option<RepetitionTracker>,
}

/// When things happened to a request, by the engine's clock.
#[derive(Debug, Default)]
struct Times {
    submitted_at: Duration,
    begun_at: Option<Duration>,
    first_token_at: Option<Duration>,
    last_token_at: Option<Duration>,
}

/// What the caller of [`Generation::flush`] has to know about the reader.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Reader {
    /// It has room for more.
    Ready,
    /// It has not read what was sent.
    Slow,
    /// It has dropped the stream.
    Gone,
}

impl Generation {
    /// `first` is the id of the first choice's sequence; the others follow.
    pub(crate) fn new(submission: Submission, first: SequenceId, tokenizer: &Tokenizer) -> Self {
        let Submission { request, max_tokens, events, ticket, submitted_at } = submission;
        let params = Arc::new(request.params);
        let seed = params.seed.unwrap_or_else(fresh_seed);
        let choice = |index: u64| Choice {
            sequence: SequenceId(first.0 + index),
            tokens: request.prompt.clone(),
            sampler: ChoiceSampler::new(
                Arc::clone(&params),
                seed.wrapping_add(index),
                &request.prompt,
            ),
            is_finished: false,
            decoder: tokenizer.decoder(),
            stop: StopMatcher::new(&params.stop),
            sentences: params.soft_max_tokens.map(|_| SentenceTracker::default()),
            repetition: params.repetition_detection.map(RepetitionTracker::new),
        };
        Self {
            choices: (0..request.num_choices as u64).map(choice).collect(),
            num_prompt_tokens: request.prompt.len(),
            ticket: Some(ticket),
            params,
            max_tokens,
            deadline: request.deadline,
            times: Times { submitted_at, ..Times::default() },
            events,
            owed: VecDeque::new(),
            is_over: false,
            is_paused: false,
        }
    }

    /// The first step that works on it has come; false when it had come before.
    pub(crate) fn begin(&mut self, now: Duration) -> bool {
        self.times.begun_at.get_or_insert(now);
        self.ticket.take().is_some()
    }

    /// Whether a step has worked on it.
    pub(crate) fn has_begun(&self) -> bool {
        self.times.begun_at.is_some()
    }

    /// Time since its first step; `None` before it.
    pub(crate) fn time_at_work(&self, now: Duration) -> Option<Duration> {
        self.times.begun_at.map(|begun_at| now.saturating_sub(begun_at))
    }

    /// Sequences that the scheduler still knows.
    pub(crate) fn live_sequences(&self) -> impl Iterator<Item = SequenceId> + '_ {
        let live = !self.is_over;
        self.choices.iter().filter(move |it| live && !it.is_finished).map(|it| it.sequence)
    }

    /// When its deadline passes, if it has one and is not over.
    pub(crate) fn expires_at(&self) -> Option<Duration> {
        let deadline = self.deadline.filter(|_| !self.is_over)?;
        Some(self.times.submitted_at.saturating_add(deadline))
    }

    /// The error of a passed deadline.
    pub(crate) fn expiry(&self) -> GenerationError {
        let deadline_ms = self.deadline.unwrap_or_default().as_millis();
        let deadline_ms = u64::try_from(deadline_ms).unwrap_or(u64::MAX);
        GenerationError::DeadlineExceeded { deadline_ms }
    }

    /// A token was chosen: tells the reader, and returns why the choice has ended if it has.
    pub(crate) fn accept(
        &mut self,
        index: usize,
        sampled: Sampled,
        tokenizer: &Tokenizer,
        now: Duration,
    ) -> Option<FinishReason> {
        self.times.first_token_at.get_or_insert(now);
        self.times.last_token_at = Some(now);
        let Sampled { token, logprobs } = sampled;
        let ends_generation =
            !self.params.ignore_eos && tokenizer.end_of_generation().contains(&token);
        let choice = &mut self.choices[index];
        choice.tokens.push(token);
        choice.sampler.push(token);
        // An end-of-generation token shows nothing, whatever kind of token the vocabulary calls it.
        let text =
            if ends_generation { String::new() } else { choice.decoder.push(tokenizer, token) };
        if let Some(sentences) = &mut choice.sentences {
            sentences.push(&text);
        }
        let matched = choice.stop.push(text);
        let completion = &choice.tokens[self.num_prompt_tokens..];
        let num_completion_tokens = completion.len();
        let repeats = choice.repetition.as_mut().is_some_and(|it| it.push(completion));
        let is_enough = self.params.soft_max_tokens.is_some_and(|it| num_completion_tokens >= it);
        let reason = if ends_generation || matched.is_stop || (is_enough && choice.ends_sentence())
        {
            Some(FinishReason::Stop)
        } else if num_completion_tokens >= self.max_tokens {
            Some(FinishReason::Length)
        } else {
            repeats.then_some(FinishReason::Repetition)
        };
        let finished = reason.map(|reason| {
            choice.is_finished = true;
            // What follows a stop text is not part of the reply, and neither is the beginning of a
            // character that never became whole: the decoder keeps it.
            let text = if matched.is_stop { String::new() } else { choice.stop.finish() };
            FinishedEvent { choice: index, text, reason }
        });
        self.send(Event::Token(TokenEvent { choice: index, token, text: matched.text, logprobs }));
        if let Some(finished) = finished {
            self.send(Event::Finished(finished));
            if self.choices.iter().all(|it| it.is_finished) {
                self.send(Event::Done(self.summary()));
                self.is_over = true;
            }
        }
        reason
    }

    /// The request broke. The scheduler must have forgotten its sequences.
    pub(crate) fn fail(&mut self, error: GenerationError) {
        self.is_over = true;
        self.send(Event::Failed(error));
    }

    /// Sends what is owed, as far as there is room.
    pub(crate) fn flush(&mut self) -> Reader {
        if self.events.is_closed() {
            return Reader::Gone;
        }
        while let Some(event) = self.owed.pop_front() {
            match self.events.try_send(event) {
                Ok(()) => {}
                Err(TrySendError::Full(event)) => {
                    self.owed.push_front(event);
                    return Reader::Slow;
                }
                Err(TrySendError::Closed(_)) => return Reader::Gone,
            }
        }
        Reader::Ready
    }

    fn send(&mut self, event: Event) {
        self.owed.push_back(event);
        // Whether the reader is slow or gone is looked at before the next step.
        self.flush();
    }

    fn summary(&self) -> Summary {
        let Times { submitted_at, begun_at, first_token_at, last_token_at } = self.times;
        let num_tokens: usize = self.choices.iter().map(|it| it.tokens.len()).sum();
        Summary {
            num_prompt_tokens: self.num_prompt_tokens,
            num_cached_tokens: 0,
            num_completion_tokens: num_tokens - self.num_prompt_tokens * self.choices.len(),
            queue_ms: millis_between(Some(submitted_at), begun_at),
            prefill_ms: millis_between(begun_at, first_token_at),
            decode_ms: millis_between(first_token_at, last_token_at),
        }
    }
}

impl Choice {
    /// Whether the text so far ends with a whole sentence, and with a whole character.
    fn ends_sentence(&self) -> bool {
        self.sentences.as_ref().is_some_and(SentenceTracker::ends_sentence)
            && self.decoder.clone().finish().is_empty()
    }
}

fn millis_between(from: Option<Duration>, to: Option<Duration>) -> f64 {
    let between = from.zip(to).map(|(from, to)| to.saturating_sub(from));
    between.unwrap_or_default().as_secs_f64() * 1e3
}
