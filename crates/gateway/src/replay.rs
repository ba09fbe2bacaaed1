//! Gives a kept reply again, event by event as it was recorded.

use std::{
    sync::Arc,
    task::{Context, Poll, ready},
    time::Duration,
};

use brisk_cache::Entry;
use tokio::time::{Interval, MissedTickBehavior, interval};

use crate::{
    event::{Delta, ReplyEvent},
    recording::{Recording, StepKind},
};

/// A kept reply on its way.
#[derive(Debug)]
pub(crate) struct Replay {
    entry: Arc<Entry<Recording>>,
    next_step: usize,
    /// Bytes of the text that are out.
    text_at: usize,
    next_logprobs: usize,
    in_one_piece: bool,
    /// Time between two tokens, where somebody wants to see them appear.
    pace: Option<Interval>,
    has_ended: bool,
}

impl Replay {
    /// `pace` is the time between two tokens; without it they come as fast as they are taken.
    pub(crate) fn new(entry: Arc<Entry<Recording>>, pace: Option<Duration>) -> Self {
        let pace = pace.map(|pace| {
            let mut pace = interval(pace);
            pace.set_missed_tick_behavior(MissedTickBehavior::Delay);
            pace
        });
        Self {
            entry,
            next_step: 0,
            text_at: 0,
            next_logprobs: 0,
            in_one_piece: false,
            pace,
            has_ended: false,
        }
    }

    /// Tokens of the request that was answered so.
    pub(crate) fn num_prompt_tokens(&self) -> usize {
        self.entry.value.num_prompt_tokens as usize
    }

    pub(crate) fn in_one_piece(&mut self) {
        self.in_one_piece =
            self.entry.value.logprobs.is_empty() && self.entry.value.num_choices == 1;
        self.pace = None;
    }

    /// The events that are left, without any pace.
    pub(crate) fn events(mut self) -> impl Iterator<Item = ReplyEvent> {
        std::iter::from_fn(move || self.next())
    }

    pub(crate) fn poll_next(&mut self, context: &mut Context<'_>) -> Poll<Option<ReplyEvent>> {
        if let Some(pace) = &mut self.pace
            && self.next_step < self.entry.value.steps.len()
        {
            ready!(pace.poll_tick(context));
        }
        Poll::Ready(self.next())
    }

    fn next(&mut self) -> Option<ReplyEvent> {
        let recording = &self.entry.value;
        if self.in_one_piece && self.next_step + 1 < recording.steps.len() {
            // All but the end, in one.
            self.next_step = recording.steps.len() - 1;
            self.text_at =
                recording.text.len() - recording.steps[self.next_step].num_bytes as usize;
            let text = recording.text[..self.text_at].to_owned();
            return Some(ReplyEvent::Delta(Delta {
                choice: 0,
                text,
                is_generated: true,
                logprobs: None,
            }));
        }
        let Some(step) = recording.steps.get(self.next_step) else {
            let is_last = !std::mem::replace(&mut self.has_ended, true);
            return is_last.then(|| ReplyEvent::Done(recording.summary()));
        };
        self.next_step += 1;
        let start = self.text_at;
        self.text_at += step.num_bytes as usize;
        let text = recording.text[start..self.text_at].to_owned();
        let choice = step.choice as usize;
        if let Some(reason) = step.kind.finish_reason() {
            return Some(ReplyEvent::Finished { choice, text, reason });
        }
        let logprobs = (step.kind == StepKind::TokenWithLogprobs).then(|| {
            self.next_logprobs += 1;
            recording.logprobs[self.next_logprobs - 1].clone()
        });
        let is_generated = step.kind != StepKind::Echo;
        Some(ReplyEvent::Delta(Delta { choice, text, is_generated, logprobs }))
    }
}
