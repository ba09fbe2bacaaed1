//! Streams one reply of the model to the terminal: what `chat` and `run` share.

use std::{
    io::{self, IsTerminal, Write},
    sync::Arc,
};

use anyhow::{Context, Result};
use brisk_gateway::{
    CacheUse, ChatRequest, FinishReason, Gateway, GatewayConfig, Message, Options, ReplyEvent,
    ReplySummary, Role, SamplingParams, Tenant,
};

use crate::{
    args::Sampling,
    config::Config,
    loading::{self, WarmUp},
    output::printable_lines,
};

/// Temperature where nobody asks for another: lively, and seldom astray.
const DEFAULT_TEMPERATURE: f32 = 0.7;
/// Cuts the long tail of unlikely tokens, from which small models seldom recover.
const DEFAULT_TOP_P: f32 = 0.95;
/// Tokens of a reply where nobody asks for another number: some pages, which a model that never ends
/// fills in minutes instead of hours.
pub(crate) const DEFAULT_MAX_TOKENS: usize = 2048;

/// A model ready to answer in the terminal.
pub(super) struct Talker {
    gateway: Arc<Gateway>,
    params: SamplingParams,
    to_terminal: bool,
}

/// How a reply ended.
pub(super) enum Ended {
    /// By itself or at a limit.
    Done(ReplySummary, FinishReason),
    /// By Ctrl-C.
    Stopped,
}

impl Talker {
    pub(super) fn start(config: &Config, sampling: &Sampling) -> Result<Self> {
        let engine = loading::start_engine(config, &loading::open(config)?, WarmUp::No)?;
        let gateway = Arc::new(Gateway::new(engine, GatewayConfig::default()));
        let params = SamplingParams {
            temperature: sampling.temperature.unwrap_or(DEFAULT_TEMPERATURE),
            top_p: sampling.top_p.unwrap_or(DEFAULT_TOP_P),
            seed: sampling.seed,
            max_tokens: sampling.max_tokens,
            ..SamplingParams::default()
        };
        Ok(Self { gateway, params, to_terminal: io::stdout().is_terminal() })
    }

    /// Answers `messages`, writes the reply as it comes and keeps it in `text`. `stop` ends it early.
    pub(super) async fn answer(
        &self,
        messages: &[Message],
        text: &mut String,
        stop: impl Future<Output = ()>,
    ) -> Result<Ended> {
        let options = Options {
            model: None,
            params: self.params.clone(),
            num_choices: 1,
            deadline: None,
            tenant: Tenant::LOCAL,
            cache: CacheUse::OFF,
        };
        let request = ChatRequest {
            messages: messages.to_vec(),
            is_cleaned: false,
            default_max_tokens: Some(DEFAULT_MAX_TOKENS),
            options,
        };
        let mut stop = std::pin::pin!(stop);
        let reply = tokio::select! {
            () = &mut stop => return Ok(Ended::Stopped),
            reply = self.gateway.chat(request) => reply,
        };
        let mut reply = reply?;
        let mut ended_by = FinishReason::Stop;
        loop {
            let event = tokio::select! {
                // Dropping the reply cancels it.
                () = &mut stop => return Ok(Ended::Stopped),
                event = reply.next() => event,
            };
            match event.context("the reply broke off")?? {
                ReplyEvent::Delta(delta) => self.write(&delta.text, text)?,
                ReplyEvent::Finished { text: rest, reason, .. } => {
                    self.write(&rest, text)?;
                    ended_by = reason;
                }
                ReplyEvent::Done(summary) => return Ok(Ended::Done(summary, ended_by)),
            }
        }
    }

    /// One line about a reply that a limit cut off, for whoever wonders where the rest is.
    pub(super) fn say_if_cut(&self, ended: &Ended) {
        let Ended::Done(summary, FinishReason::Length) = ended else { return };
        let num_tokens = summary.num_completion_tokens;
        let limit = match self.params.max_tokens {
            Some(max) if num_tokens >= max => "as --max-tokens says",
            None if num_tokens >= DEFAULT_MAX_TOKENS => "--max-tokens allows more",
            _ => "the context is full, --max-model-len may allow more",
        };
        eprintln!("stopped after {num_tokens} tokens: {limit}");
    }

    fn write(&self, piece: &str, text: &mut String) -> io::Result<()> {
        text.push_str(piece);
        let mut out = io::stdout().lock();
        // A model can be talked into writing terminal controls; a file gets the text as it is.
        if self.to_terminal {
            out.write_all(printable_lines(piece).as_bytes())?;
        } else {
            out.write_all(piece.as_bytes())?;
        }
        out.flush()
    }
}

/// The conversation's beginning: the system message, if there is one.
pub(super) fn opening(sampling: &Sampling) -> Vec<Message> {
    let system = sampling.system.iter();
    system.map(|it| Message { role: Role::System, content: it.clone() }).collect()
}

/// The runtime on which a command for one person waits.
pub(super) fn runtime() -> io::Result<tokio::runtime::Runtime> {
    tokio::runtime::Builder::new_current_thread().enable_all().build()
}
