#!/usr/bin/env bash
# In minijinja None can be iterated over, and neither a text nor a map is a sequence.
#
# Chat templates of well-known models ask `{% if tools is iterable and tools | length > 0 %}` and pass None where there
# are no tools. Jinja2 answers False and goes on; minijinja answers True and then fails on the length of None, for
# every conversation without tools. Templates that tell a text from content parts by `content is sequence` take the
# other branch. Seen with minijinja 3.1.0 (the same in 2.24.0 of the Rust crate) and Jinja2 3.1.6.
#
# Prints a table of template, Jinja2 and minijinja, and fails if any cell is not as it was seen.
set -euo pipefail

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"

python3 -m venv python
python/bin/pip --quiet --disable-pip-version-check install jinja2==3.1.6 minijinja==3.1.0

# template <tab> Jinja2 <tab> minijinja
cat > seen.tsv <<'ROWS'
{{ tools is iterable }}	False	True
{{ 'with' if tools is iterable and tools | length > 0 else 'without' }}	without	TemplateError
{{ 'a text' is sequence }}	True	False
{{ {'a': 1} is sequence }}	True	False
{{ {'items': 1}.items is number }}	False	True
{{ '%s of %s' % (1, 2) }}	1 of 2	TemplateError
{{ 1e16 }}	1e+16	10000000000000000.0
ROWS

cat > render.py <<'PYTHON'
import sys

import jinja2
import minijinja

ENGINES = {
    "jinja2": lambda source: jinja2.Environment().from_string(source).render(tools=None),
    "minijinja": lambda source: minijinja.Environment().render_str(source, tools=None),
}
for row in open("seen.tsv"):
    try:
        print(ENGINES[sys.argv[1]](row.split("\t")[0]))
    except Exception as error:
        print(type(error).__name__)
PYTHON
python/bin/python render.py jinja2 > jinja2.txt
python/bin/python render.py minijinja > minijinja.txt

cut -f 1 seen.tsv | paste - jinja2.txt minijinja.txt | tee now.tsv
diff seen.tsv now.tsv && echo "as seen: jinja2 3.1.6 and minijinja 3.1.0 differ in all $(wc -l < seen.tsv) rows"
