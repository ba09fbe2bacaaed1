//! Reads Hugging Face's `tokenizer_config.json`.

use crate::Error;
use serde_json::Value;

/// What Hugging Face's `tokenizer_config.json` adds to `tokenizer.json`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TokenizerConfig {
    /// Text of the token that begins a sequence.
    pub bos_token: Option<String>,
    /// Text of the token that ends one.
    pub eos_token: Option<String>,
    /// Whether prompts begin with `bos_token`.
    pub add_bos_token: Option<bool>,
    /// The chat template's source; of several named ones, `default`.
    pub chat_template: Option<String>,
}

impl TokenizerConfig {
    /// Reads `tokenizer_config.json`.
    pub fn from_json(json: &[u8]) -> Result<TokenizerConfig, Error> {
        let file = "tokenizer_config.json";
        let config: Value =
            serde_json::from_slice(json).map_err(|source| Error::Json { file, source })?;
        let text = |value: &Value| value.as_str().map(str::to_owned);
        // A token is written as its text, or as an object that has it as `content`.
        let token = |name: &str| text(&config[name]).or_else(|| text(&config[name]["content"]));
        let templates = &config["chat_template"];
        let named_default = |list: &Vec<Value>| {
            text(&list.iter().find(|template| template["name"] == "default")?["template"])
        };
        Ok(TokenizerConfig {
            bos_token: token("bos_token"),
            eos_token: token("eos_token"),
            add_bos_token: config["add_bos_token"].as_bool(),
            chat_template: text(templates).or_else(|| templates.as_array().and_then(named_default)),
        })
    }
}
