//! The gateway: finds the model, and whatever answers a request without it.

use std::{
    path::PathBuf,
    sync::{Arc, OnceLock},
    time::{Duration, Instant, SystemTime},
};

use brisk_cache::{CacheConfig, CacheStats, Digest, EntryInfo, ResponseCache, Tenant};
use brisk_engine::{ClientId, EngineHandle, EngineStats, ModelInfo};
use brisk_storage::{FileError, is_same_file};
use brisk_tokenizer::{ChatMessage, LocalTime, Specials};
use tokio::{task::spawn_blocking, time::timeout};

use crate::{
    conversations::{
        ConversationConfig, ConversationInfo, ConversationStore, Loaded, StoredMessage,
    },
    error::{GatewayError, OpenError},
    history::{TokenCounts, trim},
    job::{Deadline, Input, Job},
    key::Partition,
    prepare::Workshop,
    replies::Replies,
    reply::{CacheReport, Origin, Reply},
    request::{ChatRequest, CompletionRequest, Message, Options, Role, TurnRequest},
    turn::{HistoryReport, OpenTurn},
    workplaces::Workplaces,
};

/// Bytes of an unknown model's name that an error repeats.
const MAX_NAME_BYTES: usize = 128;
/// How long the end of a process waits for the conversations.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(5);

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

/// What a gateway keeps.
#[derive(Clone, Debug, Default)]
pub struct StoreConfig {
    /// Replies, to give them again.
    pub cache: Option<CacheConfig>,
    /// Conversations of clients that send one message at a time.
    pub conversations: Option<ConversationConfig>,
    /// Where these outlive the process; `None` keeps them in memory.
    pub conversations_file: Option<PathBuf>,
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
    replies: Option<Arc<Replies>>,
    conversations: Option<Arc<ConversationStore>>,
}

#[derive(Debug)]
struct Attached {
    handle: EngineHandle,
    preparing: Arc<Workplaces>,
    since: SystemTime,
    /// Everything about the engine that a kept reply depends on.
    identity: Box<[u8]>,
    token_counts: Arc<TokenCounts>,
    /// Measured when a conversation needs it first.
    overhead: Arc<OnceLock<Overhead>>,
}

impl Gateway {
    /// A gateway to an engine that runs, which keeps nothing.
    pub fn new(engine: EngineHandle, config: GatewayConfig) -> Self {
        let gateway = Self::loading(config);
        gateway.attach(engine, b"");
        gateway
    }

    /// A gateway whose engine comes later: until [`Gateway::attach`], requests fail with
    /// [`GatewayError::Loading`]. It keeps nothing.
    pub fn loading(config: GatewayConfig) -> Self {
        Self { engine: OnceLock::new(), config, replies: None, conversations: None }
    }

    /// A gateway that keeps replies and conversations; its engine comes later.
    ///
    /// # Errors
    ///
    /// A store that cannot be opened.
    pub async fn open(config: GatewayConfig, stores: StoreConfig) -> Result<Self, OpenError> {
        let mut gateway = Self::loading(config);
        let cache_file = stores.cache.as_ref().and_then(|it| it.disk.as_ref());
        if let (Some(cache), Some(conversations)) = (cache_file, &stores.conversations_file)
            && is_same_file(&cache.path, conversations)
        {
            let path = cache.path.display().to_string();
            let other = conversations.display().to_string();
            return Err(OpenError::Files(FileError::SameFile { path, other }));
        }
        if let Some(cache) = stores.cache {
            gateway.replies = Some(Arc::new(Replies::new(ResponseCache::open(cache).await?)));
        }
        if let Some(conversations) = stores.conversations {
            let path = stores.conversations_file;
            let open = move || ConversationStore::open(path.as_deref(), conversations);
            let opened = spawn_blocking(open).await;
            let opened = opened.map_err(|error| OpenError::Panicked { reason: error.to_string() });
            gateway.conversations = Some(Arc::new(opened??));
        }
        Ok(gateway)
    }

