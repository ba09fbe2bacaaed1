//! The endpoints that generate, as labels.

/// An endpoint that answers with a model's words.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Endpoint {
    ChatCompletions,
    Completions,
    Query,
    QueryStream,
    Chat,
    /// Not in this list yet.
    Other,
}

/// What an endpoint does, in the words of OpenTelemetry's GenAI conventions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Operation {
    Chat,
    TextCompletion,
}

impl Endpoint {
    pub(crate) const ALL: [Self; 6] = [
        Self::ChatCompletions,
        Self::Completions,
        Self::Query,
        Self::QueryStream,
        Self::Chat,
        Self::Other,
    ];

    /// The endpoint of a route.
    pub(crate) fn of(route: &str) -> Self {
        Self::ALL.into_iter().find(|endpoint| endpoint.route() == route).unwrap_or(Self::Other)
    }

    /// The route, for labels and log lines.
    pub(crate) fn route(self) -> &'static str {
        match self {
            Self::ChatCompletions => "/v1/chat/completions",
            Self::Completions => "/v1/completions",
            Self::Query => "/api/query",
            Self::QueryStream => "/api/query/stream",
            Self::Chat => "/api/chat",
            Self::Other => "other",
        }
    }

    pub(crate) fn operation(self) -> Operation {
        match self {
            Self::Completions => Operation::TextCompletion,
            Self::ChatCompletions | Self::Query | Self::QueryStream | Self::Chat | Self::Other => {
                Operation::Chat
            }
        }
    }
}

impl Operation {
    pub(crate) const ALL: [Self; 2] = [Self::Chat, Self::TextCompletion];

    /// The value of `gen_ai.operation.name`.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Chat => "chat",
            Self::TextCompletion => "text_completion",
        }
    }
}
