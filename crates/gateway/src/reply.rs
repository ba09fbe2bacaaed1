//! A reply on its way to a client, wherever it comes from.

use std::{
    future::Future,
    pin::Pin,
    sync::{Arc, atomic::Ordering},
    task::{Context, Poll},
    time::{Duration, Instant},
};

use brisk_cache::{Digest, Reader, Tier};
use brisk_engine::EngineHandle;
use tokio::time::{Sleep, sleep_until};

use crate::{
    error::GatewayError,
    event::{Delta, ReplyEvent, ReplySummary},
    flight::FlightEvent,
    generation::{Generation, ms_since},
    job::Deadline,
    replay::Replay,
    turn::{HistoryReport, OpenTurn},
};

/// A reply on its way. Dropping it cancels what is not generated yet, unless others wait for the
/// same generation.
#[derive(Debug)]
pub struct Reply {
    engine: EngineHandle,
    origin: Origin,
    num_choices: usize,
    num_prompt_tokens: usize,
    started: Instant,
    /// Milliseconds to the first generated token, once it came.
    first_token_ms: Option<f64>,
    cache: CacheReport,
    history: Option<HistoryReport>,
    deadline: Option<(Deadline, Pin<Box<Sleep>>)>,
    /// The conversation that this reply belongs to.
    turn: Option<OpenTurn>,
    ended: bool,
}

/// What the response cache did for a reply.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct CacheReport {
    /// Whether the reply is a kept one.
    pub status: CacheStatus,
    /// Names the entry: the kept one, or the one that this reply may become.
    pub key: Option<Digest>,
    /// Age of the kept reply.
    pub age: Option<Duration>,
    /// Where the kept reply was.
    pub tier: Option<Tier>,
    /// Time that generating the kept reply took.
    pub saved: Duration,
    /// Milliseconds that the lookup took.
    pub lookup_ms: f64,
}

/// Where a reply comes from.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum CacheStatus {
    /// A kept reply to the same request.
    Hit,
    /// A kept reply to a request that differs in the spelling of its last question.
    HitNormalized,
    /// Generated now.
    Miss,
    /// Generated now, and the cache had no part in it.
    #[default]
    Bypass,
    /// Generated now, for an equal request that came before.
    Coalesced,
}

impl CacheStatus {
    /// Every status.
    pub const ALL: [Self; 5] =
        [Self::Hit, Self::HitNormalized, Self::Miss, Self::Bypass, Self::Coalesced];

    /// The word for headers and labels.
    pub fn name(self) -> &'static str {
        match self {
            Self::Hit => "hit",
            Self::HitNormalized => "hit-normalized",
            Self::Miss => "miss",
            Self::Bypass => "bypass",
            Self::Coalesced => "coalesced",
        }
    }

    /// Whether the reply was kept from an earlier request.
    pub fn is_hit(self) -> bool {
        matches!(self, Self::Hit | Self::HitNormalized)
    }
}

/// Who makes the events.
#[derive(Debug)]
pub(crate) enum Origin {
    /// The engine, for this reply alone.
    Generation(Generation),
    /// A generation that equal requests share.
    Flight(Reader<Arc<FlightEvent>>),
    /// The response cache.
    Replay(Replay),
}

impl Reply {
    pub(crate) fn new(
        engine: EngineHandle,
        origin: Origin,
        num_choices: usize,
        started: Instant,
        cache: CacheReport,
    ) -> Self {
        let num_prompt_tokens = match &origin {
            Origin::Generation(generation) => generation.num_prompt_tokens(),
            Origin::Replay(replay) => replay.num_prompt_tokens(),
            // Its first event says so: see `has_begun`.
            Origin::Flight(_) => 0,
        };
        Self {
            engine,
            origin,
            num_choices,
            num_prompt_tokens,
            started,
            first_token_ms: None,
            cache,
            history: None,
            deadline: None,
            turn: None,
            ended: false,
        }
    }

    /// Ends the reply at `deadline`. The engine knows no deadline of a shared generation, for each of
    /// its readers has its own.
    pub(crate) fn set_deadline(&mut self, deadline: Deadline) {
        self.deadline = Some((deadline, Box::pin(sleep_until(deadline.end().into()))));
    }

    pub(crate) fn set_turn(&mut self, turn: OpenTurn, history: HistoryReport) {
        self.turn = Some(turn);
        self.history = Some(history);
    }

    /// The answering model's own name.
    pub fn model(&self) -> &str {
        &self.engine.model().name
    }

    /// Choices of all prompts together; every [`Delta::choice`] is below it.
    pub fn num_choices(&self) -> usize {
        self.num_choices
    }

    /// Tokens in all prompts.
    pub fn num_prompt_tokens(&self) -> usize {
        self.num_prompt_tokens
    }

