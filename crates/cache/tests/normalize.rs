//! Which spellings are one question, and which texts are left alone.

#![allow(clippy::unwrap_used, clippy::print_stderr, reason = "tests")]

mod support;

use std::collections::BTreeMap;

use brisk_cache::normalize;
use unicode_normalization::UnicodeNormalization;

const MEET: &str = include_str!("data/spellings_that_meet.tsv");
const MUST_NOT_MEET: &str = include_str!("data/spellings_that_must_not_meet.tsv");

/// A row of the two lists: language, both texts, reason.
fn rows(list: &'static str) -> Vec<(&'static str, String, String, &'static str)> {
    let lines = list.lines().filter(|line| !line.starts_with('#') && !line.is_empty());
    let row = |line: &'static str| {
        let fields: Vec<&str> = line.split('\t').collect();
        let [language, a, b, reason] = fields[..] else { panic!("not four fields: {line:?}") };
        (language, unescaped(a), unescaped(b), reason)
    };
    lines.map(row).collect()
}

/// `\n`, `\r`, `\t` and `\u{hexadecimal}` are the characters that they name.
fn unescaped(text: &str) -> String {
    let mut parts = text.split('\\');
    let mut out = parts.next().unwrap().to_owned();
    for part in parts {
        let (c, rest) = match part.split_at(1) {
            ("n", rest) => ('\n', rest),
            ("r", rest) => ('\r', rest),
            ("t", rest) => ('\t', rest),
            ("u", rest) => {
                let (digits, rest) = rest[1..].split_once('}').unwrap();
                (char::from_u32(u32::from_str_radix(digits, 16).unwrap()).unwrap(), rest)
            }
            _ => panic!("{part:?}"),
        };
        out.push(c);
        out.push_str(rest);
    }
    out
}

#[test]
fn the_listed_pairs_meet_or_not_as_they_should() {
    let mut wrong = Vec::new();
    let mut meets = |list, should_meet: bool| {
        let rows = rows(list);
        let mut num_by_language = BTreeMap::<&str, usize>::new();
        for (language, a, b, reason) in &rows {
            *num_by_language.entry(language).or_default() += 1;
            assert_ne!(a, b, "{language}: {reason}");
            if (support::key(a).slot == support::key(b).slot) != should_meet {
                let what = if should_meet { "a miss" } else { "a FALSE HIT" };
                wrong.push(format!("{what}, {language}, {reason}: {a:?} and {b:?}"));
            }
        }
        assert!(rows.len() >= 150 && num_by_language.len() >= 12, "{num_by_language:?}");
        eprintln!("{} pairs, meet {should_meet}: {num_by_language:?}", rows.len());
    };
    meets(MEET, true);
    meets(MUST_NOT_MEET, false);
    assert!(wrong.is_empty(), "{} of the pairs:\n{}", wrong.len(), wrong.join("\n"));
}

#[test]
fn texts_that_meet_differ_in_case_marks_and_blanks_alone() {
    let letters = |text: &str| -> String {
        text.nfc().filter(|c| c.is_alphanumeric()).flat_map(char::to_lowercase).collect()
    };
    let mut by_slot = BTreeMap::<_, (String, String)>::new();
    for (_, a, b, _) in rows(MEET).into_iter().chain(rows(MUST_NOT_MEET)) {
        for text in [a, b] {
            let found = (letters(&text), text);
            let slot = support::key(&found.1).slot;
            let first = by_slot.entry(slot).or_insert_with(|| found.clone());
            assert_eq!(first.0, found.0, "{:?} and {:?}", first.1, found.1);
        }
    }
}

fn check(text: &str, normal: Option<&str>) {
    assert_eq!(normalize(text).as_deref(), normal, "{text:?}");
}

