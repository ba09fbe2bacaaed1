//! Cuts text into the words that byte-pair encoding works on, by regular expressions that run in
//! linear time.
//!
//! The engine has no look-around. The one form that model families use, `\s+(?!\S)|\s+`, takes a
//! run of white space, without its last character if something follows; it is matched as `\s+` and
//! shortened.

use crate::Error;
use crate::error::shortened;
use regex_automata::meta::Regex;
use regex_automata::util::syntax;
use regex_automata::{Anchored, Input};
use std::ops::Range;

/// What becomes of the matches of a pattern (the names are Hugging Face's).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Behavior {
    Isolated,
    Removed,
    MergedWithPrevious,
    MergedWithNext,
    Contiguous,
}

/// One pattern and what to do with its matches.
#[derive(Clone, Debug)]
pub(crate) struct Rule {
    regex: Regex,
    // The alternative that stands for `\s+(?!\S)`.
    shortened: Option<usize>,
    behavior: Behavior,
    invert: bool,
}

// A single space before a word is left to the second of the two; together they are `\s+`, shortened.
const SPACES_BUT_ONE: [&str; 2] = [r"\s+(?!\S)", r"\s+"];
const MAX_AUTOMATON_BYTES: usize = 16 << 20;

impl Rule {
    /// A rule whose matches are words, and so is the text between them.
    pub(crate) fn isolated(pattern: &str) -> Result<Rule, Error> {
        Rule::new(pattern, Behavior::Isolated, false)
    }

    pub(crate) fn new(pattern: &str, behavior: Behavior, invert: bool) -> Result<Rule, Error> {
        let bad = |message: String| Error::BadPattern { pattern: shortened(pattern), message };
        let alternatives = top_level_alternatives(pattern);
        let shortened = alternatives.windows(2).position(|pair| *pair == SPACES_BUT_ONE);
        let parts = match shortened {
            None => vec![pattern.to_owned()],
            Some(at) => {
                let (before, after) =
                    (alternatives[..at].join("|"), alternatives[at + 2..].join("|"));
                // An empty list of alternatives must match nothing, not the empty word.
                let or_never =
                    |part: String| if part.is_empty() { "[^\\s\\S]".into() } else { part };
                vec![or_never(before), r"\s+".into(), or_never(after)]
            }
        };
        let parts: Vec<String> = parts.iter().map(|part| greedy(part)).collect();
        if parts.iter().any(|part| has_look_around(part)) {
            return Err(bad(
                "look-around other than \\s+(?!\\S)|\\s+ cannot run in linear time".into()
            ));
        }
        let config = Regex::config()
            .nfa_size_limit(Some(MAX_AUTOMATON_BYTES))
            .onepass_size_limit(Some(1 << 20))
            .hybrid_cache_capacity(4 << 20);
        let regex = Regex::builder()
            .configure(config)
            .syntax(syntax::Config::new().multi_line(true))
            .build_many(&parts)
            .map_err(|error| bad(describe(&error)))?;
        Ok(Rule { regex, shortened: shortened.map(|_| 1), behavior, invert })
    }

    /// The pattern alone.
    pub(crate) fn into_regex(self) -> Regex {
        self.regex
    }

    /// Cuts `text` and hands each word's range to `word`, in order.
    fn split(&self, text: &str, mut word: impl FnMut(Range<usize>)) {
        let mut merge = Merge { behavior: self.behavior, open: None, word: &mut word };
        let mut give = |range: Range<usize>, is_match: bool| {
            if !range.is_empty() {
                merge.take(range, is_match != self.invert);
            }
        };
        let (mut at, mut gap) = (0, 0);
        while at < text.len() {
            let Some(found) = self.find(text, at) else { break };
            if found.is_empty() {
                // An empty match cuts nothing; go on after the next character.
                at = found.end + text[found.end..].chars().next().map_or(1, char::len_utf8);
                continue;
            }
            give(gap..found.start, false);
            at = found.end;
            gap = at;
            give(found, true);
        }
        give(gap..text.len(), false);
        merge.finish();
    }

