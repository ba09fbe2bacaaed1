//! A real server on a real socket, with a model that recites the alphabet.

#![allow(dead_code, reason = "each test program uses its own part of this module")]
#![allow(missing_docs, missing_debug_implementations, unreachable_pub, reason = "a test's helper")]

pub mod client;
pub mod log;
pub mod model;

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use brisk_engine::{Engine, EngineConfig, EngineHandle, ModelInfo};
use brisk_gateway::{CacheConfig, ConversationConfig, Gateway, GatewayConfig, StoreConfig};
use brisk_server::{Error, ServerConfig, serve};
use brisk_tokenizer::{ChatTemplate, TemplateTokens};
use tokio::{
    net::{TcpListener, TcpSocket},
    sync::oneshot,
    task::JoinHandle,
};

use self::{
    client::Client,
    model::{Alphabet, Gate, tokenizer},
};

/// Long enough for a slow machine, short enough for a broken test.
pub const PATIENCE: Duration = Duration::from_secs(20);
pub const MODEL: &str = "alphabet";

/// A running server.
pub struct Server {
    pub client: Client,
    pub engine: EngineHandle,
    pub gate: Arc<Gate>,
    stop: Option<oneshot::Sender<()>>,
    task: JoinHandle<Result<(), Error>>,
}

/// Short limits, so that no test waits long; each still is far above what a working reply takes.
pub fn config() -> ServerConfig {
    ServerConfig {
        shutdown_grace: Duration::from_millis(200),
        // A test's own reader may be slow on a busy machine; only a hang should end here.
        close_timeout: Duration::from_secs(60),
        ..ServerConfig::default()
    }
}

impl Server {
    pub fn start(config: ServerConfig) -> Self {
        Self::start_with(config, EngineConfig::default())
    }

    pub fn start_with(config: ServerConfig, engine_config: EngineConfig) -> Self {
        let gate = Arc::new(Gate::default());
        let engine = engine(Arc::clone(&gate), engine_config);
        let aliases = vec!["org/letters".to_owned()];
        let gateway_config = GatewayConfig { aliases, ..GatewayConfig::default() };
        let gateway = Gateway::new(engine.clone(), gateway_config);
        Self::of_gateway(config, Arc::new(gateway), engine, gate)
    }

    /// A server that keeps replies and conversations, in memory.
    pub async fn start_keeping(config: ServerConfig) -> Self {
        Self::start_caching(config, CacheConfig::default()).await
    }

    /// A server that keeps replies like this, and conversations in memory.
    pub async fn start_caching(config: ServerConfig, cache: CacheConfig) -> Self {
        Self::start_with_stores(config, cache, ConversationConfig::default()).await
    }

    /// A server that keeps conversations like this, in memory.
    pub async fn start_storing(config: ServerConfig, conversations: ConversationConfig) -> Self {
        Self::start_with_stores(config, CacheConfig::default(), conversations).await
    }

    async fn start_with_stores(
        config: ServerConfig,
        cache: CacheConfig,
        conversations: ConversationConfig,
    ) -> Self {
        let gate = Arc::new(Gate::default());
        let engine = engine(Arc::clone(&gate), EngineConfig::default());
        let aliases = vec!["org/letters".to_owned()];
        let gateway_config = GatewayConfig { aliases, ..GatewayConfig::default() };
        let stores = StoreConfig {
            cache: Some(cache),
            conversations: Some(conversations),
            ..StoreConfig::default()
        };
        let gateway = Gateway::open(gateway_config, stores).await.unwrap();
        gateway.attach(engine.clone(), MODEL.as_bytes());
        Self::of_gateway(config, Arc::new(gateway), engine, gate)
    }

    pub fn of_gateway(
        config: ServerConfig,
        gateway: Arc<Gateway>,
        engine: EngineHandle,
        gate: Arc<Gate>,
    ) -> Self {
        let listener = listener();
        let address = listener.local_addr().unwrap();
        let (stop, stopped) = oneshot::channel();
        let shutdown = async {
            let _ = stopped.await;
        };
        let task = tokio::spawn(serve(listener, gateway, config, shutdown));
        let client = Client { address, headers: String::new() };
        Self { client, engine, gate, stop: Some(stop), task }
    }

    /// Tells the server to stop.
    pub fn begin_shutdown(&mut self) {
        self.stop.take().unwrap().send(()).unwrap();
    }

    /// Waits for the server's end.
    pub async fn ended(self) {
        let result = tokio::time::timeout(PATIENCE, self.task).await;
        result.expect("the server ends").unwrap().unwrap();
    }

    /// Everything is back where it was: nothing runs, and a canary request gets the whole alphabet.
    pub async fn is_unharmed(&self) {
        self.is_idle().await;
        let reply = self.client.post("/v1/completions", CANARY).await;
        assert_eq!(reply.status, 200, "{}", reply.body);
        assert_eq!(reply.json()["choices"][0]["text"], "bcdefghijklmnopqrstuvwxyz");
        assert_eq!(self.client.get("/health/live").await.status, 200);
    }

    pub async fn is_idle(&self) {
        let stats = || self.engine.stats();
        eventually("nothing runs and no block is held", || {
            stats().num_running + stats().num_waiting + stats().num_blocks_used == 0
        })
        .await;
    }
}

pub const CANARY: &str = r#"{"prompt": "a", "temperature": 0, "max_tokens": 100}"#;

pub fn engine(gate: Arc<Gate>, config: EngineConfig) -> EngineHandle {
    let template = "{% for message in messages %}{{ message.content }}{% endfor %}";
    let template = ChatTemplate::new(template, TemplateTokens::default()).unwrap();
    let info = ModelInfo {
        name: MODEL.to_owned(),
        description: "recites the alphabet".to_owned(),
        max_model_len: usize::MAX,
        vocab_size: usize::MAX,
    };
    Engine::start(Alphabet { gate }, tokenizer(), template, info, config)
}

fn listener() -> TcpListener {
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind("127.0.0.1:0".parse().unwrap()).unwrap();
    socket.listen(128).unwrap()
}

/// Looks again and again until something is so.
pub async fn eventually(what: &str, is_so: impl Fn() -> bool) {
    let start = Instant::now();
    while !is_so() {
        assert!(start.elapsed() < PATIENCE, "waited in vain: {what}");
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
}
