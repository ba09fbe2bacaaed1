//! Tries a template on sample conversations, so that what is wrong with it is known before a request.

use super::{ChatMessage, ChatTemplate, LocalTime, Options};
use crate::{TemplateError, Tokenizer};
use serde_json::{Value, json};

/// Names, and roles with what they say. The first is what every template must write.
const SAMPLES: [(&str, &[(&str, &str)]); 4] = [
    ("a question", &[("user", "Hi")]),
    ("a system message and a question", &[("system", "Be brief."), ("user", "Hi")]),
    ("a conversation", &[("user", "Hi"), ("assistant", "Hello."), ("user", "Why?")]),
    (
        "a conversation with a system message",
        &[("system", "Be brief."), ("user", "Hi"), ("assistant", "Hello."), ("user", "Why?")],
    ),
];

/// What a template did with the sample conversations.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TemplateTrial {
    /// How many were rendered.
    pub num_rendered: usize,
    /// Those that the template refuses (`raise_exception`), with its words. Many refuse system messages.
    pub refused: Vec<(String, String)>,
    /// Those that fail for what the template does, with the reason.
    pub failed: Vec<(String, TemplateError)>,
    /// What the template names and nobody has, such as `filter "shout" (line 3)`; some conversation
    /// may need it.
    pub missing: Vec<String>,
}

impl ChatTemplate {
    /// Renders sample conversations: with and without a system message, history and tools, and with
    /// the assistant's turn opened and not.
    ///
    /// # Errors
    /// What is wrong with a template that fails on a plain question.
    pub fn try_out(&self, tokenizer: &Tokenizer) -> Result<TemplateTrial, TemplateError> {
        let now = LocalTime::now();
        let tools = tools();
        let mut trial =
            TemplateTrial { missing: self.engine.needs().missing.clone(), ..Default::default() };
        let with_tools = self.source.contains("tools").then_some(&tools);
        for tools in [None].into_iter().chain(with_tools.map(Some)) {
            for (at, (name, messages)) in SAMPLES.into_iter().enumerate() {
                let name = format!("{name}{}", if tools.is_some() { ", with tools" } else { "" });
                let messages: Vec<ChatMessage> =
                    messages.iter().map(|&(role, text)| ChatMessage::new(role, text)).collect();
                let rendered = [true, false].into_iter().try_for_each(|add_generation_prompt| {
                    let options = Options { add_generation_prompt, now, tools };
                    self.render_with(&messages, tokenizer, options).map(|_| ())
                });
                match rendered {
                    Ok(()) => trial.num_rendered += 1,
                    Err(TemplateError::Refused { message }) => trial.refused.push((name, message)),
                    Err(error) if at == 0 && tools.is_none() => return Err(error),
                    Err(error) => trial.failed.push((name, error)),
                }
            }
        }
        Ok(trial)
    }
}

/// Two functions, one without parameters, as clients describe them.
fn tools() -> Value {
    json!([
        {"type": "function", "function": {
            "name": "get_weather",
            "description": "The weather at a place",
            "parameters": {
                "type": "object",
                "properties": {
                    "place": {"type": "string", "description": "Where"},
                    "unit": {"type": "string", "enum": ["C", "F"], "description": "Of the temperature"},
                    "days": {"type": "array", "items": {"type": "integer"}, "description": "From today"},
                },
                "required": ["place"],
            },
        }},
        {"type": "function", "function": {
            "name": "get_time",
            "description": "The time",
            "parameters": {"type": "object", "properties": {}},
        }},
    ])
}
