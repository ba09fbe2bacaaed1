//! The chat template: where it comes from, and what is found out about it before anybody asks.

use std::fs;

use crate::{Place, output_of, tiny};

#[test]
fn a_chat_template_is_tried_before_the_first_request() {
    let place = Place::new();
    let check = |source: &str, expected: &str| {
        tiny::write_with(&place.path("own.gguf"), &[("tokenizer.chat_template", source)]);
        place.file("other.jinja", source);
        for line in ["--model own.gguf", "--model tiny.gguf --chat-template other.jinja"] {
            for command in ["serve --port 0 --log-level error", "run hello", "chat"] {
                place.refused(&format!("{command} {line}"), 1, expected);
                place.refused(
                    &format!("{command} {line}"),
                    1,
                    "; give another one with --chat-template FILE, or one of llama-3",
                );
            }
            let text = place.output(&format!("inspect {line}"));
            assert!(text.contains(expected), "{expected:?} is not in {text}");
        }
        // What needs no template does not ask for one.
        place.output("tokenize --model own.gguf --text a");
    };
    check("{% if %}", "chat template, line 1: unexpected end of statement");
    check("a\n{{ messages | shout }}", "chat template, line 2: filter 'shout' is unknown");
    check("{{ messages[0].content.shout() }}", "line 1: method 'shout' is unknown");
    check("{% if messages is loud %}{% endif %}", "line 1: test 'loud' is unknown");
    check("{{ shout(messages) }}", "function 'shout' is unknown");
    check("{% for i in range(4000) %}{% for j in range(4000) %}{% endfor %}{% endfor %}", "steps");
}

#[test]
fn a_template_that_fails_on_some_conversations_is_named_and_serves_the_others() {
    let place = Place::new();
    let source = "{% for m in messages %}{% if m.role == 'system' %}{{ raise_exception('No system role.') }}\
        {% elif m.role == 'assistant' %}{{ m.content | shout }}{% else %}{{ m.content }}{% endif %}\
        {% endfor %}{% if tools %}{{ tools | whisper }}{% endif %}";
    place.file("some.jinja", source);
    let text = place.output("inspect tiny.gguf --chat-template some.jinja");
    let text = text.split_whitespace().collect::<Vec<_>>().join(" ");
    for expected in [
        "in some.jinja, ",
        "renders",
        "refuses a system message and a question: No system role.",
        "fails on a conversation: chat template, line 1: filter",
        "fails on a question, with tools: chat template, line 1: filter",
        "lacks filter \"shout\" (line 1)",
        "lacks filter \"whisper\" (line 1)",
    ] {
        assert!(text.contains(expected), "{expected:?} is not in {text}");
    }
    let output = place.run("run hello --model tiny.gguf --chat-template some.jinja --max-tokens 1");
    let log = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{log}");
    assert!(
        log.contains("shout") && log.contains("whisper") && !log.contains("No system"),
        "{log}"
    );
}

#[test]
fn a_chat_template_is_a_file_a_name_or_the_model_s_own() {
    let place = Place::new();
    let texts = [
        ("tokenizer.chat_template", "{{ messages[0].content | shout }}"),
        ("tokenizer.chat_template.tool_use", "T{{ messages[0].content }}"),
    ];
    tiny::write_with(&place.path("named.gguf"), &texts);
    tiny::write_with(&place.path("none.gguf"), &[]);
    place.file("plain.jinja", "\u{feff}{{ messages[0].content }}");
    place.file(
        "tokenizer_config.json",
        r#"{"chat_template": [{"name": "default", "template": "J"}]}"#,
    );
    place.file("chat_template.json", r#"{"chat_template": "{{ messages[0].content }}JJ"}"#);
    let check = |line: &str, expected: &str| {
        let text = place.output(&format!("inspect {line}"));
        assert!(text.contains(expected), "{line}: {expected:?} is not in {text}");
        place.output(&format!("run hello --max-tokens 1 --model {line}"));
    };
    check("tiny.gguf", "of the model file, ");
    check("none.gguf", "phi-3, guessed from the control tokens: the file has none");
    check("named.gguf --chat-template tool_use", "tool_use of the model file, 26 characters");
    check("named.gguf --chat-template chatml", "chatml, which is built in");
    check("named.gguf --chat-template plain.jinja", "in plain.jinja, 25 characters");
    check(
        "tiny.gguf --chat-template tokenizer_config.json",
        "in tokenizer_config.json, 1 characters",
    );
    check(
        "tiny.gguf --chat-template ./chat_template.json",
        "in ./chat_template.json, 27 characters",
    );

    place.file("dated.jinja", "{{ strftime_now('%Z%-Y, really') }}");
    let mut command = place.command("inspect tiny.gguf --chat-template dated.jinja");
    let text =
        output_of("dated", &command.env("TZ", "CET-1CEST,M3.5.0,M10.5.0/3").output().unwrap());
    assert!(text.contains("dates") && text.contains(", really"), "{text}");

    place.file("empty.jinja", " \n");
    place.file("empty.json", "{}");
    fs::write(place.path("latin.jinja"), b"\xe4").unwrap();
    fs::create_dir(place.path("folder")).unwrap();
    for (given, expected) in [
        ("chatlm", "\"chatlm\", which is neither a file nor one of tool_use, llama-3, chatml, "),
        ("none.jinja", "\"none.jinja\", which is neither a file nor one of"),
        ("empty.jinja", "reading the chat template empty.jinja: it is empty"),
        ("empty.json", "reading the chat template empty.json: it has no key chat_template"),
        ("latin.jinja", "reading the chat template latin.jinja: it is not UTF-8"),
        ("folder", "reading the chat template folder: it is not a file"),
        ("/dev/zero", "reading the chat template /dev/zero: it is not a file"),
        ("named.gguf", "reading the chat template named.gguf: it is not UTF-8"),
    ] {
        place.refused(
            &format!("run hello --model named.gguf --chat-template {given}"),
            1,
            expected,
        );
    }
}
