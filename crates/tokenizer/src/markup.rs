//! Finds tokens that are written out in a text: control tokens, and user-defined pieces.

use crate::pieces::{Kind, Pieces};
use crate::{Error, TokenId};
use aho_corasick::{AhoCorasick, MatchKind};
use std::ops::Range;

/// Finds some tokens by their names, leftmost first and of those the longest.
#[derive(Clone, Debug, Default)]
pub(crate) struct Finder {
    matcher: Option<AhoCorasick>,
    ids: Vec<TokenId>,
}

impl Finder {
    pub(crate) fn new<'a>(
        tokens: impl Iterator<Item = (TokenId, &'a [u8])>,
    ) -> Result<Finder, Error> {
        let (ids, names): (Vec<TokenId>, Vec<&[u8]>) =
            tokens.filter(|(_, name)| !name.is_empty()).unzip();
        if ids.is_empty() {
            return Ok(Finder::default());
        }
        let matcher = AhoCorasick::builder()
            .match_kind(MatchKind::LeftmostLongest)
            .build(names)
            .map_err(|error| Error::Unsupported { what: format!("this vocabulary ({error})") })?;
        Ok(Finder { matcher: Some(matcher), ids })
    }

    /// Each token written in `text` and where.
    pub(crate) fn find(&self, text: &str) -> impl Iterator<Item = (TokenId, Range<usize>)> {
        let matches = self.matcher.iter().flat_map(move |matcher| matcher.find_iter(text));
        matches.map(|found| (self.ids[found.pattern().as_usize()], found.range()))
    }
}

/// The tokens that are found by their names, by who may write them.
#[derive(Clone, Debug, Default)]
pub(crate) struct Markup {
    /// Control tokens and markers: a template writes them, a user cannot.
    pub(crate) reserved: Finder,
    /// User-defined pieces of text: anyone writes them.
    pub(crate) added: Finder,
}

impl Markup {
    pub(crate) fn new(pieces: &Pieces) -> Result<Markup, Error> {
        let of = |wanted: &[Kind]| {
            Finder::new(
                pieces
                    .ids()
                    .filter(|&id| wanted.contains(&pieces.kind(id)))
                    .map(|id| (id, pieces.get(id))),
            )
        };
        Ok(Markup { reserved: of(&[Kind::Control, Kind::Marker])?, added: of(&[Kind::Added])? })
    }
}

/// Whether a piece has the form in which families write structure: `<|name|>`, `[NAME]`, or one of the
/// plain tags that mark turns, thoughts and tool calls. Narrow, for it also judges pieces that may be
/// ordinary text.
pub(crate) fn looks_reserved(piece: &str) -> bool {
    const TAGS: [&str; 10] = [
        "think",
        "tool_call",
        "tool_response",
        "tools",
        "start_of_turn",
        "end_of_turn",
        "start_of_image",
        "end_of_image",
        "image_soft_token",
        "tool_calls",
    ];
    const NAMES: [&str; 8] =
        ["<s>", "</s>", "<bos>", "<eos>", "<pad>", "<unk>", "<mask>", "_<EOT>"];
    if let Some(inner) = within(piece, '<', '>') {
        let barred = |bar| inner.len() >= 2 && inner.starts_with(bar) && inner.ends_with(bar);
        let tag = inner.strip_prefix('/').unwrap_or(inner);
        return barred('|') || barred('｜') || TAGS.contains(&tag) || NAMES.contains(&piece);
    }
    if let Some(inner) = within(piece, '[', ']') {
        let inner = inner.strip_prefix('/').unwrap_or(inner);
        let in_capitals = |c: char| c.is_ascii_uppercase() || c.is_ascii_digit() || c == '_';
        return inner.starts_with(|c: char| c.is_ascii_uppercase())
            && inner.chars().all(in_capitals);
    }
    NAMES.contains(&piece)
}

/// Whether a user-defined piece marks structure all the same. Somebody gave it a token of its own, so a
/// tag is taken for structure unless it reads like a tag of HTML: one lower-case word, and none of the
/// words for turns, thoughts, tools and places of images. Wrong here costs a tag its token; wrong the other
/// way lets users write the model's own marks.
pub(crate) fn marks_structure(piece: &str) -> bool {
    const WORDS: [&str; 57] = [
        "action",
        "answer",
        "args",
        "assistant",
        "audio",
        "bos",
        "bot",
        "call",
        "calls",
        "cls",
        "context",
        "developer",
        "end",
        "eod",
        "eom",
        "eop",
        "eos",
        "eot",
        "eou",
        "function",
        "functions",
        "human",
        "image",
        "mask",
        "model",
        "observation",
        "pad",
        "parameter",
        "parameters",
        "placeholder",
        "plan",
        "reasoning",
        "reflection",
        "reserved",
        "response",
        "result",
        "results",
        "role",
        "scratchpad",
        "sep",
        "sop",
        "sos",
        "special",
        "speech",
        "start",
        "system",
        "think",
        "thinking",
        "thought",
        "thoughts",
        "tool",
        "tools",
        "turn",
        "unk",
        "unused",
        "user",
        "video",
    ];
    // Names of MiniMax, which have brackets the other way round.
    const ODD: [&str; 3] = ["]~b]", "]~!b[", "[e~["];
    let has_bar = |inner: &str| {
        let bars = ['|', '｜'];
        inner.len() >= 2 && (inner.starts_with(bars) || inner.ends_with(bars))
    };
    let is_name = |c: char| c.is_alphanumeric() || matches!(c, '_' | '-' | ':' | '.' | '▁');
    if looks_reserved(piece) || ODD.contains(&piece) {
        return true;
    }
    if let Some(inner) = within(piece, '<', '>') {
        let name = inner.strip_prefix('/').unwrap_or(inner);
        let word = name.trim_end_matches(|c: char| c.is_ascii_digit());
        let is_word = word.bytes().all(|byte| byte.is_ascii_lowercase());
        return has_bar(inner)
            || (!word.is_empty()
                && name.chars().all(is_name)
                && (!is_word || WORDS.contains(&word)));
    }
    let inner = within(piece, '[', ']').map(|inner| inner.strip_prefix('/').unwrap_or(inner));
    inner.is_some_and(|inner| {
        let num_capitals = inner.chars().filter(char::is_ascii_uppercase).count();
        has_bar(inner) || (num_capitals >= 2 && inner.chars().all(is_name))
    })
}

