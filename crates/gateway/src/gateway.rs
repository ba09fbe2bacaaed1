//! The gateway: finds the model, prepares the prompt, asks the engine.

use std::{
    sync::OnceLock,
    time::{Duration, Instant, SystemTime},
};

use brisk_engine::{
    EngineHandle, EngineStats, GenerationError, GenerationRequest, ModelInfo, SubmitError,
};

use crate::{
    error::GatewayError,
    prepare::{Prepared, Workplaces, chat_prompt, raw_prompts},
    reply::{Reply, Source, ms_since},
    request::{ChatRequest, CompletionRequest, Options},
};

/// Bytes of an unknown model's name that an error repeats.
const MAX_NAME_BYTES: usize = 128;

/// The bounds and names of a gateway.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GatewayConfig {
    /// Further names of the model.
    pub aliases: Vec<String>,
    /// Prompts that are rendered and tokenized at once.
    pub max_preparing: usize,
    /// Tokens that several prompts of one request may have together, in contexts of the model.
    pub max_contexts_per_request: usize,
}

impl Default for GatewayConfig {
    fn default() -> Self {
        let max_preparing = std::thread::available_parallelism().map_or(2, usize::from);
        Self { aliases: Vec::new(), max_preparing, max_contexts_per_request: 16 }
    }
}

/// A name that requests may ask for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ModelEntry {
    /// The name or alias.
    pub name: String,
    /// The model's own name.
    pub root: String,
    /// Tokens that a prompt and its reply may hold together.
    pub max_model_len: usize,
    /// When the model was ready.
    pub loaded_at: SystemTime,
}

/// Answers requests with one engine, which may still be loading.
#[derive(Debug)]
pub struct Gateway {
    engine: OnceLock<Attached>,
    config: GatewayConfig,
    preparing: Workplaces,
}

#[derive(Debug)]
struct Attached {
    handle: EngineHandle,
    since: SystemTime,
}

impl Gateway {
    /// A gateway to an engine that runs.
    pub fn new(engine: EngineHandle, config: GatewayConfig) -> Self {
        let gateway = Self::loading(config);
        gateway.attach(engine);
        gateway
    }

    /// A gateway whose engine comes later: until [`Gateway::attach`], requests fail with
    /// [`GatewayError::Loading`].
    pub fn loading(config: GatewayConfig) -> Self {
        let preparing = Workplaces::new(config.max_preparing);
        Self { engine: OnceLock::new(), config, preparing }
    }

    /// Gives the gateway its engine. Only the first one counts.
    pub fn attach(&self, engine: EngineHandle) {
        let since = SystemTime::now();
        if self.engine.set(Attached { handle: engine, since }).is_err() {
            tracing::warn!("the gateway has an engine already; the second one is not used");
        }
    }

    /// Whether a request has a chance now: the model is loaded and the engine takes requests.
    pub fn is_ready(&self) -> bool {
        self.engine.get().is_some_and(|it| it.handle.is_alive() && it.handle.is_accepting())
    }

    /// Whether nothing is broken: the engine is loading or its thread runs.
    pub fn is_alive(&self) -> bool {
        self.engine.get().is_none_or(|it| it.handle.is_alive())
    }

    /// The engine's live figures; zeros while it loads.
    pub fn stats(&self) -> EngineStats {
        self.engine.get().map(|it| it.handle.stats()).unwrap_or_default()
    }

    /// The model, once it is loaded.
    pub fn model(&self) -> Option<&ModelInfo> {
        self.engine.get().map(|it| it.handle.model())
    }

    /// Every name that a request may ask for, the model's own first.
    pub fn models(&self) -> Vec<ModelEntry> {
        let Some(Attached { handle, since }) = self.engine.get() else { return Vec::new() };
        let model = handle.model();
        let names = std::iter::once(&model.name).chain(&self.config.aliases);
        names
            .map(|name| ModelEntry {
                name: name.clone(),
                root: model.name.clone(),
                max_model_len: model.max_model_len,
                loaded_at: *since,
            })
            .collect()
    }

    /// Takes no more requests; what runs has `grace` to finish and then ends with an error.
    pub fn shutdown(&self, grace: Duration) {
        if let Some(Attached { handle, .. }) = self.engine.get() {
            handle.shutdown(grace);
        }
    }

