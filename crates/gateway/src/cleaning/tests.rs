//! What goes out of a reply, and when.

use proptest::prelude::*;

use super::*;

/// Streams `pieces` (split at `|`), each a token: what goes out, `|` between pieces, and then `+`
/// with what goes out at the end.
fn stream(pieces: &str, hold_from: usize, reason: FinishReason) -> String {
    let mut cleaner = Cleaner::new(hold_from);
    let sent: Vec<String> =
        (1..).zip(pieces.split('|')).map(|(i, piece)| cleaner.push(piece, i)).collect();
    sent.join("|") + "+" + &cleaner.finish(reason)
}

fn check(pieces: &str, expected: &str) {
    assert_eq!(stream(pieces, usize::MAX, FinishReason::Stop), expected, "{pieces}");
}

fn check_cut_off(hold_from: usize, pieces: &str, expected: &str) {
    assert_eq!(stream(pieces, hold_from, FinishReason::Length), expected, "{pieces}");
}

#[test]
fn white_space_around_a_reply_goes() {
    check("\n\n Hi| there", "Hi| there+");
    check(" |\n|Hi| ", "||Hi|+");
    check("Hi |\n\n|there|\n", "Hi|| \n\nthere|+");
    check(" \n ", "+");
    check("", "+");
}

/// `~` stands for `|` in the rows below.
fn check_tags(pieces: &str, expected: &str) {
    let got = {
        let mut cleaner = Cleaner::new(usize::MAX);
        let pieces: Vec<String> = pieces.split('|').map(|it| it.replace('~', "|")).collect();
        let sent: Vec<String> = pieces.iter().map(|it| cleaner.push(it, 1)).collect();
        sent.join("/") + "+" + &cleaner.finish(FinishReason::Stop)
    };
    assert_eq!(got, expected.replace('~', "|"), "{pieces}");
}

#[test]
fn tags_at_the_end_go() {
    for tag in [
        "<~im_end~>",
        "<~eot_id~>",
        "</s>",
        "<end_of_turn>",
        "<~end~>",
        "<~endoftext~>",
        "[/INST]",
        "<~user~>",
        "<~assistant~>",
        "<~im_start~>",
        "<~im_start~>user",
        "<~im_end~>\n<~im_start~>assistant\n",
        "<start_of_turn>user\n",
        "<~start_header_id~>user<~end_header_id~>\n\n",
        "</s></s> </s>\n",
        "<｜end▁of▁sentence｜>",
        "<~im_start~>us",
    ] {
        check_tags(&format!("Hi.{tag}"), "Hi.+");
        check_tags(&format!("Hi. {tag}"), "Hi.+");
        check_tags(tag, "+");
    }
}

#[test]
fn tags_in_the_middle_and_what_only_looks_like_one_stay() {
    check_tags("a </s> b", "a </s> b+");
    check_tags("<~user~> b", "<~user~> b+");
    check_tags("a <~im_start~>users", "a <~im_start~>users+");
    check_tags("<think></think>Hi", "<think></think>Hi+");
    check_tags("<think></think>", "<think></think>+");
    check_tags("a <", "a+ <");
    check_tags("a <~im_e", "a+ <~im_e");
    check_tags("a </s> <", "a+ </s> <");
    check_tags("a <~>", "a <~>+");
    check_tags("a <~no tag~>", "a <~no tag~>+");
    check_tags("[1, 2] < 3", "[1, 2] < 3+");
    check_tags("x[/INS]", "x[/INS]+");
    let long = format!("a <~{}~>", "x".repeat(33));
    check_tags(&long, &format!("{long}+"));
}

#[test]
fn text_waits_only_while_it_may_be_a_tag() {
    check_tags("a <|~im|_end|~>", "a///+");
    check_tags("a <|~im|_x| b", "a/// <~im_x b+");
    check_tags("a |<|c", "a// <c+");
    check_tags("a<<|/s>", "a</+");
    check_tags("a</s>|\n|b", "a//</s>\nb+");
}

#[test]
fn a_last_sentence_that_was_cut_off_goes() {
    check_cut_off(2, "It works.| It| does| not", "It works.|||+");
    check_cut_off(1, "It works.| It| does| not", "|It works.||+");
    check_cut_off(1, "It| works| well.| And", "|||It works well.+");
    check_cut_off(0, "It works. It is 3.|5 or", "It works.|+");
    check_cut_off(0, "It works.| See Dr.| Smi", "|It works.|+");
    check_cut_off(0, "它有效。|但是", "|它有效。+");
    check_cut_off(0, "- one|\n- two|\n- thr", "|- one|\n- two+");
    check_cut_off(0, "It works.| \"No. It", "|It works.+");
    check_cut_off(0, "It works.| It does.", "|It works.+ It does.");
    check_cut_off(0, "It works.| It does.|</s>", "|It works.|+ It does.");
}

