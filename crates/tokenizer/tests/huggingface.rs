//! Encodes and decodes as Hugging Face's `tokenizers` does with the same `tokenizer.json`.

#![allow(clippy::unwrap_used, clippy::print_stderr, reason = "tests stop at the first surprise")]

mod support;

use brisk_tokenizer::{Error, Specials, TokenId, Tokenizer, TokenizerConfig};
use serde::Deserialize;
use serde_json::{Value, json};
use support::conformance;

#[derive(Deserialize)]
struct Row {
    text: String,
    ids: Vec<TokenId>,
    decoded: String,
}

fn check(name: &str, json: &[u8], expected: &[u8]) {
    let tokenizer = Tokenizer::from_json(json).unwrap_or_else(|error| panic!("{name}: {error}"));
    let rows: Vec<Row> = serde_json::from_slice(expected).unwrap();
    for Row { text, ids, decoded } in rows {
        assert_eq!(tokenizer.encode(&text, Specials::AsText), ids, "{name}: {text:?}");
        assert_eq!(tokenizer.decode(&ids), decoded, "{name}: {text:?}");
    }
}

macro_rules! check_data {
    ($name:literal) => {
        check(
            $name,
            include_bytes!(concat!("data/", $name, ".json")),
            include_bytes!(concat!("data/", $name, ".expected.json")),
        )
    };
}

#[test]
fn every_kind_of_model_gives_the_same_ids() {
    check_data!("byte-level");
    check_data!("sentencepiece");
    check_data!("metaspace");
    check_data!("unigram");
}

fn small() -> Value {
    serde_json::from_slice(include_bytes!("data/sentencepiece.json")).unwrap()
}

#[test]
fn what_cannot_be_read_is_refused_by_name() {
    let check = |path: &str, value: Value, want: &str| {
        let mut file = small();
        *file.pointer_mut(path).unwrap_or_else(|| panic!("{path}")) = value;
        let error = Tokenizer::from_json(file.to_string().as_bytes()).unwrap_err().to_string();
        assert!(error.contains(want), "{path}: {error}");
    };
    check("/normalizer", json!({"type": "Nmt"}), "tokenizer.json: normalizer Nmt is not supported");
    check("/pre_tokenizer", json!({"type": "BertPreTokenizer"}), "pre_tokenizer BertPreTokenizer");
    check("/model/type", json!("WordPiece"), "model WordPiece is not supported");
    check("/model/continuing_subword_prefix", json!("##"), "a subword prefix");
    check("/model/merges/0", json!(["Q", "QQ"]), "has no piece \"QQ\"");
    check("/added_tokens/0/id", json!(4_000_000_000_u32), "no token with id");
    check("/model/vocab", json!({}), "has no piece");
    check("/model", json!(3), "tokenizer.json: ");
    let split =
        |regex: &str| json!({"type": "Split", "pattern": {"Regex": regex}, "behavior": "Isolated"});
    check("/pre_tokenizer", split("a(?=b)"), "look-around");
    check("/pre_tokenizer", split("(a)\\1"), "backreferences");
    check("/pre_tokenizer", split("\\p{L}{9999}{9999}"), "more than");
    assert!(matches!(Tokenizer::from_json(b"{"), Err(Error::Json { .. })));
}

#[test]
fn a_pattern_that_backtracks_elsewhere_is_linear_here() {
    let mut file = small();
    file["pre_tokenizer"] =
        json!({"type": "Split", "pattern": {"Regex": "(a+)+$"}, "behavior": "Isolated"});
    let tokenizer = Tokenizer::from_json(file.to_string().as_bytes()).unwrap();
    let text = "a".repeat(100_000) + "!";
    assert_eq!(tokenizer.decode(&tokenizer.encode(&text, Specials::AsText)), text);
}

#[test]
fn tokenizer_config_names_bos_eos_and_the_template() {
    let tokenizer = || Tokenizer::from_json(small().to_string().as_bytes()).unwrap();
    let before = tokenizer();
    assert_eq!((before.bos(), before.add_bos(), before.eos()), (Some(1), true, None));
    let config = TokenizerConfig::from_json(
        br#"{"bos_token": {"content": "<s>"}, "eos_token": "</s>", "add_bos_token": false,
             "chat_template": [{"name": "rag", "template": "x"}, {"name": "default", "template": "y"}]}"#,
    )
    .unwrap();
    assert_eq!(config.chat_template.as_deref(), Some("y"));
    let after = tokenizer().configured(&config).unwrap();
    assert_eq!((after.bos(), after.add_bos(), after.eos()), (Some(1), false, Some(2)));
    assert_eq!(after.end_of_generation(), [2]);
    let absent =
        TokenizerConfig { eos_token: Some("<|end|>".into()), ..TokenizerConfig::default() };
    let error = tokenizer().configured(&absent).unwrap_err().to_string();
    assert_eq!(error, "eos_token names \"<|end|>\", which the vocabulary lacks");
}

#[test]
fn a_tokenizer_json_and_the_gguf_made_of_it_agree() {
    let Some(golden) = conformance("golden") else { return };
    for model in ["llama", "qwen2", "gemma2", "mistral"] {
        let read = |name: &str| std::fs::read(golden.join(model).join(name)).unwrap();
        let tokenizer = Tokenizer::from_json(&read("tokenizer.json")).unwrap();
        let config = TokenizerConfig::from_json(&read("tokenizer_config.json")).unwrap();
        let tokenizer = tokenizer.configured(&config).unwrap();
        let gguf = support::vocabulary_of(&golden.join(model).join("model-f16.gguf"));
        let gguf = Tokenizer::new(gguf).unwrap();
        for text in ["Hello, world!  It's 12345\n\nok", "naïve 東京 🙂", "<|eot_id|>", ""] {
            for specials in [Specials::AsText, Specials::Parse] {
                let (a, b) = (tokenizer.encode(text, specials), gguf.encode(text, specials));
                assert_eq!(a, b, "{model}: {text:?} {specials:?}");
            }
        }
        assert_eq!((tokenizer.bos(), tokenizer.eos()), (gguf.bos(), gguf.eos()), "{model}");
        // A GGUF file may list more names; it has every one that the JSON has.
        let ends = gguf.end_of_generation();
        assert!(tokenizer.end_of_generation().iter().all(|id| ends.contains(id)), "{model}");
    }
}