    /// What the response cache did.
    pub fn cache(&self) -> &CacheReport {
        &self.cache
    }

    /// What was left out of the conversation, where the gateway keeps it.
    pub fn history(&self) -> Option<HistoryReport> {
        self.history
    }

    /// Gives a kept reply as one piece of text for each choice instead of token by token. For
    /// callers who wait for the whole of it.
    pub fn in_one_piece(&mut self) {
        if let Origin::Replay(replay) = &mut self.origin {
            replay.in_one_piece();
        }
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
        if self.ended {
            return Poll::Ready(None);
        }
        let event = match &mut self.turn {
            // The last event waits until the conversation is stored.
            Some(turn) if turn.is_closing() => turn.poll_closed(context),
            _ => self.poll_origin(context),
        };
        let Poll::Ready(event) = event else { return Poll::Pending };
        if let (Some(Ok(ReplyEvent::Done(summary))), Some(turn)) = (&event, &mut self.turn)
            && !turn.is_closed()
        {
            turn.close(*summary);
            return self.poll_next(context);
        }
        self.ended = !matches!(event, Some(Ok(ReplyEvent::Delta(_) | ReplyEvent::Finished { .. })));
        Poll::Ready(event)
    }

    fn poll_origin(
        &mut self,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<ReplyEvent, GatewayError>>> {
        let event = match &mut self.origin {
            Origin::Generation(generation) => generation.poll_next(context),
            Origin::Replay(replay) => replay.poll_next(context).map(|event| event.map(Ok)),
            Origin::Flight(reader) => poll_flight(reader, context),
        };
        if event.is_pending()
            && let Some(error) = self.deadline_passed(context)
        {
            return Poll::Ready(Some(Err(error)));
        }
        event.map(|event| event.map(|event| event.map(|event| self.pass(event))))
    }

    fn deadline_passed(&mut self, context: &mut Context<'_>) -> Option<GatewayError> {
        let (deadline, timer) = self.deadline.as_mut()?;
        timer.as_mut().poll(context).is_ready().then(|| deadline.passed())
    }

    /// Notes what passes, and puts this reply's own times into the summary.
    fn pass(&mut self, mut event: ReplyEvent) -> ReplyEvent {
        match &mut event {
            ReplyEvent::Delta(Delta { text, is_generated, .. }) => {
                if *is_generated && self.first_token_ms.is_none() {
                    self.first_token_ms = Some(ms_since(self.started));
                }
                if let Some(turn) = &mut self.turn {
                    turn.push(text);
                }
            }
            ReplyEvent::Finished { text, .. } => {
                if let Some(turn) = &mut self.turn {
                    turn.push(text);
                }
            }
            ReplyEvent::Done(summary) => {
                let timings = &mut summary.timings;
                timings.time_to_first_token_ms = self.first_token_ms.unwrap_or_default();
                timings.cache_lookup_ms = self.cache.lookup_ms;
            }
        }
        event
    }

    /// Waits until a shared generation has begun or failed to. Whoever follows later only waits.
    pub(crate) async fn has_begun(&mut self) -> Result<(), GatewayError> {
        let begun = std::future::poll_fn(|context| {
            let Origin::Flight(reader) = &mut self.origin else { return Poll::Ready(Ok(())) };
            let event = reader.poll_next(context);
            if event.is_pending()
                && let Some(error) = self.deadline_passed(context)
            {
                return Poll::Ready(Err(error));
            }
            event.map(|event| match event.as_deref() {
                Some(FlightEvent::Failed(error)) => Err(error.clone()),
                Some(FlightEvent::Started { num_prompt_tokens }) => {
                    self.num_prompt_tokens = *num_prompt_tokens;
                    Ok(())
                }
                Some(_) => Ok(()),
                None => Err(interrupted()),
            })
        });
        begun.await
    }
}

fn poll_flight(
    reader: &mut Reader<Arc<FlightEvent>>,
    context: &mut Context<'_>,
) -> Poll<Option<Result<ReplyEvent, GatewayError>>> {
    loop {
        let Poll::Ready(event) = reader.poll_next(context) else { return Poll::Pending };
        return Poll::Ready(Some(match event.as_deref() {
            Some(FlightEvent::Started { .. }) => continue,
            Some(FlightEvent::Reply(event)) => Ok(event.clone()),
            Some(FlightEvent::Done { summary, is_counted }) => {
                let is_counted = !is_counted.swap(true, Ordering::Relaxed);
                Ok(ReplyEvent::Done(ReplySummary { is_counted, ..*summary }))
            }
            Some(FlightEvent::Failed(error)) => Err(error.clone()),
            // A generation that ended well had its last event before.
            None => Err(interrupted()),
        }));
    }
}

fn interrupted() -> GatewayError {
    GatewayError::Panicked { reason: "the shared generation was interrupted".into() }
}