    fn find(&self, text: &str, at: usize) -> Option<Range<usize>> {
        let input = Input::new(text).span(at..text.len());
        // Patterns with `\s+(?!\S)` cover all text, so the next match is nearly always right here;
        // asking for that first spares the engine the search for where it begins.
        let here =
            self.shortened.and_then(|_| self.regex.search(&input.clone().anchored(Anchored::Yes)));
        let found = here.or_else(|| self.regex.search(&input))?;
        let mut range = found.range();
        if Some(found.pattern().as_usize()) == self.shortened && range.end < text.len() {
            let last = text[range.clone()].chars().next_back().map_or(0, char::len_utf8);
            if range.len() > last {
                range.end -= last;
            }
        }
        Some(range)
    }
}

/// Glues matches and gaps together as a behavior says.
struct Merge<'a, F: FnMut(Range<usize>)> {
    behavior: Behavior,
    open: Option<(Range<usize>, bool)>,
    word: &'a mut F,
}

impl<F: FnMut(Range<usize>)> Merge<'_, F> {
    fn take(&mut self, range: Range<usize>, is_match: bool) {
        if self.behavior == Behavior::Removed && is_match {
            return;
        }
        let joins = match (self.behavior, &self.open) {
            (Behavior::MergedWithPrevious, Some((_, was_match))) => is_match && !was_match,
            (Behavior::MergedWithNext, Some((_, was_match))) => *was_match && !is_match,
            (Behavior::Contiguous, Some((_, was_match))) => is_match == *was_match,
            (Behavior::Isolated | Behavior::Removed, _) | (_, None) => false,
        };
        match &mut self.open {
            Some((open, was_match)) if joins => {
                open.end = range.end;
                *was_match = is_match;
            }
            open => {
                if let Some((done, _)) = open.replace((range, is_match)) {
                    (self.word)(done);
                }
            }
        }
    }

    fn finish(self) {
        if let Some((last, _)) = self.open {
            (self.word)(last);
        }
    }
}

/// Cuts text by rules, one after the other, each within the words of the one before.
#[derive(Clone, Debug, Default)]
pub(crate) struct Splitter {
    pub(crate) rules: Vec<Rule>,
}

impl Splitter {
    /// Hands each word of `text` to `word`, in order. With no rules, the text is one word.
    pub(crate) fn split<'t>(&self, text: &'t str, mut word: impl FnMut(&'t str)) {
        let Some((last, before)) = self.rules.split_last() else { return word(text) };
        let mut parts = vec![text];
        for rule in before {
            let mut finer = Vec::with_capacity(parts.len());
            for part in parts {
                rule.split(part, |range| finer.push(&part[range]));
            }
            parts = finer;
        }
        for part in parts {
            last.split(part, |range| word(&part[range]));
        }
    }
}

/// The alternatives of a pattern that no group encloses.
fn top_level_alternatives(pattern: &str) -> Vec<&str> {
    let mut alternatives = Vec::new();
    let mut start = 0;
    let mut depth = 0_usize;
    for (at, part) in Parts(pattern, 0) {
        match part {
            "(" => depth += 1,
            ")" => depth = depth.saturating_sub(1),
            "|" if depth == 0 => {
                alternatives.push(&pattern[start..at]);
                start = at + 1;
            }
            _ => {}
        }
    }
    alternatives.push(&pattern[start..]);
    alternatives
}

/// The pattern with possessive quantifiers (`?+`, `*+`, `++`) made greedy, which our engine would read
/// as a repetition of a repetition. Families use them only where the next part starts with other
/// characters, so that both match the same.
fn greedy(pattern: &str) -> String {
    let mut out = String::with_capacity(pattern.len());
    let mut after_quantifier = false;
    for (_, part) in Parts(pattern, 0) {
        let possessive = part == "+" && after_quantifier;
        if !possessive {
            out.push_str(part);
        }
        after_quantifier = !after_quantifier && matches!(part, "?" | "*" | "+");
        if out.ends_with("(?") {
            after_quantifier = false;
        }
    }
    out
}

fn has_look_around(pattern: &str) -> bool {
    Parts(pattern, 0).any(|(at, part)| {
        let rest = &pattern[at..];
        part == "("
            && ["(?=", "(?!", "(?<=", "(?<!", "(?>"].iter().any(|look| rest.starts_with(look))
    })
}

/// Cuts a pattern into characters, escapes (`\p`, `\|`) and whole classes (`[...]`).
struct Parts<'p>(&'p str, usize);

