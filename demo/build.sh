#!/bin/sh
# Makes brisk-demo.gguf from nothing: corpus, tokenizer, two stages of training, export.
# Wants Python 3.11 with requirements.txt installed; PYTHON names another interpreter.
set -eu
cd "$(dirname "$0")"
python="${PYTHON:-python3}"
"$python" train.py --seed 1 --steps 1000 --decay 100
"$python" train.py --resume --focus --seed 2 --sums 60 --dialogues 150000 --batch-tokens 3072 --lr 2e-3 --steps 1100 --decay 700
"$python" export.py
