//! What can be asked, in words of our own: no JSON, every default already filled in.

use std::time::Duration;

use brisk_engine::SamplingParams;

/// Continue a conversation.
#[derive(Clone, Debug, PartialEq)]
pub struct ChatRequest {
    /// The conversation, oldest first.
    pub messages: Vec<Message>,
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
}
