//! Leaves out white space at both ends of a text and template tags at its end.

/// Tags of chat templates, beside those between `<|` and `|>`.
const TAGS: [&str; 11] = [
    "</s>",
    "<s>",
    "<eos>",
    "<bos>",
    "<end_of_turn>",
    "<start_of_turn>",
    "[/INST]",
    "[INST]",
    "<｜end▁of▁sentence｜>",
    "<｜User｜>",
    "<｜Assistant｜>",
];
/// Tags that a role's name may follow.
const BEFORE_ROLE: [&str; 3] = ["<|im_start|>", "<|start_header_id|>", "<start_of_turn>"];
/// The roles that templates know.
const ROLES: [&str; 5] = ["user", "assistant", "system", "model", "tool"];
/// Letters of the longest name between `<|` and `|>`.
const MAX_NAME_LEN: usize = 32;

/// Lets text through that is certain to stay.
#[derive(Debug, Default)]
pub(super) struct TagTrimmer {
    /// White space and tags, and then perhaps a tag that is not complete: it goes if nothing follows.
    held: String,
    /// The tag at the end of `held`.
    tag: Option<Tag>,
    has_begun: bool,
}

#[derive(Clone, Copy, Debug)]
struct Tag {
    start: usize,
    /// Where it was complete last; a role's name may still follow.
    complete_at: Option<usize>,
}

/// What a text that begins like a tag is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Match {
    Whole,
    Beginning,
    Other,
}

impl TagTrimmer {
    /// Takes the next piece; returns what is certain to stay.
    pub(super) fn push(&mut self, text: &str) -> String {
        let mut certain = String::new();
        for c in text.chars() {
            if self.continues_tag(c) {
                continue;
            }
            if self.tag.take().is_some_and(|tag| tag.complete_at != Some(self.held.len())) {
                // It only looked like one.
                self.let_through(&mut certain);
            }
            if c == '<' || c == '[' {
                self.tag = Some(Tag { start: self.held.len(), complete_at: None });
            }
            self.held.push(c);
            if self.tag.is_none() && !c.is_whitespace() {
                self.let_through(&mut certain);
            }
        }
        certain
    }

    /// The text has ended; returns what was no tag after all.
    pub(super) fn finish(&mut self) -> String {
        let mut certain = String::new();
        // Behind a complete tag there may be half a role's name, which goes with it.
        if self.tag.take().is_some_and(|tag| tag.complete_at.is_none()) {
            self.let_through(&mut certain);
        }
        self.held.clear();
        certain
    }

    /// Takes `c` if the tag at the end goes on with it.
    fn continues_tag(&mut self, c: char) -> bool {
        let Some(tag) = &mut self.tag else { return false };
        self.held.push(c);
        match match_tag(&self.held[tag.start..]) {
            Match::Whole => tag.complete_at = Some(self.held.len()),
            Match::Beginning => {}
            Match::Other => {
                self.held.pop();
                return false;
            }
        }
        true
    }

    fn let_through(&mut self, certain: &mut String) {
        let text = if self.has_begun { &*self.held } else { self.held.trim_start() };
        self.has_begun |= !text.is_empty();
        certain.push_str(text);
        self.held.clear();
    }
}

fn match_tag(text: &str) -> Match {
    if TAGS.contains(&text) {
        return Match::Whole;
    }
    if TAGS.iter().any(|tag| tag.starts_with(text)) {
        return Match::Beginning;
    }
    if let Some(role) = BEFORE_ROLE.iter().find_map(|tag| text.strip_prefix(tag)) {
        return match_one_of(role, &ROLES);
    }
    let Some(name) = text.strip_prefix("<|") else {
        return Match::Other;
    };
    let len = name.bytes().take_while(|it| it.is_ascii_alphanumeric() || *it == b'_').count();
    match &name[len..] {
        _ if len > MAX_NAME_LEN => Match::Other,
        "" => Match::Beginning,
        "|" if len > 0 => Match::Beginning,
        "|>" if len > 0 => Match::Whole,
        _ => Match::Other,
    }
}

/// Also nothing at all is whole.
fn match_one_of(text: &str, words: &[&str]) -> Match {
    if text.is_empty() || words.contains(&text) {
        Match::Whole
    } else if words.iter().any(|it| it.starts_with(text)) {
        Match::Beginning
    } else {
        Match::Other
    }
}
