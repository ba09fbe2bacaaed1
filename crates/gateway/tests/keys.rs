//! Two requests have the same key only if everything that can change the reply is equal.

#![allow(clippy::unwrap_used, reason = "this is a test")]

mod common;

use std::{iter, mem, time::Duration};

use brisk_cache::normalize;
use brisk_engine::{Engine, EngineConfig, LogitsWanted, ModelInfo, ModelRunner, SequenceChunk};
use brisk_gateway::{
    CacheConfig, CacheUse, ChatRequest, CompletionRequest, Gateway, GatewayConfig, Message,
    Options, Prompt, RepetitionDetection, Role, SamplingParams, StoreConfig, Tenant,
};
use brisk_tokenizer::{ChatTemplate, TemplateTokens};
use proptest::{
    collection::{btree_map, vec},
    option,
    prelude::*,
    sample::select,
    test_runner::{TestCaseError, TestRunner},
};
use tokio::runtime::{Builder, Runtime};

use common::model::tokenizer;

/// Each is compared with its neighbours by every field.
const NUM_CASES: u32 = 48;

type Key = Option<[u8; 32]>;

/// A field's name, and how two requests exchange it.
type Field<T> = (&'static str, fn(&mut T, &mut T));

/// All fields of a part of a request. It does not compile when one is missing.
macro_rules! fields {
    ($part:ident, $of:expr, $($name:ident)*) => {{
        let _ = |$part { $($name: _),* }: $part| ();
        let fields: Vec<Field<_>> =
            vec![$((stringify!($name), |a, b| mem::swap(&mut $of(a).$name, &mut $of(b).$name))),*];
        fields
    }};
}

fn chat_fields() -> Vec<Field<ChatRequest>> {
    fn itself(it: &mut ChatRequest) -> &mut ChatRequest {
        it
    }
    fn first_message(it: &mut ChatRequest) -> &mut Message {
        &mut it.messages[0]
    }
    fn options(it: &mut ChatRequest) -> &mut Options {
        &mut it.options
    }
    fn cache(it: &mut ChatRequest) -> &mut CacheUse {
        &mut it.options.cache
    }
    fn params(it: &mut ChatRequest) -> &mut SamplingParams {
        &mut it.options.params
    }
    [
        fields!(ChatRequest, itself, messages is_cleaned default_max_tokens options),
        fields!(Message, first_message, role content),
        fields!(Options, options, model params num_choices deadline tenant cache),
        fields!(CacheUse, cache, read write max_age ttl sampled normalized exact replay_pace),
        fields!(SamplingParams, params, temperature top_k top_p min_p typical_p repetition_penalty
            presence_penalty frequency_penalty no_repeat_ngram_size logit_bias seed stop max_tokens
            soft_max_tokens repetition_detection top_logprobs ignore_eos),
    ]
    .concat()
}

fn completion_fields() -> Vec<Field<CompletionRequest>> {
    fn itself(it: &mut CompletionRequest) -> &mut CompletionRequest {
        it
    }
    fields!(CompletionRequest, itself, prompts echo default_max_tokens options)
}

/// What is left of the options when everything is gone that may not count.
fn options_that_count(mut options: Options) -> Options {
    let normalized = options.cache.normalized;
    options.params.logit_bias.sort_by_key(|(token, _)| *token);
    Options {
        model: None,
        deadline: None,
        cache: CacheUse { normalized, ..CacheUse::OFF },
        ..options
    }
}

fn what_counts_in_chat(request: &ChatRequest) -> ChatRequest {
    let mut request = request.clone();
    request.options = options_that_count(request.options);
    if let Some(Message { role: Role::User, content }) = request.messages.last_mut()
        && request.options.cache.normalized
        && let Some(normal) = normalize(content)
    {
        *content = normal;
    }
    request
}

fn what_counts_in_completion(request: &CompletionRequest) -> CompletionRequest {
    CompletionRequest { options: options_that_count(request.options.clone()), ..request.clone() }
}

/// Whether the cache takes part at all.
fn has_key(Options { params, cache, num_choices, .. }: &Options) -> bool {
    let is_reproducible = params.is_greedy() || params.seed.is_some();
    (cache.read || cache.write) && (is_reproducible || (cache.sampled && *num_choices == 1))
}

// Few values of each kind: many pairs agree in a field, and texts fit together in several ways.

fn options() -> impl Strategy<Value = Options> {
    (
        option::of(Just("alphabet".to_owned())),
        params(),
        1..3_usize,
        option::of(Just(Duration::from_secs(600))),
        // All bits are zero, or all but one.
        option::of(0..256_usize),
        cache(),
    )
        .prop_map(|(model, params, num_choices, deadline, bit, cache)| {
            let mut tenant = [0; 32];
            if let Some(bit) = bit {
                tenant[bit / 8] = 1 << (bit % 8);
            }
            Options { model, params, num_choices, deadline, tenant: Tenant::new(tenant), cache }
        })
}

fn cache() -> impl Strategy<Value = CacheUse> {
    let seconds = || option::of((1..3_u64).prop_map(Duration::from_secs));
    let wishes = (seconds(), seconds(), seconds());
    (wishes, any::<[bool; 5]>()).prop_map(
        |((max_age, ttl, replay_pace), [read, write, sampled, normalized, exact])| CacheUse {
            read,
            write,
            max_age,
            ttl,
            sampled,
            normalized,
            exact,
            replay_pace,
        },
    )
}

fn params() -> impl Strategy<Value = SamplingParams> {
    let numbers = (
        select(vec![0.0, -0.0, 0.5, 1.5]),
        0..3_u32,
        select(vec![0.5, 1.0]),
        select(vec![0.0, -0.0, 0.5]),
        select(vec![0.5, 1.0]),
        select(vec![0.5, 1.0]),
        select(vec![0.0, -0.0, 0.5, -0.5]),
        select(vec![0.0, -0.0, 0.5, -0.5]),
        0..3_u32,
    );
    let biases = btree_map(70..73_u32, select(vec![0.0, -0.0, 1.0]), 0..3);
    let biases = biases.prop_map(|biases| biases.into_iter().collect::<Vec<_>>()).prop_shuffle();
    let repetition = (3..5_u32, 1..3_u32, 8..10_u32).prop_map(|(max, min, min_count)| {
        RepetitionDetection { max_pattern_size: max, min_pattern_size: min, min_count }
    });
    let ends = (
        vec("[ab]{1,2}", 0..3),
        option::of(4..6_usize),
        option::of(1..4_usize),
        option::of(repetition),
    );
    (numbers, biases, option::of(0..3_u64), ends, option::of(0..3_u8), any::<bool>()).prop_map(
        |(numbers, logit_bias, seed, ends, top_logprobs, ignore_eos)| {
            let (
                temperature,
                top_k,
                top_p,
                min_p,
                typical_p,
                repetition,
                presence,
                frequency,
                ngram,
            ) = numbers;
            let (stop, max_tokens, soft_max_tokens, repetition_detection) = ends;
            SamplingParams {
                temperature,
                top_k,
                top_p,
                min_p,
                typical_p,
                repetition_penalty: repetition,
                presence_penalty: presence,
                frequency_penalty: frequency,
                no_repeat_ngram_size: ngram,
                logit_bias,
                seed,
                stop,
                max_tokens,
                soft_max_tokens,
                repetition_detection,
                top_logprobs,
                ignore_eos,
            }
        },
    )
}

fn chat() -> impl Strategy<Value = ChatRequest> {
    let role = || select(vec![Role::System, Role::User, Role::Assistant]);
    let message = |content| (role(), content).prop_map(|(role, content)| Message { role, content });
    // A prompt must not be empty; a message may be.
    let messages = (message("([Ww]hy )?[aAb1 ?]{1,3}"), vec(message("[aA?]{0,2}"), 0..3));
    (messages, any::<bool>(), option::of(4..6_usize), options()).prop_map(
        |((first, mut messages), is_cleaned, default_max_tokens, options)| {
            messages.insert(0, first);
            ChatRequest { messages, is_cleaned, default_max_tokens, options }
        },
    )
}

fn completion() -> impl Strategy<Value = CompletionRequest> {
    let prompt = prop_oneof![
        "[ab]{1,2}".prop_map(Prompt::Text),
        vec(97..99_u32, 1..3).prop_map(Prompt::Tokens),
    ];
    (vec(prompt, 1..3), any::<bool>(), 4..6_usize, options()).prop_map(
        |(prompts, echo, default_max_tokens, options)| CompletionRequest {
            prompts,
            echo,
            default_max_tokens,
            options,
        },
    )
}

/// A model that finds every token as likely as any other.
struct Indifferent;

impl ModelRunner for Indifferent {
    fn forward(&mut self, batch: &[SequenceChunk<'_>], logits: &mut Vec<f32>) {
        for chunk in batch {
            let num_rows = match chunk.logits {
                LogitsWanted::None => 0,
                LogitsWanted::Last => 1,
                LogitsWanted::All => chunk.tokens.len(),
            };
            logits.extend(iter::repeat_n(0.0, num_rows * self.vocab_size()));
        }
    }

    fn max_model_len(&self) -> usize {
        1001
    }

    fn vocab_size(&self) -> usize {
        259
    }

    fn num_blocks(&self) -> usize {
        1024
    }

    fn block_size(&self) -> usize {
        32
    }
}

/// The gateways that are asked for keys.
struct Keys {
    runtime: Runtime,
    gateway: Gateway,
    /// With another identity of the model, another length of its context, and another chat template.
    others: [Gateway; 3],
}

const TEMPLATE: &str = "{% for message in messages %}{{ message.content }}{% endfor %}";

fn gateway(runtime: &Runtime, max_model_len: usize, identity: &[u8], template: &str) -> Gateway {
    let template = ChatTemplate::new(template, TemplateTokens::default()).unwrap();
    let info = ModelInfo {
        name: "alphabet".to_owned(),
        description: "knows nothing".to_owned(),
        max_model_len,
        vocab_size: Indifferent.vocab_size(),
    };
    let config = EngineConfig::default();
    let engine = Engine::start(Indifferent, tokenizer(), template, info, config);
    let stores = StoreConfig { cache: Some(CacheConfig::default()), ..Default::default() };
    let gateway = Gateway::open(GatewayConfig::default(), stores);
    let gateway = runtime.block_on(gateway).unwrap();
    gateway.attach(engine, identity);
    gateway
}

impl Keys {
    fn new() -> Self {
        let runtime = Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let another_template = format!("{TEMPLATE} ");
        let others = [
            gateway(&runtime, 1000, b"another model", TEMPLATE),
            gateway(&runtime, 1001, b"a model", TEMPLATE),
            gateway(&runtime, 1000, b"a model", &another_template),
        ];
        let gateway = gateway(&runtime, 1000, b"a model", TEMPLATE);
        Self { gateway, others, runtime }
    }

    /// The reply itself is given up at once.
    fn of_chat(&self, gateway: &Gateway, request: &ChatRequest) -> Key {
        self.runtime.block_on(gateway.chat(request.clone())).unwrap().cache().key
    }

    fn of_completion(&self, request: &CompletionRequest) -> Key {
        self.runtime.block_on(self.gateway.complete(request.clone())).unwrap().cache().key
    }
}

fn check(
    what: &str,
    (a, is_kept_a): (Key, bool),
    (b, is_kept_b): (Key, bool),
    is_same: bool,
) -> Result<(), TestCaseError> {
    prop_assert_eq!((a.is_some(), b.is_some()), (is_kept_a, is_kept_b), "{}", what);
    prop_assert_eq!(a.is_some() && a == b, is_kept_a && is_kept_b && is_same, "{}", what);
    Ok(())
}

fn run<T: std::fmt::Debug>(
    requests: impl Strategy<Value = T>,
    test: impl Fn(T) -> Result<(), TestCaseError>,
) {
    let config =
        ProptestConfig { cases: NUM_CASES, failure_persistence: None, ..Default::default() };
    TestRunner::new(config).run(&requests, test).unwrap();
}

#[test]
fn two_conversations_have_one_key_only_if_all_that_counts_is_equal() {
    let keys = Keys::new();
    run((chat(), chat()), |(base, other)| {
        let judged = |request: &ChatRequest| {
            (keys.of_chat(&keys.gateway, request), has_key(&request.options))
        };
        let first = judged(&base);
        check("all the same", first, judged(&base), true)?;
        for gateway in &keys.others {
            let elsewhere = (keys.of_chat(gateway, &base), first.1);
            check("another model", first, elsewhere, false)?;
        }
        let is_same =
            |request: &ChatRequest| what_counts_in_chat(&base) == what_counts_in_chat(request);
        check("all fields", first, judged(&other), is_same(&other))?;
        for (name, exchange) in chat_fields() {
            let (mut changed, mut other) = (base.clone(), other.clone());
            exchange(&mut changed, &mut other);
            check(name, first, judged(&changed), is_same(&changed))?;
        }
        Ok(())
    });
}

#[test]
fn two_raw_prompts_have_one_key_only_if_all_that_counts_is_equal() {
    let keys = Keys::new();
    run((completion(), completion()), |(base, other)| {
        let judged =
            |request: &CompletionRequest| (keys.of_completion(request), has_key(&request.options));
        let first = judged(&base);
        check("all the same", first, judged(&base), true)?;
        for (name, exchange) in completion_fields() {
            let (mut changed, mut other) = (base.clone(), other.clone());
            exchange(&mut changed, &mut other);
            let is_same = what_counts_in_completion(&base) == what_counts_in_completion(&changed);
            check(name, first, judged(&changed), is_same)?;
        }
        Ok(())
    });
}

/// Whether a greedy question and a greedy raw prompt are kept with `template`.
fn are_kept(template: &str) -> (bool, bool) {
    let runtime = Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    let gateway = gateway(&runtime, 1000, b"a model", template);
    let options = Options {
        model: None,
        params: SamplingParams { temperature: 0.0, ..Default::default() },
        num_choices: 1,
        deadline: None,
        tenant: Tenant::LOCAL,
        cache: CacheUse { read: true, write: true, ..CacheUse::OFF },
    };
    let messages = vec![Message { role: Role::User, content: "Hi".to_owned() }];
    let chat = ChatRequest {
        messages,
        is_cleaned: false,
        default_max_tokens: None,
        options: options.clone(),
    };
    let raw = CompletionRequest {
        prompts: vec![Prompt::Text("Hi".to_owned())],
        echo: false,
        default_max_tokens: 16,
        options,
    };
    let chat = runtime.block_on(gateway.chat(chat)).unwrap().cache().key;
    let raw = runtime.block_on(gateway.complete(raw)).unwrap().cache().key;
    (chat.is_some(), raw.is_some())
}

#[test]
fn a_reply_to_a_prompt_with_the_time_of_day_is_not_kept() {
    let of = |date: &str| are_kept(&format!("{{{{ {date} }}}}{TEMPLATE}"));
    assert_eq!(of("strftime_now('%d %B %Y')"), (true, true));
    assert_eq!(of("strftime_now('%d %B %Y, %I %p')"), (false, true));
    assert_eq!(of("strftime_now(messages[0].content)"), (false, true));
}
