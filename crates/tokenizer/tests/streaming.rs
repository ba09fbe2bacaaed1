//! Decodes token by token: never half a character, and joined the same text as at once.

#![allow(clippy::unwrap_used, clippy::print_stderr, reason = "tests stop at the first surprise")]

mod support;

use brisk_tokenizer::{Specials, TokenId, Tokenizer, Vocabulary};
use proptest::prelude::*;
use support::{FAMILIES, tiny, tokenizer};

fn check(tokenizer: &Tokenizer, ids: &[TokenId]) {
    let mut decoder = tokenizer.decoder();
    let mut parts: Vec<String> = ids.iter().map(|&id| decoder.push(tokenizer, id)).collect();
    parts.push(decoder.finish());
    assert_eq!(parts.concat(), tokenizer.decode(ids), "{ids:?}");
    let bytes: Vec<u8> = ids.iter().flat_map(|&id| tokenizer.token_bytes(id)).copied().collect();
    let whole = String::from_utf8_lossy(&bytes).into_owned();
    let whole = if parts.concat().len() + 1 == whole.len() { whole[1..].to_owned() } else { whole };
    assert_eq!(parts.concat(), whole, "{ids:?}");
}

proptest! {
    // Ids 0 to 255 are the bytes; 256 is a control token, 257 is outside the vocabulary.
    #[test]
    fn any_bytes_decode_as_they_do_at_once(
        ids in prop::collection::vec(prop_oneof![0_u32..258, 0x80_u32..0x100, 0xe0_u32..0xf5], 0..24)
    ) {
        check(&Tokenizer::new(tiny(&["<|eot_id|>"])).unwrap(), &ids);
    }

    #[test]
    fn any_text_comes_back(text in "\\PC{0,24}|[ -~\n\t]{0,48}|[\u{300}-\u{36f}\u{200b}-\u{202e}\u{e0000}-\u{e007f}🇦-🇿]{0,24}") {
        let tokenizer = Tokenizer::new(tiny(&["<|eot_id|>"])).unwrap();
        let ids = tokenizer.encode(&text, Specials::AsText);
        check(&tokenizer, &ids);
        prop_assert_eq!(tokenizer.decode(&ids), text);
    }
}

#[test]
fn a_character_appears_when_its_last_byte_does() {
    let tokenizer = Tokenizer::new(tiny(&["<|eot_id|>"])).unwrap();
    let mut decoder = tokenizer.decoder();
    let mut push = |id: u32| decoder.push(&tokenizer, id);
    // 東 is e6 9d b1; the control token between is nothing.
    assert_eq!([0xe6, 0x9d, 256, 0xb1, 0x61].map(&mut push), ["", "", "", "東", "a"]);
    // f0 9f cannot go on with 41; e6 is then left over.
    assert_eq!(
        [0xf0, 0x9f, 0x41, 0xff, 0xe6].map(&mut push),
        ["", "", "\u{fffd}A", "\u{fffd}", ""]
    );
    assert_eq!(decoder.finish(), "\u{fffd}");
    assert_eq!(decoder.finish(), "");
}

#[test]
fn sentencepiece_takes_off_the_space_it_put_on() {
    let piece = |text: &str| text.to_owned();
    let vocabulary = |add_space_prefix| Vocabulary {
        model: "llama".into(),
        tokens: ["<unk>", "<s>", "▁a", "▁", "a", "b", "<0x62>"].map(piece).to_vec(),
        scores: vec![0.0, 0.0, -1.0, -2.0, -3.0, -4.0, 0.0],
        token_types: vec![2, 3, 1, 1, 1, 1, 6],
        unk: Some(0),
        bos: Some(1),
        add_space_prefix,
        ..Vocabulary::default()
    };
    for (prefix, text, ids, decoded) in [
        (None, "a b", vec![2, 3, 5], "a b"),
        (None, " a", vec![3, 2], " a"),
        (Some(false), "a b", vec![4, 3, 5], "a b"),
        (Some(false), " a", vec![2], " a"),
        // No piece and no byte token: the unknown token, once for a run.
        (Some(false), "a東京", vec![4, 0], "a"),
    ] {
        let tokenizer = Tokenizer::new(vocabulary(prefix)).unwrap();
        assert_eq!(tokenizer.encode(text, Specials::AsText), ids, "{prefix:?} {text:?}");
        assert_eq!(tokenizer.decode(&ids), decoded, "{prefix:?} {text:?}");
        check(&tokenizer, &ids);
    }
}

#[test]
fn every_family_gives_odd_text_back() {
    let zalgo = "e".to_owned() + &"\u{301}".repeat(10_000);
    for family in FAMILIES {
        let Some(tokenizer) = tokenizer(family) else { return };
        for text in [
            zalgo.as_str(),
            "👩‍👩‍👧‍👦 \u{202e}rtl\u{2066} \u{e0041}\u{e007f} \u{f0000}\u{10fffd}\u{378}",
            "é e\u{301} ﬁ Å Å",
            "\0\u{1}\u{7f}\u{85}\u{a0}\u{feff}",
        ] {
            let ids = tokenizer.encode(text, Specials::AsText);
            check(&tokenizer, &ids);
            assert_eq!(tokenizer.decode(&ids), text, "{family}");
        }
        assert!(tokenizer.encode("", Specials::AsText).is_empty(), "{family}");
    }
}