fn within(piece: &str, open: char, close: char) -> Option<&str> {
    piece.strip_prefix(open)?.strip_suffix(close)
}

/// Whether a token of this name ends the reply, by the names families use.
pub(crate) fn ends_generation(piece: &str) -> bool {
    const NAMES: [&str; 20] = [
        "<|eot_id|>",
        "<|eom_id|>",
        "<|im_end|>",
        "<|end|>",
        "<end_of_turn>",
        "<|endoftext|>",
        "<|end_of_text|>",
        "</s>",
        "<EOT>",
        "_<EOT>",
        "[EOT]",
        "<｜end▁of▁sentence｜>",
        "<end_of_utterance>",
        "<|eot|>",
        "<|return|>",
        "<|call|>",
        "<|END_OF_TURN_TOKEN|>",
        "<eos>",
        "<|role_end|>",
        "<turn|>",
    ];
    NAMES.contains(&piece)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn structure_is_told_from_text_by_its_form() {
        for piece in [
            "<|im_end|>",
            "<｜User｜>",
            "[INST]",
            "[/INST]",
            "[PAD151646]",
            "</think>",
            "<s>",
            "<tool_call>",
        ] {
            assert!(looks_reserved(piece), "{piece}");
        }
        for piece in ["<|>", "<h1>", "</table>", "    ", "[a]", "[]", "[1]", "ø", "<", "I", "<T>"]
        {
            assert!(!looks_reserved(piece), "{piece}");
        }
    }

    /// A row is a piece that some family's files call user-defined.
    #[test]
    fn a_user_defined_piece_is_text_unless_its_name_is_a_function() {
        for (family, pieces) in [
            (
                "Qwen",
                "<think> </think> <tool_call> <tool_response> <|fim_prefix|> <|file_sep|> <tts_pad>",
            ),
            (
                "Gemma 3",
                "<start_of_turn> <start_of_image> <end_of_image> <image_soft_token> <unused12>",
            ),
            (
                "Gemma 4",
                "<|turn> <turn|> <|channel> <channel|> <|think|> <|tool_call> <tool|> <|\"|>",
            ),
            ("Phi", "<|assistant|> <|end|> </s>"),
            ("DeepSeek", "<｜User｜> <｜tool▁calls▁begin｜> <｜▁pad▁｜> [PAD100015]"),
            ("GLM", "[gMASK] [sMASK] <sop> <eop> <arg_key> </arg_value> <|observation|>"),
            ("Mistral", "[INST] [/THINK] [TOOL_CALLS] [IMG] <SPECIAL_20>"),
            ("EXAONE", "[|user|] [|endofturn|] <thought> [BOS]"),
            ("Seed", "<seed:bos> <seed:think> <seed:tool_call>"),
            ("MiniMax", "]~b] [e~[ <minimax:tool_call> <begin_of_image>"),
            ("Command", "<BOS_TOKEN> <PAD> <|START_THINKING|>"),
            ("StarCoder", "<fim_prefix> <gh_stars> <jupyter_start>"),
            ("Hunyuan, Nemotron, others", "<answer> <TOOLCALL> <extra_id_0> <image> <video> <pad>"),
        ] {
            for piece in pieces.split(' ') {
                assert!(marks_structure(piece), "{family}: {piece}");
            }
        }
        for (family, pieces) in [
            (
                "Gemma",
                "<table> </caption> <h1> </h6> <blockquote> <strong> <b> <i> <u> <sub> <code>",
            ),
            ("Gemma", "<bbox> </bbox> <img> <iframe> [multimodal] \n\n \t"),
            ("DeepSeek", "ø ö À"),
            ("others", "<br> <p> <> </> <|> [a] [1] [] [x] :) /nothink |||EMAIL_ADDRESS||| 0x ©"),
        ] {
            for piece in pieces.split(' ') {
                assert!(!marks_structure(piece), "{family}: {piece}");
            }
        }
        for piece in ["  ", "\n\n", "\t\t", "<a b>", "< s >"] {
            assert!(!marks_structure(piece), "{piece:?}");
        }
    }
}
