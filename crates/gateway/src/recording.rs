//! A whole reply as the response cache keeps it: its text, and where each token began.

use std::sync::Arc;

use brisk_cache::Value;
use brisk_engine::FinishReason;
use serde::{Deserialize, Serialize};

use crate::{
    event::{Delta, ReplyEvent, ReplySummary, TokenLogprobs},
    flight::FlightEvent,
};

/// Counts in front of the bytes; another layout gets another number.
const LAYOUT: u8 = 1;

/// A reply that ended well.
#[derive(Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Recording {
    pub(crate) num_choices: u32,
    /// The text of all steps, one after the other.
    pub(crate) text: Box<str>,
    pub(crate) steps: Box<[Step]>,
    /// Of the steps that have them, in order.
    pub(crate) logprobs: Box<[TokenLogprobs]>,
    pub(crate) num_prompt_tokens: u32,
    pub(crate) num_completion_tokens: u32,
}

/// One event of the reply.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Step {
    pub(crate) choice: u32,
    /// Bytes of the text.
    pub(crate) num_bytes: u32,
    pub(crate) kind: StepKind,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum StepKind {
    /// The prompt, repeated.
    Echo,
    Token,
    TokenWithLogprobs,
    /// The choice's end.
    Stop,
    Length,
    Repetition,
}

impl Recording {
    /// The reply that these events make, if it is whole and says something.
    pub(crate) fn of(events: &[Arc<FlightEvent>]) -> Option<Self> {
        let mut text = String::new();
        let (mut steps, mut logprobs) = (Vec::new(), Vec::new());
        let mut summary = None;
        let mut num_choices = 0;
        for event in events {
            let event = match &**event {
                FlightEvent::Started { .. } | FlightEvent::Failed(_) => continue,
                FlightEvent::Reply(event) => event,
                FlightEvent::Done { summary: done, .. } => {
                    summary = Some(*done);
                    continue;
                }
            };
            let (choice, piece, kind) = match event {
                ReplyEvent::Delta(delta) => {
                    logprobs.extend(delta.logprobs.clone());
                    (delta.choice, &delta.text, StepKind::of(delta))
                }
                ReplyEvent::Finished { choice, text, reason } => {
                    (*choice, text, StepKind::of_end(*reason))
                }
                ReplyEvent::Done(_) => continue,
            };
            text.push_str(piece);
            num_choices = num_choices.max(choice + 1);
            let (choice, num_bytes) = (choice.try_into().ok()?, piece.len().try_into().ok()?);
            steps.push(Step { choice, num_bytes, kind });
        }
        let summary = summary?;
        if text.trim().is_empty() {
            return None;
        }
        Some(Self {
            num_choices: num_choices.try_into().ok()?,
            text: text.into(),
            steps: steps.into(),
            logprobs: logprobs.into(),
            num_prompt_tokens: summary.num_prompt_tokens.try_into().ok()?,
            num_completion_tokens: summary.num_completion_tokens.try_into().ok()?,
        })
    }

    /// Counts of the original; what it would cost now is nothing.
    pub(crate) fn summary(&self) -> ReplySummary {
        ReplySummary {
            num_prompt_tokens: self.num_prompt_tokens as usize,
            num_completion_tokens: self.num_completion_tokens as usize,
            ..ReplySummary::default()
        }
    }

    /// Whether steps, text and log probabilities belong together.
    fn is_consistent(&self) -> bool {
        let mut at = 0;
        for step in &self.steps {
            at += step.num_bytes as usize;
            if step.choice >= self.num_choices || !self.text.is_char_boundary(at) {
                return false;
            }
        }
        let has_end = self.steps.last().is_some_and(|step| step.kind.finish_reason().is_some());
        let with_logprobs = |step: &&Step| step.kind == StepKind::TokenWithLogprobs;
        let num_ends = self.steps.iter().filter(|step| step.kind.finish_reason().is_some()).count();
        at == self.text.len()
            && has_end
            && num_ends == self.num_choices as usize
            && self.steps.iter().filter(with_logprobs).count() == self.logprobs.len()
    }
}

impl StepKind {
    fn of(delta: &Delta) -> Self {
        match delta {
            Delta { is_generated: false, .. } => Self::Echo,
            Delta { logprobs: Some(_), .. } => Self::TokenWithLogprobs,
            _ => Self::Token,
        }
    }

    fn of_end(reason: FinishReason) -> Self {
        match reason {
            FinishReason::Stop => Self::Stop,
            FinishReason::Length => Self::Length,
            FinishReason::Repetition => Self::Repetition,
        }
    }

    /// Why the choice ended, if it did.
    pub(crate) fn finish_reason(self) -> Option<FinishReason> {
        match self {
            Self::Stop => Some(FinishReason::Stop),
            Self::Length => Some(FinishReason::Length),
            Self::Repetition => Some(FinishReason::Repetition),
            Self::Echo | Self::Token | Self::TokenWithLogprobs => None,
        }
    }
}

impl Value for Recording {
    fn num_bytes(&self) -> usize {
        let of_token =
            |token: &crate::LikelyToken| size_of_val(token) + token.text.len() + token.bytes.len();
        let of_logprobs = |it: &TokenLogprobs| {
            size_of_val(it) + of_token(&it.token) + it.top.iter().map(of_token).sum::<usize>()
        };
        size_of::<Self>()
            + self.text.len()
            + size_of_val(&*self.steps)
            + self.logprobs.iter().map(of_logprobs).sum::<usize>()
    }

    fn encode(&self) -> Vec<u8> {
        postcard::to_extend(self, vec![LAYOUT]).expect("a vector takes all bytes")
    }

    fn decode(bytes: &[u8]) -> Option<Self> {
        let bytes = bytes.strip_prefix(&[LAYOUT])?;
        let (recording, rest) = postcard::take_from_bytes::<Self>(bytes).ok()?;
        (rest.is_empty() && recording.is_consistent()).then_some(recording)
    }
}
