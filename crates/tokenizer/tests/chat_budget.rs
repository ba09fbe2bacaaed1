//! Templates that make much of little: each is stopped by what it makes and reads, and takes little
//! memory until then.

#![allow(clippy::unwrap_used, clippy::print_stderr, reason = "tests stop at the first surprise")]

mod support;

use brisk_tokenizer::{ChatMessage, ChatTemplate, TemplateError, TemplateTokens, Tokenizer};
use support::tiny;

const OUT_OF_BYTES: TemplateError = TemplateError::OutOfBytes { max_bytes: 64 << 20 };
const TOO_DEEP: TemplateError =
    TemplateError::TooDeep { what: "value", num_steps: 257, max_steps: 256 };

fn render(source: &str, messages: &[ChatMessage]) -> Result<String, TemplateError> {
    let template = ChatTemplate::new(source, TemplateTokens::default())?;
    let tokenizer = Tokenizer::new(tiny(&[])).unwrap();
    Ok(template.render(messages, &tokenizer, true)?.text())
}

/// The most memory this process ever held; `None` where the system does not say.
fn peak_bytes() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    line.trim().strip_suffix(" kB")?.parse::<u64>().ok().map(|kilobytes| kilobytes << 10)
}

#[track_caller]
fn check(name: &str, source: &str, want: &TemplateError) {
    let got = render(source, &[ChatMessage::new("user", "Hello")]);
    assert_eq!(got.as_ref(), Err(want), "{name}: {source}");
    let Some(peak_bytes) = peak_bytes() else {
        return eprintln!("SKIPPED: this system does not say how much memory a process took");
    };
    assert!(peak_bytes < 320 << 20, "{name}: {} MiB", peak_bytes >> 20);
}

/// `body` sixty times over a variable that begins as `start`.
fn sixty_times(start: &str, body: &str) -> String {
    let set = format!("{{% set ns = namespace(x={start}, y={start}) %}}");
    format!("{set}{{% for i in range(60) %}}{body}{{% endfor %}}")
}

/// `body` as often as steps allow, with a text of 4 MiB as `text`, a list of 20,000 as `list`, and
/// `pairs` as a map of one list.
fn often(body: &str) -> String {
    format!(
        "{{% set text = 'ab' * 2097152 %}}{{% set list = range(4000) | list * 5 %}}\
         {{% set pairs = {{'a': list}} %}}\
         {{% for i in range(4000) %}}{{% for j in range(60) %}}{body}{{% endfor %}}{{% endfor %}}"
    )
}

#[test]
fn a_text_that_grows_is_stopped() {
    for (name, body) in [
        ("~", "{% set ns.x = ns.x ~ ns.x %}"),
        ("+", "{% set ns.x = ns.x + ns.x %}"),
        ("*", "{% set ns.x = ns.x * 2 %}"),
        ("* from the left", "{% set ns.x = 1000 * ns.x %}"),
        ("join", "{% set ns.x = [ns.x, ns.x] | join %}"),
        ("join with a text", "{% set ns.x = 'abc' | join(ns.x) %}"),
        ("join method", "{% set ns.x = ns.x.join(['a', 'b', 'c']) %}"),
        ("join method, list", "{% set ns.x = ''.join([ns.x, ns.x]) %}"),
        ("replace", "{% set ns.x = ns.x | replace('a', ns.x) %}"),
        ("replace nothing", "{% set ns.x = ns.x | replace('', ns.x) %}"),
        ("replace method", "{% set ns.x = ns.x.replace('a', 'aa') %}"),
        ("format", "{% set ns.x = '%s%s' | format(ns.x, ns.x) %}"),
        ("format width", "{% set ns.x = '%99999999s' | format(ns.x) %}"),
        ("format precision", "{% set ns.x = '%.99999999f' | format(1.5) %}"),
        ("format method", "{% set ns.x = '{0}{0}'.format(ns.x) %}"),
        ("format method width", "{% set ns.x = '{:>99999999}'.format('x') %}"),
        ("indent", "{% set ns.x = ns.x | indent(100000000, true) %}"),
        ("indent by name", "{% set ns.x = ns.x | indent(width=100000000, first=true) %}"),
        ("escape", "{% set ns.x = (ns.x ~ '\"') | e | string %}{% set ns.x = ns.x ~ ns.x %}"),
        ("tojson", "{% set ns.x = [ns.x, ns.x] | tojson %}"),
        ("string", "{% set ns.x = [ns.x, ns.x] | string %}"),
        ("set block", "{% set y %}{{ ns.x }}{{ ns.x }}{% endset %}{% set ns.x = y %}"),
        (
            "filter block",
            "{% set y %}{% filter upper %}{{ ns.x }}{{ ns.x }}{% endfilter %}{% endset %}{% set ns.x = y %}",
        ),
        ("macro", "{% macro m(x) %}{{ x }}{{ x }}{% endmacro %}{% set ns.x = m(ns.x) %}"),
        (
            "call block",
            "{% macro m() %}{{ caller() }}{{ caller() }}{% endmacro %}{% set y %}{% call m() %}{{ ns.x }}{% endcall %}{% endset %}{% set ns.x = y %}",
        ),
        ("map", "{% set ns.x = [ns.x, ns.x] | map('upper') | join %}"),
        (
            "autoescape",
            "{% autoescape true %}{% set y %}{{ ns.x }}{{ ns.x }}{% endset %}{% set ns.x = y %}{% endautoescape %}",
        ),
    ] {
        check(name, &sixty_times("'ab'", body), &OUT_OF_BYTES);
    }
    let raw = "x".repeat(200_000);
    let source =
        format!("{{% set x %}}{{% for i in range(4000) %}}{raw}{{% endfor %}}{{% endset %}}");
    check("raw text in a block", &source, &OUT_OF_BYTES);
}

