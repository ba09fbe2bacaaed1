//! Finds stop texts in streamed text, also when they are split over tokens.
//!
//! Text that may still become a stop text is held back, and no more than that: the longest suffix
//! which some stop text begins with. What is found does not depend on how the text was cut into
//! pieces: the stop text that is complete first wins, and of those the longest.

/// Watches the text of one choice.
#[derive(Debug)]
pub(crate) struct StopMatcher {
    stops: Vec<String>,
    /// A proper prefix of some stop text.
    held: String,
}

/// What a piece of text has led to.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Matched {
    /// Text that is certain now and was not given before.
    pub(crate) text: String,
    /// A stop text is complete; `text` ends before it.
    pub(crate) is_stop: bool,
}

impl StopMatcher {
    pub(crate) fn new(stops: &[String]) -> Self {
        Self { stops: stops.to_vec(), held: String::new() }
    }

    /// Takes the next piece of text.
    pub(crate) fn push(&mut self, text: String) -> Matched {
        if self.stops.is_empty() {
            return Matched { text, is_stop: false };
        }
        let mut seen = std::mem::take(&mut self.held);
        seen.push_str(&text);
        if let Some(start) = self.first_stop(&seen) {
            seen.truncate(start);
            return Matched { text: seen, is_stop: true };
        }
        self.held = seen.split_off(self.start_of_hope(&seen));
        Matched { text: seen, is_stop: false }
    }

    /// The text has ended: what was held back is certain.
    pub(crate) fn finish(&mut self) -> String {
        std::mem::take(&mut self.held)
    }

    /// Where the stop text begins that is complete first.
    fn first_stop(&self, seen: &str) -> Option<usize> {
        let found = self.stops.iter().filter_map(|stop| {
            let start = seen.find(stop.as_str())?;
            Some((start + stop.len(), start))
        });
        found.min().map(|(_, start)| start)
    }

    /// Where the longest suffix begins that may still grow into a stop text.
    fn start_of_hope(&self, seen: &str) -> usize {
        let longest = self.stops.iter().map(String::len).max().unwrap_or(0);
        let first = seen.len().saturating_sub(longest.saturating_sub(1));
        let starts = (first..seen.len()).filter(|&it| seen.is_char_boundary(it));
        let hopeful = |&start: &usize| self.stops.iter().any(|it| it.starts_with(&seen[start..]));
        starts.into_iter().find(hopeful).unwrap_or(seen.len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tests::Chance;

    /// Pushes `pieces` (split at `|`) and joins what comes out: `|` between pieces, `.` where it
    /// stopped, or the text that was held back after `+`.
    fn run(stops: &[&str], pieces: &str) -> String {
        let stops: Vec<String> = stops.iter().map(|&it| it.to_owned()).collect();
        let mut matcher = StopMatcher::new(&stops);
        let mut out = vec![];
        for piece in pieces.split('|') {
            let matched = matcher.push(piece.to_owned());
            out.push(matched.text);
            if matched.is_stop {
                return out.join("|") + ".";
            }
        }
        out.join("|") + "+" + &matcher.finish()
    }

    fn check(stops: &[&str], pieces: &str, expected: &str) {
        assert_eq!(run(stops, pieces), expected, "{stops:?} {pieces}");
    }

    #[test]
    fn without_stop_texts_everything_passes() {
        check(&[], "a|b", "a|b+");
    }

    #[test]
    fn a_stop_text_is_cut_off_wherever_it_is_split() {
        check(&["END"], "one END two", "one .");
        check(&["END"], "one E|ND two", "one |.");
        check(&["END"], "one E|N|D", "one ||.");
        check(&["END"], "END", ".");
    }

    #[test]
    fn text_is_held_back_only_while_it_may_become_a_stop_text() {
        check(&["END"], "one E|ven", "one |Even+");
        check(&["END"], "EEN|D", "E|.");
        check(&["END"], "one E|N", "one |+EN");
        check(&["aab"], "aa|a|ab", "|a|a.");
        check(&["\n\n"], "a\n|b\n|\n", "a|\nb|.");
    }

    #[test]
    fn the_stop_text_that_is_complete_first_wins() {
        check(&["abcd", "bc"], "abcd", "a.");
        check(&["abcd", "bc"], "ab|cd", "|a.");
        check(&["bc", "abc"], "xabc", "x.");
        check(&["x", "ab"], "abx", ".");
    }

    #[test]
    fn characters_are_never_split() {
        check(&["é!"], "caf|é|e", "caf||ée+");
        check(&["é!"], "café|!", "caf|.");
        check(&["\u{301}"], "e\u{301}", "e.");
    }

    #[test]
    fn the_cut_into_pieces_never_matters() {
        for seed in 0..2000 {
            let mut chance = Chance::new(seed);
            let mut text = |most: usize| -> String {
                (0..1 + chance.below(most)).map(|_| ['a', 'b', 'é'][chance.below(3)]).collect()
            };
            let (whole, stops) = (text(20), [text(4), text(4), text(6)]);
            let stops: Vec<&str> = stops.iter().map(String::as_str).collect();
            let cut: String = whole
                .chars()
                .flat_map(|it| [Some(it), (chance.below(2) == 0).then_some('|')])
                .flatten()
                .collect();
            let join = |pieces: &str| run(&stops, pieces).replace(['|', '+'], "");
            assert_eq!(join(&cut), join(&whole), "seed {seed}: {stops:?} {cut}");
        }
    }
}
