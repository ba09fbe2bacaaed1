//! Where sentences end, in rows: `¦` is where a text would be cut.

use super::{SentenceTracker, ends_sentence, last_sentence_end};
use crate::tests::Chance;

/// A text with `¦` after its last whole sentence, or without any.
fn check(marked: &str) {
    let text = marked.replace('¦', "");
    let got = last_sentence_end(&text)
        .map_or_else(|| text.clone(), |end| format!("{}¦{}", &text[..end], &text[end..]));
    assert_eq!(got, marked);
    let is_whole = marked.split_once('¦').is_some_and(|(_, rest)| rest.trim().is_empty());
    assert_eq!(ends_sentence(&text), is_whole, "{text:?}");
}

fn check_all(rows: &[&str]) {
    rows.iter().for_each(|row| check(row));
}

#[test]
fn a_terminator_ends_a_sentence() {
    check_all(&[
        "",
        " \n ",
        "It",
        "It works",
        "It works.¦",
        "It works!¦",
        "It works?¦ ",
        "It works…¦",
        "It works...¦",
        "Does it?!¦",
        "Wait...¦ Then",
        "Wait..",
        "Done!!!¦ 😊",
        "¿Qué?¦ ¡Sí",
        "It works.¦ It does",
        "It works.¦ It does not wor",
        "It works. It does.¦\n",
        "One. Two!¦ Thr",
        "It works .¦",
        ".¦",
    ]);
}

#[test]
fn what_closes_belongs_to_the_sentence() {
    check_all(&[
        "He said \"Stop.\"¦",
        "He said \"Stop.\"¦ Then he",
        "He said 'Stop.'¦ Then he",
        "He said “Stop.”¦ Then he",
        "Er sagte: „Halt.“¦ Dann",
        "Il dit : « Halte. »¦",
        "(It works.)¦ It",
        "**It works.**¦ It",
        "_It works!_¦",
        "~~It works.~~¦ It",
        "[It works.]¦ It",
        "\"It works\".¦ It",
        "\"It works!\".¦ It",
    ]);
}

#[test]
fn a_citation_belongs_to_the_sentence_before_it() {
    check_all(&[
        "It is so.[1]¦ Then",
        "It is so.[1]¦",
        "It is so.[1]¦ Then it",
        "It is so.[1][2]¦ Then",
        "It is so.[1] [2]¦ Then",
        "It is so.[1, 2]¦ Then",
        "It is so.[12–14]¦ Then",
        "It is so.[^1]¦ Then",
        "It is so.[^note]¦ Then",
        "It is so.[a]¦ Then",
        "It is so.[citation needed]¦ Then",
        "It is so.(1)¦ Then",
        "It is so.(Smith 2020)¦ Then",
        "It is so.【1†source】¦ Then",
        "It is so.【4:0†source】【5†source】¦ Then",
        "It is so.¹¦ Then",
        "It is so.¹²¦ Then",
        "It is so.¹,²¦ Then",
        "It is so.⁴–⁶¦ Then",
        "It is so.†¦ Then",
        "It is so.<sup>1</sup>¦ Then",
        "It is so.<sup>[1,2]</sup>¦ Then",
        "It is so.[[1]](https://a.b/c_(d)?e=f)¦ Then",
        "It is so.[1](https://a.b/c. \"A title. B\")¦ Then",
        "It is so.[source](https://a.b)¦ Then",
        "Is it so?[1]¦ Then",
        "It is so![1]¦ Then",
        "It is so…[1]¦ Then",
        "He said \"Stop.\"[1]¦ Then",
        "**It is so.[1]**¦ Then",
        "(It is so.[1])¦ Then",
        "We sell apples etc.[1]¦ They",
        "It is 42.[1]¦ Then",
        "它有效。[1]¦但是",
        "它有效。【1†来源】¦但是",
        "它有效？（1）¦但是",
        "यह काम करता है।[1]¦ यह",
        // After a blank only figures are one, and none before a word in lower case.
        "It is so. [1]¦ Then",
        "It is so. [1]¦",
        "It is so. [1][2]¦ Then",
        "It is so. [1](https://a.b)¦ Then",
        "It is so. 【1†source】¦ Then",
        "It is so. ¹¦ Then",
        "It is so.¦ [1] is",
        "It is so.¦ [Note] This",
        "It is so.¦ (1) This",
        // A list of sources is none.
        "It is so.¦\n[1] A book",
        "It is so.¦\n\n[1] A book",
    ]);
}

