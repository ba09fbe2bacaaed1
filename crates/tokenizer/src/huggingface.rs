//! Reads Hugging Face's `tokenizer.json` into the parts of a tokenizer.

use crate::build::{Merges, ModelParts, Parts, Spelling, UserDefined, byte_named};
use crate::charsmap::Charsmap;
use crate::families::GPT_2;
use crate::markup::ends_generation;
use crate::pieces::Kind;
use crate::split::{Behavior, Rule};
use crate::text::{Normalizer, SpacePrefix, TextRules};
use crate::{Error, TokenId};
use serde::Deserialize;
use serde::de::{Deserializer, MapAccess, Visitor};
use serde_json::Value;
use std::collections::HashSet;
use std::fmt;

#[derive(Deserialize)]
struct File {
    #[serde(default)]
    added_tokens: Vec<AddedToken>,
    normalizer: Option<Value>,
    pre_tokenizer: Option<Value>,
    post_processor: Option<Value>,
    decoder: Option<Value>,
    model: ModelPart,
}

#[derive(Deserialize)]
struct AddedToken {
    id: TokenId,
    content: String,
    #[serde(default)]
    special: bool,
    #[serde(default)]
    rstrip: bool,
}

#[derive(Deserialize)]
struct ModelPart {
    #[serde(rename = "type")]
    kind: Option<String>,
    vocab: Vocab,
    #[serde(default)]
    merges: MergeList,
    #[serde(default)]
    ignore_merges: bool,
    #[serde(default)]
    byte_fallback: bool,
    unk_token: Option<String>,
    unk_id: Option<TokenId>,
    continuing_subword_prefix: Option<String>,
    end_of_word_suffix: Option<String>,
}

#[derive(Deserialize, Default)]
#[serde(untagged)]
enum MergeList {
    #[default]
    None,
    Split(Vec<(String, String)>),
    Joined(Vec<String>),
}

/// `{"piece": id}` or, for Unigram, `[["piece", score]]`.
enum Vocab {
    Ids(Vec<(String, TokenId)>),
    Scores(Vec<(String, f32)>),
}

impl<'de> Deserialize<'de> for Vocab {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Vocab, D::Error> {
        struct Either;
        impl<'de> Visitor<'de> for Either {
            type Value = Vocab;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("pieces with ids, or a list of pieces with scores")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Vocab, A::Error> {
                let mut ids = Vec::new();
                while let Some(entry) = map.next_entry()? {
                    ids.push(entry);
                }
                Ok(Vocab::Ids(ids))
            }

            fn visit_seq<A: serde::de::SeqAccess<'de>>(
                self,
                mut seq: A,
            ) -> Result<Vocab, A::Error> {
                let mut scores = Vec::new();
                while let Some(entry) = seq.next_element()? {
                    scores.push(entry);
                }
                Ok(Vocab::Scores(scores))
            }
        }
        deserializer.deserialize_any(Either)
    }
}

pub(crate) fn parts(json: &[u8]) -> Result<Parts, Error> {
    let file: File = serde_json::from_slice(json)
        .map_err(|source| Error::Json { file: "tokenizer.json", source })?;
    for affix in [&file.model.continuing_subword_prefix, &file.model.end_of_word_suffix] {
        if affix.as_ref().is_some_and(|affix| !affix.is_empty()) {
            return Err(unsupported("model", "a subword prefix or suffix"));
        }
    }
    let mut rules = Rules::default();
    rules.normalizer(file.normalizer.as_ref())?;
    rules.pre_tokenizer(file.pre_tokenizer.as_ref())?;
    rules.decoder(file.decoder.as_ref());
    let spelling = match (rules.byte_level, rules.text.marks_spaces) {
        (true, _) => Spelling::ByteLevel,
        (false, true) => Spelling::SpaceMark,
        (false, false) => Spelling::Plain,
    };
    let (tokens, mut scores, kinds, strip_after) =
        tokens(&file.model.vocab, &file.added_tokens, file.model.byte_fallback)?;
    let id_of = |name: &str| {
        let id = tokens.iter().position(|token| token == name);
        id.and_then(|id| TokenId::try_from(id).ok())
    };
    let unk = file.model.unk_token.as_deref().and_then(id_of).or(file.model.unk_id);
    if let Some(id) = unk.filter(|&id| id as usize >= tokens.len()) {
        return Err(Error::TokenOutOfRange { field: "unk_id", id, num_tokens: tokens.len() });
    }
    let bos = first_token(file.post_processor.as_ref()).and_then(id_of);
    let merges = match file.model.merges {
        MergeList::None => Merges::Split(Vec::new()),
        MergeList::Split(merges) => Merges::Split(merges),
        MergeList::Joined(merges) => Merges::Joined(merges),
    };
    let kind = file.model.kind.as_deref();
    let model = match (kind, &file.model.vocab) {
        (Some("BPE") | None, Vocab::Ids(_)) => {
            ModelParts::Merges { merges, ignore_merges: file.model.ignore_merges }
        }
        (Some("Unigram") | None, Vocab::Scores(_)) => {
            scores.resize(tokens.len(), 0.0);
            ModelParts::Unigram(scores)
        }
        (kind, _) => return Err(unsupported("model", kind.unwrap_or("without a type"))),
    };
    let end_of_generation = (0..)
        .zip(&tokens)
        .filter(|&(id, token)| kinds[id as usize] == Kind::Control && ends_generation(token))
        .map(|(id, _)| id)
        .collect();
    Ok(Parts {
        tokens,
        kinds,
        spelling,
        model,
        text: rules.text,
        bos,
        eos: None,
        end_of_generation,
        unk,
        add_bos: bos.is_some(),
        strip_after,
    })
}

