"""Writes what Python prints for many templates: `expressions.python.jsonl`.

    pip install jinja2==3.1.6 'transformers==5.24.*'
    python3 make_expressions.py

Each line of `expressions.txt` is a template (`\\n` for a line's end) and is rendered in the environment
that `transformers` makes for chat templates. A template that Python refuses has `"fails": true`.
The context is the first line of `expressions.jsonl`, which holds more of the same kind.
"""

import json
import pathlib
import re

from transformers.utils.chat_template_utils import _compile_jinja_template

HERE = pathlib.Path(__file__).parent


def main():
    context = json.loads((HERE / "expressions.jsonl").read_text().splitlines()[0])["context"]
    rows = []
    for line in (HERE / "expressions.txt").read_text().splitlines():
        if not line or line.startswith("# "):
            continue
        template = line.replace("\\n", "\n").replace("\\\n", "\\n")
        try:
            printed = _compile_jinja_template(template).render(**context)
            row = {"template": template, "expected": re.sub("0x[0-9a-f]{12}", "0x7f0000000000", printed)}
        except Exception as error:
            row = {"template": template, "fails": True, "python": f"{type(error).__name__}: {error}"[:120]}
        rows.append(json.dumps(row, ensure_ascii=False))
    (HERE / "expressions.python.jsonl").write_text("\n".join(rows) + "\n")


main()