#[test]
fn a_citation_that_is_cut_off_leaves_its_sentence() {
    check_all(&[
        "It is so.¦[",
        "It is so.¦[1",
        "It is so.[1]¦[2",
        "It is so.[1]¦(https://a.b",
        "It is so.¦【1†sou",
        "It is so.¦<sup>1</s",
        "It is so.¦ [1",
        "Yes.¦ It is so",
        "它有效。¦[1",
    ]);
}

#[test]
fn what_only_begins_like_a_citation_is_none() {
    check_all(&[
        "Yes.¦ It is so.[He laughs, don't ask me. Then",
        "Yes.¦ It is so.[He laughs, don't ask me. Then] he",
        "Yes.¦ Call a.(b) Now",
        "Yes.¦ Call list.[] Now",
        "Yes.¦ It is a.<b> Now",
        "Yes.¦ Ask Dr.[1] Smith",
        "Yes.¦ It is 3.[1",
        "Yes.¦ See node.js[1] It",
        "它有效。¦（真的）但是",
        "Yes.¦ It is so.[1\n2. It",
    ]);
}

#[test]
fn nothing_ends_within_a_quotation_or_a_bracket() {
    check_all(&[
        "He said \"Stop.",
        "He said \"Stop. Go now. Or",
        "Yes.¦ He said \"Stop. Go",
        "He said “Stop. Go",
        "Er sagte: „Halt. Dann",
        "Elle dit : « Halte. Puis",
        "»Halt.« sagte er.¦ »Dann",
        "彼は「はい。それで",
        "It works (at last. Then",
        "It works :( and then.¦ It",
        "The 5\" screen works.¦ It",
        "\"A\" and \"B\" work.¦ \"C",
        "An open \"one ends\n\nwith its paragraph.¦ It",
    ]);
}

#[test]
fn a_word_in_lower_case_goes_on() {
    check_all(&["It is approximat. five", "Well... maybe", "Well… maybe", "\"Stop!\" he said"]);
    check("Are you well?¦ i am");
}

#[test]
fn an_abbreviation_ends_nothing() {
    check_all(&[
        "Dr.",
        "Ask Dr. Smith",
        "Ask Prof. J. R. R. Tolkien",
        "Ask J.",
        "It is, e.g.",
        "It is, e.g. Berlin",
        "(i.e. Berlin",
        "Es ist z.B. Berlin",
        "Es ist z. B. Berlin",
        "Das gilt d.h. Berlin",
        "See No.",
        "See No. 5",
        "See Fig. 12",
        "Siehe Art. 5",
        "Siehe Abs. 2",
        "согласно ст. 15",
        "это, т.е. Москва",
        "это, т. е. Москва",
        "по ул. Ленина",
        "The U.S. Senate",
        "A Ph.D. Thesis",
        "M. Dupont et Mme. Durand",
        "El Sr. García",
        "Il Dott. Rossi",
        "On Jan. 5",
        "Dipl.-Ing. Meier",
        "apples, pears, etc.",
        "§ 5 Abs. 2 Nr. 3 BGB",
        "It works at 5 p.m. Then",
        "l'art. 5",
        "It works.¦ Ask Dr.",
        "It works.¦ Ask Dr. Smi",
    ]);
}

#[test]
fn some_abbreviations_may_be_a_last_word() {
    check_all(&[
        "We sell apples etc.¦ They",
        "Äpfel usw.¦ Danach",
        "I say no.¦ It",
        "I love art.¦ It",
        "He works at Acme Inc.¦ They",
        "Ask Dr.¦\n\n",
    ]);
}

