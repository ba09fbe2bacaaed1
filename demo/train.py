"""Trains the demonstration model: `python3 train.py --steps N`, checkpoints and log in build/.

Only the assistant's tokens carry loss. A second loss asks the state before each answer, two thirds up the layers, which
fact is meant; its head is thrown away, but it makes the model tell questions apart much sooner. Dialogues of similar length share a batch, so little is padded, and none
sees another. A file build/finish, made while it runs, starts the decay of the learning rate at once; the line
printed then tells the --steps that repeat the run exactly.
"""

import argparse
import json
import math
import os
import random
import re
import sys
import time
from pathlib import Path

import torch
import torch.nn.functional as F

from corpus.generate import DEV_SET, HELD_OUT, write
from model import Config, Model
from tokenizer import VOCAB_SIZE, encode_dialogue, load_tokenizer, read_dialogues, render, train_tokenizer

BUILD = Path(__file__).parent / "build"
TOKENIZER, CORPUS, CHECKPOINT, LOG = (BUILD / name for name in ("tokenizer.json", "corpus.jsonl", "model.pt", "log.jsonl"))
FINISH = BUILD / "finish"
# Keeps freed memory in the process: without this every step pays for its page faults again.
MALLOC = {"MALLOC_MMAP_THRESHOLD_": "33554432", "MALLOC_TRIM_THRESHOLD_": "8589934592", "MALLOC_TOP_PAD_": "268435456", "GOMP_SPINCOUNT": "0"}


def cut(ids, mask, topics, keep=6):
    """A dialogue without the rest of its last answer: which fact is meant shows in the first few tokens.

    Sums stay whole, as their result comes last.
    """
    if topics[-1][1] == "arithmetic":
        return ids, mask, topics
    last_silent = max(i for i in range(len(mask) - 1) if mask[i] == 0)
    return ids[: last_silent + 1 + keep], mask[: last_silent + 1 + keep], topics


def batches(encoded, tokens_per_batch, rng):
    """One epoch of batches in random order: ids padded with 0, targets with -100, topics as rows, positions and facts."""
    order = list(range(len(encoded)))
    rng.shuffle(order)
    found = []
    for start in range(0, len(order), 4096):
        pool = sorted(order[start : start + 4096], key=lambda i: len(encoded[i][0]))
        batch, longest = [], 0
        for i in pool:
            longest = max(longest, len(encoded[i][0]))
            if batch and longest * (len(batch) + 1) > tokens_per_batch:
                found.append(batch)
                batch, longest = [], len(encoded[i][0])
            batch.append(i)
        found.append(batch)
    rng.shuffle(found)
    for batch in found:
        length = max(len(encoded[i][0]) for i in batch) - 1
        ids = torch.zeros(len(batch), length, dtype=torch.long)
        targets = torch.full((len(batch), length), -100)
        topics = []
        for row, i in enumerate(batch):
            tokens, mask = (torch.tensor(part) for part in encoded[i][:2])
            topics += [(row, position, fact) for position, fact in encoded[i][2]]
            ids[row, : len(tokens) - 1] = tokens[:-1]
            targets[row, : len(tokens) - 1] = torch.where(mask[1:] == 1, tokens[1:], -100)
        yield ids, targets, torch.tensor(topics).T


def learning_rate(step, options):
    """Warm-up over 100 steps, then constant, then half a cosine to a hundredth of the peak over the last `decay` steps."""
    if step < 100:
        return options.lr * (step + 1) / 100
    done = max(0.0, (step - (options.steps - options.decay)) / options.decay)
    return options.lr * (0.01 + 0.99 * 0.5 * (1 + math.cos(math.pi * min(1.0, done))))


def score(model, tokenizer, path, show=False):
    """How many of a file's questions get the right fact, and of how many."""
    rows = [json.loads(line) for line in path.read_text().splitlines() if line.strip()]
    eos_id = tokenizer.token_to_id("<|im_end|>")
    right = 0
    for row in rows:
        messages = row.get("messages") or [{"role": "user", "content": row["question"]}]
        answer = tokenizer.decode(model.generate(tokenizer.encode(render(messages)).ids, eos_id))
        if any(re.search(pattern, answer) for pattern in row["must_contain"]):
            right += 1
        elif show:
            print(f"  miss: {messages[-1]['content']}\n        {answer}")
    return right, len(rows)


def save(model):
    """Writes the checkpoint so that an early stop still leaves a whole one."""
    torch.save({"config": model.config.as_dict(), "weights": model.state_dict()}, CHECKPOINT.with_suffix(".tmp"))
    os.replace(CHECKPOINT.with_suffix(".tmp"), CHECKPOINT)


def load(path=CHECKPOINT):
    """The model of a checkpoint."""
    stored = torch.load(path, weights_only=True)
    model = Model(Config(**stored["config"]))
    model.load_state_dict(stored["weights"])
    return model


