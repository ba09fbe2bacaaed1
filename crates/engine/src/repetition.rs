//! Notices that a generation repeats itself, from its latest tokens alone.
//!
//! For each size of pattern there is one number: how many of the latest tokens are the same as the one
//! that many places before. A pattern has come `min_count` times when the last of them have all
//! agreed with the first. So a token costs one comparison for each size, however long the text is.

use brisk_tokenizer::TokenId;

use crate::params::RepetitionDetection;

/// Watches the completion tokens of one choice.
#[derive(Debug)]
pub(crate) struct RepetitionTracker {
    detection: RepetitionDetection,
    /// For each size from the smallest on.
    num_agreeing: Vec<u32>,
}

impl RepetitionTracker {
    pub(crate) fn new(detection: RepetitionDetection) -> Self {
        let RepetitionDetection { max_pattern_size, min_pattern_size, .. } = detection;
        let num_sizes = (max_pattern_size + 1).saturating_sub(min_pattern_size);
        Self { detection, num_agreeing: vec![0; num_sizes as usize] }
    }

    /// The last of `tokens` is new: whether some pattern has now come often enough.
    pub(crate) fn push(&mut self, tokens: &[TokenId]) -> bool {
        let Some((token, before)) = tokens.split_last() else { return false };
        let RepetitionDetection { min_pattern_size, min_count, .. } = self.detection;
        let mut is_found = false;
        for (size, num_agreeing) in (min_pattern_size..).zip(&mut self.num_agreeing) {
            let earlier =
                before.len().checked_sub(size as usize - 1).and_then(|n| before[..n].last());
            *num_agreeing = if earlier == Some(token) { num_agreeing.saturating_add(1) } else { 0 };
            is_found |= *num_agreeing >= size * (min_count - 1);
        }
        is_found
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tests::Chance;

    /// After how many tokens it ends, if it does. A token is a letter.
    fn end(max: u32, min: u32, count: u32, text: &str) -> Option<usize> {
        let detection =
            RepetitionDetection { max_pattern_size: max, min_pattern_size: min, min_count: count };
        let mut tracker = RepetitionTracker::new(detection);
        let tokens: Vec<TokenId> = text.bytes().map(TokenId::from).collect();
        (1..=tokens.len()).find(|&n| tracker.push(&tokens[..n]))
    }

    #[track_caller]
    fn check(sizes_and_count: (u32, u32, u32), text: &str, expected: Option<usize>) {
        let (max, min, count) = sizes_and_count;
        assert_eq!(end(max, min, count, text), expected, "{sizes_and_count:?} {text}");
    }

    #[test]
    fn a_pattern_that_came_often_enough_ends_the_text() {
        check((1, 1, 2), "abb", Some(3));
        check((1, 1, 3), "abbabbb", Some(7));
        check((2, 1, 3), "xababab", Some(7));
        check((3, 3, 2), "abcabc", Some(6));
        check((4, 2, 2), "abcdeabcdabcd", Some(13));
    }

    #[test]
    fn what_is_interrupted_begins_anew() {
        check((2, 1, 3), "ababxabab", None);
        check((2, 1, 3), "ababxababab", Some(11));
        check((1, 1, 3), "aabaabaab", None);
    }

    #[test]
    fn only_patterns_of_the_given_sizes_count() {
        check((2, 1, 2), "abcabc", None);
        check((3, 2, 2), "aaa", None);
        // Four times one token is twice a pattern of two.
        check((3, 2, 2), "aaaa", Some(4));
        check((8, 8, 2), "aaaaaaaaaaaaaaaa", Some(16));
    }

    #[test]
    fn it_is_what_looking_back_at_the_whole_text_finds() {
        for seed in 0..3000 {
            let mut chance = Chance::new(seed);
            let max = 1 + chance.below(5);
            let (min, count) = (1 + chance.below(max), 2 + chance.below(3));
            let text: String = (0..40).map(|_| if chance.once_in(4) { 'b' } else { 'a' }).collect();
            let repeats = |n: usize, size: usize| {
                let pattern = n.checked_sub(size * count).map(|at| &text[at..n]);
                pattern.is_some_and(|it| it == it[..size].repeat(count))
            };
            let expected = (1..=text.len()).find(|&n| (min..=max).any(|size| repeats(n, size)));
            let got = end(max as u32, min as u32, count as u32, &text);
            assert_eq!(got, expected, "seed {seed}: {min} to {max}, {count} times: {text}");
        }
    }
}