#[test]
fn the_form_keeps_all_but_the_spelling() {
    for (text, normal) in [
        ("What is Rust?", "what is Rust?"),
        ("  What is  Rust？\n", "what is Rust?"),
        ("What’s new in Berlin", "what's new in Berlin"),
        ("Explain photosynthesis.", "explain photosynthesis"),
        ("Paris is beautiful!", "Paris is beautiful!"),
        ("WHAT IS RUST?", "WHAT IS RUST?"),
        ("¿Qué hora es?", "qué hora es?"),
        ("Ποιος είναι ο δρόμος;", "ποιος είναι ο δρόμος?"),
        ("मुझे बताओ।", "मुझे बताओ"),
        ("你好吗？", "你好吗?"),
        // Nothing but the mark's kind and the ends: full-width and old letters stay what they are.
        ("Ｗｈａｔ ｉｓ Ｒｕｓｔ？", "Ｗｈａｔ ｉｓ Ｒｕｓｔ?"),
        ("the ﬁrst oﬃce", "the ﬁrst oﬃce"),
        ("Wait…", "Wait…"),
    ] {
        check(text, Some(normal));
    }
}

#[test]
fn what_spelling_can_change_is_left_alone() {
    for text in [
        // Nothing left.
        "",
        "   ",
        "?!",
        "...",
        "。",
        "?",
        // Numbers, in every form.
        "what is 2 plus 2",
        "Route 66?",
        "x²",
        "½ cup",
        "①",
        "٣ كتب",
        "Ⅳ",
        "๓",
        // Code, paths, addresses, formulas.
        "what does `Foo` do",
        "```\nlet a\n```",
        "run ls -l | wc",
        "a_b",
        "C++",
        "f(x) = y",
        "snake_case",
        "open /etc/Hosts",
        "C:\\Users",
        "see https://Example.com",
        "www.Example.com",
        "mail me@Example.com",
        "edit Main.rs please",
        "#hashtag",
        "50%",
        "$HOME",
        "List<T>",
        "a[i]",
        "A && B",
        "key:value",
        "Answer me: yes",
        "回答：是",
        "first\n    indented = no",
        "first\n\tindented",
        // Quotations; an apostrophe inside a word is none.
        "greet \"Hello\"",
        "greet “Hello”",
        "greet 'Hello'",
        "was heisst „Hut“",
        "«Bonjour» ?",
        "「はい」とは",
        "greet ‘Cat’",
        // Several scripts, look-alikes among them.
        "what does Привет mean",
        "p\u{430}ypal",
        "send 你好 to me",
        "β decay",
        // Invisible controls.
        "what\u{0}is",
        "a\u{1b}[0m",
    ] {
        check(text, None);
    }
}

#[test]
fn a_mark_that_may_be_content_gives_no_form() {
    for text in [
        "the sign ?",
        "la gare ?",
        "the sign\u{a0}?",
        "n!",
        "vitamin C?",
        "what is x?",
        "now?!",
        "now!!",
        "now...",
        "now….",
        "好？！",
        "now)?",
        "now-?",
        "now👍?",
        "define fig.",
        "please call Robert Smith Jr.",
        "¿¡Qué?",
        "¿ Qué?",
    ] {
        check(text, None);
    }
}

#[test]
fn more_than_one_line_or_a_gap_gives_no_form() {
    for text in ["a b\nc d", "a b\rc d", "one\u{b}two", "one\u{c}two", "one\u{85}two", "one\ttwo"] {
        check(text, None);
    }
    for text in
        ["one\u{2028}two", "one\u{2029}two", "one   two", "one \u{a0} two", "X  Oslo", "one  2"]
    {
        check(text, None);
    }
}

#[test]
fn a_text_about_its_own_spelling_gives_no_form() {
    for text in [
        "How is colour spelled?",
        "Does this sound polite?",
        "translate I am tired",
        "Wie schreibt man Fahrrad?",
        "Ist das ein Fragesatz?",
        "Combien de lettres dans bonjour?",
        "¿Cuántas palabras hay en hola amigos?",
        "Сколько букв в слове молоко?",
        "Kaç harf var?",
        "这个字怎么念？",
        "この漢字は？",
        "맞춤법 문장 맞아요?",
        "كم حرفا في بيت؟",
    ] {
        check(text, None);
    }
}
