//! The step loop: schedule, forward, sample, publish.
use crate::{
    clock::Clock, config::EngineConfig, handle::Submission, runner::ModelRunner, shared::Shared,
    stats::EngineStats,
};
use brisk_tokenizer::Tokenizer;
use std::sync::{Arc, mpsc::Receiver};
#[allow(dead_code, reason = "in progress")]
pub(crate) struct Core<R> {
    runner: R,
    tokenizer: Arc<Tokenizer>,
    config: EngineConfig,
    clock: Arc<dyn Clock>,
}
impl<R: ModelRunner> Core<R> {
    pub(crate) fn new(
        runner: R,
        tokenizer: Arc<Tokenizer>,
        config: &EngineConfig,
        clock: Arc<dyn Clock>,
    ) -> Self {
        Self { runner, tokenizer, config: config.clone(), clock }
    }
    pub(crate) fn stats(&self) -> EngineStats {
        EngineStats {
            num_blocks: self.runner.num_blocks(),
            block_size: self.runner.block_size(),
            ..EngineStats::default()
        }
    }
    pub(crate) fn plan(&self) -> &'static str {
        ""
    }
    pub(crate) fn run(&mut self, submissions: &Receiver<Submission>, shared: &Shared) {
        drop(submissions.recv());
        shared.set_stats(self.stats());
        let _ = shared.grace();
    }
}
