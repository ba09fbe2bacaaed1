//! Renders conversations: the built-in templates, what templates may use, and what stops them.

#![allow(clippy::unwrap_used, clippy::print_stderr, reason = "tests stop at the first surprise")]

mod support;

use brisk_tokenizer::{ChatMessage, ChatTemplate, TemplateError, TemplateTokens, Tokenizer};
use support::tiny;

/// A vocabulary with the control tokens of every family.
fn every_token() -> Tokenizer {
    let mut vocabulary = tiny(&[
        "<s>",
        "</s>",
        "<|begin_of_text|>",
        "<|start_header_id|>",
        "<|end_header_id|>",
        "<|eot_id|>",
        "<|im_start|>",
        "<|im_end|>",
        "<start_of_turn>",
        "<end_of_turn>",
        "<|user|>",
        "<|assistant|>",
        "<|system|>",
        "<|end|>",
        "[INST]",
        "[/INST]",
        "<bos>",
    ]);
    vocabulary.bos = Some(256);
    vocabulary.eos = Some(257);
    Tokenizer::new(vocabulary).unwrap()
}

/// `role: text` lines, `/` between messages.
fn messages(rows: &str) -> Vec<ChatMessage> {
    let message = |row: &str| {
        let (role, content) = row.split_once(": ").unwrap();
        ChatMessage::new(role, content)
    };
    rows.split(" / ").map(message).collect()
}

const CONVERSATION: &str = "system: Be brief. / user: Hi! / assistant: Hello. / user: Why? ";

#[track_caller]
fn check(name: &str, want: &str) {
    let tokenizer = every_token();
    let bos = if name == "gemma" { "<bos>" } else { "<s>" };
    let tokens = TemplateTokens { bos: bos.into(), eos: "</s>".into() };
    let template = ChatTemplate::builtin(name, tokens).unwrap();
    let prompt = template.render(&messages(CONVERSATION), &tokenizer, true).unwrap();
    assert_eq!(prompt.text(), want, "{name}");
}

#[test]
fn builtin_templates_write_what_the_families_do() {
    check(
        "llama-3",
        "<s><|start_header_id|>system<|end_header_id|>\n\nBe brief.<|eot_id|>\
         <|start_header_id|>user<|end_header_id|>\n\nHi!<|eot_id|>\
         <|start_header_id|>assistant<|end_header_id|>\n\nHello.<|eot_id|>\
         <|start_header_id|>user<|end_header_id|>\n\nWhy?<|eot_id|>\
         <|start_header_id|>assistant<|end_header_id|>\n\n",
    );
    check(
        "chatml",
        "<|im_start|>system\nBe brief.<|im_end|>\n<|im_start|>user\nHi!<|im_end|>\n\
         <|im_start|>assistant\nHello.<|im_end|>\n<|im_start|>user\nWhy? <|im_end|>\n\
         <|im_start|>assistant\n",
    );
    check(
        "gemma",
        "<bos><start_of_turn>user\nBe brief.\n\nHi!<end_of_turn>\n\
         <start_of_turn>model\nHello.<end_of_turn>\n<start_of_turn>user\nWhy?<end_of_turn>\n\
         <start_of_turn>model\n",
    );
    check(
        "phi-3",
        "<|system|>\nBe brief.<|end|>\n<|user|>\nHi!<|end|>\n<|assistant|>\nHello.<|end|>\n\
         <|user|>\nWhy? <|end|>\n<|assistant|>\n",
    );
    check("mistral", "<s>[INST] Be brief.\n\nHi! [/INST] Hello.</s>[INST] Why?  [/INST]");
    check(
        "zephyr",
        "<|system|>\nBe brief.</s>\n<|user|>\nHi!</s>\n<|assistant|>\nHello.</s>\n\
         <|user|>\nWhy? </s>\n<|assistant|>\n",
    );
    check(
        "llama-2",
        "<s>[INST] <<SYS>>\nBe brief.\n<</SYS>>\n\nHi! [/INST] Hello. </s><s>[INST] Why? [/INST]",
    );
    check(
        "plain",
        "System: Be brief.\n\nUser: Hi!\n\nAssistant: Hello.\n\nUser: Why?\n\nAssistant:",
    );
}

