//! Refuses vocabularies that contradict themselves, and says how.

#![allow(clippy::unwrap_used, clippy::print_stderr, reason = "tests stop at the first surprise")]

mod support;

use brisk_tokenizer::{Specials, Tokenizer, Vocabulary};
use support::tiny;

fn check(change: impl FnOnce(&mut Vocabulary), want: &str) {
    let mut vocabulary = tiny(&["<|eot_id|>"]);
    change(&mut vocabulary);
    let error = Tokenizer::new(vocabulary).unwrap_err().to_string();
    assert_eq!(error, want);
}

#[test]
fn a_contradiction_is_named() {
    check(|v| v.tokens.clear(), "the vocabulary has no tokens");
    check(|v| v.token_types.truncate(3), "token_type has 3 entries for 257 tokens");
    check(|v| v.scores = vec![0.0; 2], "scores has 2 entries for 257 tokens");
    check(|v| v.model = "llama".into(), "scores has 0 entries for 257 tokens");
    check(
        |v| v.model = "bert".into(),
        "tokenizer model \"bert\" is not supported, known are gpt2, llama and t5",
    );
    check(|v| v.pre = Some("x".into()), "pre-tokenizer \"x\" is not supported");
    check(|v| v.eos = Some(257), "eos_token_id is 257, the vocabulary has 257 tokens");
    check(|v| v.bos = Some(u32::MAX), "bos_token_id is 4294967295, the vocabulary has 257 tokens");
    check(|v| v.tokens[9] = "a".into(), "tokens 9 and 97 have the same piece \"a\"");
    check(|v| v.tokens[256] = "a".into(), "tokens 97 and 256 have the same piece \"a\"");
    check(
        |v| v.merges = vec!["a b".into()],
        "merge 0 is \"a b\", and the vocabulary has no piece \"ab\"",
    );
    check(
        |v| v.merges = vec!["a xy".into()],
        "merge 0 is \"a xy\", and the vocabulary has no piece \"xy\"",
    );
    for merge in ["", " ", "a", "a ", "ab"] {
        let want = format!("merge 0 is {merge:?}, wanted two pieces with a space between");
        check(|v| v.merges = vec![merge.into()], &want);
    }
    for piece in ["<0xZZ>", "<0x-1>", "<0x1>", "<0x041>", "0x41", "<0x+1>", ""] {
        let want = format!("byte token 256 is {piece:?}, wanted <0x00> to <0xFF>");
        check(|v| (v.tokens[256], v.token_types[256]) = (piece.into(), 6), &want);
    }
    check(
        |v| {
            v.model = "llama".into();
            v.scores = vec![f32::NAN; 257];
        },
        "the score of token 0 is NaN",
    );
    check(
        |v| {
            v.model = "t5".into();
            v.scores = vec![0.0; 257];
            v.precompiled_charsmap = vec![255; 8];
        },
        "precompiled_charsmap of 8 bytes: its array is longer than the table",
    );
}

#[test]
fn a_long_piece_is_shortened_in_the_message() {
    let mut vocabulary = tiny(&[]);
    vocabulary.tokens.extend(["é".repeat(100_000), "é".repeat(100_000)]);
    vocabulary.token_types.extend([1, 1]);
    let error = Tokenizer::new(vocabulary).unwrap_err().to_string();
    assert!(error.len() < 200 && error.contains("..."), "{error}");
}

#[test]
fn what_real_files_have_is_taken() {
    // Empty pieces, ids without use, and files without token types.
    let mut vocabulary = tiny(&["<|eot_id|>", "<|unused_0|>", "<|unused_1|>"]);
    vocabulary.tokens.extend(["".into(), "".into(), "[PAD261]".into()]);
    vocabulary.token_types.clear();
    (vocabulary.unk, vocabulary.pad) = (Some(u32::MAX), Some(u32::MAX));
    let tokenizer = Tokenizer::new(vocabulary).unwrap();
    assert_eq!(tokenizer.vocab_size(), 262);
    assert!(tokenizer.is_control(256) && tokenizer.is_control(261) && !tokenizer.is_control(97));
    assert_eq!(tokenizer.end_of_generation(), [256]);
    assert_eq!(tokenizer.token_id("<|unused_1|>"), Some(258));
    let text = "[PAD261]<|unused_0|>";
    assert_eq!(tokenizer.encode(text, Specials::Parse), [261, 257]);
    assert_eq!(tokenizer.encode(text, Specials::AsText).len(), text.len());
    assert_eq!(tokenizer.token_text(256), "<|eot_id|>");
    assert_eq!(tokenizer.token_bytes(256), b"");
    assert_eq!(tokenizer.token_bytes(9999), b"");
}

#[test]
fn merging_never_makes_a_control_token() {
    let mut vocabulary = tiny(&["<s>"]);
    vocabulary.tokens.push("<s".into());
    vocabulary.token_types.push(1);
    vocabulary.merges = vec!["< s".into(), "<s >".into()];
    let tokenizer = Tokenizer::new(vocabulary).unwrap();
    assert_eq!(tokenizer.encode("<s>", Specials::Parse), [256]);
    assert!(!tokenizer.encode("<s>", Specials::AsText).contains(&256));
}
