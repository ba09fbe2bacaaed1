//! Starts the thread that owns a model and all its sequences.

use std::{
    any::Any,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{
        Arc,
        mpsc::{Receiver, sync_channel},
    },
    thread,
};

use brisk_tokenizer::{ChatTemplate, Tokenizer};

use crate::{
    clock::{Clock, SystemClock},
    config::{EngineConfig, ModelInfo},
    core::Core,
    error::GenerationError,
    handle::{EngineHandle, Facts, Submission},
    runner::ModelRunner,
    shared::Shared,
};

/// The engine: one thread that owns a runner and every sequence, and works step by step.
#[derive(Clone, Copy, Debug)]
pub struct Engine;

impl Engine {
    /// Starts the thread. `model.max_model_len` and `model.vocab_size` are lowered to what the
    /// runner, its KV blocks and the tokenizer hold.
    ///
    /// # Panics
    ///
    /// When the system refuses a thread.
    pub fn start(
        runner: impl ModelRunner + Send + 'static,
        tokenizer: Arc<Tokenizer>,
        template: ChatTemplate,
        model: ModelInfo,
        config: EngineConfig,
    ) -> EngineHandle {
        let clock = Arc::new(SystemClock::new());
        Self::start_with_clock(runner, tokenizer, template, model, config, clock)
    }

    /// [`Engine::start`] with a clock of the caller's, for tests that move time.
    ///
    /// # Panics
    ///
    /// When the system refuses a thread.
    pub fn start_with_clock(
        runner: impl ModelRunner + Send + 'static,
        tokenizer: Arc<Tokenizer>,
        template: ChatTemplate,
        model: ModelInfo,
        config: EngineConfig,
        clock: Arc<dyn Clock>,
    ) -> EngineHandle {
        let model = fit_to(model, &runner, &tokenizer);
        tracing::info!(
            model = model.name,
            max_model_len = model.max_model_len,
            num_blocks = runner.num_blocks(),
            max_num_seqs = config.max_num_seqs,
            "engine started"
        );
        let (inbox, submissions) = sync_channel(config.queue_bounds().max_requests);
        let core = Core::new(runner, Arc::clone(&tokenizer), &config, Arc::clone(&clock));
        let shared = Arc::new(Shared::new(core.stats(), &config));
        let thread = thread::Builder::new().name("brisk-engine".to_owned()).spawn({
            let shared = Arc::clone(&shared);
            move || run(core, &submissions, &shared)
        });
        let thread = thread.expect("the system gives one thread at the start").thread().clone();
        let facts = Facts { tokenizer, template, model, config, clock };
        EngineHandle::new(inbox, shared, thread, facts)
    }
}

/// Lowers the model's facts to what every part can hold.
pub(crate) fn fit_to(
    mut model: ModelInfo,
    runner: &impl ModelRunner,
    tokenizer: &Tokenizer,
) -> ModelInfo {
    let capacity = runner.num_blocks() * runner.block_size();
    model.max_model_len = model.max_model_len.min(runner.max_model_len()).min(capacity);
    model.vocab_size = model.vocab_size.min(runner.vocab_size()).min(tokenizer.vocab_size());
    model
}

/// The thread's whole life: steps until nobody can ask for more, whatever happens on the way.
fn run<R: ModelRunner>(mut core: Core<R>, submissions: &Receiver<Submission>, shared: &Shared) {
    let result = catch_unwind(AssertUnwindSafe(|| core.run(submissions, shared)));
    let end = match result {
        Ok(()) => GenerationError::ShuttingDown,
        Err(panic) => {
            let reason = panic_message(&*panic);
            tracing::error!(reason, plan = %core.plan(), "the engine's thread panicked");
            GenerationError::EngineStopped { reason }
        }
    };
    // First the reason, then the streams close: whoever sees one closed finds out why.
    shared.set_stats(core.final_stats());
    shared.end(end);
    drop(core);
}

fn panic_message(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().copied();
    let text = text.or_else(|| panic.downcast_ref::<String>().map(String::as_str));
    text.unwrap_or("a panic without a message").to_owned()
}
