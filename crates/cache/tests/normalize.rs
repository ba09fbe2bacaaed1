//! Which spellings are one question, and which texts are left alone.

mod support;

use brisk_cache::normalize;

fn check(text: &str, normal: Option<&str>) {
    assert_eq!(normalize(text).as_deref(), normal, "{text:?}");
}

#[test]
fn spellings_of_a_question_meet() {
    for (text, normal) in [
        ("What is Rust?", "what is rust"),
        ("  what\tis \n rust ?!  ", "what is rust"),
        ("what is rust", "what is rust"),
        ("WHAT’S NEW?", "what’s new"),
        ("Tell me more...", "tell me more"),
        ("Tell me more…", "tell me more"),
        ("Opening hours, please.", "opening hours, please"),
        ("Ｗｈａｔ ｉｓ Ｒｕｓｔ？", "what is rust"),
        ("the ﬁrst oﬃce", "the first office"),
        ("Wie hoch ist der TÜRM?", "wie hoch ist der türm"),
        ("WIE HEISST DIE STRASSE", "wie heisst die strasse"),
        // French, Spanish, Polish; composed and decomposed letters are one.
        ("Où est la gare ?", "où est la gare"),
        ("Ou\u{300} est la gare?", "où est la gare"),
        ("¿Qué hora es?", "¿qué hora es"),
        ("Gdzie jest DWORZEC?", "gdzie jest dworzec"),
        // Greek: the final sigma is a sigma.
        ("Ποιος είναι ο ΔΡΌΜΟΣ;", "ποιοσ είναι ο δρόμοσ;"),
        ("Ποιος είναι ο δρόμος;", "ποιοσ είναι ο δρόμοσ;"),
        // Russian, Georgian, Armenian, Hindi, Arabic, Hebrew.
        ("Сколько это стоит?", "сколько это стоит"),
        ("СКОЛЬКО ЭТО СТОИТ", "сколько это стоит"),
        ("यह क्या है।", "यह क्या है"),
        ("ما هذا؟", "ما هذا"),
        ("מה זה?", "מה זה"),
        // Chinese, Japanese (three scripts that are one), Korean; half-width forms.
        ("你好吗？", "你好吗"),
        ("今日の天気はどうですか。", "今日の天気はどうですか"),
        ("カメラは?", "カメラは"),
        ("ｶﾒﾗは？", "カメラは"),
        ("날씨 어때?", "날씨 어때"),
        ("สวัสดี", "สวัสดี"),
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
        "first\n    indented = no",
        "first\n\tindented",
        // Quotations; an apostrophe inside a word is none.
        "translate \"Hello\"",
        "translate “Hello”",
        "translate 'Hello'",
        "was heisst „Hut“",
        // Maße and Masse are one word in folded case.
        "Wie sind die Maße?",
        "«Bonjour» ?",
        "「はい」とは",
        "spell ‘Cat’",
        // Several scripts, look-alikes among them.
        "what does Привет mean",
        "p\u{430}ypal",
        "say 你好 to me",
        "β decay",
        // Invisible controls.
        "what\u{0}is",
        "a\u{1b}[0m",
    ] {
        check(text, None);
    }
}

#[test]
fn meaning_is_never_normalised_away() {
    for (a, b) in [
        ("dog bites man", "man bites dog"),
        ("is it safe", "is it not safe"),
        ("how do I sign in", "how do I sign out"),
        ("résumé", "resume"),
        ("schon", "schön"),
        ("what, is it", "what is it"),
        ("co-op", "coop"),
        ("Qu’est-ce", "Quest ce"),
    ] {
        assert_ne!(support::key(a).slot, support::key(b).slot, "{a:?} and {b:?}");
    }
}
