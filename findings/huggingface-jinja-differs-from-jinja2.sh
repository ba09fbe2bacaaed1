#!/usr/bin/env bash
# The same chat template gives another prompt in JavaScript than in Python.
#
# @huggingface/jinja is what transformers.js renders chat templates with; models are trained on what Jinja2 printed.
# Seen with @huggingface/jinja 0.5.11 on Node.js 20 and Jinja2 3.1.6: most of what differs is silent. The worst is a
# loop control: what a pass of the loop printed before its `break` or `continue` is lost. None prints as nothing and
# booleans in lower case, lists as JSON, floats inside lists without their point; `%` takes the sign of its left side;
# strip() ignores its argument, join() its attribute; a map does not count as iterable.
#
# Prints a table of template, Jinja2 and @huggingface/jinja, and fails if any cell is not as it was seen.
set -euo pipefail

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"

python3 -m venv python
python/bin/pip --quiet --disable-pip-version-check install jinja2==3.1.6
npm init --yes > npm.log
npm install --no-audit --no-fund @huggingface/jinja@0.5.11 >> npm.log

# template <tab> Jinja2 <tab> @huggingface/jinja
cat > seen.tsv <<'ROWS'
{% for n in [1, 2, 3] %}{{ n }}{% if n == 2 %}{% break %}{% endif %}{% endfor %}	12	1
{% for n in [1, 2, 3] %}{{ n }}{% if n == 2 %}{% continue %}{% endif %}-{% endfor %}	1-23-	1-3-
{{ none }}	None	
{{ true }}	True	true
{{ ['a', none, true] }}	['a', None, True]	["a", null, true]
{{ [1.0] }}	[1.0]	[1]
{{ 7 % -3 }}	-2	1
{{ 'xxaxx'.strip('x') }}	a	xxaxx
{{ [{'r': 'a'}, {'r': 'b'}]|join('+', attribute='r') }}	a+b	[object Map]+[object Map]
{{ {'a': 1} is iterable }}	True	false
ROWS

cat > render.py <<'PYTHON'
import jinja2

environment = jinja2.Environment(trim_blocks=True, lstrip_blocks=True, extensions=["jinja2.ext.loopcontrols"])
for row in open("seen.tsv"):
    print(environment.from_string(row.rstrip("\n").split("\t")[0]).render())
PYTHON
python/bin/python render.py > jinja2.txt

cat > render.mjs <<'JAVASCRIPT'
import { readFileSync } from "node:fs";
import { Template } from "@huggingface/jinja";

for (const row of readFileSync("seen.tsv", "utf8").trimEnd().split("\n")) {
  console.log(new Template(row.split("\t")[0]).render({}));
}
JAVASCRIPT
node render.mjs > javascript.txt

cut -f 1 seen.tsv | paste - jinja2.txt javascript.txt | tee now.tsv
diff seen.tsv now.tsv && echo "as seen: jinja2 3.1.6 and @huggingface/jinja 0.5.11 differ in all $(wc -l < seen.tsv) rows"
