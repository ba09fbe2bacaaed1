//! Finds the most probable pieces of a word (Unigram), by one pass over all pieces that occur in it.

use crate::merge::NO_TOKEN;
use crate::pieces::{Kind, Pieces};
use crate::{Error, TokenId};
use aho_corasick::{AhoCorasick, AhoCorasickKind, MatchKind};

/// Pieces with log probabilities.
#[derive(Clone, Debug)]
pub(crate) struct Unigram {
    matcher: AhoCorasick,
    // Parallel to the matcher's patterns.
    pieces: Vec<(TokenId, f64)>,
    unknown_score: f64,
}

// SentencePiece's penalty for a character without a piece.
const UNKNOWN_PENALTY: f64 = 10.0;

#[derive(Clone, Copy)]
struct Best {
    score: f64,
    start: usize,
    id: TokenId,
}

impl Unigram {
    /// `scores` is one per token.
    pub(crate) fn new(pieces: &Pieces, scores: &[f32]) -> Result<Unigram, Error> {
        let scored = |id: TokenId| f64::from(scores.get(id as usize).copied().unwrap_or(0.0));
        let lowest = pieces
            .ids()
            .filter(|&id| pieces.kind(id) == Kind::Text)
            .map(scored)
            .fold(0.0, f64::min);
        let used: Vec<(TokenId, f64)> = pieces
            .ids()
            .filter(|&id| !pieces.get(id).is_empty())
            .filter_map(|id| match pieces.kind(id) {
                Kind::Text => Some((id, scored(id))),
                // A user-defined piece always wins.
                Kind::Added => Some((id, 0.0)),
                Kind::Byte | Kind::Marker | Kind::Control | Kind::Unused => None,
            })
            .collect();
        let matcher = AhoCorasick::builder()
            .match_kind(MatchKind::Standard)
            .kind(Some(AhoCorasickKind::ContiguousNFA))
            .build(used.iter().map(|&(id, _)| pieces.get(id)))
            .map_err(|error| Error::Unsupported { what: format!("this vocabulary ({error})") })?;
        Ok(Unigram { matcher, pieces: used, unknown_score: lowest - UNKNOWN_PENALTY })
    }

    /// Appends the ids of `word`; [`NO_TOKEN`] with the byte range of each unknown character.
    pub(crate) fn encode(&self, word: &str, mut give: impl FnMut(TokenId, &str)) -> u64 {
        let mut num_steps = 0;
        // best[end]: the best way to write word[..end]; only character boundaries are reached.
        let nowhere = Best { score: f64::NEG_INFINITY, start: 0, id: NO_TOKEN };
        let mut best = vec![nowhere; word.len() + 1];
        best[0].score = 0.0;
        let mut matches = self.matcher.find_overlapping_iter(word).peekable();
        for (start, c) in word.char_indices() {
            let end = start + c.len_utf8();
            let mut has_own_piece = false;
            while let Some(found) = matches.next_if(|found| found.end() <= end) {
                num_steps += 1;
                let (id, piece_score) = self.pieces[found.pattern().as_usize()];
                has_own_piece |= found.start() == start;
                let score = best[found.start()].score + piece_score;
                if score > best[end].score {
                    best[end] = Best { score, start: found.start(), id };
                }
            }
            let score = best[start].score + self.unknown_score;
            if !has_own_piece && score > best[end].score {
                best[end] = Best { score, start, id: NO_TOKEN };
            }
        }
        let mut path = Vec::new();
        let mut end = word.len();
        while end > 0 {
            path.push((best[end].id, best[end].start..end));
            end = best[end].start;
        }
        for (id, range) in path.into_iter().rev() {
            give(id, &word[range]);
        }
        num_steps
    }
}