impl<'p> Iterator for Parts<'p> {
    type Item = (usize, &'p str);

    fn next(&mut self) -> Option<(usize, &'p str)> {
        let start = self.1;
        let rest = &self.0[start..];
        let first = rest.chars().next()?;
        let len = match first {
            '\\' => 1 + rest[1..].chars().next().map_or(0, char::len_utf8),
            '[' => class_len(rest),
            other => other.len_utf8(),
        };
        self.1 += len;
        Some((start, &rest[..len]))
    }
}

/// Bytes of the class that `rest` begins with, nested classes included.
fn class_len(rest: &str) -> usize {
    let mut depth = 0_usize;
    let mut chars = rest.char_indices().peekable();
    while let Some((at, c)) = chars.next() {
        match c {
            '\\' => drop(chars.next()),
            '[' => {
                depth += 1;
                // `]` right after `[` or `[^` is a member.
                chars.next_if(|&(_, c)| c == '^');
                chars.next_if(|&(_, c)| c == ']');
            }
            ']' => {
                depth -= 1;
                if depth == 0 {
                    return at + 1;
                }
            }
            _ => {}
        }
    }
    rest.len()
}

fn describe(error: &regex_automata::meta::BuildError) -> String {
    match (error.size_limit(), error.syntax_error()) {
        (Some(limit), _) => format!("its automaton needs more than {limit} bytes"),
        (None, Some(syntax)) => {
            // The last line says what is wrong; the ones before draw the pattern again.
            syntax.to_string().lines().last().unwrap_or("not a regular expression").to_owned()
        }
        (None, None) => error.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(pattern: &str, behavior: Behavior, text: &str, want: &str) {
        let splitter = Splitter { rules: vec![Rule::new(pattern, behavior, false).unwrap()] };
        let mut words = Vec::new();
        splitter.split(text, |word| words.push(word));
        assert_eq!(words.join("|"), want, "{pattern} {behavior:?} on {text:?}");
    }

    #[test]
    fn a_run_of_spaces_leaves_its_last_to_the_next_word() {
        let gpt2 = r"'s| ?\p{L}+| ?[^\s\p{L}]+|\s+(?!\S)|\s+";
        check(gpt2, Behavior::Isolated, "it's   so", "it|'s|  | so");
        check(gpt2, Behavior::Isolated, "a\n\nb  ", "a|\n|\n|b|  ");
        check(r"\s+(?!\S)|\s+", Behavior::Isolated, "a   b  ", "a|  | |b|  ");
    }

    #[test]
    fn matches_are_glued_as_the_behavior_says() {
        check("-", Behavior::Isolated, "a--b-", "a|-|-|b|-");
        check("-", Behavior::Removed, "a--b-", "a|b");
        check("-", Behavior::MergedWithPrevious, "a--b-", "a-|-|b-");
        check("-", Behavior::MergedWithNext, "a--b-", "a|-|-b|-");
        check("-", Behavior::Contiguous, "a--b-", "a|--|b|-");
        check("", Behavior::Isolated, "aé", "aé");
    }

    #[test]
    fn possessive_quantifiers_are_read_as_greedy() {
        check(r"[^\r\n\p{L}]?+\p{L}+|x++", Behavior::Isolated, "--ab", "-|-ab");
        assert_eq!(greedy(r"a?+[+]*+\++(?i:b)++"), r"a?[+]*\++(?i:b)+");
    }

    #[test]
    fn what_cannot_run_in_linear_time_is_refused() {
        for (pattern, want) in [
            (r"a(?=b)", "look-around"),
            (r"(?:\s+(?!\S))|\s+", "look-around"),
            (r"\s+(?!\S)", "look-around"),
            (r"(?<!a)b", "look-around"),
            (r"(a)\1", "backreferences"),
            (r"\p{L}{1000}{1000}", "more than"),
            ("(a", "unclosed"),
        ] {
            let error = Rule::isolated(pattern).unwrap_err().to_string();
            assert!(error.contains(want), "{pattern}: {error}");
        }
    }

    #[test]
    fn a_pattern_that_backtracks_elsewhere_ends_here() {
        let text = "a".repeat(100_000) + "!";
        check("(a+)+$", Behavior::Isolated, &text, &text);
        check("(a+)+", Behavior::Isolated, &text, &(text[..100_000].to_owned() + "|!"));
    }
}