#[test]
fn a_file_without_a_template_gets_its_family_s() {
    for (architecture, controls, want) in [
        ("llama", &["<|start_header_id|>"][..], "start_header_id"),
        ("qwen2", &["<|im_start|>"], "im_start"),
        ("gemma2", &["<start_of_turn>"], "start_of_turn"),
        ("phi3", &["<|user|>", "<|end|>"], "<|end|>"),
        ("llama", &["[INST]"], "[/INST]"),
        ("llama", &["<|user|>"], "eos_token"),
        ("llama", &["<s>", "</s>"], "<<SYS>>"),
        ("gpt2", &[], "capitalize"),
    ] {
        let template = ChatTemplate::guess(architecture, &Tokenizer::new(tiny(controls)).unwrap());
        assert!(
            template.source().contains(want),
            "{architecture} {controls:?}: {}",
            template.source()
        );
    }
}

fn render(source: &str, rows: &str) -> Result<String, TemplateError> {
    let tokens = TemplateTokens { bos: "<s>".into(), eos: "</s>".into() };
    let template = ChatTemplate::new(source, tokens)?;
    Ok(template.render(&messages(rows), &every_token(), false)?.text())
}

#[test]
fn templates_use_what_hugging_face_gives_them() {
    for (source, want) in [
        ("{{ messages[0].content.strip().upper().split(' ')[1] }}", "THERE"),
        ("{{ messages[0]['content'][:2] }}{{ messages|length }}", " H1"),
        ("{% for m in messages %}\n  {% if loop.first %}\nx\n  {% endif %}\n{% endfor %}\n", "x\n"),
        (
            "{% set ns = namespace(n=0) %}{% for i in range(5) %}{% if i == 3 %}{% break %}{% endif %}{% set ns.n = ns.n + i %}{% endfor %}{{ ns.n }}",
            "3",
        ),
        ("{{ {'a': [1, 'é<'], 'b': none} | tojson }}", r#"{"a": [1, "é<"], "b": null}"#),
        ("{{ {'a': [1]} | tojson(indent=2) }}", "{\n  \"a\": [\n    1\n  ]\n}"),
        (
            "{{ bos_token }}|{{ eos_token }}|{{ tools is none }}|{{ nothing }}|{{ nothing is defined }}",
            "<s>|</s>|True||False",
        ),
        ("{{ strftime_now('%%') }}", "%"),
        ("{% raw %}{{ '{# {%- endraw +%}{{ 1 }}{#} {{ ' #}{{ {1: {2: 3}}[1][2] }}", "{{ '{#13"),
        ("{% macro twice(x) %}{{ x }}{{ x }}{% endmacro %}{{ twice('ab') }}", "abab"),
        ("{{ ('a' in 'cat') and not ('a' in messages[0]) }}", "True"),
        (
            "{% for i in range(3) %}{{ loop.cycle('a', 'b') }}{{ loop.changed(i // 2) }} {% endfor %}",
            "aTrue bFalse aTrue ",
        ),
        (
            "{{ [1, 2, 3, 4][1:][::-1] }}{{ 'abcd'[-3:-1] }}{{ (messages + messages)[-1].role }}",
            "[4, 3, 2]bcuser",
        ),
        (
            "{{ [1] * 2 + [3] }}{{ 'a' * 2 ~ 3 ~ none }}{{ 1 < 2 < 2 }}{{ 2 * 3 + 1 }}",
            "[1, 1, 3]aa3NoneFalse7",
        ),
        (
            "{{ dict({'b': 1}, a=2) | tojson }}{% for k, v in {'x': 1}.items() %}{{ k }}{{ v }}{% endfor %}",
            "{\"b\": 1, \"a\": 2}x1",
        ),
        (
            "{% macro m(a, b='c') %}{{ a }}{{ b }}{% endmacro %}{{ m(*['x'], **{'b': 'y'}) }}{{ m('z') }}",
            "xyzc",
        ),
        ("{% autoescape true %}<b>{{ '<' }}{% endautoescape %}", "<b>&lt;"),
        (
            "{% for i in range(9) if i % 3 == 0 %}{{ i }}{% else %}none{% endfor %}{% block b %}B{% endblock %}",
            "036B",
        ),
    ] {
        let got = render(source, "user:  Hi there ");
        assert_eq!(got.as_deref(), Ok(want), "{source}");
    }
}

#[test]
fn a_refusal_is_in_the_template_s_words() {
    let source = "\n{% if messages[0].role != 'user' %}{{ raise_exception('Say hello first!') }}{% endif %}ok";
    assert_eq!(render(source, "user: x"), Ok("\nok".into()));
    let refused = TemplateError::Refused { message: "Say hello first!".into() };
    assert_eq!(render(source, "assistant: x"), Err(refused.clone()));
    assert_eq!(refused.to_string(), "Say hello first!");
    let error = render("x", "endoftext: x").unwrap_err();
    assert_eq!(error, TemplateError::UnknownRole { role: "endoftext".into() });
}

#[test]
fn a_broken_template_says_where() {
    for (source, line, part) in [
        ("\n\n{{ messages.[ }}", 3, "unexpected"),
        ("a\n{% if x %}", 2, "unexpected end of input"),
        ("a\n{{ 1 | nofilter }}", 2, "nofilter"),
        ("{{ nofunction() }}", 1, "nofunction"),
        ("{{ nothing.deeper }}", 1, "undefined"),
        ("{% import 'os' as os %}", 1, "os"),
        ("{% include '/etc/passwd' %}", 1, "/etc/passwd"),
        ("{% extends 'base' %}", 1, "base"),
        ("a\n{# {{ 1 }}", 2, "unexpected end of input in a comment"),
        ("a\n{{ 'b }}", 2, "unexpected end of input in a string"),
        ("a\n{% raw %}{% endra %}", 2, "unexpected end of input in a raw block"),
        ("a\n{{ b", 2, "unexpected end of input in a tag"),
        ("x\n{{ ''.__class__.__mro__ }}", 2, "begin with _"),
        ("{{ self. _TemplateReference__context.eval_ctx }}", 1, "is unsafe"),
    ] {
        let Err(TemplateError::Invalid { line: at, message }) = render(source, "user: x") else {
            panic!("{source}: {:?}", render(source, "user: x"));
        };
        assert!(at == line && message.contains(part), "{source}: line {at}: {message}");
    }
}

#[test]
fn names_that_nothing_will_know_are_refused_when_a_template_is_loaded() {
    let load = |source: &str| ChatTemplate::new(source, TemplateTokens::default());
    for (source, line, part) in [
        // What Python has and we have not, wherever it stands.
        ("a\n{% if false %}{{ messages|random }}{% endif %}", 2, "filter 'random' is not offered"),
        ("{{ messages|map('pprint')|list }}", 1, "filter 'pprint' is not offered"),
        ("{% filter striptags %}{% endfilter %}", 1, "filter 'striptags' is not offered"),
        ("{{ 1 if x else 'a'|urlize }}", 1, "filter 'urlize' is not offered"),
        ("{% macro m() %}\n{{ lipsum() }}{% endmacro %}", 2, "function 'lipsum' is not offered"),
        ("{% if x %}{{ x.encode('utf-8') }}{% endif %}", 1, "method 'encode' is not offered"),
        ("{{ (5).to_bytes(2) }}", 1, "method 'to_bytes' is not offered"),
        ("{{ '\\N{BULLET}' }}", 1, "names a character"),
        // What Python has not either, where it is sure to be reached.
        ("\n{{ 'a'|shout }}", 2, "filter 'shout' is unknown"),
        ("{% for m in messages %}{{ m|shout }}{% endfor %}", 1, "filter 'shout' is unknown"),
        ("{% set x | shout %}{% endset %}", 1, "filter 'shout' is unknown"),
        ("{{ 1 is loud }}", 1, "test 'loud' is unknown"),
        ("{{ messages[0].content.shout() }}", 1, "method 'shout' is unknown"),
        ("{{ shout(1) }}", 1, "function 'shout' is unknown"),
        ("{% include 'other' ignore missing %}", 1, "'other' does not exist"),
        ("{% do x %}", 1, "unknown tag 'do'"),
    ] {
        let Err(TemplateError::Invalid { line: at, message }) = load(source) else {
            panic!("{source}: {:?}", load(source).is_ok())
        };
        assert!(at == line && message.contains(part), "{source}: line {at}: {message}");
    }
    for source in [
        "{% if false %}{{ 'a'|shout }}{% endif %}{{ 1 if true else 2|shout }}",
        "{% for m in [] %}{{ m.shout() }}{{ shout() }}{% endfor %}",
        "{{ false and messages.shout() }}",
        "{% set ns = namespace() %}{% macro m() %}{% endmacro %}{% set ns.shout = m %}{{ ns.shout() }}",
        "{{ 'random' is filter }}{{ lipsum is defined }}{{ 'a'.encode is defined }}",
        "{{ dict(f=range).f(3) }}{{ {'f': range}.f(3) }}",
        "{% macro lipsum() %}{% endmacro %}{{ lipsum() }}",
    ] {
        assert!(render(source, "user: x").is_ok(), "{source}: {:?}", render(source, "user: x"));
    }
}

#[test]
fn what_people_write_is_not_a_template() {
    let content = "{{ 7*7 }} {% raw %} {# {{ bos_token }}";
    let rows = format!("user: {content}");
    assert_eq!(render("{{ messages[0].content }}", &rows), Ok(content.into()));
}

/// Runs on a stack as small as a server thread's.
fn render_on_a_small_stack(source: String) -> Result<String, TemplateError> {
    let run = move || render(&source, "user: x");
    std::thread::Builder::new().stack_size(1 << 20).spawn(run).unwrap().join().unwrap()
}

#[test]
fn every_bomb_is_stopped() {
    let nested = |open: &str, close: &str, times: usize| open.repeat(times) + &close.repeat(times);
    for (name, source) in [
        ("nested ifs", nested("{% if 1 %}", "{% endif %}", 12_000)),
        ("unclosed ifs", "{% if 1 %}".repeat(25_000)),
        ("parentheses", format!("{{{{ {} }}}}", nested("(", ")", 6000))),
        ("lists", format!("{{{{ {} }}}}", nested("[", "]", 6000))),
        ("attributes", format!("{{{{ a{} }}}}", ".b".repeat(100_000))),
        ("sums", format!("{{{{ 1{} }}}}", "+1".repeat(100_000))),
        ("filters", format!("{{{{ 1{} }}}}", "|e".repeat(100_000))),
        ("nots", format!("{{{{ {} 1 }}}}", "not ".repeat(50_000))),
        ("minus signs", format!("{{{{ {}1 }}}}", "-".repeat(100_000))),
        ("inline ifs", format!("{{{{ {} 1 }}}}", "1 if 0 else ".repeat(20_000))),
        ("recursive macro", "{% macro m() %}{{ m() }}{% endmacro %}{{ m() }}".into()),
        ("range", "{% for i in range(10**9) %}x{% endfor %}".into()),
        ("repeated string", "{{ 'A' * 200000000 }}".into()),
        (
            "empty loops",
            "{% for i in range(4000) %}{% for j in range(4000) %}{% endfor %}{% endfor %}".into(),
        ),
        ("long output", format!("{{% for i in range(4000) %}}{}{{% endfor %}}", "x".repeat(2000))),
        ("raw block", format!("{{% raw %}}{{#{{%- endraw %}}{{{{ a{} }}}}", "[:]".repeat(80_000))),
        (
            "raw quotes",
            format!("{{%-raw-%}}{{{{ '{{% endraw %}}{{{{ a{} }}}}", "[:]".repeat(80_000)),
        ),
        (
            "short comment",
            format!("{{#}} {{{{ ' #}}{{{{ a{} }}}}{{# ' }}}}#}}", "[:]".repeat(80_000)),
        ),
        ("inner end", format!("{{{{ {{1:{{}}}}{} }}}}", "[:]".repeat(80_000))),
        ("long source", "x".repeat((256 << 10) + 1)),
    ] {
        let error = render_on_a_small_stack(source).expect_err(name);
        assert!(!matches!(error, TemplateError::Refused { .. }), "{name}: {error}");
        assert!(error.to_string().len() < 300, "{name}: {error}");
    }
}

#[test]
fn deep_but_allowed_templates_fit_every_stack() {
    for (name, source) in [
        ("attributes", format!("{{{{ a{} }}}}", ".b".repeat(250))),
        ("sums", format!("{{{{ 1{} }}}}", "+1".repeat(250))),
        ("filters", format!("{{{{ 1{} }}}}", "|string".repeat(250))),
        ("nots", format!("{{{{ {} 1 }}}}", "not ".repeat(95))),
        ("minus signs", format!("{{{{ {}1 }}}}", "-".repeat(95))),
        ("parentheses", format!("{{{{ {}1{} }}}}", "(".repeat(45), ")".repeat(45))),
        ("ifs", "{% if 1 %}".repeat(95) + &"{% endif %}".repeat(95)),
        ("elifs", format!("{{% if 0 %}}{}{{% endif %}}", "{% elif 0 %}".repeat(20_000))),
        ("inline ifs", format!("{{{{ {} 1 }}}}", "1 if 0 else ".repeat(95))),
        ("macros", "{% macro m(n) %}{{ m(n - 1) if n }}{% endmacro %}{{ m(300) }}".into()),
    ] {
        // Some mean nothing, but each is answered.
        let outcome = render_on_a_small_stack(source);
        assert!(outcome.is_ok() || matches!(outcome, Err(TemplateError::Invalid { .. })), "{name}");
    }
}

#[test]
fn deep_values_fit_every_stack() {
    let nest = |times: usize, end: &str| {
        let start = format!("{{% set ns = namespace(x=[]) %}}{{% for i in range({times}) %}}");
        format!("{start}{{% set ns.x = [ns.x] %}}{{% endfor %}}{end}")
    };
    let too_deep = || TemplateError::TooDeep { what: "value", num_steps: 257, max_steps: 256 };
    for (source, want) in [
        (nest(255, "hi"), Ok("hi".to_owned())),
        (nest(255, "{{ ns.x|tojson|length }}"), Ok("512".to_owned())),
        (nest(255, "{{ ns.x|tojson(indent=2)|length }}"), Ok("131072".to_owned())),
        (nest(255, "{{ ns.x|string|length }}"), Ok("512".to_owned())),
        (nest(255, "{{ ns.x == [ns.x[0]] }}"), Ok("True".to_owned())),
        (nest(256, "hi"), Err(too_deep())),
        (nest(255, "{{ {'a': ns.x} }}"), Err(too_deep())),
        (nest(255, "{{ (ns.x,) }}"), Err(too_deep())),
        (nest(255, "{{ [ns.x]|map('list')|list }}"), Err(too_deep())),
    ] {
        assert_eq!(render_on_a_small_stack(source.clone()), want, "{source}");
    }
    // Namespaces that hold each other in a row nest nothing.
    let row = "{% set ns = namespace() %}{% for i in range(4000) %}\
               {% set ns.x = namespace(x=ns.x) %}{% endfor %}hi";
    assert_eq!(render_on_a_small_stack(row.into()), Ok("hi".into()));
}
