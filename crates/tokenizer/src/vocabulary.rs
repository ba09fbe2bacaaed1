//! The data a tokenizer is made of, as a GGUF file states it.

use crate::build::{Merges, ModelParts, Parts, Spelling, UserDefined, byte_named};
use crate::charsmap::Charsmap;
use crate::error::shortened;
use crate::families::family;
use crate::markup::{ends_generation, looks_reserved};
use crate::pieces::Kind;
use crate::split::Rule;
use crate::text::{Normalizer, SpacePrefix, TextRules};
use crate::{Error, TokenId};
use std::collections::HashSet;

/// The data a tokenizer is made of, in the words of GGUF's `tokenizer.ggml.*` keys.
///
/// `Vocabulary::default()` is empty; fill what the file has and leave the rest.
#[derive(Clone, Debug, Default)]
pub struct Vocabulary {
    /// `tokenizer.ggml.model`: `gpt2` (byte-level BPE), `llama` (SentencePiece BPE) or `t5` (Unigram).
    pub model: String,
    /// `tokenizer.ggml.pre`: the name of the rule that cuts text into words before BPE.
    pub pre: Option<String>,
    /// `tokenizer.ggml.tokens`: the piece of every token; the index is its id.
    pub tokens: Vec<String>,
    /// `tokenizer.ggml.scores`: one per token, or empty.
    pub scores: Vec<f32>,
    /// `tokenizer.ggml.token_type`: one per token, or empty. 1 normal, 2 unknown, 3 control,
    /// 4 user-defined, 5 unused, 6 byte.
    pub token_types: Vec<i32>,
    /// `tokenizer.ggml.merges`: pairs of pieces joined by a space, best first.
    pub merges: Vec<String>,
    /// `tokenizer.ggml.bos_token_id`.
    pub bos: Option<TokenId>,
    /// `tokenizer.ggml.eos_token_id`.
    pub eos: Option<TokenId>,
    /// `tokenizer.ggml.eot_token_id`: ends a turn.
    pub eot: Option<TokenId>,
    /// `tokenizer.ggml.eom_token_id`: ends a message that calls a tool.
    pub eom: Option<TokenId>,
    /// `tokenizer.ggml.unknown_token_id`; one that is not in the vocabulary counts as absent.
    pub unk: Option<TokenId>,
    /// `tokenizer.ggml.padding_token_id`; one that is not in the vocabulary counts as absent.
    pub pad: Option<TokenId>,
    /// `tokenizer.ggml.add_bos_token`; unstated, the family decides.
    pub add_bos: Option<bool>,
    /// `tokenizer.ggml.add_eos_token`.
    pub add_eos: Option<bool>,
    /// `tokenizer.ggml.add_space_prefix`; unstated, SentencePiece vocabularies add one.
    pub add_space_prefix: Option<bool>,
    /// `tokenizer.ggml.remove_extra_whitespaces` (Unigram).
    pub remove_extra_whitespaces: Option<bool>,
    /// `tokenizer.ggml.precompiled_charsmap` (Unigram's normalizer), or empty.
    pub precompiled_charsmap: Vec<u8>,
}

