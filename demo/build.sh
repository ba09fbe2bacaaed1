#!/bin/sh
# Makes brisk-demo.gguf from nothing: corpus, tokenizer, training, export. Same seed, same model.
# Wants Python 3.11 with requirements.txt installed; PYTHON names another interpreter.
set -eu
cd "$(dirname "$0")"
python="${PYTHON:-python3}"
"$python" train.py
"$python" export.py