#[test]
fn nothing_that_has_gone_out_is_missed() {
    // The waiting begins within a sentence that never ends.
    check_cut_off(3, "It works. It| does| not| end", "It works. It| does||+ not end");
    // One that ends later is whole.
    check_cut_off(3, "It| does| not.| It| is", "It| does|| not.|+");
    // No sentence at all.
    check_cut_off(0, "no sentence| here", "|+no sentence here");
    check_cut_off(usize::MAX, "It works. It| does", "It works. It| does+");
    // The waiting begins with a sentence.
    check_cut_off(2, "It works.| It", "It works.|+");
    // The code that was cut off is most of the reply.
    check_cut_off(0, "Yes.\n|```\n|let a = 1;|let b", "|Yes.||+\n```\nlet a = 1;let b");
}

#[test]
fn a_reply_that_ended_by_itself_is_not_cut() {
    for (pieces, expected) in [
        ("It works.| It| does| not", "|It works.||+ It does not"),
        ("It works.| It|</s>", "|It works.|+ It"),
        ("no sentence", "+no sentence"),
    ] {
        assert_eq!(stream(pieces, 0, FinishReason::Stop), expected, "{pieces}");
    }
}

/// What a reply is in the end, said plainly.
fn clean(text: &str, num_before_hold: usize, reason: FinishReason) -> String {
    let whole = trim_tags(text);
    if reason == FinishReason::Stop {
        return whole.to_owned();
    }
    let sent = text.char_indices().nth(num_before_hold).map_or(text, |(end, _)| &text[..end]);
    let sent = certain(sent);
    match brisk_engine::last_sentence_end(whole).filter(|&end| end >= sent.len()) {
        Some(end) => whole[..end].to_owned(),
        None => whole.to_owned(),
    }
}

/// Without white space around it and tags at its end.
fn trim_tags(text: &str) -> &str {
    let mut text = text.trim();
    while let Some(rest) = TAGS.iter().find_map(|tag| text.strip_suffix(tag)) {
        text = rest.trim_end();
    }
    text
}

/// Without what may still become a tag, either.
fn certain(text: &str) -> &str {
    let begins = |&(at, _): &(usize, char)| {
        let rest = &text[at..];
        let is_name = |it: &str| it.chars().all(|it| it.is_ascii_alphanumeric() || it == '_');
        let has_name = |it: &str| is_name(it) || it.strip_suffix('|').is_some_and(is_name);
        rest.strip_prefix("<|").is_some_and(|it| it != "|" && has_name(it))
            || TAGS.iter().any(|tag| tag.starts_with(rest) && *tag != rest)
    };
    let end = text.char_indices().find(begins).map_or(text.len(), |(at, _)| at);
    trim_tags(&text[..end])
}

/// The tags of the texts below.
const TAGS: [&str; 6] =
    ["</s>", "<|im_end|>", "[INST]", "[/INST]", "<|im_start|>user", "<|im_start|>"];

fn any_text() -> impl Strategy<Value = String> {
    let part = proptest::sample::select(vec![
        "</s>",
        "<|im_end|>",
        "[/INST]",
        "<|im_start|>user",
        "<|im_start|>",
        "<",
        "</",
        "<|",
        "[",
        "[/IN",
        " ",
        "\n",
        "\n\n",
        "It",
        " works",
        ".",
        ". ",
        "! ",
        "Dr. ",
        "3.5",
        "- ",
        "\n- ",
        "```\n",
        "\"",
        "。",
        "é",
    ]);
    proptest::collection::vec(part, 0..24).prop_map(|parts| parts.concat())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 20_000, ..ProptestConfig::default() })]

    /// Tokens are characters here; the pieces are any runs of them, only cut where the waiting begins.
    #[test]
    fn the_cut_into_pieces_never_matters(
        text in any_text(),
        cuts in proptest::collection::vec(1..6usize, 1..100),
        hold_from in 1..40usize,
        is_cut_off: bool,
    ) {
        let reason = if is_cut_off { FinishReason::Length } else { FinishReason::Stop };
        let expected = clean(&text, hold_from - 1, reason);
        let mut cleaner = Cleaner::new(hold_from);
        let mut sent = String::new();
        let chars: Vec<char> = text.chars().collect();
        let (mut at, mut cuts) = (0, cuts.into_iter().cycle());
        while at < chars.len() {
            let mut end = (at + cuts.next().unwrap_or(1)).min(chars.len());
            if at < hold_from - 1 {
                end = end.min(hold_from - 1);
            }
            let piece: String = chars[at..end].iter().collect();
            sent += &cleaner.push(&piece, end);
            prop_assert!(expected.starts_with(&sent), "{sent:?} is no part of {expected:?}");
            at = end;
        }
        sent += &cleaner.finish(reason);
        prop_assert_eq!(sent, expected);
    }
}

#[test]
fn any_length_of_tags_and_blanks_is_quick() {
    // Each of these is held back to its end; looking at all of it again would take hours.
    for part in ["</s>", " ", "<|im_end|> ", "<|", "[/INST] <", "It works. ", "<|im_start|>us"] {
        let mut cleaner = Cleaner::new(10);
        for i in 0..200_000 {
            cleaner.push(part, i);
        }
        cleaner.finish(FinishReason::Length);
    }
}
