//! The engine on a real model: its greedy tokens are the reference's, alone and in company.

#![expect(clippy::unwrap_used, reason = "a test ends at the first surprise")]

use std::{fs, path::PathBuf, sync::Arc};

use brisk_engine::{
    Engine, EngineConfig, EngineHandle, Event, GenerationRequest, ModelInfo, SamplingParams,
    TokenStream,
};
use brisk_formats::GgufFile;
use brisk_kernels::{Compute, Cpu};
use brisk_model::{LoadOptions, Model, load_template, load_tokenizer};
use safetensors::SafeTensors;

/// Tokens of the reference's greedy continuation that are compared.
const NUM_TOKENS: usize = 40;

fn golden(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../model/tests/golden").join(name)
}

fn golden_ids(name: &str) -> Vec<u32> {
    let bytes = fs::read(golden("llama-f16.safetensors")).unwrap();
    let tensors = SafeTensors::deserialize(&bytes).unwrap();
    let words = tensors.tensor(name).unwrap();
    words.data().as_chunks::<4>().0.iter().map(|it| u32::from_le_bytes(*it)).collect()
}

fn start(num_kv_cache_tokens: usize, config: EngineConfig) -> EngineHandle {
    let file = Arc::new(GgufFile::open(&golden("llama-f16.gguf")).unwrap());
    let options = LoadOptions {
        compute: Arc::new(Compute::new(Cpu::detect(), 2)),
        max_model_len: Some(96),
        num_kv_cache_tokens: Some(num_kv_cache_tokens),
        kv_cache_type: brisk_kernels::KvType::F16,
        max_num_batched_tokens: 512,
        max_num_logits: 16,
        available_bytes: None,
    };
    let model = Model::load(&file, &options, &mut |_, _| {}).unwrap();
    let tokenizer = load_tokenizer(&file).unwrap();
    let template = load_template(&file, &tokenizer, None).unwrap();
    let info = ModelInfo {
        name: "golden".to_owned(),
        description: "a llama with random weights".to_owned(),
        max_model_len: model.plan().max_model_len,
        vocab_size: model.config().vocab_size,
    };
    Engine::start(model, Arc::new(tokenizer), template, info, config)
}

fn greedy(prompt: &[u32]) -> GenerationRequest {
    let params = SamplingParams {
        temperature: 0.0,
        max_tokens: Some(NUM_TOKENS),
        ignore_eos: true,
        ..SamplingParams::default()
    };
    GenerationRequest::new(prompt.to_vec(), params)
}

fn sampled(prompt: &[u32], seed: u64) -> GenerationRequest {
    let params = SamplingParams { temperature: 1.3, seed: Some(seed), ..greedy(prompt).params };
    GenerationRequest { num_choices: 2, ..GenerationRequest::new(prompt.to_vec(), params) }
}

/// Tokens of both choices, if there are two, and the whole text.
fn read(mut stream: TokenStream) -> (Vec<u32>, String) {
    let (mut tokens, mut texts) = ([vec![], vec![]], [String::new(), String::new()]);
    loop {
        match stream.blocking_next().expect("a stream has a last event") {
            Event::Token(event) => {
                tokens[event.choice].push(event.token);
                texts[event.choice].push_str(&event.text);
            }
            Event::Finished(event) => texts[event.choice].push_str(&event.text),
            Event::Done(_) => return (tokens.concat(), texts.concat()),
            Event::Failed(error) => panic!("{error}"),
        }
    }
}

#[test]
fn greedy_tokens_are_those_of_the_reference() {
    let engine = start(512, EngineConfig::default());
    let (tokens, text) = read(engine.submit(greedy(&golden_ids("greedy_prompt"))).unwrap());
    assert_eq!(tokens, golden_ids("greedy")[..NUM_TOKENS]);
    assert_eq!(text, engine.tokenizer().decode(&tokens));
}

#[test]
fn company_preemption_and_chunks_change_no_token() {
    let prompt = golden_ids("greedy_prompt");
    let long: Vec<u32> = golden_ids("input_ids");
    let requests = || {
        let mut requests = vec![greedy(&prompt), greedy(&long), sampled(&long[..33], 1)];
        requests.extend((2..6).map(|it| sampled(&long[..7 * it], it as u64)));
        requests
    };
    let roomy = start(2048, EngineConfig::default());
    let alone: Vec<_> = requests().into_iter().map(|it| read(roomy.submit(it).unwrap())).collect();

    // Eleven sequences want up to three blocks each, and there are seven.
    let config = EngineConfig { max_num_batched_tokens: 24, ..EngineConfig::default() };
    let short = start(192, config);
    let streams: Vec<_> = requests().into_iter().map(|it| short.submit(it).unwrap()).collect();
    let together: Vec<_> = streams.into_iter().map(read).collect();
    assert_eq!(together, alone);
    assert!(short.stats().num_preemptions > 0, "{:?}", short.stats());
}
