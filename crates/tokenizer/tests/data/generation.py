"""Writes generation.jsonl: what transformers makes of templates with `{% generation %}` and of line ends.

With transformers 5.24 and jinja2 3.1.6:

    python crates/tokenizer/tests/data/generation.py > crates/tokenizer/tests/data/generation.jsonl
"""

import json

from transformers.utils.chat_template_utils import _compile_jinja_template

MESSAGES = [{"role": "user", "content": "Hi <b>"}, {"role": "assistant", "content": "Hello."}]

TEMPLATES = [
    "{% generation %}x{% endgeneration %}",
    "a\n  {% generation %}\n  x\n  {% endgeneration %}\nb",
    "a\n  {%- generation -%}\n  x\n  {%- endgeneration -%}\nb",
    "a\n  {%+ generation +%}\n  x\n  {%+ endgeneration +%}\nb",
    "a {%-generation-%} x {%-endgeneration-%} b",
    "{%generation%}x{%endgeneration%}",
    "{% generation%}x{%\n\tendgeneration\n%}",
    "{% set x = 1 %}{% generation %}{{ x }}{% set x = 2 %}{{ x }}{% endgeneration %}{{ x }}",
    "{% set x = 1 %}{% generation %}{% set x = 2 %}{{ x }}{% endgeneration %}{{ x }}",
    "{% set n = namespace(x=1) %}{% generation %}{% set n.x = 2 %}{{ n.x }}{% endgeneration %}{{ n.x }}",
    "{% for m in messages %}{% generation %}{{ loop.index }}{{ m.role }}{% if not loop.last %},{% endif %}{% endgeneration %}{% endfor %}",
    "{% for m in messages %}{% if m.role == 'assistant' %}{% generation %}{{ m.content }}{% endgeneration %}{% else %}{{ m.role }}{% endif %}{% endfor %}",
    "{% generation %}{% for m in messages %}{% generation %}[{{ m.role }}]{% endgeneration %}{% endfor %}{% endgeneration %}",
    "{% raw %}{% generation %}{% endgeneration %}{% endraw %}",
    "{# {% generation %} #}x{# {% endgeneration %} #}",
    "{{ '{% generation %}x{% endgeneration %}' }}",
    "{% set generation = 5 %}{{ generation }}{% generation %}{{ generation }}{% endgeneration %}",
    "{% macro m(x) %}{% generation %}{{ x }}{% endgeneration %}{% endmacro %}{{ m('<a>') }}|{{ m('b')|upper }}",
    "{% set s %}a{% generation %}b{% endgeneration %}c{% endset %}{{ s }}{{ s|length }}",
    "{% generation %}{% macro m() %}in{% endmacro %}{{ m() }}{% endgeneration %}{{ m is defined }}",
    "{% generation %}{{ messages[0].content|e }}{{ '<' }}{% endgeneration %}",
    "{% generation %}{% endgeneration %}|",
    "{% generation: %}x{% endgeneration %}",
    "{% generation : %}x{% endgeneration %}",
    "{% generation x %}x{% endgeneration %}",
    "{% generation %}x{% endgeneration x %}",
    "{% generation %}x",
    "x{% endgeneration %}",
    "{% generation %}x{% endwith %}",
    "{% with %}x{% endgeneration %}",
    "{% if true %}{% generation %}{% endif %}{% endgeneration %}",
    "{% generation %}{{ caller is defined }}{% endgeneration %}",
    "{% for i in [1,2] %}{% set y = i %}{% generation %}{{ y }}{% set y = 9 %}{% endgeneration %}{{ y }}{% endfor %}",
    "{% generation %}{% set z = 3 %}{% endgeneration %}{{ z is defined }}",
    "{% generation %}{% if true %}{% set z = 3 %}{% endif %}{{ z }}{% endgeneration %}{{ z is defined }}",
    "{% generation %}\n\n  x\n{% endgeneration %}\n\ny",
    "a\n{% generation %}\n{{ 'x' }}\n{% endgeneration %}\n{% if true %}\ny\n{% endif %}\n",
    "{%- for m in messages -%}\n{%- if m.role == 'assistant' %}\n{{- '<a>' }}{% generation %}{{- m.content }}{{- '</a>\\n' }}{% endgeneration %}\n{%- endif %}\n{%- endfor %}",
    "{% generation %}{% call(x) y() %}{% endcall %}{% endgeneration %}",
    "{% block b %}{% generation %}x{% endgeneration %}{% endblock %}",
    "{% generation %}{% block b %}x{{ messages|length }}{% endblock %}{% endgeneration %}",
    "{% generation -%}   x   {%- endgeneration %}   y",
    "{% generation %}{% raw %}{% endgeneration %}{% endraw %}{% endgeneration %}",
    "{% filter upper %}{% generation %}x{% endgeneration %}{% endfilter %}",
    "{% generation %}{{ '%}' }}{{ \"{% endgeneration %}\" }}{% endgeneration %}",
    "{{ {'a': {'b': 1}}.a.b }}{% generation %}}}{% endgeneration %}",
    "{% Generation %}x{% endGeneration %}",
    "{% generations %}x{% endgenerations %}",
    "{% generation-%}x{% endgeneration- %}",
    "a\r\n  {% generation %}\r\n  x\r\n  {% endgeneration %}\r\nb\r\n",
    "a\r{%- generation %}\rx{% endgeneration %}\r\rb",
    "{% if true %}\r\nx\r\n{% endif %}\r\n{{ 'a\r\nb' }}",
    "{% generation %}{% with x = 1 %}{% generation %}{{ x }}{% endgeneration %}{% endwith %}{% endgeneration %}",
    "{% with x = 1 %}{% generation %}{{ x }}{% endwith %}{% endgeneration %}",
    "{% generation %}{% set x %}{% endgeneration %}{% endset %}",
    "{% endgeneration %}{% generation %}",
    "{% generation() %}x{% endgeneration %}",
    "{% generation, %}x{% endgeneration %}",
    "{% generation %}x{% endgeneration: %}",
    "{% generation %}{% macro m(a) %}{% set b = a %}{{ b }}{% endmacro %}{{ m(1) }}{{ b is defined }}{% endgeneration %}",
    "{% set ns = namespace(l=[]) %}{% generation %}{% for m in messages %}{% set ns.l = ns.l + [m.role] %}{% endfor %}{% endgeneration %}{{ ns.l|join(',') }}",
]

for template in TEMPLATES:
    try:
        row = {"expected": _compile_jinja_template(template).render(messages=MESSAGES)}
    except Exception as error:
        row = {"error": type(error).__name__}
    print(json.dumps({"template": template, **row}))
