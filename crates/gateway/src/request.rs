//! What can be asked, in words of our own: no JSON, every default already filled in.

use std::time::Duration;

use brisk_cache::Tenant;
use brisk_engine::SamplingParams;

/// Continue a conversation.
#[derive(Clone, Debug, PartialEq)]
pub struct ChatRequest {
    /// The conversation, oldest first.
    pub messages: Vec<Message>,
    /// Removes template tags at the reply's end and a last sentence that the token limit cut off.
    pub is_cleaned: bool,
    /// Tokens of the reply where the options name no number; fewer where the context leaves fewer.
    /// `None` is as many as the context leaves.
    pub default_max_tokens: Option<usize>,
    /// Everything else.
    pub options: Options,
}

/// One message of a conversation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Message {
    /// Who speaks.
    pub role: Role,
    /// What is said.
    pub content: String,
}

/// Who speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// Instructions from whoever runs the assistant.
    System,
    /// The person.
    User,
    /// The model.
    Assistant,
}

impl Role {
    /// The name that chat templates know.
    pub fn name(self) -> &'static str {
        match self {
            Self::System => "system",
            Self::User => "user",
            Self::Assistant => "assistant",
        }
    }
}

/// Continue one or more texts as they stand, without a chat template.
#[derive(Clone, Debug, PartialEq)]
pub struct CompletionRequest {
    /// What to continue; at least one.
    pub prompts: Vec<Prompt>,
    /// Begin each choice with its prompt.
    pub echo: bool,
    /// Tokens of each reply where the options name no number; fewer where the context leaves fewer.
    pub default_max_tokens: usize,
    /// Everything else.
    pub options: Options,
}

/// Something to continue.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Prompt {
    /// Text in which control tokens count: whoever writes a raw prompt writes its markup too.
    Text(String),
    /// Token ids, taken as they are.
    Tokens(Vec<u32>),
}

/// What both kinds of request share.
#[derive(Clone, Debug, PartialEq)]
pub struct Options {
    /// A model's name or alias; `None` is the gateway's model.
    pub model: Option<String>,
    /// Sampling and stopping.
    pub params: SamplingParams,
    /// Replies to each prompt, at least 1.
    pub num_choices: usize,
    /// Time after which the request fails, wherever it is.
    pub deadline: Option<Duration>,
    /// Whose request it is: nobody else gets its replies or reads its conversations.
    pub tenant: Tenant,
    /// What the response cache may do for it.
    pub cache: CacheUse,
}

/// What the response cache may do for a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CacheUse {
    /// A kept reply may answer, and so may the generation of an equal request in flight.
    pub read: bool,
    /// The reply may be kept.
    pub write: bool,
    /// The oldest kept reply that is good enough.
    pub max_age: Option<Duration>,
    /// How long the reply may be kept, where that is shorter than the cache's own time.
    pub ttl: Option<Duration>,
    /// Also replies that are left to chance, without a seed.
    pub sampled: bool,
    /// A kept reply to a question that differs in case, blanks or its last punctuation mark may
    /// answer too.
    pub normalized: bool,
    /// Not this time: only a kept reply to the same spelling may answer.
    pub exact: bool,
    /// Time between two tokens of a kept reply; `None` is as fast as they are taken.
    pub replay_pace: Option<Duration>,
}

impl CacheUse {
    /// No part in it.
    pub const OFF: Self = Self {
        read: false,
        write: false,
        max_age: None,
        ttl: None,
        sampled: false,
        normalized: false,
        exact: false,
        replay_pace: None,
    };
    /// Replies that a second generation would give again, to equal requests.
    pub const REPRODUCIBLE: Self = Self { read: true, write: true, ..Self::OFF };
    /// For assistants, where the repeated question is the point.
    pub const ASSISTANT: Self = Self { sampled: true, normalized: true, ..Self::REPRODUCIBLE };
}

/// One message in a conversation that the gateway keeps.
#[derive(Clone, Debug, PartialEq)]
pub struct TurnRequest {
    /// Whose conversation it is, among those of the tenant.
    pub user_id: String,
    /// What the person says.
    pub message: String,
    /// Instructions in front of the conversation. They are not kept.
    pub system: Option<String>,
    /// Prompt tokens at most, where that is fewer than the context leaves.
    pub max_context_tokens: Option<usize>,
    /// Tokens of the reply where the options name no number; fewer where the context leaves fewer.
    pub default_max_tokens: usize,
    /// Everything else; one choice.
    pub options: Options,
}