type Tokens = (Vec<String>, Vec<f32>, Vec<Kind>, HashSet<TokenId>);

fn tokens(vocab: &Vocab, added: &[AddedToken], byte_fallback: bool) -> Result<Tokens, Error> {
    let entries: Vec<(&str, TokenId)> = match vocab {
        Vocab::Ids(ids) => ids.iter().map(|(token, id)| (token.as_str(), *id)).collect(),
        Vocab::Scores(list) => list.iter().map(|(token, _)| token.as_str()).zip(0..).collect(),
    };
    let scores = match vocab {
        Vocab::Ids(_) => Vec::new(),
        Vocab::Scores(list) => list.iter().map(|(_, score)| *score).collect(),
    };
    let ids = entries.iter().map(|(_, id)| *id).chain(added.iter().map(|token| token.id));
    let max_id = ids.max().ok_or(Error::NoTokens)?;
    // A few ids without a token are seen in real files; a claimed id is no reason to take memory.
    let num_entries = entries.len() + added.len();
    if max_id as usize >= 2 * num_entries + 1024 {
        return Err(Error::MissingId { id: num_entries as TokenId, max_id });
    }
    let mut tokens = vec![String::new(); max_id as usize + 1];
    let mut kinds = vec![Kind::Unused; tokens.len()];
    for (token, id) in entries {
        let is_byte = byte_fallback && byte_named(token).is_some();
        kinds[id as usize] = if is_byte { Kind::Byte } else { Kind::Text };
        token.clone_into(&mut tokens[id as usize]);
    }
    let user_defined = UserDefined::new(
        |name| added.iter().any(|token| !token.special && token.content == name),
        added.iter().filter(|token| token.special).map(|token| &token.content),
    );
    for token in added {
        let id = token.id as usize;
        kinds[id] = if token.special { Kind::Control } else { user_defined.kind(&token.content) };
        token.content.clone_into(&mut tokens[id]);
    }
    let strip_after = added.iter().filter(|token| token.rstrip).map(|token| token.id).collect();
    Ok((tokens, scores, kinds, strip_after))
}

/// The token that the post-processor writes before a text.
fn first_token(processor: Option<&Value>) -> Option<&str> {
    let processor = processor?;
    if let Some(list) = processor["processors"].as_array() {
        return list.iter().find_map(|processor| first_token(Some(processor)));
    }
    processor["single"].get(0)?["SpecialToken"]["id"].as_str()
}

fn unsupported(part: &str, what: &str) -> Error {
    Error::Unsupported { what: format!("{part} {what}") }
}

fn name_of(part: &Value) -> &str {
    part["type"].as_str().unwrap_or("without a type")
}

/// The rules for text, gathered from the file's parts.
#[derive(Default)]
struct Rules {
    text: TextRules,
    byte_level: bool,
}

impl Rules {
    fn normalizer(&mut self, part: Option<&Value>) -> Result<(), Error> {
        let Some(part) = part.filter(|part| !part.is_null()) else { return Ok(()) };
        let text = |name: &str| part[name].as_str().unwrap_or("").to_owned();
        let flag = |name: &str| part[name].as_bool().unwrap_or(false);
        let step = match name_of(part) {
            "Sequence" => {
                let list = part["normalizers"].as_array().map_or(&[][..], Vec::as_slice);
                return list.iter().try_for_each(|part| self.normalizer(Some(part)));
            }
            "NFC" => Normalizer::Nfc,
            "NFD" => Normalizer::Nfd,
            "NFKC" => Normalizer::Nfkc,
            "NFKD" => Normalizer::Nfkd,
            "Lowercase" => Normalizer::Lowercase,
            "Strip" => Normalizer::Strip { left: flag("strip_left"), right: flag("strip_right") },
            "Prepend" if text("prepend") == "▁" => {
                self.text.space_prefix = SpacePrefix::Always;
                return Ok(());
            }
            "Prepend" => Normalizer::Prepend(text("prepend")),
            "Replace" => match (&part["pattern"]["String"], &part["pattern"]["Regex"]) {
                (Value::String(from), _) if from == " " && text("content") == "▁" => {
                    self.text.marks_spaces = true;
                    return Ok(());
                }
                (Value::String(from), _) => {
                    Normalizer::Replace { from: from.clone(), to: text("content") }
                }
                (_, Value::String(pattern)) => Normalizer::ReplacePattern {
                    from: Rule::isolated(pattern)?.into_regex(),
                    to: text("content"),
                },
                _ => return Err(unsupported("normalizer", "Replace without a pattern")),
            },
            "Precompiled" => {
                let table = base64(part["precompiled_charsmap"].as_str().unwrap_or(""));
                Normalizer::Charsmap(Charsmap::new(&table)?)
            }
            name => return Err(unsupported("normalizer", name)),
        };
        self.text.normalizers.push(step);
        Ok(())
    }

