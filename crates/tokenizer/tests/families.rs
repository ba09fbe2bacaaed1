//! Encodes the texts of the conformance data as each model family does.

#![allow(clippy::unwrap_used, clippy::print_stderr, reason = "tests stop at the first surprise")]

mod support;

use brisk_tokenizer::{Specials, TokenId, Tokenizer};
use support::{FAMILIES, conformance, tokenizer};

fn check(family: &str) {
    let Some(tokenizer) = tokenizer(family) else { return };
    let folder = conformance("tokenizers").unwrap();
    let read = |ending: &str| {
        std::fs::read_to_string(folder.join(format!("ggml-vocab-{family}.gguf.{ending}"))).unwrap()
    };
    let (texts, expected) = (read("inp"), read("out"));
    let texts: Vec<&str> = texts.split("\n__ggml_vocab_test__\n").collect();
    let expected: Vec<Vec<TokenId>> = expected
        .lines()
        .map(|line| line.split_whitespace().map(|id| id.parse().unwrap()).collect())
        .collect();
    // The last text ends with the file's own line end.
    assert!(texts.len() == expected.len() || texts.len() == expected.len() + 1, "{family}");
    for (number, (text, want)) in texts.iter().zip(&expected).enumerate() {
        let got = tokenizer.encode(text, Specials::AsText);
        assert_eq!(&got, want, "{family}, text {number}: {text:?}");
        check_round_trip(&tokenizer, text, &got);
    }
    eprintln!("{family}: {} texts", expected.len());
}

fn check_round_trip(tokenizer: &Tokenizer, text: &str, ids: &[TokenId]) {
    assert_eq!(tokenizer.decode(ids), text);
}

#[test]
fn every_family_encodes_as_its_reference_does() {
    for family in FAMILIES {
        check(family);
    }
}
