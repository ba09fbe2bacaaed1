//! One turn of a conversation that the gateway keeps: what came before it, and storing it.

use std::{
    fmt,
    future::Future,
    pin::Pin,
    task::{Context, Poll},
};

use crate::{
    conversations::ConversationError,
    error::GatewayError,
    event::{ReplyEvent, ReplySummary},
};

/// What a prompt does not hold of its conversation.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct HistoryReport {
    /// Messages that were left out, the oldest ones.
    pub num_messages_left_out: usize,
    /// Their tokens.
    pub num_tokens_left_out: usize,
}

type Storing = Pin<Box<dyn Future<Output = Result<bool, ConversationError>> + Send>>;

/// A turn whose reply is on its way. It becomes part of the conversation when the reply is whole.
pub(crate) struct OpenTurn {
    reply: String,
    state: State,
}

enum State {
    Open(Box<dyn FnOnce(String) -> Storing + Send>),
    Closing(Storing, ReplySummary),
    Closed,
}

impl OpenTurn {
    /// `store` gets the whole reply.
    pub(crate) fn new(store: impl FnOnce(String) -> Storing + Send + 'static) -> Self {
        Self { reply: String::new(), state: State::Open(Box::new(store)) }
    }

    /// Text of the reply.
    pub(crate) fn push(&mut self, text: &str) {
        self.reply.push_str(text);
    }

    /// The reply is whole: it is stored now, and `summary` held until it is.
    pub(crate) fn close(&mut self, summary: ReplySummary) {
        if let State::Open(store) = std::mem::replace(&mut self.state, State::Closed) {
            self.state = State::Closing(store(std::mem::take(&mut self.reply)), summary);
        }
    }

    pub(crate) fn is_closing(&self) -> bool {
        matches!(self.state, State::Closing(..))
    }

    pub(crate) fn is_closed(&self) -> bool {
        matches!(self.state, State::Closed)
    }

    /// The reply's last event, once the turn is stored or could not be. A whole reply is never taken
    /// back for that: it says so instead.
    pub(crate) fn poll_closed(
        &mut self,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<ReplyEvent, GatewayError>>> {
        let State::Closing(storing, summary) = &mut self.state else { return Poll::Ready(None) };
        let summary = *summary;
        storing.as_mut().poll(context).map(|stored| {
            self.state = State::Closed;
            let is_turn_kept = Some(stored.unwrap_or(false));
            Some(Ok(ReplyEvent::Done(ReplySummary { is_turn_kept, ..summary })))
        })
    }
}

impl fmt::Debug for OpenTurn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("OpenTurn").field("num_bytes", &self.reply.len()).finish_non_exhaustive()
    }
}
