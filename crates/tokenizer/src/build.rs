//! Checks a vocabulary and makes the parts of a tokenizer from it.

use crate::alphabet;
use crate::error::shortened;
use crate::markup::{Markup, ends_generation, marks_structure};
use crate::merge::{Join, NO_TOKEN};
use crate::pairs::Pairs;
use crate::pieces::{Kind, Pieces};
use crate::text::TextRules;
use crate::tokenizer::{Model, Tokenizer};
use crate::unigram::Unigram;
use crate::{Error, TokenId};
use std::collections::{HashMap, HashSet};

/// How the vocabulary's pieces write text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Spelling {
    /// Each letter is a byte ([`alphabet`]).
    ByteLevel,
    /// A space is written `▁`.
    SpaceMark,
    /// As it is.
    Plain,
}

/// The kinds of model, with what only they have.
#[derive(Debug)]
pub(crate) enum ModelParts {
    /// Merges in order, each two pieces.
    Merges {
        merges: Merges,
        ignore_merges: bool,
    },
    /// SentencePiece BPE: the piece of the highest score is made first.
    Scores(Vec<f32>),
    Unigram(Vec<f32>),
}

#[derive(Debug)]
pub(crate) enum Merges {
    /// `left right`.
    Joined(Vec<String>),
    Split(Vec<(String, String)>),
}

/// All that a tokenizer is made of, whichever file it came from.
#[derive(Debug)]
pub(crate) struct Parts {
    pub(crate) tokens: Vec<String>,
    pub(crate) kinds: Vec<Kind>,
    pub(crate) spelling: Spelling,
    pub(crate) model: ModelParts,
    pub(crate) text: TextRules,
    pub(crate) bos: Option<TokenId>,
    pub(crate) eos: Option<TokenId>,
    pub(crate) end_of_generation: Vec<TokenId>,
    pub(crate) unk: Option<TokenId>,
    pub(crate) add_bos: bool,
    /// Tokens that swallow the white space after them.
    pub(crate) strip_after: HashSet<TokenId>,
}

/// What tells the kind of tokens that a file calls user-defined.
#[derive(Clone, Copy, Debug)]
pub(crate) struct UserDefined {
    /// `<s>` and `</s>` are tags of HTML, as in Gemma, which writes `<bos>` and `<eos>`.
    pub(crate) strikes_through: bool,
}

impl UserDefined {
    /// `is_user_defined` says it of a token by its name; the file gives `special` tokens a task by their
    /// ids.
    pub(crate) fn new(
        is_user_defined: impl Fn(&str) -> bool,
        special: impl IntoIterator<Item = impl AsRef<str>>,
    ) -> UserDefined {
        let has_no_task = !special.into_iter().any(|it| STRIKE_TAGS.contains(&it.as_ref()));
        UserDefined { strikes_through: has_no_task && STRIKE_TAGS.into_iter().all(is_user_defined) }
    }

    pub(crate) fn kind(self, piece: &str) -> Kind {
        match piece {
            _ if self.strikes_through && STRIKE_TAGS.contains(&piece) => Kind::Added,
            _ if ends_generation(piece) => Kind::Control,
            _ if marks_structure(piece) => Kind::Marker,
            // Matched as text, because the text has spaces where the piece has marks.
            _ if piece.contains('▁') => Kind::Text,
            _ => Kind::Added,
        }
    }
}

/// Text struck through in HTML; in most families the names of BOS and EOS.
const STRIKE_TAGS: [&str; 2] = ["<s>", "</s>"];

/// The byte that `<0xHH>` names.
pub(crate) fn byte_named(piece: &str) -> Option<u8> {
    let digits = piece.strip_prefix("<0x")?.strip_suffix('>')?;
    let is_hex = digits.len() == 2 && digits.bytes().all(|digit| digit.is_ascii_hexdigit());
    is_hex.then(|| u8::from_str_radix(digits, 16).ok())?
}

pub(crate) fn assemble(parts: Parts) -> Result<Tokenizer, Error> {
    let Parts { tokens, kinds, spelling, model, mut text, .. } = parts;
    let pieces = pieces(&tokens, &kinds, spelling)?;
    let byte_tokens = byte_tokens(&pieces, spelling);
    let names = reserved_names(&tokens, &pieces)?;
    let model = match model {
        ModelParts::Merges { merges, ignore_merges } => Model::Merges {
            pairs: pairs(&merges, spelling, &pieces, &names)?,
            ignore_merges,
            byte_level: spelling == Spelling::ByteLevel,
        },
        ModelParts::Scores(scores) => Model::Scores { ranks: ranks(&scores, tokens.len())? },
        ModelParts::Unigram(scores) => {
            ranks(&scores, tokens.len())?;
            Model::Unigram(Unigram::new(&pieces, &scores)?)
        }
    };
    text.cut_at_spaces = spelling == Spelling::SpaceMark && !any_piece_crosses_a_space(&pieces);
    let markup = Markup::new(&pieces)?;
    Ok(Tokenizer {
        text,
        model,
        byte_tokens,
        markup,
        names,
        bos: parts.bos,
        eos: parts.eos,
        unk: parts.unk,
        add_bos: parts.add_bos && parts.bos.is_some(),
        end_of_generation: parts.end_of_generation,
        strip_after: parts.strip_after,
        pieces,
    })
}