#[test]
fn numbers_are_not_cut() {
    check_all(&[
        "It is 3.",
        "It is 3.14",
        "It is 3.14.¦ It",
        "It is 42.¦ It",
        "It is 42.¦\n",
        "It is \"42.\"¦",
        "In 1999.¦ Then",
        "It is 42!¦",
        "Is it 42?¦",
        "Am 3. Oktober",
        "Am  3. Oktober",
        "im 19. Jahrhundert",
        "1.",
        "1. First",
        "  12. First",
        "**1.** First",
        "> 1. First",
        "iv. Fourth",
        "Version 2.0.1 is",
        "1,000.50 of",
    ]);
}

#[test]
fn addresses_are_not_cut() {
    check_all(&[
        "See https://example.",
        "See https://example.com/a.b?c=d",
        "See https://example.com.¦ It",
        "See www.example.",
        "Write to me@example.",
        "Open main.rs",
        "Node.js is",
        "See [the page](https://example.com/a. b",
        "See [the page](https://example.com/a).¦ It",
    ]);
}

#[test]
fn other_scripts_have_their_own_terminators() {
    check_all(&[
        "它有效。¦",
        "它有效。¦但是",
        "它有效！¦真的",
        "它有效吗？”¦但",
        "他说：“好。",
        "他说：“好。”¦但",
        "「はい。」¦と",
        "好!¦我们",
        "هل يعمل؟¦ نعم",
        "یہ کام کرتا ہے۔¦ یہ",
        "यह काम करता है।¦ यह",
        "ဟုတ်တယ်။¦ဒါ",
        "បាទ។¦ នេះ",
        "ይሰራል።¦ እና",
        "Այո։¦ Ոչ",
        "Работает.¦ И ещё",
        "Λειτουργεί.¦ Και",
        "작동합니다.¦ 그리고",
        "３．５です",
    ]);
}

#[test]
fn code_is_never_cut() {
    check_all(&[
        "It works.¦ Use `a. B",
        "It works.¦ Use `a.`",
        "It works. Use `a.b`.¦",
        "It works. Use ``a ` b``.¦ It",
        "It works, I say it does.¦\n\n```\na. B",
        "Yes.\n\n```\na. B and much more code",
        "Yes.\n\n```\na. B\n```¦",
        "Yes.\n\n```\na. B\n```¦\n\nThis",
        "Yes.\n\n```rust\nlet a = 1. + 2.;\n```¦\nThis",
        "Yes.\n~~~~\na. B\n~~~\n~~~~¦\nThis",
        "Yes.\n~~~~\na. B\n~~~\n",
        "1. Do this:\n   ```\n   a. B\n   ```¦\n2. The",
        "> ```\n> a. B\n> ```¦\n> The",
        "```one. Line``` is code.¦ It",
    ]);
}

#[test]
fn items_paragraphs_and_rows_end_with_their_line() {
    check_all(&[
        "- one¦\n- two",
        "- one¦\n- two\n",
        "- one\n- two¦\n- thr",
        "* one\n* two¦\n\n",
        "1. one¦\n2. two",
        "1. one\n2.",
        "1. one.¦\n2. two",
        "1) one¦\n2) two",
        "• one¦\n• two",
        "- one\n  goes on¦\n- two",
        "- Fruit:\n  - apples",
        "- Fruit:\n  - apples¦\n  - pea",
        "- **Fruit:**\n  - apples",
        "**Fruit:** apples¦\n\n- pears",
        "A paragraph",
        "A paragraph\n",
        "A paragraph¦\n\n",
        "A paragraph¦\n \nAnother",
        "A list follows:\n\n- one",
        "It works.¦\n\n## A title\n\nAnd",
        "It works.¦\n\n**A title**\n\nAnd",
        "It works.¦\n\n## Does it?\n",
        "It works.¦\n\n---\n\nAnd",
        "| a | b |\n|---|---|\n| c. D",
        "| a | b |\n|---|---|\n| c | d |¦\n| e",
        "| a | b |\n|---|---|\n| c | d |¦\n\nIt",
    ]);
}