impl Vocabulary {
    /// Checks the data and decides what GGUF leaves to each family.
    pub(crate) fn into_parts(mut self) -> Result<Parts, Error> {
        // Old files write 4294967295 for a padding token that they do not have.
        let num_tokens = self.tokens.len();
        for id in [&mut self.unk, &mut self.pad] {
            *id = id.filter(|&id| (id as usize) < num_tokens);
        }
        self.check()?;
        let mut kinds = self.kinds();
        let eos_like = [("eos", self.eos), ("eot", self.eot), ("eom", self.eom)];
        let mut end_of_generation: Vec<TokenId> =
            eos_like.iter().filter_map(|&(_, id)| id).collect();
        for (id, token) in (0..).zip(&self.tokens) {
            if kinds[id as usize] == Kind::Control && ends_generation(token) {
                end_of_generation.push(id);
            }
        }
        // A file may call BOS and EOS text; users may not write them all the same.
        for id in end_of_generation.iter().copied().chain(self.bos) {
            let (kind, token) = (kinds[id as usize], &self.tokens[id as usize]);
            if kind.can_be_reserved(token) || looks_reserved(token) {
                kinds[id as usize] = Kind::Control;
            }
        }
        end_of_generation.sort_unstable();
        end_of_generation.dedup();
        let strip_after = self.phi_3_strips(&kinds);
        let mut text = TextRules::default();
        let (spelling, model, adds_bos) = match self.model.as_str() {
            // Gemma 4 and relatives: merges over characters, with marks for spaces.
            "gpt2" | "gemma4" if self.writes_marks() => {
                text.splitter.rules.push(Rule::isolated(r"[^\n]+|\n+")?);
                text.marks_spaces = true;
                let merges = Merges::Joined(self.merges);
                let model = ModelParts::Merges { merges, ignore_merges: false };
                (Spelling::SpaceMark, model, true)
            }
            "gpt2" => {
                let family = family(self.pre.as_deref())?;
                text.splitter = family.splitter;
                if self.add_space_prefix == Some(true) {
                    text.space_prefix = SpacePrefix::FirstIfMissing;
                }
                let merges = Merges::Joined(self.merges);
                let model = ModelParts::Merges { merges, ignore_merges: family.ignore_merges };
                (Spelling::ByteLevel, model, family.add_bos)
            }
            "llama" => {
                text.marks_spaces = true;
                if self.add_space_prefix != Some(false) {
                    text.space_prefix = SpacePrefix::Always;
                    text.strips_first_space = true;
                }
                (Spelling::SpaceMark, ModelParts::Scores(self.scores), true)
            }
            "t5" => {
                text.marks_spaces = true;
                if !self.precompiled_charsmap.is_empty() {
                    let map = Charsmap::new(&self.precompiled_charsmap)?;
                    text.normalizers.push(Normalizer::Charsmap(map));
                }
                if self.remove_extra_whitespaces == Some(true) {
                    text.normalizers.push(Normalizer::SqueezeSpaces);
                }
                if self.add_space_prefix != Some(false) {
                    text.space_prefix = SpacePrefix::IfMissing;
                    text.strips_first_space = true;
                }
                (Spelling::SpaceMark, ModelParts::Unigram(self.scores), false)
            }
            model => return Err(Error::UnknownModel { model: shortened(model) }),
        };
        Ok(Parts {
            tokens: self.tokens,
            kinds,
            spelling,
            model,
            text,
            bos: self.bos,
            eos: self.eos,
            end_of_generation,
            unk: self.unk,
            add_bos: self.add_bos.unwrap_or(adds_bos),
            strip_after,
        })
    }

    fn check(&self) -> Result<(), Error> {
        let num_tokens = self.tokens.len();
        if num_tokens == 0 {
            return Err(Error::NoTokens);
        }
        let needs_scores = matches!(self.model.as_str(), "llama" | "t5");
        for (field, found, needed) in [
            ("token_type", self.token_types.len(), false),
            ("scores", self.scores.len(), needs_scores),
        ] {
            if found != num_tokens && (found != 0 || needed) {
                return Err(Error::LengthMismatch { field, found, num_tokens });
            }
        }
        for (field, id) in [
            ("bos_token_id", self.bos),
            ("eos_token_id", self.eos),
            ("eot_token_id", self.eot),
            ("eom_token_id", self.eom),
        ] {
            if let Some(id) = id.filter(|&id| id as usize >= num_tokens) {
                return Err(Error::TokenOutOfRange { field, id, num_tokens });
            }
        }
        Ok(())
    }

    fn kinds(&self) -> Vec<Kind> {
        if self.token_types.is_empty() {
            // A file from before the key: tell by the form.
            let by_form = |token: &String| match token {
                token if ends_generation(token) || looks_reserved(token) => Kind::Control,
                token if self.model != "gpt2" && byte_named(token).is_some() => Kind::Byte,
                _ => Kind::Text,
            };
            return self.tokens.iter().map(by_form).collect();
        }
        let typed = || self.tokens.iter().zip(&self.token_types);
        let has_task = [self.bos, self.eos, self.eot, self.eom, self.unk, self.pad];
        let user_defined = UserDefined::new(
            |name| typed().any(|(token, &kind)| kind == 4 && token == name),
            has_task.into_iter().flatten().map(|id| &self.tokens[id as usize]),
        );
        let by_type = |(token, kind): (&String, &i32)| match kind {
            2 | 3 => Kind::Control,
            4 => user_defined.kind(token),
            5 => Kind::Unused,
            6 => Kind::Byte,
            _ => Kind::Text,
        };
        typed().map(by_type).collect()
    }

    fn writes_marks(&self) -> bool {
        self.model == "gemma4" || matches!(self.pre.as_deref(), Some("gemma4" | "sarvam-moe"))
    }

    // Phi-3's control tokens swallow the white space after them; GGUF has no key for it, so the
    // family is known by a token that only it has.
    fn phi_3_strips(&self, kinds: &[Kind]) -> HashSet<TokenId> {
        if self.model != "llama" || !self.tokens.iter().any(|token| token == "<|placeholder1|>") {
            return HashSet::new();
        }
        let keeps = |token: &str| matches!(token, "<s>" | "<unk>" | "<|endoftext|>");
        (0..)
            .zip(&self.tokens)
            .filter(|&(id, token)| kinds[id as usize] == Kind::Control && !keeps(token))
            .map(|(id, _)| id)
            .collect()
    }
}