#[test]
fn a_list_that_grows_is_stopped() {
    for (name, body) in [
        ("+", "{% set ns.x = ns.x + ns.x %}"),
        ("*", "{% set ns.x = ns.x * 2 %}"),
        ("* much", "{% set ns.x = ns.x * 999999999999 %}"),
        ("batch filled", "{% set ns.x = ns.x | batch(100000000, 'x') | list %}"),
        ("slice", "{% set ns.x = ns.x | slice(100000000) | list %}"),
        (
            "arguments",
            "{% macro m() %}{% endmacro %}{% set ns.x = ns.x + ns.x %}{{ dict(*ns.x) if i > 59 }}",
        ),
        ("split", "{% set ns.x = ('%s' | format('a') * 9000000).split('a') %}"),
        ("rsplit", "{% set ns.x = ('a' * 9000000).rsplit('a') %}"),
        ("lines", "{% set ns.x = ('\\n' | string * 9000000).splitlines() %}"),
        ("list", "{% set ns.x = ('a' | upper * 9000000) | list %}"),
    ] {
        check(name, &sixty_times("[1, 2]", body), &OUT_OF_BYTES);
    }
}

#[test]
fn a_value_that_holds_itself_many_times_is_never_spelled_out() {
    let set = "{% set ns.x = [ns.x, ns.x] %}{% set ns.y = [ns.y, ns.y] %}";
    for (name, end) in [
        ("emit", "{{ ns.x }}"),
        ("string", "{{ ns.x | string | length }}"),
        ("tojson", "{{ ns.x | tojson }}"),
        ("tojson sorted", "{{ ns.x | tojson(sort_keys=true, indent=4) }}"),
        ("~", "{{ (ns.x ~ '') | length }}"),
        ("==", "{{ ns.x == ns.y }}"),
        ("!=", "{{ ns.x != ns.y }}"),
        ("<", "{{ ns.x < ns.y }}"),
        ("< <", "{{ ns.x <= ns.y <= ns.x }}"),
        ("in", "{{ ns.x in [ns.y] }}"),
        ("not in", "{{ ns.x not in [ns.y] }}"),
        ("join", "{{ ns.x | join }}"),
        ("percent", "{{ '%s' % [ns.x] }}"),
        ("repr", "{{ '%r' % ((ns.x,),) }}"),
        ("index", "{{ [ns.x].index(ns.y) }}"),
        ("slice", "{{ ns.x[:] == ns.y[::-1] }}"),
        ("sum", "{{ [[ns.x], [ns.y]] | sum(start=[]) | string }}"),
        ("escape", "{{ ns.x | e }}"),
        ("urlencode", "{{ {'a': ns.x} | urlencode }}"),
        ("xmlattr", "{{ {'a': ns.x} | xmlattr }}"),
        ("title", "{{ ns.x | title }}"),
        ("format", "{{ '%s' | format(ns.x) }}"),
        ("format method", "{{ '{}'.format(ns.x) }}"),
        ("sort", "{{ [ns.x, ns.y] | sort | length }}"),
        ("groupby", "{{ [{'a': ns.x}, {'a': ns.y}] | groupby('a') | length }}"),
        ("dictsort", "{{ {'a': ns.x, 'b': ns.y} | dictsort(by='value') | length }}"),
        ("min", "{{ [ns.x, ns.y] | min | length }}"),
        ("max", "{{ [ns.x, ns.y] | max | length }}"),
        ("equalto", "{{ [ns.x] | select('equalto', ns.y) | list | length }}"),
        ("sameas", "{{ (ns.x ~ '') is sameas ns.y }}"),
        ("is in", "{{ ns.x is in [ns.y] }}"),
        ("count", "{{ [ns.x].count(ns.y) }}"),
        ("changed", "{% for i in [ns.x, ns.y] %}{{ loop.changed(i) }}{% endfor %}"),
        ("upper", "{{ ns.x | upper }}"),
        ("replace", "{{ ns.x | replace('a', 'b') }}"),
        ("trim", "{{ ns.x | trim }}"),
        ("error", "{{ raise_exception(ns.x ~ '') }}"),
        ("autoescape", "{% autoescape 'json' %}{{ ns.x }}{% endautoescape %}"),
    ] {
        check(name, &(sixty_times("[]", set) + end), &OUT_OF_BYTES);
    }
    let cycle = "{% set ns = namespace() %}{% set ns.x = ns %}";
    for (name, end) in [
        ("emit", "{{ ns }}"),
        ("string", "{{ ns | string }}"),
        ("~", "{{ ns ~ ns }}"),
        ("join", "{{ [ns] | join }}"),
    ] {
        check(name, &(cycle.to_owned() + end), &TOO_DEEP);
    }
    let twice = "{% set ns = namespace() %}{% set ns.x = ns %}{% set ns.y = ns %}{{ ns }}";
    check("twice in itself", twice, &TOO_DEEP);
}

