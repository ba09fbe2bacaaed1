//! Keeps what people wrote apart from what the template wrote.

use crate::encode::Encoder;
use crate::pieces::Kind;
use crate::{TemplateError, TokenId, Tokenizer};
use std::collections::{HashMap, HashSet};

/// A prompt in which control tokens and text are told apart.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RenderedPrompt {
    parts: Vec<Part>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Part {
    /// Written by the template.
    Token { id: TokenId, name: String },
    /// Nothing in it is a control token.
    Text(String),
}

impl RenderedPrompt {
    /// The prompt as one text, to show to people; encode with [`Tokenizer::encode_prompt`].
    #[must_use]
    pub fn text(&self) -> String {
        let text = |part: &Part| match part {
            Part::Token { name, .. } => name.clone(),
            Part::Text(text) => text.clone(),
        };
        self.parts.iter().map(text).collect()
    }

    pub(crate) fn begins_with(&self, id: TokenId) -> bool {
        matches!(self.parts.first(), Some(Part::Token { id: first, .. }) if *first == id)
    }

    pub(crate) fn write_to(&self, encoder: &mut Encoder<'_>) {
        for part in &self.parts {
            match part {
                Part::Token { id, .. } => encoder.token(*id),
                Part::Text(text) => encoder.text(text),
            }
        }
    }
}

/// Hides names behind private-use characters and shows them again.
pub(super) struct Hidden<'a> {
    tokenizer: &'a Tokenizer,
    // Private-use characters that someone wrote; they stand for themselves.
    taken: HashSet<char>,
    free: std::ops::RangeInclusive<char>,
    hidden: HashMap<char, String>,
    characters: HashMap<String, char>,
    // Every name that only a template writes; what they begin and end with; bytes of the longest.
    reserved: Vec<&'a str>,
    firsts: HashSet<char>,
    lasts: HashSet<char>,
    max_len: usize,
}

// Supplementary Private Use Area-B. No template or font we know of uses it.
pub(super) const PRIVATE_USE: std::ops::RangeInclusive<char> = '\u{100000}'..='\u{10fffd}';

impl<'a> Hidden<'a> {
    /// `texts` are all that may reach the output.
    pub(super) fn new<'t>(
        texts: impl Iterator<Item = &'t str>,
        tokenizer: &'a Tokenizer,
    ) -> Hidden<'a> {
        let private = |c: &char| PRIVATE_USE.contains(c);
        let is_reserved =
            |id: TokenId| matches!(tokenizer.pieces.kind(id), Kind::Control | Kind::Marker);
        let names = tokenizer.names.iter().filter(|&(_, &id)| is_reserved(id));
        let reserved: Vec<&str> = names.map(|(name, _)| &**name).collect();
        Hidden {
            tokenizer,
            taken: texts.flat_map(str::chars).filter(private).collect(),
            free: PRIVATE_USE,
            hidden: HashMap::new(),
            characters: HashMap::new(),
            firsts: reserved.iter().filter_map(|name| name.chars().next()).collect(),
            lasts: reserved.iter().filter_map(|name| name.chars().next_back()).collect(),
            max_len: reserved.iter().map(|name| name.len()).max().unwrap_or(0),
            reserved,
        }
    }

    /// `text` with every reserved name in it hidden; markers stay if `keeps_markers`.
    pub(super) fn hide(
        &mut self,
        text: &str,
        keeps_markers: bool,
    ) -> Result<String, TemplateError> {
        let tokenizer = self.tokenizer;
        let mut out = String::with_capacity(text.len());
        let mut end = 0;
        for (id, range) in tokenizer.markup.reserved.find(text) {
            if keeps_markers && tokenizer.pieces.kind(id) == Kind::Marker {
                continue;
            }
            out.push_str(&text[end..range.start]);
            out.push(self.character_for(&text[range.clone()])?);
            end = range.end;
        }
        out.push_str(&text[end..]);
        self.hide_begun_names(out)
    }

    // What the template writes next to a message must not complete a name begun in it. Templates trim
    // messages, so the ends are looked for inside the white space.
    fn hide_begun_names(&mut self, mut text: String) -> Result<String, TemplateError> {
        let end = text.trim_end().len();
        let from = text.floor_char_boundary(end.saturating_sub(self.max_len));
        let begun = text[from..end].char_indices().find(|&(at, c)| {
            let tail = &text[from + at..end];
            self.firsts.contains(&c) && self.reserved.iter().any(|name| name.starts_with(tail))
        });
        if let Some((at, _)) = begun {
            let hidden = self.character_for(&text[from + at..end])?;
            text.replace_range(from + at..end, hidden.encode_utf8(&mut [0; 4]));
        }

        let start = text.len() - text.trim_start().len();
        let until = text.floor_char_boundary((start + self.max_len).min(text.len()));
        let ended = text[start..until].char_indices().rev().find(|&(at, c)| {
            let head = &text[start..start + at + c.len_utf8()];
            self.lasts.contains(&c) && self.reserved.iter().any(|name| name.ends_with(head))
        });
        if let Some((at, c)) = ended {
            let range = start..start + at + c.len_utf8();
            let hidden = self.character_for(&text[range.clone()])?;
            text.replace_range(range, hidden.encode_utf8(&mut [0; 4]));
        }
        Ok(text)
    }

    fn character_for(&mut self, name: &str) -> Result<char, TemplateError> {
        if let Some(&character) = self.characters.get(name) {
            return Ok(character);
        }
        let taken = &self.taken;
        let free = self.free.find(|character| !taken.contains(character));
        let character = free.ok_or(TemplateError::NoPlaceholderLeft)?;
        self.characters.insert(name.to_owned(), character);
        self.hidden.insert(character, name.to_owned());
        Ok(character)
    }

    /// Finds the template's own control tokens in what it wrote, and writes hidden names back as text.
    pub(super) fn show(&self, rendered: &str) -> RenderedPrompt {
        let mut parts = Vec::new();
        let text = |run: &str, parts: &mut Vec<Part>| {
            if !run.is_empty() {
                parts.push(Part::Text(self.shown(run)));
            }
        };
        let mut end = 0;
        for (id, range) in self.tokenizer.markup.reserved.find(rendered) {
            text(&rendered[end..range.start], &mut parts);
            parts.push(Part::Token { id, name: rendered[range.clone()].to_owned() });
            end = range.end;
        }
        text(&rendered[end..], &mut parts);
        RenderedPrompt { parts }
    }

    fn shown(&self, text: &str) -> String {
        if self.hidden.is_empty() {
            return text.to_owned();
        }
        let mut out = String::with_capacity(text.len());
        for c in text.chars() {
            match self.hidden.get(&c) {
                Some(name) => out.push_str(name),
                None => out.push(c),
            }
        }
        out
    }
}
