//! What a template does with sample conversations, before anybody asks.

#![allow(clippy::unwrap_used, clippy::print_stderr, reason = "tests stop at the first surprise")]

mod support;

use brisk_tokenizer::{ChatTemplate, TemplateError, TemplateTokens, TemplateTrial, Tokenizer};
use support::tiny;

const SYSTEM: &str = "a system message and a question";
const HISTORY: &str = "a conversation";
const BOTH: &str = "a conversation with a system message";

fn trial(source: &str) -> Result<TemplateTrial, TemplateError> {
    let tokens = TemplateTokens { bos: "<s>".into(), eos: "</s>".into() };
    let tokenizer = Tokenizer::new(tiny(&["<s>", "</s>"])).unwrap();
    ChatTemplate::new(source, tokens)?.try_out(&tokenizer)
}

fn names<T>(of: &[(String, T)]) -> Vec<&str> {
    of.iter().map(|(name, _)| name.as_str()).collect()
}

#[test]
fn a_template_that_is_right_has_nothing_to_say() {
    for name in ChatTemplate::builtin_names() {
        let want = TemplateTrial { num_rendered: 4, ..TemplateTrial::default() };
        assert_eq!(trial(ChatTemplate::builtin_source(name).unwrap()), Ok(want), "{name}");
    }
    // One that knows tools is tried with them too.
    let source = "{% if tools %}{% for tool in tools %}{{ tool.function.name }}\
        {{ tool.function.parameters.properties.items()|list|length }}{% endfor %}{% endif %}";
    let want = TemplateTrial { num_rendered: 8, ..TemplateTrial::default() };
    assert_eq!(trial(source), Ok(want));
}

#[test]
fn a_template_may_refuse_what_its_model_was_not_trained_on() {
    let source = "{% for m in messages %}{% if m.role == 'system' %}\
        {{ raise_exception('System role not supported') }}{% endif %}{{ m.content }}{% endfor %}";
    let got = trial(source).unwrap();
    assert_eq!((got.num_rendered, &got.failed[..], &got.missing[..]), (2, &[][..], &[][..]));
    let words = "System role not supported".to_owned();
    assert_eq!(got.refused, [(SYSTEM.to_owned(), words.clone()), (BOTH.to_owned(), words)]);
    let got =
        trial("{{ raise_exception('Guards need two turns') if messages|length < 2 }}").unwrap();
    assert_eq!(names(&got.refused), ["a question"]);
}

#[test]
fn what_fails_on_a_plain_question_is_an_error_with_its_line() {
    for (source, line, part) in [
        ("a\n{{ messages|shout }}", 2, "shout"),
        ("{{ messages[0].content.shout() }}", 1, "shout"),
        ("a\nb\n{{ shout(1) }}", 3, "shout"),
        ("{{ messages is loud }}", 1, "loud"),
        ("\n{{ nothing.deeper }}", 2, "undefined"),
        ("{% if add_generation_prompt %}\n{{ 'a' + 1 }}{% endif %}", 2, "concatenate"),
        ("{% if not add_generation_prompt %}\n{{ 'a' + 1 }}{% endif %}", 2, "concatenate"),
        ("{% include 'other' %}", 1, "other"),
    ] {
        match trial(source) {
            Err(TemplateError::Invalid { line: at, message }) => {
                assert!(at == line && message.contains(part), "{source}: {at}, {message}");
            }
            other => panic!("{source}: {other:?}"),
        }
    }
}

#[test]
fn what_fails_on_other_conversations_is_named() {
    for (source, want) in [
        ("{% if messages[0].role == 'system' %}{{ 1|shout }}{% endif %}", &[SYSTEM, BOTH][..]),
        ("{% if messages|length > 2 %}{{ 1|shout }}{% endif %}", &[HISTORY, BOTH]),
        ("{% if messages|length > 3 %}{{ nothing.at_all }}{% endif %}", &[BOTH]),
        (
            "{% if tools and messages|length < 3 %}{{ tools[0].function.none.at_all }}{% endif %}",
            &["a question, with tools", "a system message and a question, with tools"],
        ),
    ] {
        assert_eq!(names(&trial(source).unwrap().failed), want, "{source}");
    }
}

#[test]
fn what_nobody_has_is_named_although_no_sample_needs_it() {
    let never = |part: &str| format!("{{% if messages|length > 99 %}}\n{part}{{% endif %}}");
    for (part, want) in [
        ("{{ messages|shout }}", "filter \"shout\" (line 2)"),
        ("{{ messages|map('upper')|whisper(1) }}", "filter \"whisper\" (line 2)"),
        ("{{ messages is loud }}", "test \"loud\" (line 2)"),
        ("{{ messages is not loud(1) }}", "test \"loud\" (line 2)"),
        ("{{ shout(messages) }}", "function \"shout\" (line 2)"),
        ("{{ messages[0].content.shout() }}", "method \"shout\" (line 2)"),
    ] {
        let got = trial(&never(part)).unwrap();
        assert_eq!((got.num_rendered, &got.missing[..]), (4, &[want.to_owned()][..]), "{part}");
    }
    // Python looks for these before it renders.
    for part in [
        "{% macro m() %}{{ 'a'|shout }}{% endmacro %}",
        "{% block b %}{{ 'a'|shout }}{% endblock %}",
        "{% filter shout %}x{% endfilter %}",
    ] {
        let error = trial(&never(part)).unwrap_err().to_string();
        assert!(error.contains("line 2: filter 'shout' is unknown"), "{part}: {error}");
    }
    for part in [
        "{% macro shout(x) %}{{ x }}{% endmacro %}{{ shout(1) }}",
        "{% set shout = messages %}{{ shout(1) }}",
        "{% for shout in messages %}{{ shout() }}{{ loop.cycle(1, 2) }}{{ loop.changed(1) }}{% endfor %}",
        "{% macro m() %}{{ caller() }}{% endmacro %}{% call m() %}x{% endcall %}",
        "{{ strftime_now('%Y') }}{{ raise_exception('no') }}{{ range(3) }}{{ namespace(a=1) }}{{ dict(a=1) }}",
        "{{ 'a'.strip().split(',') }}{{ {}.items() }}{{ {}.get('a') }}{{ 'a'.startswith('b') }}",
        "{{ 1 ~ 2 * 3 }}{{ messages[1:] }}{{ 'a' in messages }}{{ 1 == 2 }}",
    ] {
        assert_eq!(trial(&never(part)).unwrap().missing, [""; 0], "{part}");
    }
    let many: String = (0..40).map(|at| format!("{{{{ 1|f{at} }}}}")).collect();
    assert_eq!(trial(&never(&many)).unwrap().missing.len(), 16);
}