fn pieces(tokens: &[String], kinds: &[Kind], spelling: Spelling) -> Result<Pieces, Error> {
    let num_bytes = tokens.iter().map(String::len).sum();
    let mut pieces = Pieces::new(tokens.len(), num_bytes)?;
    let mut bytes = Vec::new();
    for (id, (token, &kind)) in tokens.iter().zip(kinds).enumerate() {
        match (kind, spelling) {
            (Kind::Byte, _) => {
                let bad = || Error::BadByteToken { id: id as TokenId, piece: shortened(token) };
                pieces.push(&[byte_named(token).ok_or_else(bad)?], kind);
            }
            (Kind::Text | Kind::Unused, Spelling::ByteLevel) => {
                alphabet::bytes_of(token, &mut bytes);
                pieces.push(&bytes, kind);
            }
            (Kind::Text | Kind::Unused, Spelling::SpaceMark) if token.contains('▁') => {
                pieces.push(token.replace('▁', " ").as_bytes(), kind);
            }
            _ => pieces.push(token.as_bytes(), kind),
        }
    }
    for (id, token) in (0..).zip(tokens) {
        // Where spaces are marks, a piece with a real space never occurs in a text.
        let has_space = spelling == Spelling::SpaceMark && token.contains(' ');
        if pieces.kind(id) != Kind::Text || token.is_empty() || has_space {
            continue;
        }
        if let Some(first) = pieces.index(id).filter(|&first| tokens[first as usize] == *token) {
            return Err(Error::DuplicatePiece { piece: shortened(token), first, second: id });
        }
    }
    Ok(pieces)
}

fn byte_tokens(pieces: &Pieces, spelling: Spelling) -> Box<[TokenId; 256]> {
    let mut table = Box::new([NO_TOKEN; 256]);
    for id in pieces.ids() {
        let letter = match (pieces.kind(id), spelling, pieces.get(id)) {
            (Kind::Byte, _, &[byte]) => byte,
            (Kind::Text, Spelling::ByteLevel, &[byte]) => byte,
            // Some families list the letters of rare bytes as user-defined.
            (Kind::Added, Spelling::ByteLevel, piece) => {
                let mut letters = std::str::from_utf8(piece).unwrap_or("").chars();
                match (letters.next().and_then(alphabet::byte_of), letters.next()) {
                    (Some(byte), None) if table[usize::from(byte)] == NO_TOKEN => byte,
                    _ => continue,
                }
            }
            _ => continue,
        };
        table[usize::from(letter)] = id;
    }
    table
}

// Every token that is not text, by its name.
fn reserved_names(tokens: &[String], pieces: &Pieces) -> Result<HashMap<Box<str>, TokenId>, Error> {
    let mut names: HashMap<Box<str>, TokenId> = HashMap::new();
    for (second, token) in (0..).zip(tokens) {
        if pieces.kind(second) == Kind::Text || token.is_empty() {
            continue;
        }
        let as_text = pieces.find(token.as_bytes());
        let as_text = as_text.filter(|&id| tokens[id as usize] == *token);
        if let Some(first) = names.insert(token.as_str().into(), second).or(as_text) {
            let (first, second) = (first.min(second), first.max(second));
            return Err(Error::DuplicatePiece { piece: shortened(token), first, second });
        }
    }
    Ok(names)
}

/// Merges whose pieces are looked up together.
const BATCH: usize = 8;