    fn pre_tokenizer(&mut self, part: Option<&Value>) -> Result<(), Error> {
        let Some(part) = part.filter(|part| !part.is_null()) else { return Ok(()) };
        let flag = |name: &str, unstated| part[name].as_bool().unwrap_or(unstated);
        let rule = match name_of(part) {
            "Sequence" => {
                let list = part["pretokenizers"].as_array().map_or(&[][..], Vec::as_slice);
                return list.iter().try_for_each(|part| self.pre_tokenizer(Some(part)));
            }
            "ByteLevel" => {
                self.byte_level = true;
                if flag("add_prefix_space", true) {
                    self.text.space_prefix = SpacePrefix::IfMissing;
                }
                if !flag("use_regex", true) {
                    return Ok(());
                }
                Rule::isolated(GPT_2)?
            }
            "Split" => {
                let pattern = &part["pattern"];
                let pattern = match (pattern["Regex"].as_str(), pattern["String"].as_str()) {
                    (Some(regex), _) => regex.to_owned(),
                    (None, Some(text)) => regex_syntax_escape(text),
                    (None, None) => {
                        return Err(unsupported("pre_tokenizer", "Split without a pattern"));
                    }
                };
                Rule::new(&pattern, behavior(&part["behavior"])?, flag("invert", false))?
            }
            "Metaspace" => {
                self.text.marks_spaces = true;
                let unstated = if flag("add_prefix_space", true) { "always" } else { "never" };
                self.text.space_prefix = match part["prepend_scheme"].as_str().unwrap_or(unstated) {
                    "always" => SpacePrefix::IfMissing,
                    "first" => SpacePrefix::FirstIfMissing,
                    _ => SpacePrefix::Never,
                };
                if !flag("split", true) {
                    return Ok(());
                }
                Rule::new(" ", Behavior::MergedWithNext, false)?
            }
            "Digits" if flag("individual_digits", false) => Rule::isolated(r"\p{N}")?,
            "Digits" => Rule::isolated(r"\p{N}+")?,
            "Punctuation" => {
                let behavior = match &part["behavior"] {
                    Value::Null => Behavior::Isolated,
                    stated => behavior(stated)?,
                };
                Rule::new(r"[\p{P}!-/:-@\[-`{-~]", behavior, false)?
            }
            "Whitespace" => Rule::new(r"\w+|[^\w\s]+", Behavior::Removed, true)?,
            "WhitespaceSplit" => Rule::new(r"\s+", Behavior::Removed, false)?,
            name => return Err(unsupported("pre_tokenizer", name)),
        };
        self.text.splitter.rules.push(rule);
        Ok(())
    }

    fn decoder(&mut self, part: Option<&Value>) {
        let Some(part) = part else { return };
        match name_of(part) {
            "Sequence" => {
                let list = part["decoders"].as_array().map_or(&[][..], Vec::as_slice);
                list.iter().for_each(|part| self.decoder(Some(part)));
            }
            "Strip" if part["content"] == " " && part["start"].as_u64() > Some(0) => {
                self.text.strips_first_space = true;
            }
            "Metaspace" => {
                let never = part["prepend_scheme"] == "never" || part["add_prefix_space"] == false;
                self.text.strips_first_space = !never;
            }
            "ByteLevel" => self.byte_level = true,
            _ => {}
        }
    }
}

fn behavior(name: &Value) -> Result<Behavior, Error> {
    match name.as_str().unwrap_or("without a name") {
        "Isolated" => Ok(Behavior::Isolated),
        "Removed" => Ok(Behavior::Removed),
        "MergedWithPrevious" => Ok(Behavior::MergedWithPrevious),
        "MergedWithNext" => Ok(Behavior::MergedWithNext),
        "Contiguous" => Ok(Behavior::Contiguous),
        name => Err(unsupported("behavior", name)),
    }
}

fn regex_syntax_escape(text: &str) -> String {
    let mut pattern = String::new();
    for c in text.chars() {
        if c.is_ascii_punctuation() {
            pattern.push('\\');
        }
        pattern.push(c);
    }
    pattern
}

/// The bytes that base64 text stands for; anything outside its alphabet is skipped.
fn base64(text: &str) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(text.len() / 4 * 3);
    let (mut bits, mut num_bits) = (0_u32, 0);
    for c in text.bytes() {
        let value = match c {
            b'A'..=b'Z' => c - b'A',
            b'a'..=b'z' => c - b'a' + 26,
            b'0'..=b'9' => c - b'0' + 52,
            b'+' => 62,
            b'/' => 63,
            _ => continue,
        };
        bits = bits << 6 | u32::from(value);
        num_bits += 6;
        if num_bits >= 8 {
            num_bits -= 8;
            bytes.push((bits >> num_bits) as u8);
        }
    }
    bytes
}
