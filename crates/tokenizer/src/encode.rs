//! Makes token ids of text, fragment by fragment and word by word.

use crate::TokenId;
use crate::merge::{Join, Merger, NO_TOKEN};
use crate::tokenizer::{Model, Tokenizer};

/// One encoding under way.
#[derive(Debug)]
pub(crate) struct Encoder<'a> {
    tokenizer: &'a Tokenizer,
    ids: Vec<TokenId>,
    merger: Merger,
    // Steps of models other than merging; see `num_steps`.
    num_other_steps: u64,
    num_leading: usize,
    strips_next: bool,
}

impl<'a> Encoder<'a> {
    pub(crate) fn new(tokenizer: &'a Tokenizer) -> Encoder<'a> {
        Encoder {
            tokenizer,
            ids: Vec::new(),
            merger: Merger::default(),
            num_other_steps: 0,
            num_leading: 0,
            strips_next: false,
        }
    }

    pub(crate) fn into_ids(self) -> Vec<TokenId> {
        self.ids
    }

    /// The work done so far, for tests that bound it.
    #[cfg(test)]
    pub(crate) fn num_steps(&self) -> u64 {
        self.merger.num_steps + self.num_other_steps
    }

    /// Appends a token that no text stands before, BOS.
    pub(crate) fn leading(&mut self, id: TokenId) {
        self.ids.push(id);
        self.num_leading = self.ids.len();
    }

    /// Appends a token.
    pub(crate) fn token(&mut self, id: TokenId) {
        self.ids.push(id);
        self.strips_next = self.tokenizer.strip_after.contains(&id);
    }

    /// Appends text in which the names of control tokens and markers are those tokens.
    pub(crate) fn markup(&mut self, text: &str) {
        let mut end = 0;
        for (id, range) in self.tokenizer.markup.reserved.find(text) {
            self.text(&text[end..range.start]);
            self.token(id);
            end = range.end;
        }
        self.text(&text[end..]);
    }

    /// Appends text in which nothing is a control token.
    pub(crate) fn text(&mut self, text: &str) {
        let text = if self.strips_next { text.trim_start() } else { text };
        let mut end = 0;
        for (id, range) in self.tokenizer.markup.added.find(text) {
            self.fragment(&text[end..range.start]);
            self.token(id);
            end = range.end;
        }
        self.fragment(&text[end..]);
    }

    fn fragment(&mut self, text: &str) {
        if text.is_empty() {
            return;
        }
        self.strips_next = false;
        let is_first = self.ids.len() == self.num_leading;
        let text = self.tokenizer.text.prepare(text, is_first);
        let mut seen = SeenWords::new(&text);
        self.tokenizer.text.words(&text, |word| {
            let slot = match seen.find(word) {
                Ok(ids) => return self.ids.extend_from_within(ids),
                Err(slot) => slot,
            };
            let start = self.ids.len();
            self.word(word);
            // A run of unknown tokens is one across words: what such a word becomes depends on the
            // word before.
            let unk = self.tokenizer.unk;
            let is_unk = |id: Option<&TokenId>| id.is_some() && id == unk.as_ref();
            let begins_unknown = is_unk(self.ids.get(start)) || start == self.ids.len();
            if !begins_unknown && !is_unk(self.ids[..start].last()) {
                seen.remember(slot, word, start, self.ids.len());
            }
        });
    }

    fn word(&mut self, word: &str) {
        let tokenizer = self.tokenizer;
        let pieces = &tokenizer.pieces;
        match &tokenizer.model {
            Model::Merges { pairs, ignore_merges, byte_level } => {
                if *ignore_merges && let Some(id) = pieces.find(word.as_bytes()) {
                    return self.ids.push(id);
                }
                self.merger.clear();
                if *byte_level {
                    for (at, &byte) in word.as_bytes().iter().enumerate() {
                        self.merger.push(at, 1, tokenizer.byte_tokens[usize::from(byte)]);
                    }
                } else {
                    self.push_characters(word);
                }
                let symbols = self.merger.run(|left, right| pairs.get(left.id, right.id));
                for symbol in symbols {
                    let bytes = &word.as_bytes()[symbol.start as usize..][..symbol.len as usize];
                    give(tokenizer, &mut self.ids, symbol.id, bytes);
                }
            }
            Model::Scores { ranks } => {
                self.merger.clear();
                self.push_characters(word);
                let bytes = word.as_bytes();
                let symbols = self.merger.run(|left, right| {
                    let len = (left.len + right.len) as usize;
                    let id = pieces.find(&bytes[left.start as usize..][..len])?;
                    Some(Join { rank: ranks[id as usize], id })
                });
                for symbol in symbols {
                    let bytes = &bytes[symbol.start as usize..][..symbol.len as usize];
                    give(tokenizer, &mut self.ids, symbol.id, bytes);
                }
            }
            Model::Unigram(unigram) => {
                let ids = &mut self.ids;
                self.num_other_steps +=
                    unigram.encode(word, |id, text| give(tokenizer, ids, id, text.as_bytes()));
            }
        }
    }

    fn push_characters(&mut self, word: &str) {
        for (at, c) in word.char_indices() {
            let len = c.len_utf8();
            let id = self.tokenizer.pieces.find(&word.as_bytes()[at..at + len]);
            self.merger.push(at, len, id.unwrap_or(NO_TOKEN));
        }
    }
}

/// Appends `id`, or what stands for `bytes` that have no token: a token per byte, or the unknown token,
/// one for a run of them.
fn give(tokenizer: &Tokenizer, ids: &mut Vec<TokenId>, id: TokenId, bytes: &[u8]) {
    if id != NO_TOKEN {
        return ids.push(id);
    }
    let by_byte = |byte: &u8| tokenizer.byte_tokens[usize::from(*byte)];
    if bytes.iter().all(|byte| by_byte(byte) != NO_TOKEN) {
        return ids.extend(bytes.iter().map(by_byte));
    }
    if let Some(unk) = tokenizer.unk
        && ids.last() != Some(&unk)
    {
        ids.push(unk);
    }
}

/// Where words that occurred before in the same text were, and which ids they became.
///
/// A table of fixed size in which a word may push out another: bounded, private to one encoding, and
/// no choice of words makes it slower than having none.
struct SeenWords<'t> {
    text: &'t str,
    slots: Vec<Seen>,
}

