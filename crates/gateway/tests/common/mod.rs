//! A gateway with stores in memory, and a model that recites the alphabet.

#![allow(missing_docs, missing_debug_implementations, unreachable_pub, reason = "a test's helper")]
#![allow(dead_code, reason = "each test program uses its own part of this module")]

#[path = "../../../server/tests/common/model.rs"]
pub mod model;

use std::sync::{
    Arc,
    atomic::{AtomicU32, Ordering},
};

use brisk_engine::{Engine, EngineConfig, EngineHandle, ModelInfo, ModelRunner, SequenceChunk};
use brisk_gateway::{
    CacheConfig, CacheStatus, CacheUse, ChatRequest, ConversationConfig, Gateway, GatewayConfig,
    GatewayError, HistoryReport, Message, Options, Reply, ReplyEvent, ReplySummary, Role,
    SamplingParams, StoreConfig, Tenant,
};
use brisk_tokenizer::{ChatTemplate, TemplateTokens};

use self::model::{Alphabet, Gate, tokenizer};

pub struct Fixture {
    pub gateway: Arc<Gateway>,
    pub engine: EngineHandle,
    pub gate: Arc<Gate>,
    /// Steps from now on whose logits are no numbers.
    pub num_faults: Arc<AtomicU32>,
}

impl Fixture {
    pub async fn new() -> Self {
        Self::with_context(100_000).await
    }

    pub async fn with_context(max_model_len: usize) -> Self {
        let (gate, num_faults) = (Arc::new(Gate::default()), Arc::new(AtomicU32::new(0)));
        let model = Alphabet { gate: Arc::clone(&gate) };
        let runner = Faulty { model, num_faults: Arc::clone(&num_faults) };
        let template = "{% for message in messages %}{{ message.content }}{% endfor %}";
        let template = ChatTemplate::new(template, TemplateTokens::default()).unwrap();
        let info = ModelInfo {
            name: "alphabet".to_owned(),
            description: "recites the alphabet".to_owned(),
            max_model_len,
            vocab_size: usize::MAX,
        };
        let engine = Engine::start(runner, tokenizer(), template, info, EngineConfig::default());
        let stores = StoreConfig {
            cache: Some(CacheConfig::default()),
            conversations: Some(ConversationConfig::default()),
            conversations_file: None,
        };
        let gateway = Gateway::open(GatewayConfig::default(), stores).await.unwrap();
        gateway.attach(engine.clone(), b"the alphabet");
        Self { gateway: Arc::new(gateway), engine, gate, num_faults }
    }

    /// Asks and reads to the end.
    pub async fn ask(&self, request: ChatRequest) -> Result<Answer, GatewayError> {
        Answer::of(self.gateway.chat(request).await?).await
    }

    /// Tokens that the engine has generated so far.
    pub fn num_generated(&self) -> u64 {
        self.engine.stats().num_generation_tokens
    }
}

/// The alphabet, with steps that fail.
struct Faulty {
    model: Alphabet,
    num_faults: Arc<AtomicU32>,
}

impl ModelRunner for Faulty {
    fn forward(&mut self, batch: &[SequenceChunk<'_>], logits: &mut Vec<f32>) {
        self.model.forward(batch, logits);
        let less = |left: u32| left.checked_sub(1);
        if self.num_faults.fetch_update(Ordering::SeqCst, Ordering::SeqCst, less).is_ok() {
            logits.fill(f32::NAN);
        }
    }

    fn max_model_len(&self) -> usize {
        self.model.max_model_len()
    }

    fn vocab_size(&self) -> usize {
        self.model.vocab_size()
    }

    fn num_blocks(&self) -> usize {
        self.model.num_blocks()
    }

    fn block_size(&self) -> usize {
        self.model.block_size()
    }
}

/// A whole reply.
#[derive(Debug, PartialEq)]
pub struct Answer {
    pub status: CacheStatus,
    pub key: Option<[u8; 32]>,
    pub text: String,
    /// The text of each event.
    pub pieces: Vec<String>,
    pub summary: ReplySummary,
    pub history: Option<HistoryReport>,
}

impl Answer {
    pub async fn of(mut reply: Reply) -> Result<Self, GatewayError> {
        let (status, key, history) = (reply.cache().status, reply.cache().key, reply.history());
        let (mut text, mut pieces) = (String::new(), Vec::new());
        let mut summary = None;
        while let Some(event) = reply.next().await {
            match event? {
                ReplyEvent::Delta(delta) => pieces.push(delta.text),
                ReplyEvent::Finished { text, .. } => pieces.push(text),
                ReplyEvent::Done(done) => summary = Some(done),
            }
        }
        for piece in &pieces {
            text.push_str(piece);
        }
        let summary = summary.expect("a reply without an error has a last event");
        Ok(Self { status, key, text, pieces, summary, history })
    }
}

/// A greedy question.
pub fn question(content: &str) -> ChatRequest {
    let params =
        SamplingParams { temperature: 0.0, max_tokens: Some(8), ..SamplingParams::default() };
    ChatRequest {
        messages: vec![Message { role: Role::User, content: content.to_owned() }],
        is_cleaned: false,
        default_max_tokens: None,
        options: options(params),
    }
}

pub fn options(params: SamplingParams) -> Options {
    Options {
        model: None,
        params,
        num_choices: 1,
        deadline: None,
        tenant: Tenant::LOCAL,
        cache: CacheUse::REPRODUCIBLE,
    }
}
