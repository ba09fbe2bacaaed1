//! An engine without its thread: a test drives every pass, and moves the clock.

use std::{
    collections::BTreeMap,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
        mpsc::{Receiver, sync_channel},
    },
    task::{Context, Poll, Waker},
    thread,
    time::Duration,
};

use brisk_tokenizer::{ChatTemplate, TokenId, Tokenizer};

use super::fake::{FakeRunner, tokenizer};
use crate::{
    clock::Clock,
    config::{EngineConfig, ModelInfo},
    core::{Core, Pass},
    engine::fit_to,
    error::{GenerationError, SubmitError},
    event::{Event, Summary, TokenLogprobs},
    handle::{EngineHandle, Facts, Submission, TokenStream},
    params::{FinishReason, GenerationRequest, SamplingParams},
    shared::Shared,
    stats::EngineStats,
};

/// Time that moves when a test says so.
#[derive(Debug, Default)]
pub(super) struct ManualClock(AtomicU64);

impl ManualClock {
    pub(super) fn advance_ms(&self, ms: u64) {
        self.advance_us(1000 * ms);
    }

    pub(super) fn advance_us(&self, us: u64) {
        self.0.fetch_add(us, Ordering::SeqCst);
    }
}

impl Clock for ManualClock {
    fn now(&self) -> Duration {
        Duration::from_micros(self.0.load(Ordering::SeqCst))
    }
}

pub(super) struct Rig {
    pub(super) handle: EngineHandle,
    pub(super) clock: Arc<ManualClock>,
    submissions: Receiver<Submission>,
    shared: Arc<Shared>,
    core: Core<FakeRunner>,
}

/// Any template will do: the engine only carries it.
pub(super) fn template(tokenizer: &Tokenizer) -> ChatTemplate {
    ChatTemplate::guess("llama", tokenizer)
}

pub(super) fn model_info() -> ModelInfo {
    ModelInfo {
        name: "hash".to_owned(),
        description: "a hash of its history".to_owned(),
        max_model_len: usize::MAX,
        vocab_size: usize::MAX,
    }
}

impl Rig {
    pub(super) fn new(mut runner: FakeRunner, config: EngineConfig) -> Self {
        let tokenizer = tokenizer();
        let clock = Arc::new(ManualClock::default());
        runner.clock = Arc::clone(&clock);
        let model = fit_to(model_info(), &runner, &tokenizer);
        let core = Core::new(
            runner,
            Arc::clone(&tokenizer),
            &config,
            Arc::clone(&clock) as Arc<dyn Clock>,
        );
        let shared = Arc::new(Shared::new(core.stats(), &config));
        let (inbox, submissions) = sync_channel(config.queue_bounds().max_requests);
        let facts = Facts {
            template: template(&tokenizer),
            tokenizer,
            model,
            config,
            clock: Arc::clone(&clock) as Arc<dyn Clock>,
        };
        let handle = EngineHandle::new(inbox, Arc::clone(&shared), thread::current(), facts);
        Self { handle, clock, submissions, shared, core }
    }

    pub(super) fn submit(&self, request: GenerationRequest) -> Result<Reading, SubmitError> {
        self.handle.submit(request).map(Reading::new)
    }

    /// One pass of the loop, as the thread would do it.
    pub(super) fn pass(&mut self) -> Pass {
        self.core.take(&self.submissions);
        let pass = self.core.pass();
        self.shared.set_stats(self.core.stats());
        pass
    }

    pub(super) fn passes(&mut self, num_passes: usize) {
        for _ in 0..num_passes {
            self.pass();
        }
    }

    pub(super) fn stats(&self) -> EngineStats {
        self.handle.stats()
    }

    pub(super) fn num_entries(&self) -> usize {
        self.core.num_entries()
    }

    pub(super) fn num_computed(&self) -> usize {
        self.core.runner().num_computed
    }

    /// Runs until every one of `readings` is over.
    pub(super) fn finish(&mut self, readings: &mut [Reading]) {
        for _ in 0..10_000 {
            self.pass();
            readings.iter_mut().for_each(Reading::read_all);
            if readings.iter().all(Reading::is_over) {
                // One pass more, to let go of what has been read.
                self.pass();
                return;
            }
        }
        panic!("the requests never end: {:?}", self.stats());
    }
}

/// A stream and what came out of it.
pub(super) struct Reading {
    pub(super) stream: TokenStream,
    pub(super) choices: BTreeMap<usize, ChoiceSeen>,
    pub(super) summary: Option<Summary>,
    pub(super) failed: Option<GenerationError>,
    pub(super) num_events: usize,
}

/// What a reader has seen of a choice.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct ChoiceSeen {
    pub(super) tokens: Vec<TokenId>,
    pub(super) text: String,
    pub(super) logprobs: Vec<TokenLogprobs>,
    pub(super) reason: Option<FinishReason>,
}

impl Reading {
    pub(super) fn new(stream: TokenStream) -> Self {
        Self { stream, choices: BTreeMap::new(), summary: None, failed: None, num_events: 0 }
    }

    /// Reads one event if there is one.
    pub(super) fn read(&mut self) -> bool {
        let mut context = Context::from_waker(Waker::noop());
        match self.stream.poll_next(&mut context) {
            Poll::Ready(Some(event)) => {
                self.take(event);
                true
            }
            Poll::Ready(None) | Poll::Pending => false,
        }
    }

    pub(super) fn read_all(&mut self) {
        while self.read() {}
    }

    pub(super) fn take(&mut self, event: Event) {
        assert!(!self.is_over(), "nothing follows the last event");
        self.num_events += 1;
        match event {
            Event::Token(event) => {
                let choice = self.choices.entry(event.choice).or_default();
                assert_eq!(choice.reason, None, "no token follows a choice's end");
                choice.tokens.push(event.token);
                choice.text.push_str(&event.text);
                choice.logprobs.extend(event.logprobs);
            }
            Event::Finished(event) => {
                let choice = self.choices.entry(event.choice).or_default();
                assert_eq!(choice.reason, None, "a choice ends once");
                choice.text.push_str(&event.text);
                choice.reason = Some(event.reason);
            }
            Event::Done(summary) => self.summary = Some(summary),
            Event::Failed(error) => self.failed = Some(error),
        }
    }

    pub(super) fn is_over(&self) -> bool {
        self.summary.is_some() || self.failed.is_some()
    }
}

/// A greedy request for `max_tokens` tokens that no end-of-generation token cuts short.
pub(super) fn greedy(prompt: &[TokenId], max_tokens: usize) -> GenerationRequest {
    let params = SamplingParams {
        temperature: 0.0,
        max_tokens: Some(max_tokens),
        ignore_eos: true,
        ..SamplingParams::default()
    };
    GenerationRequest::new(prompt.to_vec(), params)
}

/// The choices of a request that has an engine with plenty of room to itself.
pub(super) fn run_alone(request: GenerationRequest) -> BTreeMap<usize, ChoiceSeen> {
    let mut rig = Rig::new(FakeRunner::new(256, 32), EngineConfig::default());
    let mut readings = [rig.submit(request).expect("an idle engine takes a good request")];
    rig.finish(&mut readings);
    let [reading] = readings;
    assert_eq!(reading.failed, None);
    reading.choices
}