/// A text of what is difficult, from a seed.
fn any_text(chance: &mut Chance) -> String {
    const PARTS: [&str; 45] = [
        "word",
        "Word",
        " ",
        " ",
        " ",
        "\n",
        "\n\n",
        ".",
        "...",
        "!",
        "?",
        "…",
        "。",
        "\"",
        "“",
        "”",
        "«",
        " »",
        "(",
        ")",
        "`",
        "```",
        "\n```\n",
        "~~~\n",
        "- ",
        "\n- ",
        "1. ",
        "\n2. ",
        "| ",
        "\n| ",
        "# ",
        "> ",
        "**",
        "Dr",
        "3",
        "z.B",
        "https://a",
        "é",
        "[",
        "[1]",
        "](",
        "¹",
        "【",
        "<sup>1</",
        "sup>",
    ];
    (0..chance.below(40)).map(|_| PARTS[chance.below(PARTS.len())]).collect()
}

#[test]
fn the_cut_into_pieces_never_matters() {
    for seed in 0..5000 {
        let mut chance = Chance::new(seed);
        let text = any_text(&mut chance);
        let mut tracker = SentenceTracker::default();
        let mut rest = &*text;
        while let Some(len) =
            rest.char_indices().map(|(i, c)| i + c.len_utf8()).nth(chance.below(4))
        {
            tracker.push(&rest[..len]);
            rest = &rest[len..];
        }
        tracker.push(rest);
        assert_eq!(tracker.num_bytes(), text.len());
        assert_eq!(tracker.last_sentence_end(), last_sentence_end(&text), "seed {seed}: {text:?}");
        assert_eq!(tracker.ends_sentence(), ends_sentence(&text), "seed {seed}: {text:?}");
    }
}

#[test]
fn what_is_certain_stays_certain() {
    for seed in 0..5000 {
        let mut chance = Chance::new(seed);
        let text = any_text(&mut chance);
        let mut tracker = SentenceTracker::default();
        let mut certain = 0;
        for c in text.chars() {
            tracker.push(c.encode_utf8(&mut [0; 4]));
            let now = tracker.certain_end().unwrap_or(0);
            assert!(now >= certain && now <= tracker.num_bytes(), "seed {seed}: {text:?}");
            certain = now;
        }
        if let Some(end) = last_sentence_end(&text) {
            assert!(end >= certain && text.is_char_boundary(end), "seed {seed}: {text:?}");
            // Cut there, the text ends with a whole character that is no white space.
            assert!(!text[..end].ends_with(char::is_whitespace), "seed {seed}: {text:?}");
        }
    }
}

#[test]
fn memory_stays_small_for_any_text() {
    for part in
        ["a", ".", "a.", "a. ", "`", "```\n", "(", "\"", "\n", "- a\n", "| a\n", "Dr. ", "é"]
    {
        let text = part.repeat(4 << 20 >> 3);
        let mut tracker = SentenceTracker::default();
        tracker.push(&text);
        // Calls after every token stay cheap: they do not look at the text again.
        for _ in 0..100_000 {
            tracker.push("a");
            std::hint::black_box(tracker.ends_sentence());
        }
        assert!(tracker.word.len() <= 64 && tracker.previous_word.len() <= 64);
        assert!(tracker.line.head.len() <= 20);
    }
}

/// `cargo test -p brisk-engine --release -- --ignored --nocapture what_looking_for_sentences_costs`
#[test]
#[ignore = "a measurement"]
fn what_looking_for_sentences_costs() {
    for part in ["It works, I say. ", "Dr. ", "a.a.", ".", "\"(", "`"] {
        let text = part.repeat((4 << 20) / part.len());
        let start = std::time::Instant::now();
        std::hint::black_box(last_sentence_end(&text));
        let whole = start.elapsed();
        eprintln!("{part:?}: 4 MiB in {whole:?}");
    }
}