#[test]
fn reading_again_and_again_is_stopped() {
    for (name, body) in [
        ("length", "{% set _ = text | length %}"),
        ("in", "{% set _ = 'c' in text %}"),
        ("==", "{% set _ = text == text %}"),
        ("<", "{% set _ = text < text %}"),
        ("item", "{% set _ = text[4000000] %}"),
        ("slice", "{% set _ = text[4000000:4000001] %}"),
        ("slice backwards", "{% set _ = text[::-1] %}"),
        ("find", "{% set _ = text.find('c') %}"),
        ("startswith", "{% set _ = text.startswith(text) %}"),
        ("strip", "{% set _ = text.strip('abc') %}"),
        ("trim", "{% set _ = text | trim('xy') %}"),
        ("islower", "{% set _ = text.islower() %}"),
        ("is lower", "{% set _ = text is lower %}"),
        ("title", "{% set _ = text | title %}"),
        ("split", "{% set _ = text.split('c') %}"),
        ("isalpha", "{% set _ = text.isalpha() %}"),
        ("translate", "{% set _ = text.translate({}) %}"),
        ("percent", "{% set _ = '%s' % text %}"),
        ("wordcount", "{% set _ = text | wordcount %}"),
        ("truncate", "{% set _ = text | truncate(9) %}"),
        ("int", "{% set _ = '1' * 4000000 | int %}"),
        ("for", "{% for c in text %}{% break %}{% endfor %}"),
        ("in a list", "{% set _ = 'x' in list %}"),
        ("in a map", "{% set _ = text in pairs %}"),
        ("key", "{% set _ = pairs[text] %}"),
        ("get", "{% set _ = pairs.get(text) %}"),
        ("list", "{% set _ = list | list %}"),
        ("reverse", "{% set _ = list | reverse %}"),
        ("slice of a list", "{% set _ = list[19000:] %}"),
        ("min", "{% set _ = list | min %}"),
        ("sum", "{% set _ = list | sum %}"),
        ("unique", "{% set _ = list | unique %}"),
        ("sort", "{% set _ = list | sort %}"),
        ("compare maps", "{% set _ = pairs == {'a': list + []} %}"),
        ("items", "{% for k, v in {'a': 1}.items() %}{% set _ = list == list %}{% endfor %}"),
        ("map", "{% set _ = list | map('string') %}"),
        ("select", "{% set _ = list | select('odd') %}"),
        (
            "splat",
            "{% set _ = dict(**{'a': 1}) %}{% set _ = range(*list) if j > 60 %}{% set _ = list + list %}",
        ),
        ("write", "{% set _ %}{{ text }}{% endset %}"),
    ] {
        check(name, &often(body), &OUT_OF_BYTES);
    }
}

#[test]
fn what_the_engine_counts_no_step_for_takes_one() {
    let nothing = "{% with %}{% endwith %}".repeat(10_000);
    let source = format!("{{% for i in range(4000) %}}{nothing}{{% endfor %}}");
    check("with", &source, &TemplateError::OutOfSteps { max_steps: 300_000 });
}