fn pairs(
    merges: &Merges,
    spelling: Spelling,
    pieces: &Pieces,
    names: &HashMap<Box<str>, TokenId>,
) -> Result<Pairs, Error> {
    let num_merges = match merges {
        Merges::Joined(merges) => merges.len(),
        Merges::Split(merges) => merges.len(),
    };
    let mut pairs = Pairs::with_capacity(num_merges);
    let mut spelled = Vec::new();
    // Both pieces of each merge of a batch, spelled one after the other.
    let mut bytes = Vec::new();
    // Merges are mostly listed in the order of the tokens they make; trying that first spares a search.
    let mut last_made = 0;
    for first in (0..num_merges).step_by(BATCH) {
        bytes.clear();
        let mut ends = [[0; 2]; BATCH];
        let batch = first..num_merges.min(first + BATCH);
        for (index, ends) in batch.clone().zip(&mut ends) {
            let (left, right) = merge_at(merges, index)?;
            for (piece, end) in [left, right].into_iter().zip(ends) {
                spell(piece, spelling, &mut spelled);
                bytes.extend_from_slice(&spelled);
                *end = bytes.len();
            }
        }
        let ends = ends.as_flattened();
        let found: [_; 2 * BATCH] = pieces.find_each(std::array::from_fn(|i| {
            let start = i.checked_sub(1).map_or(0, |before| ends[before]);
            bytes.get(start..ends[i]).unwrap_or_default()
        }));
        for (i, index) in batch.enumerate() {
            let (left, right) = merge_at(merges, index)?;
            let absent = |piece: &str| Error::MergeOfAbsentPiece {
                index,
                merge: shortened(&format!("{left} {right}")),
                piece: shortened(piece),
            };
            let id_of = |found: Option<TokenId>, piece: &str| {
                found.or_else(|| names.get(piece).copied()).ok_or_else(|| absent(piece))
            };
            let left_id = id_of(found[2 * i], left)?;
            let right_id = id_of(found[2 * i + 1], right)?;
            let start = (2 * i).checked_sub(1).map_or(0, |before| ends[before]);
            let joined = &bytes[start..ends[2 * i + 1]];
            let next = [last_made, last_made + 1]
                .into_iter()
                .find(|&id| pieces.kind(id) == Kind::Text && pieces.get(id) == joined);
            let id = match next.or_else(|| pieces.find(joined)) {
                Some(id) => id,
                None => {
                    let joined = format!("{left}{right}");
                    let id = names.get(joined.as_str()).copied().ok_or_else(|| absent(&joined))?;
                    // Merging must not make a token that a user may not write.
                    if !matches!(pieces.kind(id), Kind::Added | Kind::Byte) {
                        continue;
                    }
                    id
                }
            };
            last_made = id;
            pairs.insert(left_id, right_id, Join { rank: index as u32, id });
        }
    }
    Ok(pairs)
}

fn merge_at(merges: &Merges, index: usize) -> Result<(&str, &str), Error> {
    let merge = match merges {
        Merges::Split(merges) => return Ok((&merges[index].0, &merges[index].1)),
        Merges::Joined(merges) => &merges[index],
    };
    // The left piece has at least one character, which may be a space itself.
    let first = merge.chars().next().map_or(0, char::len_utf8);
    let space = merge.get(first..).and_then(|rest| rest.find(' ')).map(|at| first + at);
    match space.map(|at| (&merge[..at], &merge[at + 1..])) {
        Some((left, right)) if !right.is_empty() => Ok((left, right)),
        _ => Err(Error::MalformedMerge { index, merge: shortened(merge) }),
    }
}

fn spell(piece: &str, spelling: Spelling, out: &mut Vec<u8>) {
    match spelling {
        Spelling::ByteLevel => alphabet::bytes_of(piece, out),
        Spelling::SpaceMark => {
            out.clear();
            out.extend_from_slice(piece.replace('▁', " ").as_bytes());
        }
        Spelling::Plain => {
            out.clear();
            out.extend_from_slice(piece.as_bytes());
        }
    }
}

/// The order in which SentencePiece makes pieces: 0 has the highest score, equal scores are equal.
fn ranks(scores: &[f32], num_tokens: usize) -> Result<Vec<u32>, Error> {
    if scores.len() != num_tokens {
        return Err(Error::LengthMismatch { field: "scores", found: scores.len(), num_tokens });
    }
    if let Some((id, &score)) = (0..).zip(scores).find(|(_, score)| score.is_nan()) {
        return Err(Error::BadScore { id, score });
    }
    let mut order: Vec<TokenId> = (0..num_tokens as TokenId).collect();
    order.sort_by(|&a, &b| scores[b as usize].total_cmp(&scores[a as usize]));
    let mut ranks = vec![0; num_tokens];
    let mut rank = 0;
    for (at, &id) in order.iter().enumerate() {
        let before = at.checked_sub(1).map(|before| scores[order[before] as usize]);
        if before.is_some_and(|before| before > scores[id as usize]) {
            rank += 1;
        }
        ranks[id as usize] = rank;
    }
    Ok(ranks)
}

// If no piece has a space after another character, no merge crosses such a place, and text can be
// cut there without changing any id.
fn any_piece_crosses_a_space(pieces: &Pieces) -> bool {
    let texts = pieces.ids().filter(|&id| pieces.kind(id) == Kind::Text);
    texts
        .map(|id| pieces.get(id))
        .any(|piece| piece.windows(2).any(|pair| pair[0] != b' ' && pair[1] == b' '))
}
