//! User-defined tokens are text that is always one token, unless their name says that they steer the model.

#![allow(clippy::unwrap_used, clippy::print_stderr, reason = "tests stop at the first surprise")]

mod support;

use brisk_tokenizer::{
    ChatMessage, ChatTemplate, Specials, TemplateTokens, TokenId, Tokenizer, TokenizerConfig,
    Vocabulary,
};
use support::{FAMILIES, tiny, vocabulary};

const CONTROL: i32 = 3;
const USER_DEFINED: i32 = 4;

/// A byte-level vocabulary with `tokens` after the 256 bytes, each of its type.
fn with(tokens: &[(&str, i32)]) -> Vocabulary {
    let names: Vec<&str> = tokens.iter().map(|(name, _)| *name).collect();
    let mut vocabulary = tiny(&names);
    for (token_type, (_, given)) in vocabulary.token_types[256..].iter_mut().zip(tokens) {
        *token_type = *given;
    }
    vocabulary
}

/// Gemma's kinds of token: BOS and EOS have names of their own, so `<s>` is a tag of HTML.
fn like_gemma() -> Vocabulary {
    let mut vocabulary = with(&[
        ("<bos>", CONTROL),
        ("<eos>", CONTROL),
        ("<start_of_turn>", CONTROL),
        ("<end_of_turn>", CONTROL),
        ("<s>", USER_DEFINED),
        ("</s>", USER_DEFINED),
        ("<b>", USER_DEFINED),
        ("</b>", USER_DEFINED),
        ("\n\n", USER_DEFINED),
        ("\n\n\n", USER_DEFINED),
        ("  ", USER_DEFINED),
        ("<start_of_image>", USER_DEFINED),
    ]);
    (vocabulary.bos, vocabulary.eos) = (Some(256), Some(257));
    vocabulary
}

/// A token of `like_gemma` by name, a byte by its number.
fn shown(tokenizer: &Tokenizer, ids: &[TokenId]) -> String {
    let show = |&id: &TokenId| match id {
        ..256 => tokenizer.token_text(id),
        _ => format!("[{}]", tokenizer.token_text(id)),
    };
    ids.iter().map(show).collect()
}

#[test]
fn a_user_defined_text_is_one_token_wherever_it_stands() {
    let tokenizer = Tokenizer::new(like_gemma()).unwrap();
    for (text, want) in [
        ("<s>", "[<s>]"),
        ("</s>", "[</s>]"),
        ("a<s>b</s>c", "a[<s>]b[</s>]c"),
        ("<<s>>", "<[<s>]>"),
        ("<s><s></s>", "[<s>][<s>][</s>]"),
        ("<b>x</b>\n\ny", "[<b>]x[</b>][\n\n]y"),
        ("a\n\n\n\nb", "a[\n\n\n]\nb"),
        ("a   b", "a[  ] b"),
        ("<S> < s> <s", "<S> < s> <s"),
        // These steer the model.
        ("<bos><eos>", "<bos><eos>"),
        ("<end_of_turn>", "<end_of_turn>"),
        ("<start_of_image>", "<start_of_image>"),
        ("<start_<s>of_turn>", "<start_[<s>]of_turn>"),
    ] {
        let ids = tokenizer.encode(text, Specials::AsText);
        assert_eq!(shown(&tokenizer, &ids), want, "{text:?}");
        assert_eq!(tokenizer.decode(&ids), text);
    }
}

#[test]
fn a_message_s_user_defined_text_is_that_token_and_a_reply_shows_it() {
    let tokenizer = Tokenizer::new(like_gemma()).unwrap();
    let template = ChatTemplate::builtin("gemma", TemplateTokens::of(&tokenizer)).unwrap();
    let messages = [ChatMessage::new("user", "<s>old</s><end_of_turn>")];
    let prompt = template.render(&messages, &tokenizer, true).unwrap();
    assert_eq!(
        shown(&tokenizer, &tokenizer.encode_prompt(&prompt)),
        "[<bos>][<start_of_turn>]user\n[<s>]old[</s>]<end_of_turn>[<end_of_turn>]\n\
         [<start_of_turn>]model\n",
    );
    let tags = ["<s>", "</s>"].map(|name| tokenizer.token_id(name).unwrap());
    assert_eq!(tokenizer.decode(&tags), "<s></s>");
    assert_eq!(tokenizer.end_of_generation(), [257, 259], "a tag ends no reply");
}

#[test]
fn a_name_with_a_task_is_never_text() {
    let own = |name, token_type| with(&[(name, token_type), ("</s>", USER_DEFINED)]);
    // `<s>` is BOS, by its type or by its id alone: `</s>` is no tag either.
    let by_type = own("<s>", CONTROL);
    let by_id = Vocabulary { bos: Some(256), ..own("<s>", USER_DEFINED) };
    let as_eos = Vocabulary { eos: Some(257), ..own("<s>", USER_DEFINED) };
    let as_unknown = Vocabulary { unk: Some(256), ..own("<s>", USER_DEFINED) };
    let alone = own("<b>", USER_DEFINED);
    for vocabulary in [by_type, by_id, as_eos, as_unknown, alone] {
        let tokenizer = Tokenizer::new(vocabulary).unwrap();
        let ids = tokenizer.encode("<s></s>", Specials::AsText);
        assert_eq!(shown(&tokenizer, &ids), "<s></s>");
        assert_eq!(tokenizer.end_of_generation(), [257]);
    }
    // A user-defined token of any name that the file calls EOS.
    for name in ["<seed:eos>", "[e~[", "<done>", "<|turn>"] {
        let vocabulary = Vocabulary { eos: Some(256), ..with(&[(name, USER_DEFINED)]) };
        let tokenizer = Tokenizer::new(vocabulary).unwrap();
        assert!(!tokenizer.encode(name, Specials::AsText).contains(&256), "{name}");
        assert!(tokenizer.is_control(256) && tokenizer.end_of_generation() == [256], "{name}");
    }
}

#[test]
fn a_task_given_by_the_second_file_counts_too() {
    let file: &[u8] = include_bytes!("data/sentencepiece.json");
    let mut file: serde_json::Value = serde_json::from_slice(file).unwrap();
    for token in file["added_tokens"].as_array_mut().unwrap() {
        token["special"] = false.into();
    }
    let tokenizer = || Tokenizer::from_json(file.to_string().as_bytes()).unwrap();
    let eos = tokenizer().token_id("</s>").unwrap();
    assert!(tokenizer().encode("a</s>", Specials::AsText).contains(&eos));
    let config = TokenizerConfig { eos_token: Some("</s>".into()), ..Default::default() };
    let tokenizer = tokenizer().configured(&config).unwrap();
    assert!(!tokenizer.encode("a</s>", Specials::AsText).contains(&eos));
    assert!(tokenizer.is_control(eos));
}

#[test]
fn every_family_makes_its_user_defined_texts_one_token_and_no_other() {
    for family in FAMILIES {
        let Some(vocabulary) = vocabulary(family) else { return };
        let tokenizer = Tokenizer::new(vocabulary.clone()).unwrap();
        let mut num_texts = 0;
        for (id, (token, _)) in (0..)
            .zip(vocabulary.tokens.iter().zip(&vocabulary.token_types))
            .filter(|(_, it)| *it.1 == 4)
        {
            let is_mark = token.starts_with("[PAD") || token == "</s>";
            let ids = tokenizer.encode(token, Specials::AsText);
            assert_eq!(ids == [id], !is_mark, "{family}: {token:?} {ids:?}");
            num_texts += usize::from(!is_mark);
        }
        eprintln!("{family}: {num_texts} user-defined texts");
    }
}
