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
/// plain tags that mark turns, thoughts and tool calls.
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
    if let Some(inner) = piece.strip_prefix('<').and_then(|rest| rest.strip_suffix('>')) {
        let barred = |bar| inner.len() >= 2 && inner.starts_with(bar) && inner.ends_with(bar);
        let tag = inner.strip_prefix('/').unwrap_or(inner);
        return barred('|') || barred('｜') || TAGS.contains(&tag) || NAMES.contains(&piece);
    }
    if let Some(inner) = piece.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
        let inner = inner.strip_prefix('/').unwrap_or(inner);
        let in_capitals = |c: char| c.is_ascii_uppercase() || c.is_ascii_digit() || c == '_';
        return inner.starts_with(|c: char| c.is_ascii_uppercase())
            && inner.chars().all(in_capitals);
    }
    NAMES.contains(&piece)
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
        for piece in ["<|>", "<h1>", "</table>", "    ", "[a]", "[]", "[1]", "ø", "<", "I"] {
            assert!(!looks_reserved(piece), "{piece}");
        }
    }
}