def train(model, encoded, tokenizer, options):
    """Runs the steps; logs loss and speed, checkpoints every 250 steps."""
    decayed = [p for p in model.parameters() if p.dim() == 2]
    plain = [p for p in model.parameters() if p.dim() < 2]
    topic_head = torch.nn.Linear(model.config.hidden_size, options.num_facts, bias=False)
    inner = [p for p in decayed if p is not model.embedding.weight] if options.focus else []
    plain += topic_head.parameters()
    groups = [{"params": decayed[:1] if inner else decayed, "weight_decay": 0.1}, {"params": plain, "weight_decay": 0.0}]
    optimizers = [torch.optim.AdamW(groups, lr=options.lr, betas=(0.9, 0.98), fused=True)]
    if inner:
        optimizers.append(torch.optim.Muon(inner, lr=options.lr, weight_decay=0.1, adjust_lr_fn="match_rms_adamw"))
    rng = random.Random(options.seed)
    begin = time.time()
    step, num_tokens, running = 0, 0, None
    with LOG.open("a") as log:
        while step < options.steps:
            for ids, targets, (rows, positions, facts) in batches(encoded, options.batch_tokens, rng):
                for group in (group for optimizer in optimizers for group in optimizer.param_groups):
                    group["lr"] = learning_rate(step, options)
                with torch.autocast("cpu", torch.bfloat16, enabled=not options.f32):
                    tap = []
                    hidden = model(ids, tap=tap)
                    topic_scores = topic_head(tap[0][rows, positions])
                    spoken = targets != -100
                    logits = model.logits(hidden[spoken])
                loss = F.cross_entropy(logits.float(), targets[spoken])
                topic_loss = F.cross_entropy(topic_scores.float(), facts)
                model.zero_grad()
                topic_head.zero_grad()
                (loss + 0.3 * topic_loss).backward()
                torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
                for optimizer in optimizers:
                    optimizer.step()
                step += 1
                num_tokens += ids.numel()
                topic_running = topic_loss.item() if running is None else 0.95 * topic_running + 0.05 * topic_loss.item()
                running = loss.item() if running is None else 0.95 * running + 0.05 * loss.item()
                if step % 25 == 0:
                    seconds = time.time() - begin
                    row = {"step": step, "loss": round(running, 4), "topic_loss": round(topic_running, 4), "seconds": round(seconds), "tokens_per_second": round(num_tokens / seconds)}
                    log.write(json.dumps(row) + "\n")
                    log.flush()
                    print(row, flush=True)
                if step % 100 == 0:
                    save(model)
                    if FINISH.exists():
                        FINISH.unlink()
                        options.steps = step + options.decay
                        print(f"finishing: repeat with --steps {options.steps} --decay {options.decay}", flush=True)
                if step % 1500 == 0:
                    print("development set: %d of %d" % score(model, tokenizer, DEV_SET), flush=True)
                if step >= options.steps:
                    break
    save(model)


def main():
    """Parses the options and does what they say."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--steps", type=int, default=4000)
    parser.add_argument("--dialogues", type=int, default=180_000)
    parser.add_argument("--decay", type=int, default=1500, help="steps at the end over which the learning rate falls")
    parser.add_argument("--batch-tokens", type=int, default=2048)
    parser.add_argument("--lr", type=float, default=1.5e-3)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--f32", action="store_true", help="compute in f32 where bf16 is slow")
    parser.add_argument("--focus", action="store_true", help="second stage: Muon, short dialogues, most answers cut after a few tokens")
    parser.add_argument("--sums", type=float, default=16.0, help="how often sums come, where a plain fact counts 1")
    parser.add_argument("--resume", action="store_true", help="go on from build/model.pt")
    parser.add_argument("--evaluate", action="store_true", help="only ask build/model.pt the questions of both sets")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    torch.manual_seed(options.seed)
    if not options.evaluate:
        write(CORPUS, options.dialogues, options.seed, options.focus, options.sums)
        dialogues = read_dialogues(CORPUS)
        if options.resume:
            tokenizer = load_tokenizer(TOKENIZER)
        else:
            tokenizer = train_tokenizer(dialogues[:60_000], TOKENIZER)
            assert tokenizer.get_vocab_size() == VOCAB_SIZE
        encoded = [encode_dialogue(tokenizer, messages) for messages in dialogues]
        if options.focus:
            rng = random.Random(options.seed)
            encoded = [cut(*parts) if rng.random() < 0.8 else parts for parts in encoded]
        names = sorted({fact for *_, topics in encoded for _, fact in topics})
        options.num_facts = len(names)
        numbers = {name: number for number, name in enumerate(names)}
        encoded = [(ids, mask, [(at, numbers[fact]) for at, fact in topics]) for ids, mask, topics in encoded]
        model = load() if options.resume else Model(Config(vocab_size=VOCAB_SIZE))
        lengths = sorted(len(ids) for ids, *_ in encoded)
        print(f"{sum(p.numel() for p in model.parameters())} parameters, {sum(lengths)} tokens, "
              f"dialogue lengths: median {lengths[len(lengths) // 2]}, longest {lengths[-1]}", flush=True)
        train(model, encoded, tokenizer, options)
    tokenizer, model = load_tokenizer(TOKENIZER), load()
    print("development set: %d of %d" % score(model, tokenizer, DEV_SET, show=True))
    right, asked = score(model, tokenizer, HELD_OUT, show=True)
    print(f"demo model: {right} of {asked} held-out questions answered with the right fact")


if __name__ == "__main__":
    if "MALLOC_TOP_PAD_" not in os.environ:
        os.execve(sys.executable, [sys.executable, *sys.argv], os.environ | MALLOC)
    main()