#[test]
fn what_is_written_down_is_charged_like_what_is_computed() {
    for (name, source) in [
        ("text", "{{ 'A' * 100000000 }}".to_owned()),
        ("text from the left", "{{ 100000000 * 'A' }}".into()),
        ("computed times", "{{ 'A' * (10 * 10000000) }}".into()),
        ("many texts", "{% set x = 'a' * 1000000 %}".repeat(100)),
        ("compared lists", "{{ [1] * 100000000 == [1] * 100000000 }}".into()),
        ("written list", "{{ [1] * 10000000 ~ '' }}".into()),
        ("nested", "{{ ('A' * 10000 ~ 'B') * 10000 }}".into()),
        ("in", "{{ 2 in [1] * 100000000 }}".into()),
        ("times", "{{ 'a' * 9223372036854775807 }}".into()),
        ("center", "{{ 'x'.center(10 ** 9) }}".into()),
        ("ljust", "{{ 'x'.ljust(99999999999999999999) }}".into()),
        ("zfill", "{{ 'x'.zfill(10 ** 9) }}".into()),
        ("expandtabs", "{{ '\t'.expandtabs(10 ** 9) }}".into()),
        ("percent width", "{{ '%1000000000d' % 1 }}".into()),
        ("percent star", "{{ '%*d' % (10 ** 9, 1) }}".into()),
        ("percent precision", "{{ '%.1000000000f' % 1.5 }}".into()),
        ("percent digits", "{{ '%.1000000000d' % 1 }}".into()),
        ("format width", "{{ '{:>999999999}'.format(1) }}".into()),
        ("format precision", "{{ '{:.999999999f}'.format(1.5) }}".into()),
        ("format groups", "{{ '{:0999999999,}'.format(1) }}".into()),
        ("center filter", "{{ 'x' | center(10 ** 9) }}".into()),
        ("indent", "{{ 'x' | indent(10 ** 9, true) }}".into()),
        ("tojson", "{{ [1] | tojson(indent=10 ** 9) }}".into()),
        ("slice", "{{ [1] | slice(10 ** 9) }}".into()),
        ("batch", "{{ [1] | batch(10 ** 9, 1) }}".into()),
    ] {
        check(name, &source, &OUT_OF_BYTES);
    }
    let small = "{{ '=' * 40 ~ '\\n' }}{{ 2 * 3 + 1 }}{{ [1] * 2 + [3] }}{{ 60 * 60 * 24 }}";
    let want = "=".repeat(40) + "\n7[1, 1, 3]86400";
    assert_eq!(render(small, &[]), Ok(want));
}

#[test]
fn what_templates_do_not_need_is_an_error() {
    for (name, source, part) in [
        (
            "long name",
            format!("{{{{ a.{} }}}}", "b".repeat(300)),
            "a name has 300 bytes, at most 256",
        ),
        ("range", "{{ range(10 ** 9) }}".into(), "1000000000 numbers, at most 100000"),
        ("range of large numbers", "{{ range(2 ** 110, 2 ** 111) }}".into(), "more than 100 bits"),
        ("large number", "{{ 2 ** 1000 }}".into(), "more than 127 bits"),
        ("large product", "{{ 2 ** 100 * 2 ** 100 }}".into(), "more than 127 bits"),
        ("large number read", "{{ ('9' * 50) | int }}".into(), "more than 127 bits"),
        ("large literal", format!("{{{{ {} }}}}", "9".repeat(50)), "more than 127 bits"),
        ("complex number", "{{ (-8.0) ** 0.5 }}".into(), "complex"),
    ] {
        let got = render(&source, &[]);
        let Err(TemplateError::Invalid { message, .. }) = &got else { panic!("{name}: {got:?}") };
        assert!(message.contains(part), "{name}: {message}");
    }
    let refused = render("{{ raise_exception('x' * 100000) }}", &[]);
    assert_eq!(refused, Err(TemplateError::Refused { message: "x".repeat(1000) }));
}

#[test]
fn a_long_conversation_fits_every_template_we_ship() {
    let message = |number: usize| {
        let role = if number.is_multiple_of(2) { "user" } else { "assistant" };
        ChatMessage::new(role, "What a thousand bytes say. ".repeat(40))
    };
    let messages: Vec<ChatMessage> = (0..1000).map(message).collect();
    let tokenizer = Tokenizer::new(tiny(&[])).unwrap();
    for name in ChatTemplate::builtin_names() {
        let template = ChatTemplate::builtin(name, TemplateTokens::default()).unwrap();
        let prompt = template.render(&messages, &tokenizer, true).unwrap();
        assert!(prompt.text().len() > 1_000_000, "{name}: {}", prompt.text().len());
    }
}