#[derive(Clone, Copy, Default)]
struct Seen {
    start: usize,
    len: usize,
    ids_start: usize,
    ids_end: usize,
}

impl<'t> SeenWords<'t> {
    const MAX_SLOTS: usize = 1 << 13;
    const MAX_WORD_BYTES: usize = 64;

    fn new(text: &'t str) -> SeenWords<'t> {
        let num_slots = (text.len() / 16).next_power_of_two().min(SeenWords::MAX_SLOTS);
        SeenWords { text, slots: vec![Seen::default(); num_slots] }
    }

    /// The ids `word` became before, or the slot to remember it in.
    fn find(&self, word: &str) -> Result<std::ops::Range<usize>, usize> {
        if word.len() > SeenWords::MAX_WORD_BYTES {
            return Err(usize::MAX);
        }
        let hash = word.bytes().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
            (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
        });
        let slot = (hash ^ hash >> 29) as usize & (self.slots.len() - 1);
        let seen = self.slots[slot];
        if seen.len == word.len() && self.text[seen.start..][..seen.len] == *word {
            return Ok(seen.ids_start..seen.ids_end);
        }
        Err(slot)
    }

    fn remember(&mut self, slot: usize, word: &str, ids_start: usize, ids_end: usize) {
        if let Some(seen) = self.slots.get_mut(slot) {
            let start = word.as_ptr() as usize - self.text.as_ptr() as usize;
            *seen = Seen { start, len: word.len(), ids_start, ids_end };
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Specials, Tokenizer};

    fn tokenizer(name: &str) -> Tokenizer {
        let json: &[u8] = match name {
            "byte-level" => include_bytes!("../tests/data/byte-level.json"),
            "sentencepiece" => include_bytes!("../tests/data/sentencepiece.json"),
            _ => include_bytes!("../tests/data/unigram.json"),
        };
        Tokenizer::from_json(json).unwrap()
    }

    #[test]
    fn hostile_text_costs_a_few_steps_per_byte() {
        let repeat = |part: &str, num_bytes: usize| part.repeat(num_bytes / part.len());
        for name in ["byte-level", "sentencepiece", "unigram"] {
            let tokenizer = tokenizer(name);
            for (part, num_bytes) in [
                ("a", 1 << 20),
                ("^", 1_000_000),
                ("_", 50_000),
                (" ", 1 << 20),
                ("\n", 100_000),
                ("1", 100_000),
                ("x\u{302}", 100_000),
                ("東京は夜の七時", 1 << 20),
                ("{\"k\":[1,2.5,\"v\"]},", 11_000),
                ("  x", 300_000),
                ("AAAb", 300_000),
            ] {
                let text = repeat(part, num_bytes);
                let mut encoder = Encoder::new(&tokenizer);
                encoder.text(&text);
                // Each join takes one offer and makes two at most; pieces of a Unigram that end at
                // one place are at most 16.
                let (steps, bound) = (encoder.num_steps(), 16 * text.len() as u64);
                assert!(steps <= bound, "{name}, {part:?}: {steps} steps, {} bytes", text.len());
                if name != "unigram" {
                    assert!(tokenizer.decode(&encoder.into_ids()) == text, "{name}, {part:?}");
                }
            }
        }
    }

    #[test]
    fn unknown_characters_are_one_token_per_run_wherever_they_were_seen() {
        let letters = ["1", "2", "<unk>"].map(str::to_owned).to_vec();
        let tokenizer = Tokenizer::new(crate::Vocabulary {
            model: "gpt2".into(),
            pre: Some("gemma4".into()),
            token_types: vec![1, 1, 2],
            tokens: letters,
            unk: Some(2),
            add_bos: Some(false),
            ..Default::default()
        })
        .unwrap();
        // Words are lines and line ends here; long texts, as short ones remember one word only.
        for (first, then, want, then_want) in [
            ("1好2好", "", vec![0, 2, 1, 2], vec![]),
            ("好\n", "1\n", vec![2], vec![0, 2]),
            ("1好\n", "1\n好\n", vec![0, 2], vec![0, 2]),
            ("\n1好1\n", "好1\n1\n", vec![2, 0, 2, 0, 2], vec![0, 2, 0, 2]),
        ] {
            let ids = tokenizer.encode(&(first.to_owned() + &then.repeat(60)), Specials::AsText);
            assert_eq!(ids, [want, then_want.repeat(60)].concat(), "{first:?} {then:?}");
        }
    }

    #[test]
    fn a_word_seen_before_becomes_the_same_ids() {
        let tokenizer = tokenizer("byte-level");
        let words = ["hello", " world", " the", " 12", "\n\n", " naïve"];
        let text: String = (0..4000).map(|i| words[(i * i + i / 7) % words.len()]).collect();
        let whole = tokenizer.encode(&text, Specials::AsText);
        let mut parts = Vec::new();
        tokenizer.text.words(&text, |word| parts.extend(tokenizer.encode(word, Specials::AsText)));
        assert_eq!(whole, parts);
    }
}