    /// Gives the gateway its engine. Only the first one counts.
    ///
    /// `identity` stands for the model's bytes and the arithmetic that runs them: replies are kept
    /// under it and the engine's chat template, so two engines that may answer differently must not
    /// share one.
    pub fn attach(&self, engine: EngineHandle, identity: &[u8]) {
        let bounds = engine.config().queue_bounds();
        let template = blake3::hash(engine.chat_template().source().as_bytes());
        let attached = Attached {
            preparing: Arc::new(Workplaces::new(self.config.max_preparing, bounds)),
            since: SystemTime::now(),
            identity: [identity, template.as_bytes()].concat().into(),
            token_counts: Arc::new(TokenCounts::default()),
            overhead: Arc::default(),
            handle: engine,
        };
        if self.engine.set(attached).is_err() {
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
        let Some(Attached { handle, since, .. }) = self.engine.get() else { return Vec::new() };
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
        let ChatRequest { messages, is_cleaned, default_max_tokens, options } = request;
        let input = Input::Chat { messages: Arc::new(messages), is_cleaned };
        self.answer(input, default_max_tokens, options, started).await
    }

    /// Continues raw prompts, side by side.
    ///
    /// # Errors
    ///
    /// Everything that is known to be wrong before the first token.
    pub async fn complete(&self, request: CompletionRequest) -> Result<Reply, GatewayError> {
        let started = Instant::now();
        let CompletionRequest { prompts, echo, default_max_tokens, options } = request;
        let input = Input::Raw { prompts: Arc::new(prompts), echo };
        self.answer(input, Some(default_max_tokens), options, started).await
    }

    /// Continues a conversation that the gateway keeps: the request brings its newest message alone.
    /// The turn is kept once its reply is whole; of two turns at the same time the one that ends
    /// later comes later.
    ///
    /// # Errors
    ///
    /// Everything that is known to be wrong before the first token.
    pub async fn converse(&self, request: TurnRequest) -> Result<Reply, GatewayError> {
        let started = Instant::now();
        let store = self.conversations()?;
        let attached = self.attached(&request.options)?;
        let TurnRequest {
            user_id,
            message,
            system,
            max_context_tokens,
            default_max_tokens,
            options,
        } = request;
        let tenant = *options.tenant.as_bytes();
        store.check(&user_id, &message)?;
        let Loaded { id, messages: earlier } = store.load(tenant, &user_id, usize::MAX).await?;
        let system = system.map(|content| Message { role: Role::System, content });
        let newest = Message { role: Role::User, content: message.clone() };
        let messages = system.into_iter().chain(earlier).chain([newest]).collect();
        let budget = prompt_budget(attached, &options, default_max_tokens, max_context_tokens);
        let (messages, history) = trim_to(attached, options.tenant, messages, budget).await?;
        let input = Input::Chat { messages: Arc::new(messages), is_cleaned: true };
        let mut reply = self.answer(input, Some(default_max_tokens), options, started).await?;
        let store = Arc::clone(store);
        let keep = move |reply: String| async move {
            store.append(tenant, &user_id, id, &message, &reply, SystemTime::now()).await
        };
        reply.set_turn(OpenTurn::new(move |reply| Box::pin(keep(reply))), history);
        Ok(reply)
    }

    /// The tenant's conversations by user, at most `limit` after the user `after`.
    ///
    /// # Errors
    ///
    /// The store's.
    pub async fn list_conversations(
        &self,
        tenant: Tenant,
        limit: usize,
        after: Option<String>,
    ) -> Result<Vec<ConversationInfo>, GatewayError> {
        Ok(self.conversations()?.list(*tenant.as_bytes(), limit, after.as_deref()).await?)
    }

    /// The newest `limit` messages of a conversation before message `before`, oldest first;
    /// `None` where there is none.
    ///
    /// # Errors
    ///
    /// The store's.
    pub async fn read_conversation(
        &self,
        tenant: Tenant,
        user_id: &str,
        limit: usize,
        before: Option<u64>,
    ) -> Result<Option<Vec<StoredMessage>>, GatewayError> {
        Ok(self.conversations()?.read(*tenant.as_bytes(), user_id, limit, before).await?)
    }

    /// Deletes a conversation; false where there is none.
    ///
    /// # Errors
    ///
    /// The store's.
    pub async fn delete_conversation(
        &self,
        tenant: Tenant,
        user_id: &str,
    ) -> Result<bool, GatewayError> {
        Ok(self.conversations()?.delete(*tenant.as_bytes(), user_id).await?)
    }

    /// The response cache's figures, if there is one.
    pub fn cache_stats(&self) -> Option<CacheStats> {
        self.replies.as_ref().map(|replies| replies.store.stats())
    }

    /// The tenant's kept replies, newest first, at most `limit`.
    pub async fn cache_entries(&self, tenant: Tenant, limit: usize) -> Vec<EntryInfo> {
        match &self.replies {
            Some(replies) => replies.store.list(tenant, limit).await,
            None => Vec::new(),
        }
    }

    /// Forgets a kept reply; false where there is none.
    ///
    /// # Errors
    ///
    /// A tier of the cache did not take it, so the reply may come back from there.
    pub async fn cache_remove(&self, tenant: Tenant, slot: &Digest) -> Result<bool, GatewayError> {
        match &self.replies {
            Some(replies) => Ok(replies.store.remove(tenant, slot).await?),
            None => Ok(false),
        }
    }

    /// Forgets a kept reply that was wrong for a question, and lets its place serve equal questions
    /// alone from now on; false where there is none.
    ///
    /// # Errors
    ///
    /// A tier of the cache did not take it, so the reply may come back from there.
    pub async fn cache_report_bad(
        &self,
        tenant: Tenant,
        slot: &Digest,
    ) -> Result<bool, GatewayError> {
        match &self.replies {
            Some(replies) => Ok(replies.store.report_bad(tenant, slot).await?),
            None => Ok(false),
        }
    }

    /// Forgets all kept replies of the tenant, also those that other instances hold.
    ///
    /// # Errors
    ///
    /// A tier of the cache did not take it, so replies may come back from there.
    pub async fn cache_flush(&self, tenant: Tenant) -> Result<(), GatewayError> {
        match &self.replies {
            Some(replies) => Ok(replies.store.flush(tenant).await?),
            None => Ok(()),
        }
    }

    /// The files that replies and conversations are kept in, by name, and whether they take or give
    /// nothing now. Conversations in memory count too: that has a bound as well.
    pub fn stores(&self) -> impl Iterator<Item = (&'static str, bool)> {
        let cache = self.replies.as_ref().and_then(|it| it.store.stats().is_disk_degraded);
        let conversations = self.conversations.as_ref().map(|it| it.is_degraded());
        let stores = [("cache", cache), ("conversations", conversations)];
        stores.into_iter().filter_map(|(name, is_degraded)| Some((name, is_degraded?)))
    }

    /// Writes what is to be kept and closes the files, or waits for a few seconds. For the end of a
    /// process: from then on nothing is kept.
    pub async fn close(&self) {
        if let Some(replies) = &self.replies {
            replies.store.close().await;
        }
        if let Some(conversations) = &self.conversations
            && timeout(CLOSE_TIMEOUT, conversations.close()).await.is_err()
        {
            tracing::warn!("the conversations' file could not be closed in time");
        }
    }

    async fn answer(
        &self,
        input: Input,
        default_max_tokens: Option<usize>,
        options: Options,
        started: Instant,
    ) -> Result<Reply, GatewayError> {
        let attached = self.attached(&options)?;
        let engine = attached.handle.clone();
        let Options { params, num_choices, deadline, tenant, cache, .. } = options;
        let is_reproducible = params.is_greedy() || params.seed.is_some();
        // Each of several sampled choices is to be another one.
        let may_keep = is_reproducible || (cache.sampled && num_choices == 1);
        let max_prompt_tokens =
            self.config.max_contexts_per_request.saturating_mul(engine.model().max_model_len);
        // One moment dates the prompt and the key, so that midnight never comes between them.
        let now = LocalTime::now();
        let dates = match &input {
            Input::Chat { .. } => engine.chat_template().dates_at(&now),
            Input::Raw { .. } => Some(String::new()),
        };
        let job = Job {
            workshop: attached.workshop(tenant),
            now,
            input,
            params,
            num_choices,
            default_max_tokens,
            max_prompt_tokens,
            deadline: deadline.map(|time| Deadline { started, time }),
        };
        match (&self.replies, &dates) {
            (Some(replies), Some(dates)) if may_keep && (cache.read || cache.write) => {
                let identity = &attached.identity;
                let is_normalized = cache.normalized;
                let partition = Partition { tenant, identity, dates, is_normalized };
                replies.answer(job, partition, cache, started).await
            }
            _ => {
                let origin = Origin::Generation(job.begin().await?);
                let num_choices = job.num_choices_in_all();
                Ok(Reply::new(engine, origin, num_choices, started, CacheReport::default()))
            }
        }
    }

    fn conversations(&self) -> Result<&Arc<ConversationStore>, GatewayError> {
        self.conversations.as_ref().ok_or(GatewayError::NoConversations)
    }

    /// The engine that serves these options.
    fn attached(&self, options: &Options) -> Result<&Attached, GatewayError> {
        let attached = self.engine.get().ok_or(GatewayError::Loading)?;
        match &options.model {
            Some(model)
                if *model != attached.handle.model().name
                    && !self.config.aliases.contains(model) =>
            {
                Err(GatewayError::UnknownModel { model: clip(model) })
            }
            _ => Ok(attached),
        }
    }
}

impl Attached {
    /// Where prompts of this tenant are prepared.
    fn workshop(&self, tenant: Tenant) -> Workshop {
        let places = Arc::clone(&self.preparing);
        Workshop { places, engine: self.handle.clone(), client: client_of(tenant) }
    }
}

/// The number under which the engine knows a tenant: a part of an identifier that no client chooses.
fn client_of(tenant: Tenant) -> ClientId {
    let [a, b, c, d, e, f, g, h, ..] = *tenant.as_bytes();
    ClientId(u64::from_le_bytes([a, b, c, d, e, f, g, h]))
}

/// Leaves the oldest turns out until the messages fit into `budget` tokens.
async fn trim_to(
    attached: &Attached,
    tenant: Tenant,
    messages: Vec<Message>,
    budget: usize,
) -> Result<(Vec<Message>, HistoryReport), GatewayError> {
    let counts = Arc::clone(&attached.token_counts);
    let overhead = Arc::clone(&attached.overhead);
    let work = move |engine: &EngineHandle| {
        let Overhead { per_message, base } = *overhead.get_or_init(|| Overhead::of(engine));
        let tokens_of = |text: &str| engine.tokenizer().encode(text, Specials::AsText).len();
        let count =
            |message: &Message| counts.count(message, |message| tokens_of(&message.content));
        let trimmed = trim(messages, count, per_message, budget.saturating_sub(base));
        let num_messages_left_out = trimmed.num_messages_left_out;
        let num_tokens_left_out = trimmed.num_tokens_left_out;
        (trimmed.messages, HistoryReport { num_messages_left_out, num_tokens_left_out })
    };
    attached.workshop(tenant).run(work).await
}

/// Tokens that a conversation's prompt may have: what the reply leaves of the context.
fn prompt_budget(
    attached: &Attached,
    options: &Options,
    default_max_tokens: usize,
    max_context_tokens: Option<usize>,
) -> usize {
    let max_model_len = attached.handle.model().max_model_len;
    // A default takes no more than half of a small context.
    let reserved = options.params.max_tokens.unwrap_or(default_max_tokens.min(max_model_len / 2));
    let budget = max_model_len.saturating_sub(reserved);
    max_context_tokens.map_or(budget, |max| max.min(budget))
}

/// What the chat template adds to the texts of a conversation.
#[derive(Clone, Copy, Debug)]
struct Overhead {
    /// Tokens around each message.
    per_message: usize,
    /// Tokens around the whole.
    base: usize,
}

impl Overhead {
    /// Measured on conversations of one and of three messages of one letter.
    fn of(engine: &EngineHandle) -> Self {
        let num_tokens = |roles: &[Role]| {
            let messages = roles.iter().map(|role| ChatMessage::new(role.name(), "a"));
            let messages: Vec<_> = messages.collect();
            let prompt = engine.chat_template().render(&messages, engine.tokenizer(), true).ok()?;
            Some(engine.tokenizer().encode_prompt(&prompt).len())
        };
        let one = num_tokens(&[Role::User]);
        let three = num_tokens(&[Role::User, Role::Assistant, Role::User]);
        let (Some(one), Some(three)) = (one, three) else { return Self::GUESS };
        let per_message = three.saturating_sub(one).div_ceil(2).saturating_sub(1);
        Self { per_message, base: one.saturating_sub(per_message + 1) }
    }

    /// For a template that refuses such conversations.
    const GUESS: Self = Self { per_message: 16, base: 16 };
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