    /// Continues a conversation.
    ///
    /// # Errors
    ///
    /// Everything that is known to be wrong before the first token.
    pub async fn chat(&self, request: ChatRequest) -> Result<Reply, GatewayError> {
        let started = Instant::now();
        let engine = self.admit(&request.options)?;
        let prepared = chat_prompt(&self.preparing, engine, request.messages).await?;
        submit(engine, vec![prepared], request.options, None, started)
    }

    /// Continues raw prompts, side by side.
    ///
    /// # Errors
    ///
    /// Everything that is known to be wrong before the first token.
    pub async fn complete(&self, request: CompletionRequest) -> Result<Reply, GatewayError> {
        let started = Instant::now();
        let engine = self.admit(&request.options)?;
        let contexts = self.config.max_contexts_per_request;
        let max_tokens = contexts.saturating_mul(engine.model().max_model_len);
        let CompletionRequest { prompts, echo, default_max_tokens, options } = request;
        let prepared = raw_prompts(&self.preparing, engine, prompts, echo, max_tokens).await?;
        submit(engine, prepared, options, Some(default_max_tokens), started)
    }

    /// The engine that serves these options, if it takes requests at all. A request that the queue
    /// would refuse is refused here, before any work goes into its prompt.
    fn admit(&self, options: &Options) -> Result<&EngineHandle, GatewayError> {
        let Attached { handle, .. } = self.engine.get().ok_or(GatewayError::Loading)?;
        if let Some(model) = &options.model {
            let known = *model == handle.model().name || self.config.aliases.contains(model);
            if !known {
                return Err(GatewayError::UnknownModel { model: clip(model) });
            }
        }
        if !handle.is_accepting() {
            return Err(SubmitError::ShuttingDown.into());
        }
        let num_waiting = handle.stats().num_queued_requests;
        let max_queued_requests = handle.config().max_queued_requests;
        if num_waiting >= max_queued_requests {
            return Err(SubmitError::QueueFull { num_waiting, max_queued_requests }.into());
        }
        Ok(handle)
    }
}

fn submit(
    engine: &EngineHandle,
    prompts: Vec<Prepared>,
    options: Options,
    default_max_tokens: Option<usize>,
    started: Instant,
) -> Result<Reply, GatewayError> {
    let tokenize_ms = ms_since(started);
    let Options { params, num_choices, deadline, .. } = options;
    let mut sources = Vec::with_capacity(prompts.len());
    for Prepared { tokens, echo } in prompts {
        let deadline = deadline.map(|deadline| remaining(deadline, started)).transpose()?;
        let mut params = params.clone();
        if let (None, Some(default)) = (params.max_tokens, default_max_tokens) {
            // A prompt that fills the context still gets one token.
            let room = engine.model().max_model_len.saturating_sub(tokens.len()).max(1);
            params.max_tokens = Some(default.min(room));
        }
        let request = GenerationRequest { prompt: tokens, params, num_choices, deadline };
        // An error drops the sources so far, which cancels them.
        sources.push(Source { stream: engine.submit(request)?, echo });
    }
    Ok(Reply::new(engine.clone(), sources, num_choices, started, tokenize_ms))
}

/// What is left of a deadline that began at `started`.
fn remaining(deadline: Duration, started: Instant) -> Result<Duration, GatewayError> {
    deadline.checked_sub(started.elapsed()).ok_or_else(|| {
        let deadline_ms = u64::try_from(deadline.as_millis()).unwrap_or(u64::MAX);
        GenerationError::DeadlineExceeded { deadline_ms }.into()
    })
}

/// A client's text, short enough to repeat.
fn clip(name: &str) -> String {
    let end =
        name.char_indices().map(|(i, c)| i + c.len_utf8()).take_while(|&i| i <= MAX_NAME_BYTES);
    let end = end.last().unwrap_or(0);
    if end < name.len() { format!("{}…", &name[..end]) } else { name.to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_name_is_cut_between_characters() {
        for (name, expected) in [
            ("short".to_owned(), "short".to_owned()),
            ("é".repeat(100), format!("{}…", "é".repeat(64))),
        ] {
            assert_eq!(clip(&name), expected);
        }
    }

    #[test]
    fn a_gateway_without_an_engine_says_that_it_loads() {
        let gateway = Gateway::loading(GatewayConfig::default());
        assert_eq!(
            (gateway.is_alive(), gateway.is_ready(), gateway.models().len()),
            (true, false, 0)
        );
    }
}
