//! Times what the engine does for a token beside the model: scheduling, sampling, text, events.
//!
//! ```text
//! cargo bench -p brisk-engine --bench sampling
//! ```
//!
//! The model is a stand-in that copies logits of a large vocabulary. Two kinds of them: those of a model
//! that mostly knows what comes next, and flat ones, for which every token is nearly as good as another.

#![allow(clippy::print_stdout, reason = "a bench prints its results")]

use std::{f32::consts::TAU, sync::Arc, time::Instant};

use brisk_engine::{
    Engine, EngineConfig, EngineHandle, GenerationRequest, LogitsWanted, ModelInfo, ModelRunner,
    SamplingParams, SequenceChunk,
};
use brisk_tokenizer::{ChatTemplate, Tokenizer, Vocabulary};
use rand_chacha::ChaCha8Rng;
use rand_core::{RngCore, SeedableRng};

/// Qwen's, the largest vocabulary but Gemma's.
const VOCAB_SIZE: usize = 151_936;
const NUM_TOKENS: usize = 400;
const NUM_PROMPT_TOKENS: usize = 512;
/// Runs of each case, of which the fastest counts.
const NUM_RUNS: usize = 5;

/// Gives the same logits after every token.
struct Copies(Vec<f32>);

impl ModelRunner for Copies {
    fn forward(&mut self, batch: &[SequenceChunk<'_>], logits: &mut Vec<f32>) {
        for chunk in batch {
            if chunk.logits != LogitsWanted::None {
                logits.extend_from_slice(&self.0);
            }
        }
    }

    fn max_model_len(&self) -> usize {
        NUM_PROMPT_TOKENS + NUM_TOKENS
    }

    fn vocab_size(&self) -> usize {
        VOCAB_SIZE
    }

    fn num_blocks(&self) -> usize {
        self.max_model_len() / self.block_size()
    }

    fn block_size(&self) -> usize {
        16
    }
}

/// Normally distributed, by the method of Box and Muller, with this deviation; the first `num_likely`
/// tokens are lifted above all others, each a little less than the one before.
fn logits(deviation: f32, num_likely: usize) -> Vec<f32> {
    let mut random = ChaCha8Rng::seed_from_u64(1);
    // Of 24 bits, in (0, 1].
    let mut uniform = || ((random.next_u32() >> 8) + 1) as f32 / (1 << 24) as f32;
    let mut logits: Vec<f32> = (0..VOCAB_SIZE)
        .map(|_| deviation * (-2.0 * uniform().ln()).sqrt() * (TAU * uniform()).cos())
        .collect();
    for (i, logit) in logits.iter_mut().take(num_likely).enumerate() {
        *logit = 20.0 - 0.2 * i as f32;
    }
    logits
}

fn tokenizer() -> Tokenizer {
    let tokens = ["<unk>", "<s>", "</s>"].map(str::to_owned).into_iter();
    let tokens = tokens.chain((3..VOCAB_SIZE).map(|i| format!("t{i}"))).collect();
    let mut token_types = vec![1; VOCAB_SIZE];
    token_types[..3].copy_from_slice(&[2, 3, 3]);
    let vocabulary = Vocabulary {
        model: "llama".to_owned(),
        tokens,
        scores: vec![0.0; VOCAB_SIZE],
        token_types,
        bos: Some(1),
        eos: Some(2),
        unk: Some(0),
        ..Vocabulary::default()
    };
    Tokenizer::new(vocabulary).expect("the vocabulary is sound")
}

fn engine(logits: Vec<f32>, tokenizer: &Arc<Tokenizer>) -> EngineHandle {
    let model = ModelInfo {
        name: "copies".to_owned(),
        description: String::new(),
        max_model_len: usize::MAX,
        vocab_size: usize::MAX,
    };
    let template = ChatTemplate::guess("llama", tokenizer);
    let config = EngineConfig::default();
    Engine::start(Copies(logits), Arc::clone(tokenizer), template, model, config)
}

/// Milliseconds per token.
fn time(engine: &EngineHandle, params: &SamplingParams) -> f64 {
    let params = SamplingParams {
        max_tokens: Some(NUM_TOKENS),
        ignore_eos: true,
        seed: Some(1),
        ..params.clone()
    };
    let prompt: Vec<u32> = (0..NUM_PROMPT_TOKENS).map(|i| 3 + (7919 * i % 5000) as u32).collect();
    let run = || {
        let request = GenerationRequest::new(prompt.clone(), params.clone());
        let mut stream = engine.submit(request).expect("the request is sound");
        let started = Instant::now();
        let num_events = std::iter::from_fn(|| stream.blocking_next()).count();
        assert!(num_events > NUM_TOKENS / 2, "only {num_events} events came");
        started.elapsed().as_secs_f64() * 1e3 / NUM_TOKENS as f64
    };
    (0..NUM_RUNS).map(|_| run()).fold(f64::INFINITY, f64::min)
}

fn main() {
    let plain = SamplingParams::default();
    let usual = SamplingParams { temperature: 0.7, top_k: 40, top_p: 0.95, ..plain.clone() };
    let cases = [
        ("greedy", SamplingParams { temperature: 0.0, ..plain.clone() }),
        ("temperature alone", plain.clone()),
        ("top_k, top_p", usual.clone()),
        (
            "top_k, top_p, penalties",
            SamplingParams {
                repetition_penalty: 1.1,
                presence_penalty: 0.2,
                frequency_penalty: 0.2,
                no_repeat_ngram_size: 3,
                ..usual.clone()
            },
        ),
        ("top_p", SamplingParams { top_p: 0.95, ..plain.clone() }),
        ("min_p", SamplingParams { min_p: 0.05, ..plain.clone() }),
        ("typical_p", SamplingParams { typical_p: 0.95, ..plain.clone() }),
        ("top_k, top_p, logprobs", SamplingParams { top_logprobs: Some(5), ..usual }),
    ];
    let tokenizer = Arc::new(tokenizer());
    let peaked = engine(logits(1.5, 50), &tokenizer);
    let flat = engine(logits(1.5, 0), &tokenizer);
    println!("milliseconds per token beside the model, {VOCAB_SIZE} logits");
    println!("{:24} {:>7} {:>7}", "", "peaked", "flat");
    for (name, params) in &cases {
        println!("{name:24} {:7.3} {:7.3}", time(&peaked, params), time(&flat, params));
    }
}
